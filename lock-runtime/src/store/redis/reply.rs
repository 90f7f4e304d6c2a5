//! What a server's answers mean for a lock.

use redis::{RedisError, Value};

use crate::error::{StoreError, StoreErrorKind};
use crate::key::LockKey;

/// Why a command has no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server answered with an error: what was asked was not done. (Scripts stop at the failing command.)
    Answered { code: String, error: StoreError },
    /// There was no answer: nobody knows whether it was done, or will be.
    Silent(StoreError),
}

impl Fault {
    /// Reads an error of the client library. `server` is the address for the text, without credentials.
    pub(super) fn read(error: &RedisError, server: &str) -> Self {
        if let Some(code) = error.code() {
            let detail = error.detail().unwrap_or_default();
            let (kind, meaning) = classify(code, detail);
            let text = match meaning {
                Some(meaning) => format!("redis at {server} answered {code}: {meaning}"),
                None => format!("redis at {server} answered {code}: {}", presentable(detail)),
            };
            return Self::Answered { code: code.to_owned(), error: StoreError::new(kind, text) };
        }
        let (kind, what) = match error.kind() {
            redis::ErrorKind::AuthenticationFailed => {
                (StoreErrorKind::Denied, "refused the user name or the password".to_owned())
            }
            _ if error.is_timeout() => (StoreErrorKind::Timeout, "did not answer in time".to_owned()),
            _ if error.is_connection_refusal() => {
                (StoreErrorKind::Connection, "refuses connections; is it running?".to_owned())
            }
            _ if error.is_unrecoverable_error() || error.is_io_error() => {
                (StoreErrorKind::Connection, format!("cannot be reached: {}", error.category()))
            }
            _ => (StoreErrorKind::Protocol, format!("answered something unknown: {}", error.category())),
        };
        Self::Silent(StoreError::new(kind, format!("redis at {server} {what}")))
    }

    /// Reads an error of a greeting, in which a server may echo the password: only its code is repeated.
    pub(super) fn read_greeting(error: &RedisError, server: &str) -> Self {
        match Self::read(error, server) {
            Self::Answered { code, error } if error.kind() == StoreErrorKind::Protocol => {
                let text = format!("redis at {server} answered {code} to our greeting; is it a Redis server?");
                Self::Answered { code, error: StoreError::new(StoreErrorKind::Protocol, text) }
            }
            fault => fault,
        }
    }

    /// Something else is kept where the counter of fencing tokens should be. Nothing was done.
    pub(super) fn unusable_counter(counter: &LockKey, server: &str) -> Self {
        let text = format!(
            "redis at {server} can give no fencing token: its counter `{counter}` holds something else than a number below \
             2^53; find out who wrote it, then delete it"
        );
        Self::Answered { code: "COUNTER".to_owned(), error: StoreError::new(StoreErrorKind::Denied, text) }
    }

    /// The same, where a fencing token was asked for: with what that takes, if a permission was missing.
    pub(super) fn of_fencing(self, counter: &LockKey) -> Self {
        match self {
            // `ERR` is what servers before 7.2 say of a command inside a script.
            Self::Answered { code, error }
                if error.kind() == StoreErrorKind::Denied && ["NOPERM", "ERR"].contains(&code.as_str()) =>
            {
                let text =
                    format!("{error}; a fencing token takes GET, SET and TIME, and the key `{counter}` of its counter");
                Self::Answered { code, error: StoreError::new(StoreErrorKind::Denied, text) }
            }
            fault => fault,
        }
    }

    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Answered { error, .. } | Self::Silent(error) => error,
        }
    }

    /// The server itself has refused, with an error that we know.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Answered { error, .. } if error.kind() != StoreErrorKind::Protocol)
    }

    /// Asking again may help.
    pub(super) fn is_transient(&self) -> bool {
        let (Self::Answered { error, .. } | Self::Silent(error)) = self;
        error.is_transient()
    }

    /// The server does not know the script by its hash.
    pub(super) fn is_no_script(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "NOSCRIPT")
    }

    /// The server is too old for the line of flags.
    pub(super) fn is_flags_unknown(&self) -> bool {
        matches!(self, Self::Answered { code, error } if code == "ERR" && error.to_string().contains("compiling"))
    }
}

/// What an error code means, and the words for it. Where there are none, the server's own are shown.
fn classify(code: &str, detail: &str) -> (StoreErrorKind, Option<&'static str>) {
    use StoreErrorKind::{Denied, Protocol, Refused};
    match code {
        "READONLY" => (Refused, Some("it is a replica now and takes no writes")),
        "LOADING" => (Refused, Some("it is still loading its data")),
        "MASTERDOWN" => (Refused, Some("it is a replica cut off from its master")),
        "CLUSTERDOWN" => (Refused, Some("the cluster is down")),
        "TRYAGAIN" => (Refused, Some("the slot is on the move")),
        "MOVED" | "ASK" => (Denied, Some("it is a node of a cluster; this store is for one node")),
        "BUSY" => (Refused, Some("a script is blocking it")),
        "OOM" => (Refused, Some("it is out of memory and takes no new locks")),
        "NOREPLICAS" => (Refused, Some("it has too few replicas to accept writes")),
        "MISCONF" => (Refused, Some("it cannot save to disk and takes no writes")),
        "NOPERM" => (Denied, Some("the user lacks the permission for a command or key that locks need")),
        "NOAUTH" => (Denied, Some("it wants a password; put it into the URL")),
        "WRONGPASS" => (Denied, Some("wrong user name or password")),
        "ERR" if detail.contains("can't run this command or subcommand") => {
            (Denied, Some("the user lacks the permission for a command inside a script"))
        }
        "ERR" if detail.contains("max number of clients") => (Refused, Some("it has too many clients")),
        _ => (Protocol, None),
    }
}

/// What of a server's own words may be shown: no arguments, which some errors echo, and no long run of hexadecimal
/// characters, which may be a token.
fn presentable(text: &str) -> String {
    let text = text.split(", with args beginning with").next().unwrap_or_default();
    let mut shown = String::with_capacity(text.len());
    let mut run = 0;
    for c in text.chars() {
        run = if c.is_ascii_hexdigit() { run + 1 } else { 0 };
        match run {
            0..=12 => shown.push(c),
            13 => shown.push('…'),
            _ => {}
        }
    }
    shown
}

/// The server's answer, if it is the number that was expected.
pub(super) fn number(value: &Value, server: &str) -> Result<i64, Fault> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(unknown(server)),
    }
}

/// An answer that none of our commands gives.
pub(super) fn unknown(server: &str) -> Fault {
    Fault::Silent(StoreError::new(
        StoreErrorKind::Protocol,
        format!("redis at {server} gave an answer that makes no sense here; is something between us and it?"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_tokens_nor_arguments_are_shown() {
        let token = crate::holder::Token::fresh();
        let text = format!("something about '{} host' went wrong", token.as_str());
        let shown = presentable(&text);
        assert!(!shown.contains(token.as_str()), "{shown}");
        assert!(shown.starts_with("something about") && shown.ends_with(" host' went wrong"), "{shown}");
        let greeting = presentable("unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'bob' 's3cret'");
        assert_eq!(greeting, "unknown command 'HELLO'");
    }

    #[test]
    fn a_permission_that_only_a_script_needs_is_denied_too() {
        let detail =
            "The user executing the script can't run this command or subcommand script: 0a1b, on @user_script:1.";
        assert_eq!(classify("ERR", detail).0, StoreErrorKind::Denied);
        assert_eq!(classify("ERR", "syntax error").0, StoreErrorKind::Protocol);
    }
}
