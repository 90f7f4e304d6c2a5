//! What a store tells of a key to somebody who only looks.

use std::fmt;
use std::time::Duration;

/// What is under a key, and who stands before it: what [`Store::inspect`](super::Store::inspect) answers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// The value; `None`: something is there that has none, and is no lock.
    pub value: Option<String>,
    /// How long it will be kept; `None`: for ever.
    pub remaining: Option<Duration>,
    /// How many stand in the store's line before it; `None`: the store cannot tell.
    pub in_line: Option<u64>,
}

impl Reading {
    /// `value`, kept for `remaining`, with `in_line` who stand before it.
    #[must_use]
    pub fn new(value: Option<String>, remaining: Option<Duration>, in_line: Option<u64>) -> Self {
        Self { value, remaining, in_line }
    }
}

/// Without the value: it holds a token.
impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remaining, in_line, .. } = self;
        f.debug_struct("Reading").field("remaining", remaining).field("in_line", in_line).finish_non_exhaustive()
    }
}
