//! Asking for several keys at once. Nobody stands in line for that: see [`Watchers`](crate::watchers::Watchers).

use std::sync::Arc;
use std::time::Duration;

use crate::acquiring::{Asking, Miss};
use crate::error::LockError;
use crate::guard::LockGuard;
use crate::key::LockKey;
use crate::keys::Keys;
use crate::manager::Shared;
use crate::queue::{HeldHere, Spot};
use crate::waiting::Patience;
use crate::watchers::Watch;

/// What is asked for beside a single key.
pub(crate) struct Several {
    pub(crate) keys: Arc<[LockKey]>,
    spots: Box<[Spot]>,
}

impl Several {
    /// `None`: `keys` is a single one.
    pub(crate) fn new(shared: &Shared, keys: Keys) -> Option<Box<Self>> {
        let Keys::Several(keys) = keys else { return None };
        let spots = keys.iter().map(|key| shared.queue.spot(key.clone())).collect();
        Some(Box::new(Self { keys, spots }))
    }
}

impl Asking {
    /// Asks for all keys: once without patience, else until they are won or it is over.
    pub(crate) async fn all(&self, several: &Several, patience: Option<Box<Patience>>) -> Result<LockGuard, LockError> {
        let Some(mut patience) = patience else { return self.all_once(several, Duration::ZERO).await };
        let watch = Watch::new(&self.shared.queue, &several.keys);
        let mut told = false;
        loop {
            if !self.until_all_are_free_here(several, &watch, &patience, &mut told).await? {
                return self.all_once(several, self.waited()).await;
            }
            let miss = match self.attempt().await {
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
        self.attempt().await.map_err(|miss| self.error(waited, miss))
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

    /// The first of the keys that this process holds, if it holds any.
    fn any_held_here<'a>(&self, several: &'a Several) -> Option<(&'a LockKey, HeldHere)> {
        several.spots.iter().find_map(|spot| Some((&**spot, self.shared.queue.held_here(spot)?)))
    }
}
