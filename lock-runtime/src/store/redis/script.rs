//! The scripts, and how they are sent.

use std::fmt::Write as _;
use std::sync::LazyLock;

use redis::Cmd;

use super::{Naming, ValueOf, write_keys};
use crate::store::Claim;

/// One Lua script, in the two forms that servers know.
#[derive(Debug)]
pub(super) struct Script {
    /// For people to read.
    pub(super) name: &'static str,
    /// For servers from 7.0 on, with a line of flags before the code.
    flagged: Text,
    /// For older servers, to which that line is a syntax error.
    plain: Text,
    /// For nodes of a cluster, where whoever waits is called by the node that has the key and no other.
    #[cfg(feature = "cluster")]
    sharded: Text,
    /// Writes what follows the text, for a claim of one key on which the self-test runs the script.
    pub(super) rehearse: Rehearse,
}

type Rehearse = fn(&mut Cmd, &Claim, Naming);

/// Which text of a script a server is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Flagged,
    Plain,
    #[cfg(feature = "cluster")]
    Sharded,
}

/// The text of a script and the hash under which the server remembers it.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) code: String,
    pub(super) sha: String,
}

/// What a script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// It makes new locks: refused when the server is out of memory.
    Taking,
    /// It is about locks that are ours: it must work when the server is out of memory, and a demoted replica, on which there
    /// may be no key, must not say "not yours".
    Keeping,
}

/// The scripts, each in a static of its own and all of them in one: none can be forgotten by the self-test.
macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal $(with $part:literal)*, $purpose:ident, $rehearse:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                let code = concat!($(include_str!(concat!($part, ".lua")),)* include_str!(concat!($file, ".lua")));
                Script::new($file, Purpose::$purpose, code, $rehearse)
            });
        )*

        /// Every script that this store has.
        pub(super) static ALL: &[&LazyLock<Script>] = &[$(&$name),*];
    };
}

scripts! {
    /// Takes a claim, or says who holds it.
    CONTEND = "contend" with "fence", Taking, |command, claim, _| super::write_contender(command, claim);
    /// Compare and set the expiry.
    EXTEND = "extend", Keeping, |command, claim, _| {
        write_keys(command, claim);
        command.arg(claim.ttl_millis()).arg("exactly");
    };
    /// Compare and set the expiry, of many.
    RENEW = "renew", Keeping, |command, claim, _| {
        // More than there is left, or it would not set anything.
        let more = claim.ttl_millis() + 1000;
        command.arg(1).arg(claim.keys[0].as_str()).arg(1).arg(ValueOf(claim)).arg(more);
    };
    /// Compare and raise the counter of fencing tokens.
    LIFT = "lift", Keeping, |command, claim, _| super::write_lift(command, claim, claim.fence.as_ref(), 1);
    /// Compare and read the expiry.
    REMAINING = "remaining", Keeping, |command, claim, _| write_keys(command, claim);
    /// Reads, and changes nothing.
    INSPECT = "inspect", Keeping, |command, claim, _| {
        command.arg(1).arg(claim.keys[0].as_str());
    };
    /// Compare and replace, for a while.
    FLOOR = "floor", Keeping, |command, claim, _| {
        write_keys(command, claim);
        command.arg(claim.tombstone()).arg(claim.ttl_millis());
    };
    /// Compare and delete.
    RELEASE_PLAIN = "release_plain", Keeping, |command, claim, _| write_keys(command, claim);
    /// Compare and hand over, or delete.
    RELEASE = "release" with "grant", Keeping, |command, claim, naming| {
        super::write_release(command, claim, &[], naming);
    };
    /// Takes a place in line.
    ENQUEUE = "enqueue" with "grant", Taking, |command, claim, naming| {
        super::handoff::write_enqueue(command, claim, &["1 nowhere nobody".to_owned()], naming);
    };
    /// Makes a lock of what was granted.
    CONFIRM = "confirm" with "fence", Keeping, |command, claim, _| {
        super::handoff::write_confirm(command, claim, claim.ttl, claim.fence.as_ref(), 0);
    };
}

impl Script {
    fn new(name: &'static str, purpose: Purpose, code: &str, rehearse: Rehearse) -> Self {
        let (flags, plain) = match purpose {
            Purpose::Taking => ("#!lua", code.to_owned()),
            Purpose::Keeping => {
                let replica = include_str!("replica.lua");
                ("#!lua flags=allow-oom", format!("local function answer()\n{code}end\n{replica}"))
            }
        };
        let flagged = format!("{flags}\n{code}");
        Self {
            name,
            #[cfg(feature = "cluster")]
            sharded: Text::new(flagged.replace("'NUMSUB'", "'SHARDNUMSUB'").replace("'PUBLISH'", "'SPUBLISH'")),
            flagged: Text::new(flagged),
            plain: Text::new(plain),
            rehearse,
        }
    }

    pub(super) fn text(&self, dialect: Dialect) -> &Text {
        match dialect {
            Dialect::Flagged => &self.flagged,
            Dialect::Plain => &self.plain,
            #[cfg(feature = "cluster")]
            Dialect::Sharded => &self.sharded,
        }
    }
}

impl Text {
    pub(super) fn new(code: String) -> Self {
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
        for script in ALL {
            assert!(script.text(Dialect::Flagged).code.starts_with("#!lua"));
            assert!(!script.text(Dialect::Plain).code.contains("#!"));
            assert_ne!(script.text(Dialect::Flagged).sha, script.text(Dialect::Plain).sha);
        }
    }

    #[test]
    fn every_file_is_a_script() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/redis");
        let files = std::fs::read_dir(directory).expect("our own directory").map(|file| file.expect("a file").path());
        let lua = files.filter(|file| file.extension().is_some_and(|extension| extension == "lua"));
        let mut found: Vec<_> = lua.map(|file| file.file_stem().expect("a name").to_owned()).collect();
        let mut known: Vec<std::ffi::OsString> = ALL.iter().map(|script| script.name.into()).collect();
        // Parts of others; and their end, on servers that know no flags.
        known.extend(["fence", "grant", "replica"].map(Into::into));
        found.sort();
        known.sort();
        assert_eq!(found, known);
    }
}
