//! Who holds a lock: the token, what is stored with it, and what others read from it.

use std::fmt;
use std::sync::{Arc, LazyLock};

use uuid::Uuid;

/// The number of characters of a token.
const LENGTH: usize = 32;

/// The number of characters of a proof: a token, a colon, and what tells one acquisition under it from the next.
const PROOF: usize = LENGTH + 1 + 16;

/// The random value that proves a lock is ours: a version 4 UUID as 32 hexadecimal characters, made anew for every
/// acquisition; or [chosen](crate::LockRequest::token) by the caller.
///
/// Invariant: what proves an acquisition is never used for another one. A chosen token is followed by 16 random characters for
/// that: a clean-up or a release that comes late ends the acquisition that it belongs to, and not a later one under the same
/// token.
///
/// Whoever knows it can release the lock, so `Debug` shows only its beginning, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token {
    text: [u8; PROOF],
    /// Whether it was chosen: the whole of `text` is the proof, and not just the token.
    chosen: bool,
}

impl Token {
    /// A fresh token. Never one per process or per object: the late release of one hold would end the next.
    pub(crate) fn fresh() -> Self {
        let mut text = [0; PROOF];
        Uuid::new_v4().simple().encode_lower(&mut text);
        Self { text, chosen: false }
    }

    /// The token that a caller has chosen, for one acquisition; `None` if it cannot be one.
    ///
    /// Of one length, so that none is the beginning of another.
    pub(crate) fn chosen(token: &str) -> Option<Self> {
        if !is_token(token) {
            return None;
        }
        let mut text = [b':'; PROOF];
        let mut random = [0; LENGTH];
        Uuid::new_v4().simple().encode_lower(&mut random);
        text[..LENGTH].copy_from_slice(token.as_bytes());
        // The end of a UUID: its middle has bits that are always the same.
        text[LENGTH + 1..].copy_from_slice(&random[LENGTH - 16..]);
        Some(Self { text, chosen: true })
    }

    /// Whether a caller has chosen it.
    pub(crate) fn is_chosen(&self) -> bool {
        self.chosen
    }

    /// The same for another acquisition.
    pub(crate) fn again(&self) -> Self {
        Self::chosen(self.as_str()).unwrap_or_else(Self::fresh)
    }

    /// Whether `text` could be the [proof](Token::proof) of an acquisition.
    #[cfg(feature = "redis")]
    pub(crate) fn is_proof(text: &str) -> bool {
        is_token(text) || text.len() == PROOF && text.split_once(':').is_some_and(|(token, _)| is_token(token))
    }

    /// What a stored value begins with, if it was stored by this very acquisition.
    pub(crate) fn proof(&self) -> &str {
        // ASCII, and nothing else.
        str::from_utf8(if self.chosen { &self.text } else { &self.text[..LENGTH] }).unwrap_or_default()
    }

    /// Whether `value` was stored under this token, by this or another acquisition.
    pub(crate) fn is_of(&self, value: &str) -> bool {
        !value.starts_with(FLOOR) && split(value).0 == Some(self.as_str())
    }

    /// The whole token. Keep it out of logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Hexadecimal characters, and nothing else.
        str::from_utf8(&self.text[..LENGTH]).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}…)", self.as_str().get(..6).unwrap_or_default())
    }
}

/// What the value of a lock begins with that was given back but is to be kept for a while.
pub(crate) const FLOOR: &str = "floor:";

/// Who holds a lock that somebody else asked for, as far as the stored value tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// What the holder stored for others to read; by default `host:pid`. `None` when the value was not written by this
    /// library, or without metadata.
    pub metadata: Option<String>,
    /// Whether the lock is held through the same [`LockManager`](crate::LockManager).
    pub this_process: bool,
}

impl Holder {
    /// Reads a stored value. `local` is the token under which this manager holds the key, if it does.
    pub(crate) fn read(value: &str, local: Option<&Token>) -> Self {
        let (token, metadata) = split(value);
        let this_process = token.is_some() && token == local.map(Token::as_str);
        Self { metadata: metadata.map(presentable), this_process }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.metadata, self.this_process) {
            (Some(metadata), true) => write!(f, "this process ({metadata})"),
            (None, true) => f.write_str("this process"),
            (Some(metadata), false) => f.write_str(metadata),
            (None, false) => f.write_str("another client, which left no name"),
        }
    }
}

/// What somebody else wrote, as it may stand in a log line: no control characters, and of bounded length.
fn presentable(metadata: &str) -> String {
    metadata.chars().take(1024).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The token and the metadata of a stored value; neither, when it is not of our making.
fn split(value: &str) -> (Option<&str>, Option<&str>) {
    let (head, metadata) = match value.split_once(' ') {
        Some((head, metadata)) => (head, Some(metadata)),
        None => (value, None),
    };
    let head = head.strip_prefix(FLOOR).unwrap_or(head);
    // Behind a token that was chosen, what tells its acquisitions apart.
    let head = if head.len() == PROOF { head.split_once(':').map_or(head, |(token, _)| token) } else { head };
    if is_token(head) { (Some(head), metadata) } else { (None, None) }
}

fn is_token(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a stored value is what is kept of a lock that was given back.
pub(crate) fn is_kept(value: &str) -> bool {
    value.starts_with(FLOOR) && split(value).0.is_some()
}

/// Whether a stored value was written by this library: by a holder who calls those who wait in line. Other programs have tokens
/// of the same form, but nothing behind them.
pub(crate) fn is_ours(value: &str) -> bool {
    matches!(split(value), (Some(_), Some(_)))
}

/// The metadata stored when a call names none: `host:pid`.
pub(crate) fn this_process() -> Arc<str> {
    static NAME: LazyLock<Arc<str>> = LazyLock::new(|| format!("{}:{}", host(), std::process::id()).into());
    NAME.clone()
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown-host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_fresh_hexadecimal_and_hidden() {
        let token = Token::fresh();
        assert_ne!(token, Token::fresh());
        assert_eq!(token.as_str().len(), LENGTH);
        assert_eq!(split(token.as_str()), (Some(token.as_str()), None));
        assert!(!format!("{token:?}").contains(token.as_str()));
    }

    #[test]
    fn a_chosen_token_proves_one_acquisition() {
        let text = "0123456789abcdef0123456789abcdef";
        let (first, second) = (Token::chosen(text).expect("a token"), Token::chosen(text).expect("a token"));
        assert_eq!((first.as_str(), second.as_str()), (text, text));
        assert_ne!(first, second);
        assert_ne!(first.proof(), second.again().proof());
        assert!(first.proof().starts_with(text) && first.proof().len() == 49);
        for value in [text.to_owned(), format!("{text} me"), first.proof().to_owned(), format!("{} me", second.proof())]
        {
            assert!(first.is_of(&value), "{value}");
            assert!(Holder::read(&value, Some(&second)).this_process);
        }
        // No beginning of another value is taken for it, and neither is what is kept of a lock that was given back.
        let kept = format!("{FLOOR}{text} me");
        for other in ["", &text[..31], &format!("{text}0"), &format!("{text}:"), &format!("{text}:0123 me"), &kept] {
            assert!(!first.is_of(other), "{other}");
        }
        for wrong in
            ["", "foo", &text[..31], &format!("{text}0"), &text.to_uppercase(), "0123456789abcdef0123456789abcde "]
        {
            assert_eq!(Token::chosen(wrong), None, "{wrong}");
        }
        assert!(!format!("{first:?}").contains(&text[..7]));
    }

    #[test]
    fn a_stored_value_names_its_holder() {
        let token = Token::fresh();
        let value = format!("{} web-1:4711 with spaces", token.as_str());
        let theirs = Holder::read(&value, None);
        assert_eq!(theirs.to_string(), "web-1:4711 with spaces");
        let ours = Holder::read(&value, Some(&token));
        assert_eq!(ours.to_string(), "this process (web-1:4711 with spaces)");
        assert!(!Holder::read(&value, Some(&Token::fresh())).this_process);
        let given_back = Holder::read(&format!("{FLOOR}{value}"), None);
        assert_eq!(given_back.to_string(), "web-1:4711 with spaces");
    }

    #[test]
    fn the_value_of_another_library_is_not_shown() {
        // It may be a secret token of 22 or 40 characters: never repeat it.
        let foreign = Holder::read("iVw3l2XjJmOq3bFv1u9t6A", None);
        assert_eq!(foreign.to_string(), "another client, which left no name");
        assert_eq!(foreign.metadata, None);
        let upper = Holder::read(&"A".repeat(32), None);
        assert_eq!(upper.metadata, None);
    }

    #[test]
    fn what_others_wrote_cannot_forge_a_log_line() {
        let value = format!("{} a\n\u{1b}[31mb{}", Token::fresh().as_str(), "x".repeat(5000));
        let metadata = Holder::read(&value, None).metadata.unwrap_or_default();
        assert!(metadata.starts_with("a\u{fffd}\u{fffd}[31mb"), "{metadata}");
        assert_eq!(metadata.chars().count(), 1024);
    }

    #[test]
    fn this_process_is_named_by_host_and_pid() {
        assert!(this_process().ends_with(&format!(":{}", std::process::id())));
    }
}
