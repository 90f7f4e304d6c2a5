//! The errors that a server answers, and what each of them means for a lock: one table.

use crate::error::StoreErrorKind;

/// What an error means for an acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquire {
    /// It passes: whoever waits for the lock asks again.
    Retry,
    /// Somebody has to change something first: nobody waits for that.
    Refuse,
    /// The key holds something that is no lock.
    Foreign,
    /// Nobody can tell what was done: refused, and cleaned up behind.
    Unheard,
}

/// What an error means for a lease that was to be extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renew {
    /// Neither extended nor lost: the deadline decides, and until then asking again is fine.
    Unknown,
    /// The key is not ours any more.
    Lost,
}

/// What an error means for a lock that was to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Unknown: asked again in the background until the lease is over.
    Retry,
    /// Asking again would not help: an orphan until its TTL ends it.
    Orphan,
    /// There is nothing of ours to be given back.
    NotHeld,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The first word of the error,
    code: &'static str,
    /// and something that the rest contains, for codes of many meanings.
    hint: &'static str,
    pub(super) acquire: Acquire,
    pub(super) renew: Renew,
    pub(super) release: Release,
    /// For people to read; where it is empty, the server's own words are shown.
    pub(super) meaning: &'static str,
}

/// The first row that fits counts. `NOSCRIPT` is not refused but followed by the script's text; here it stands for servers
/// that say so even then. `COUNTER` is what our own script says.
#[rustfmt::skip]
static TABLE: [Refusal; 32] = {
    use {Acquire::{Foreign, Refuse, Retry, Unheard}, Release::{NotHeld, Orphan}, Renew::{Lost, Unknown}};
    const AGAIN: Release = Release::Retry;
    [
        //   code           hint                             acquire  renew    release  meaning
        row("READONLY",     "",                              Retry,   Unknown, AGAIN,   "it is a replica now and takes no writes"),
        row("LOADING",      "",                              Retry,   Unknown, AGAIN,   "it is still loading its data"),
        row("MASTERDOWN",   "",                              Retry,   Unknown, AGAIN,   "it is a replica cut off from its master"),
        row("CLUSTERDOWN",  "",                              Retry,   Unknown, AGAIN,   "the cluster is down"),
        row("TRYAGAIN",     "",                              Retry,   Unknown, AGAIN,   "the slot is on the move"),
        row("BUSY",         "",                              Retry,   Unknown, AGAIN,   "a script is blocking it"),
        row("OOM",          "",                              Retry,   Unknown, AGAIN,   "it is out of memory and takes no new locks"),
        row("NOREPLICAS",   "",                              Retry,   Unknown, AGAIN,   "it has too few replicas to accept writes"),
        row("MISCONF",      "",                              Retry,   Unknown, AGAIN,   "it cannot save to disk and takes no writes"),
        row("ERR",          "max number of clients",         Retry,   Unknown, AGAIN,   "it has too many clients"),
        row("NOSCRIPT",     "",                              Retry,   Unknown, AGAIN,   "it does not know a script that it was just sent"),
        row("MOVED",        "",                              Refuse,  Unknown, Orphan,  ANOTHER_NODE),
        row("ASK",          "",                              Refuse,  Unknown, Orphan,  ANOTHER_NODE),
        row("CROSSSLOT",    "",                              Refuse,  Unknown, Orphan,  "keys of one lock are in different slots of a cluster"),
        row("NOAUTH",       "",                              Refuse,  Unknown, Orphan,  "it wants a password; put it into the URL"),
        row("WRONGPASS",    "",                              Refuse,  Unknown, Orphan,  "wrong user name or password"),
        // About keys in the words of servers from 7.2 on and of older ones, which have others again inside of a script.
        row("NOPERM",       "No permissions to access",      Refuse,  Unknown, Orphan,  A_KEY),
        row("NOPERM",       "no permissions to access",      Refuse,  Unknown, Orphan,  A_KEY),
        row("NOPERM",       "the 'eval'",                    Refuse,  Unknown, Orphan,  NO_SCRIPTS),
        row("NOPERM",       "the 'evalsha'",                 Refuse,  Unknown, Orphan,  NO_SCRIPTS),
        row("NOPERM",       "",                              Refuse,  Unknown, Orphan,  A_COMMAND),
        // In the quotes of 6.2, and of servers from 7.0 on.
        row("ERR",          "unknown command `EVALSHA`",     Refuse,  Unknown, Orphan,  NO_SCRIPTS),
        row("ERR",          "unknown command 'EVALSHA'",     Refuse,  Unknown, Orphan,  NO_SCRIPTS),
        row("ERR",          "unknown command 'EVAL'",        Refuse,  Unknown, Orphan,  NO_SCRIPTS),
        row("ERR",          "script can't run this command", Refuse,  Unknown, Orphan,  "the user lacks the permission for a command inside a script"),
        row("ERR",          "script can't access",           Refuse,  Unknown, Orphan,  A_KEY),
        // Inside of a script, from 7.2 on.
        row("ERR",          "in script: No permissions to",  Refuse,  Unknown, Orphan,  A_KEY),
        row("ERR",          "ACL failure in script",         Refuse,  Unknown, Orphan,  "the user lacks the permission for a command inside a script"),
        row("ERR",          "Unknown Redis command",         Refuse,  Unknown, Orphan,  "it is too old for a command that locks need"),
        row("COUNTER",      "",                              Refuse,  Unknown, Orphan,  "the counter of fencing tokens holds something else"),
        row("WRONGTYPE",    "",                              Foreign, Lost,    NotHeld, "the key holds something that is no lock"),
        row("",             "",                              Unheard, Unknown, AGAIN,   ""),
    ]
};

const ANOTHER_NODE: &str = "it is a node of a cluster; this store is for one node";
const NO_SCRIPTS: &str = "it runs no scripts for the user: permit EVAL and EVALSHA, or use `RedisStore::without_scripts`, which does without";
const A_COMMAND: &str = "the user lacks the permission for a command that locks need";
const A_KEY: &str = "the user lacks the permission for the key";

const fn row(
    code: &'static str,
    hint: &'static str,
    acquire: Acquire,
    renew: Renew,
    release: Release,
    meaning: &'static str,
) -> Refusal {
    Refusal { code, hint, acquire, renew, release, meaning }
}

impl Refusal {
    /// What the error `code detail` means. The last row fits everything.
    pub(super) fn of(code: &str, detail: &str) -> &'static Self {
        let fits = |row: &&Self| (row.code.is_empty() || row.code == code) && detail.contains(row.hint);
        TABLE.iter().find(fits).unwrap_or(&TABLE[TABLE.len() - 1])
    }

    /// What is told to callers.
    pub(super) fn kind(&self) -> StoreErrorKind {
        match self.acquire {
            Acquire::Retry => StoreErrorKind::Refused,
            Acquire::Refuse | Acquire::Foreign => StoreErrorKind::Denied,
            Acquire::Unheard => StoreErrorKind::Protocol,
        }
    }
}

/// The code of an error, and the rest of it. Servers before 7.0 wrap what was said inside of a script:
/// `ERR Error running script (call to f_0a1b…): @user_script:7: @user_script: 7: -OOM command not allowed…`. And all wrap why they
/// refuse the end of a transaction: `EXECABORT Transaction discarded because of: OOM command not allowed…`
pub(super) fn unwrapped<'a>(code: &'a str, detail: &'a str) -> (&'a str, &'a str) {
    if code == "EXECABORT"
        && let Some((_, why)) = detail.split_once("because of: ")
    {
        return why.split_once(' ').unwrap_or((why, ""));
    }
    let line = |text: &'a str| text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(": ");
    let inner =
        if code == "@user_script:" { detail } else { detail.rsplit("@user_script:").next().unwrap_or_default() };
    let wrapped = code == "@user_script:" || detail.starts_with("Error running script");
    let Some(inner) = line(inner).filter(|_| wrapped) else { return (code, detail) };
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    match inner.split_once(' ') {
        Some((code, detail)) if code.chars().all(|c| c.is_ascii_uppercase()) => (code, detail),
        // Without a code of its own.
        _ => ("ERR", inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READONLY: &str = "You can't write against a read only replica.";
    const OOM: &str = "command not allowed when used memory > 'maxmemory'.";
    const WRONGTYPE: &str = "Operation against a key holding the wrong kind of value";

    /// What servers say, and the three things that are made of it.
    #[test]
    fn each_answer_has_its_meaning() {
        use StoreErrorKind::{Denied, Protocol, Refused};
        use {Release::NotHeld, Release::Orphan, Renew::Lost, Renew::Unknown};
        let passing = (Refused, Unknown, Release::Retry);
        let for_good = (Denied, Unknown, Orphan);
        for (code, detail, expected) in [
            ("READONLY", READONLY, passing),
            ("LOADING", "Redis is loading the dataset in memory", passing),
            ("MASTERDOWN", "Link with MASTER is down and replica-serve-stale-data is set to 'no'.", passing),
            ("CLUSTERDOWN", "The cluster is down", passing),
            ("TRYAGAIN", "Multiple keys request during rehashing of slot", passing),
            ("BUSY", "Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", passing),
            ("OOM", OOM, passing),
            ("NOREPLICAS", "Not enough good replicas to write.", passing),
            ("MISCONF", "Redis is configured to save RDB snapshots, but it's currently unable to", passing),
            ("ERR", "max number of clients reached", passing),
            ("NOSCRIPT", "No matching script. Please use EVAL.", passing),
            ("MOVED", "3999 127.0.0.1:6381", for_good),
            ("ASK", "3999 127.0.0.1:6381", for_good),
            ("CROSSSLOT", "Keys in request don't hash to the same slot", for_good),
            ("NOAUTH", "Authentication required.", for_good),
            ("WRONGPASS", "invalid username-password pair or user is disabled.", for_good),
            ("NOPERM", "this user has no permissions to run the 'get' command", for_good),
            ("NOPERM", "this user has no permissions to run the 'evalsha' command", for_good),
            ("ERR", "unknown command `EVALSHA`, with args beginning with: `0a1b`", for_good),
            ("ERR", "unknown command 'EVAL', with args beginning with: 'return 1'", for_good),
            ("NOPERM", "User bob has no permissions to run the 'get' command", for_good),
            ("NOPERM", "this user has no permissions to access one of the keys used as arguments", for_good),
            ("NOPERM", "No permissions to access a key", for_good),
            ("ERR", "The user executing the script can't run this command or subcommand script: 0a1b", for_good),
            ("ERR", "The user executing the script can't access at least one of the keys mentioned in", for_good),
            (
                "ERR",
                "ACL failure in script: User bob has no permissions to run the 'get' command script: 0a1b",
                for_good,
            ),
            ("ERR", "ACL failure in script: No permissions to access a key script: 0a1b", for_good),
            ("COUNTER", "", for_good),
            ("WRONGTYPE", WRONGTYPE, (Denied, Lost, NotHeld)),
            ("ERR", "value is not an integer or out of range", (Protocol, Unknown, Release::Retry)),
            ("NEWS", "of tomorrow", (Protocol, Unknown, Release::Retry)),
        ] {
            let row = Refusal::of(code, detail);
            assert_eq!((row.kind(), row.renew, row.release), expected, "{code} {detail}: {row:?}");
            assert_eq!(row.meaning.is_empty(), row.kind() == Protocol, "{row:?}");
        }
        assert_eq!(Refusal::of("WRONGTYPE", WRONGTYPE).acquire, Acquire::Foreign);
        let key = Refusal::of("NOPERM", "No permissions to access a key");
        assert_eq!(key.meaning, A_KEY);
        assert_eq!(Refusal::of("ERR", "ACL failure in script: No permissions to access a key").meaning, A_KEY);
        assert_ne!(Refusal::of("NOPERM", "User bob has no permissions to run the 'get' command").meaning, A_KEY);
    }

    /// What our code relies on, whatever rows are added.
    #[test]
    fn the_table_does_not_contradict_itself() {
        for (n, row) in TABLE.iter().enumerate() {
            // One place turns such an answer into "not ours", for extensions and releases alike.
            assert_eq!(row.renew == Renew::Lost, row.release == Release::NotHeld, "{row:?}");
            // Nobody asks again in the background for what a waiting caller is not to wait for, and the other way round.
            let again = matches!(row.acquire, Acquire::Retry | Acquire::Unheard);
            assert_eq!(again, row.release == Release::Retry, "{row:?}");
            let hidden = TABLE[..n].iter().find(|other| other.code == row.code && row.hint.contains(other.hint));
            assert!(hidden.is_none(), "{row:?} is never reached");
        }
    }

    #[test]
    fn what_old_servers_wrap_is_unwrapped() {
        let call = "Error running script (call to f_2d5e0c75d1a479f6c561553ed1f17c2185c39492): @user_script:1: ";
        let cannot = "The user executing the script can't run this command or subcommand";
        for (code, detail, expected) in [
            ("ERR", format!("{call}WRONGTYPE {WRONGTYPE}"), ("WRONGTYPE", WRONGTYPE)),
            ("ERR", format!("{call}@user_script: 12: -OOM {OOM}"), ("OOM", OOM)),
            ("ERR", format!("{call}@user_script: 1: {cannot}"), ("ERR", cannot)),
            ("@user_script:", format!("1: -READONLY {READONLY}"), ("READONLY", READONLY)),
            ("@user_script:", format!("1: {cannot}"), ("ERR", cannot)),
            ("EXECABORT", format!("Transaction discarded because of: OOM {OOM}"), ("OOM", OOM)),
        ] {
            assert_eq!(unwrapped(code, &detail), expected);
        }
        // As they are: direct answers, and those of newer servers, which name the script behind.
        let newer = format!("{READONLY} script: 2d5e0c75d1a479f6c561553ed1f17c2185c39492, on @user_script:1.");
        for (code, detail) in [("READONLY", &*newer), ("OOM", OOM), ("ERR", "syntax error"), ("ERR", "")] {
            assert_eq!(unwrapped(code, detail), (code, detail));
        }
    }
}
