//! Asking for several keys at once, or under a token that the caller chose. Nobody stands in line for that: see [`Watchers`](crate::watchers::Watchers).

use std::sync::Arc;
use std::time::Duration;

use crate::acquiring::{Asking, Miss};
use crate::error::LockError;
use crate::guard::LockGuard;
use crate::holder::Token;
use crate::key::LockKey;
use crate::keys::Keys;
use crate::lease::Event;
use crate::manager::Shared;
use crate::queue::{HeldHere, Spot};
use crate::store::Claim;
use crate::waiting::Patience;
use crate::watchers::Watch;

/// What is asked for beside a single key.
pub(crate) struct Several {
    keys: Arc<[LockKey]>,
    spots: Box<[Spot]>,
    /// The token that the caller chose.
    token: Option<Box<Token>>,
}

impl Several {
    /// `None`: a single key, under a fresh token.
    pub(crate) fn new(shared: &Shared, keys: Keys, token: Option<Box<Token>>) -> Option<Box<Self>> {
        let keys: Arc<[LockKey]> = match keys {
            Keys::One(_) if token.is_none() => return None,
            Keys::One(key) => Arc::new([key]),
            Keys::Several(keys) => keys,
        };
        let spots = keys.iter().map(|key| shared.queue.spot(key.clone())).collect();
        Some(Box::new(Self { keys, spots, token }))
    }

    /// Makes `claim`, which is of the first key, one of all, under the token that was chosen.
    pub(crate) fn complete(&self, claim: &mut Claim, replaces: &[String]) {
        claim.keys = self.keys.clone();
        claim.replaces = replaces.to_vec();
        if let Some(token) = &self.token {
            claim.token = token.again();
        }
    }

    /// Whether `value` stands in the way, and is to be replaced: it was stored under the token that was chosen. Each key may have
    /// one of its own. Whoever meets more of them meets somebody who is at the same.
    pub(crate) fn may_replace(&self, value: &str, replaced: usize) -> bool {
        self.token.as_ref().is_some_and(|token| token.is_of(value)) && replaced <= self.keys.len()
    }
}

impl Asking {
    /// Asks for all keys: once without patience, else until they are won or it is over.
    pub(crate) async fn all(&self, several: &Several, patience: Option<Box<Patience>>) -> Result<LockGuard, LockError> {
        let Some(mut patience) = patience else { return self.all_once(several, Duration::ZERO).await };
        let watch = Watch::new(&self.shared.queue, &several.keys, self.caller());
        let mut told = false;
        loop {
            if !self.until_all_are_free_here(several, &watch, &patience, &mut told).await? {
                return self.all_once(several, self.waited()).await;
            }
            let miss = match self.attempt(true).await {
                Ok(guard) => {
                    watch.won();
                    return Ok(guard);
                }
                Err(miss) => miss,
            };
            watch.pass_on();
            let Some(delay) = patience.delay(&miss, self.shared.store.now()) else {
                return Err(self.error(self.waited(), miss));
            };
            if let Miss::Busy(holder, ..) = &miss {
                self.tell(&mut told, holder.as_ref());
            }
            let until = self.shared.store.now().plus(delay);
            self.unless_over(Some(until), watch.freed()).await?;
        }
    }

    /// Tries once. A key that is held here need not be asked for: the answer is known.
    async fn all_once(&self, several: &Several, waited: Duration) -> Result<LockGuard, LockError> {
        if let Some((key, held)) = self.any_held_here(several) {
            let miss = Miss::Busy(Some(held.holder), Some(held.remaining), Some(key.clone()));
            return Err(self.error(waited, miss));
        }
        self.attempt(true).await.map_err(|miss| self.error(waited, miss))
    }

    /// Waits while other tasks of this process hold one of the keys. `false`: the wait was over before.
    async fn until_all_are_free_here(
        &self,
        several: &Several,
        watch: &Watch,
        patience: &Patience,
        told: &mut bool,
    ) -> Result<bool, LockError> {
        let until = patience.in_line_until;
        while let Some((_, held)) = self.any_held_here(several) {
            watch.pass_on();
            if until.is_some_and(|until| self.shared.store.now() >= until) {
                return Ok(false);
            }
            self.tell(told, Some(&held.holder));
            // Woken when it is given back; its lease bounds the wait, and an extension only makes us look again.
            let look_again = self.shared.store.now().plus(held.remaining);
            let until = until.map_or(look_again, |until| until.min(look_again));
            self.unless_over(Some(until), watch.freed()).await?;
        }
        Ok(true)
    }

    /// The first of the keys that this process holds, if it holds any; under another token than the one that was chosen.
    fn any_held_here<'a>(&self, several: &'a Several) -> Option<(&'a LockKey, HeldHere)> {
        let queue = &self.shared.queue;
        let chosen = several.token.as_ref().map(|token| token.as_str());
        several.spots.iter().find_map(|spot| {
            let held = queue.held_here(spot)?;
            let is_ours = chosen.is_some() && queue.token_here(spot).as_ref().map(Token::as_str) == chosen;
            (!is_ours).then_some((&**spot, held))
        })
    }

    /// The claim took the place of earlier ones under the same token: those of this process have lost theirs.
    pub(crate) fn end_replaced(&self, several: &Several) {
        let chosen = several.token.as_ref().map(|token| token.as_str());
        for spot in &several.spots {
            let earlier = self.shared.queue.hold_here(spot);
            if let Some(earlier) = earlier.filter(|earlier| Some(earlier.claim().token.as_str()) == chosen) {
                earlier.on(Event::NotOurs);
            }
        }
    }
}
