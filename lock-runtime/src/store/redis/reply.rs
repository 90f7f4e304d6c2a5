//! What a server's answers mean for a lock.

use std::error::Error as _;

use redis::{RedisError, Value};

use super::refusal::{Acquire, Refusal, Release, Renew, unwrapped};
use crate::error::{StoreError, StoreErrorKind};
use crate::key::LockKey;

/// Why a command has no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server answered with an error. (Scripts stop at the failing command.)
    Answered { code: String, refusal: &'static Refusal, error: StoreError },
    /// There was no answer: nobody knows whether it was done, or will be.
    Silent(StoreError),
    /// A node of a cluster has turned it away: another one has the key.
    #[cfg(feature = "cluster")]
    Elsewhere(Box<Elsewhere>),
}

/// Where a key is, as a node of a cluster says that does not have it.
#[cfg(feature = "cluster")]
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) slot: u16,
    /// The slot is on its way there: this key is, and others may not be.
    pub(super) asks: bool,
    /// What is told to callers when nobody goes there.
    pub(super) error: StoreError,
}

impl Fault {
    /// Reads an error of the client library. `server` is the address for the text, without credentials.
    pub(super) fn read(error: &RedisError, server: &str) -> Self {
        if let Some(code) = error.code() {
            let (code, detail) = unwrapped(code, error.detail().unwrap_or_default());
            let refusal = Refusal::of(code, detail);
            let text = match refusal.meaning {
                "" => format!("redis at {server} answered {code}: {}", presentable(detail)),
                meaning => format!("redis at {server} answered {code}: {meaning}"),
            };
            return Self::Answered { code: code.to_owned(), refusal, error: StoreError::new(refusal.kind(), text) };
        }
        if error.kind() == redis::ErrorKind::AuthenticationFailed {
            // The client keeps the server's own words to itself.
            let refusal = Refusal::of("WRONGPASS", "");
            let error = StoreError::new(refusal.kind(), format!("redis at {server} refused us: {}", refusal.meaning));
            return Self::Answered { code: "WRONGPASS".to_owned(), refusal, error };
        }
        let (kind, what) = match error.kind() {
            _ if error.is_timeout() => (StoreErrorKind::Timeout, "did not answer in time".to_owned()),
            _ if error.is_connection_refusal() => {
                (StoreErrorKind::Connection, "refuses connections; is it running?".to_owned())
            }
            _ if error.is_unrecoverable_error() || error.is_io_error() => {
                // What the system says of it, or TLS, where they do.
                let why = error.source().map_or_else(|| error.category().to_owned(), ToString::to_string);
                (StoreErrorKind::Connection, format!("cannot be reached: {why}"))
            }
            _ => (StoreErrorKind::Protocol, format!("answered something unknown: {}", error.category())),
        };
        Self::Silent(StoreError::new(kind, format!("redis at {server} {what}")))
    }

    /// As [`read`](Self::read), an error of a node of a cluster.
    #[cfg(feature = "cluster")]
    pub(super) fn read_of_node(error: &RedisError, server: &str) -> Self {
        let redirected = error.redirect_node().and_then(|(address, slot)| {
            let (host, port) = address.rsplit_once(':')?;
            // Without a host, it is the one of whoever says so.
            let host = if host.is_empty() || host == "?" { server.rsplit_once(':')?.0 } else { host };
            let asks = error.code() == Some("ASK");
            let text =
                format!("redis at {server} sent us to the node at {address}, and so on; is the cluster changing?");
            let error = StoreError::new(StoreErrorKind::Refused, text);
            Some(Elsewhere { host: host.to_owned(), port: port.parse().ok()?, slot, asks, error })
        });
        redirected.map_or_else(|| Self::read(error, server), |elsewhere| Self::Elsewhere(Box::new(elsewhere)))
    }

    /// A cluster has not carried it out, and nothing that was sent before it on that connection will be: see
    /// [`Route`](super::nodes::Route).
    pub(super) fn is_turned_away(&self) -> bool {
        match self {
            Self::Answered { code, .. } => matches!(&**code, "TRYAGAIN" | "CLUSTERDOWN" | "MOVED" | "ASK"),
            Self::Silent(_) => false,
            #[cfg(feature = "cluster")]
            Self::Elsewhere(_) => true,
        }
    }

    /// Another node has the key.
    pub(super) fn is_elsewhere(&self) -> bool {
        match self {
            Self::Answered { .. } | Self::Silent(_) => false,
            #[cfg(feature = "cluster")]
            Self::Elsewhere(_) => true,
        }
    }

    /// The keys of a slot that is on its way are at two nodes: one key alone can be asked for.
    pub(super) fn is_on_the_move(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "TRYAGAIN")
    }

    #[cfg(feature = "cluster")]
    pub(super) fn is_cluster_down(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "CLUSTERDOWN")
    }

    /// Reads an error of a greeting, in which a server may echo the password: only its code is repeated.
    pub(super) fn read_greeting(error: &RedisError, server: &str) -> Self {
        match Self::read(error, server) {
            Self::Answered { code, refusal, .. } if refusal.acquire == Acquire::Unheard => {
                let text = format!("redis at {server} answered {code} to our greeting; is it a Redis server?");
                Self::Answered { code, refusal, error: StoreError::new(refusal.kind(), text) }
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
        // A script of ours said so.
        let (code, refusal) = ("COUNTER".to_owned(), Refusal::of("COUNTER", ""));
        Self::Answered { code, refusal, error: StoreError::new(refusal.kind(), text) }
    }

    /// The same, where a fencing token was asked for: with what that takes, if a permission was missing.
    pub(super) fn of_fencing(self, counter: &LockKey) -> Self {
        match self {
            // `ERR` is what servers before 7.2 say of a command inside a script.
            Self::Answered { code, refusal, error }
                if error.kind() == StoreErrorKind::Denied && ["NOPERM", "ERR"].contains(&code.as_str()) =>
            {
                let text =
                    format!("{error}; a fencing token takes GET, SET and TIME, and the key `{counter}` of its counter");
                Self::Answered { code, refusal, error: StoreError::new(StoreErrorKind::Denied, text) }
            }
            fault => fault,
        }
    }

    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Answered { error, .. } | Self::Silent(error) => error,
            #[cfg(feature = "cluster")]
            Self::Elsewhere(elsewhere) => elsewhere.error,
        }
    }

    /// What sort of trouble it is.
    pub(super) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Answered { error, .. } | Self::Silent(error) => error.kind(),
            #[cfg(feature = "cluster")]
            Self::Elsewhere(elsewhere) => elsewhere.error.kind(),
        }
    }

    /// What it means for an acquisition, if the server has refused it: then it was not done.
    pub(super) fn refused(&self) -> Option<Acquire> {
        match self {
            Self::Answered { refusal, .. } if refusal.acquire != Acquire::Unheard => Some(refusal.acquire),
            #[cfg(feature = "cluster")]
            Self::Elsewhere(_) => Some(Acquire::Retry),
            _ => None,
        }
    }

    /// The server said by an error that the keys are not ours.
    pub(super) fn is_not_ours(&self) -> bool {
        matches!(self, Self::Answered { refusal, .. } if refusal.renew == Renew::Lost)
    }

    /// What becomes of a lock that was to be given back.
    pub(super) fn released(&self) -> Release {
        match self {
            Self::Answered { refusal, .. } => refusal.release,
            Self::Silent(error) if error.is_transient() => Release::Retry,
            Self::Silent(_) => Release::Orphan,
            #[cfg(feature = "cluster")]
            Self::Elsewhere(_) => Release::Retry,
        }
    }

    /// The user may not do it, to this key or at all; or the keys do not go together.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "NOPERM" || code == "CROSSSLOT")
    }

    /// The server takes no writes, for it is a replica, or a master without any: the master may be another by now.
    pub(super) fn is_of_replica(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if matches!(&**code, "READONLY" | "NOREPLICAS" | "MASTERDOWN"))
    }

    /// The server does not know the script by its hash.
    pub(super) fn is_no_script(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "NOSCRIPT")
    }

    /// The server is too old for the line of flags.
    pub(super) fn is_flags_unknown(&self) -> bool {
        matches!(self, Self::Answered { code, error, .. } if code == "ERR" && error.to_string().contains("compiling"))
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

/// The number that a script answered. Where the server said by an error that the keys are not ours: one that none of the
/// scripts has for anything else.
pub(super) fn number(answer: Result<Value, Fault>, server: &str) -> Result<i64, Fault> {
    match answer {
        Ok(Value::Int(number)) => Ok(number),
        Ok(_) => Err(unknown(server)),
        Err(fault) if fault.is_not_ours() => Ok(-2),
        Err(fault) => Err(fault),
    }
}

/// An answer that none of our commands gives.
pub(super) fn unknown(server: &str) -> Fault {
    Fault::Silent(StoreError::new(
        StoreErrorKind::Protocol,
        format!("redis at {server} gave an answer that makes no sense here; is something between us and it?"),
    ))
}

/// How many fencing tokens there are beside the first, of `count`.
pub(super) fn spares(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(0).saturating_sub(1)
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
}
