//! The scripts, and how they are sent.

use std::fmt::Write as _;
use std::sync::LazyLock;

/// One Lua script, in the two forms that servers know.
#[derive(Debug)]
pub(super) struct Script {
    /// For servers from 7.0 on, with a line of flags before the code.
    flagged: Text,
    /// For older servers, to which that line is a syntax error.
    plain: Text,
}

/// The text of a script and the hash under which the server remembers it.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) code: String,
    pub(super) sha: String,
}

/// Takes a claim, or says who holds it. Refused when the server is out of memory: no new locks then.
pub(super) static CONTEND: LazyLock<Script> = LazyLock::new(|| Script::new("#!lua", include_str!("contend.lua")));

// The others must work when the server is out of memory, and on a demoted replica, where there may be no key, they must not
// say "not yours". The flags see to both; without them, code that follows the script's own sees to the second.

/// Compare and delete.
pub(super) static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new("#!lua flags=allow-oom", include_str!("release.lua")));

/// Compare and replace, for a while.
pub(super) static FLOOR: LazyLock<Script> =
    LazyLock::new(|| Script::new("#!lua flags=allow-oom", include_str!("floor.lua")));

/// Compare and set the expiry, of many.
pub(super) static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new("#!lua flags=allow-oom", include_str!("renew.lua")));

/// Compare and set the expiry.
pub(super) static EXTEND: LazyLock<Script> =
    LazyLock::new(|| Script::new("#!lua flags=allow-oom", include_str!("extend.lua")));

/// Compare and read the expiry.
pub(super) static REMAINING: LazyLock<Script> =
    LazyLock::new(|| Script::new("#!lua flags=allow-oom", include_str!("remaining.lua")));

impl Script {
    fn new(flags: &str, code: &str) -> Self {
        let replica = include_str!("replica.lua");
        let plain = match flags {
            "#!lua" => code.to_owned(),
            _ => format!("local function answer()\n{code}end\n{replica}"),
        };
        Self { flagged: Text::new(format!("{flags}\n{code}")), plain: Text::new(plain) }
    }

    pub(super) fn text(&self, plain: bool) -> &Text {
        if plain { &self.plain } else { &self.flagged }
    }
}

impl Text {
    fn new(code: String) -> Self {
        let digest = sha1_smol::Sha1::from(&code).digest().bytes();
        let sha = digest.iter().fold(String::with_capacity(40), |mut hex, byte| {
            // Writing to a `String` cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { code, sha }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_servers_compute() {
        // `printf 'return 1' | sha1sum`
        assert_eq!(Text::new("return 1".to_owned()).sha, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }

    #[test]
    fn the_flags_are_the_first_line_or_absent() {
        for script in [&*CONTEND, &*RELEASE, &*FLOOR, &*RENEW, &*EXTEND, &*REMAINING] {
            assert!(script.text(false).code.starts_with("#!lua"));
            assert!(!script.text(true).code.contains("#!"));
            assert_ne!(script.text(false).sha, script.text(true).sha);
        }
    }
}
