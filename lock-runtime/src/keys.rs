//! The keys of a lock: one, or several that are had all together or not at all.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::key::LockKey;

/// How many keys a lock can have. A script over more would keep the server from everybody else for milliseconds.
const MOST: usize = 1000;

/// How many keys are named in a text for people.
const SHOWN: usize = 4;

/// What is locked.
#[derive(Clone, Debug)]
pub enum Keys {
    /// One key.
    One(LockKey),
    /// Several keys: sorted, without duplicates. None, or too many, are refused when the lock is asked for.
    Several(Arc<[LockKey]>),
}

impl Keys {
    /// The keys that are named, in whatever order and however often each.
    pub(crate) fn several<K: Into<LockKey>>(keys: impl IntoIterator<Item = K>) -> Self {
        let mut sorted = BTreeSet::new();
        for key in keys {
            let key = key.into();
            // Of two that read alike, the one that is no key: what is wrong with it is not to be forgotten.
            if key.flaw().is_some() || !sorted.contains(&key) {
                sorted.replace(key);
            }
            // One too many says so; who names keys without end is not to fill the memory.
            if sorted.len() > MOST {
                break;
            }
        }
        Self::Several(sorted.into_iter().collect())
    }

    /// All of them, in order.
    pub(crate) fn as_slice(&self) -> &[LockKey] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Several(keys) => keys,
        }
    }

    /// The first in order: the one that errors about all of them name.
    pub(crate) fn first(&self) -> LockKey {
        self.as_slice().first().cloned().unwrap_or_else(|| LockKey::from(""))
    }

    /// The same keys behind `prefix`.
    pub(crate) fn prefixed(self, prefix: &str) -> Self {
        match self {
            keys if prefix.is_empty() => keys,
            Self::One(key) => Self::One(key.prefixed(prefix)),
            // Their order is the same behind a prefix.
            Self::Several(keys) => Self::Several(keys.iter().map(|key| key.prefixed(prefix)).collect()),
        }
    }

    /// Why these cannot be locked, and which is to blame.
    pub(crate) fn flaw(&self) -> Option<(LockKey, &'static str)> {
        let keys = self.as_slice();
        if keys.is_empty() {
            return Some((self.first(), "there are no keys to lock: `keys`, or `lock_many`, was given an empty list"));
        }
        if keys.len() > MOST {
            return Some((self.first(), "these are more than 1000 keys: lock what they have in common instead"));
        }
        keys.iter().find_map(|key| Some((key.clone(), key.flaw()?)))
    }
}

/// Some keys, for people to read.
pub(crate) struct Listed<'a>(pub(crate) &'a [LockKey]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, key) in self.0.iter().take(SHOWN).enumerate() {
            f.write_str(if number == 0 { "" } else { ", " })?;
            key.fmt(f)?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::KeyWriter;

    fn texts(keys: &Keys) -> Vec<&str> {
        keys.as_slice().iter().map(LockKey::as_str).collect()
    }

    fn reason(keys: &Keys) -> Option<&'static str> {
        keys.flaw().map(|(_, reason)| reason)
    }

    #[test]
    fn none_and_too_many_are_refused() {
        assert!(reason(&Keys::several([""; 0])).is_some_and(|reason| reason.contains("no keys")));
        let many = |count: usize| Keys::several((0..count).map(|number| number.to_string()));
        assert_eq!(reason(&many(1000)), None);
        assert!(reason(&many(1001)).is_some_and(|reason| reason.contains("more than 1000")));
        // Keys without end are not collected.
        assert!(reason(&Keys::several((0..).map(|number: u64| number.to_string()))).is_some());
        // What counts is how many there are, and not how often they are named.
        assert_eq!(texts(&Keys::several((0..5000).map(|number| (number % 2).to_string()))), ["0", "1"]);
    }

    #[test]
    fn one_that_is_no_key_is_found_among_all() {
        let keys = Keys::several(["a", "b\0", "c"]);
        let (key, reason) = keys.flaw().expect("b is none");
        assert_eq!((key.as_str(), reason), ("b\0", "the key contains a NUL character"));
        assert!(keys.prefixed("app:").flaw().is_some_and(|(key, _)| key.as_str() == "app:b\0"));
    }

    #[test]
    fn a_flaw_is_not_hidden_by_a_key_that_reads_alike() {
        let broken = || {
            let mut key = KeyWriter::new(":");
            key.literal("a:");
            key.part("id", "");
            key.finish()
        };
        for keys in [[broken(), "a:".into()], ["a:".into(), broken()]] {
            assert_eq!(reason(&Keys::several(keys)), Some("a placeholder of the key template is empty"));
        }
    }

    #[test]
    fn a_few_of_many_are_shown() {
        let shown = |count: u8| Listed(Keys::several((0..count).map(|n| n.to_string())).as_slice()).to_string();
        assert_eq!(shown(1), "0");
        assert_eq!(shown(4), "0, 1, 2, 3");
        assert_eq!(shown(6), "0, 1, 2, 3 and 2 more");
    }

    proptest! {
        /// Invariant: the claim is the same, whatever the order in which its keys are named, and however often: sorted, each
        /// once. Two callers who name the same keys in opposite orders ask for the same.
        #[test]
        fn keys_are_a_set(
            mut named in prop::collection::vec("[a-c]{1,2}", 1..20),
            seed in any::<u64>(),
            prefix in "[a-z:]{0,3}",
        ) {
            let keys = Keys::several(named.iter().map(String::as_str)).prefixed(&prefix);
            let found = texts(&keys);
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", found);
            let expected: BTreeSet<String> = named.iter().map(|name| format!("{prefix}{name}")).collect();
            prop_assert!(expected.iter().map(String::as_str).eq(found.iter().copied()));

            let length = named.len();
            named.rotate_left(usize::try_from(seed % length as u64).unwrap_or(0));
            named.reverse();
            named.extend(named.clone());
            let again = Keys::several(named).prefixed(&prefix);
            prop_assert_eq!(texts(&again), found);
        }
    }
}
