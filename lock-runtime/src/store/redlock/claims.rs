//! The claims that are held, and what is still under way for them: acquisitions on nodes that the others did not wait for.
//!
//! Invariant: no acquisition that takes effect after the claim's release stays. So whoever gives a claim back takes over what is
//! under way first, and nothing begins after that: a release is repeated if it came before the acquisition, and a clean-up has that
//! dropped, which stores follow with a clean-up of their own.
//!
//! Invariant: no clean-up takes a node out of a quorum that is believed in. A store repeats the one behind an acquisition that
//! failed, until it knows the outcome or the claim's TTL is over; whatever the node says of the claim by then may change. So
//! it has no say, and is not taken again, before that and a little later.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::ballot::Answer;
use crate::clock::Moment;
use crate::holder::Token;
use crate::store::Claim;

/// What a clean-up may take on top of the claim's TTL: it may begin late, where its first runtime does nothing, and the last request
/// of it takes its time.
const LATE: Duration = Duration::from_secs(2);

/// The claims that are held, by their tokens.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<Box<str>, Arc<Entry>>>);

/// One of them.
pub(super) struct Entry(Mutex<State>);

struct State {
    /// By node: an acquisition that is under way there.
    under_way: Vec<Option<Answer<()>>>,
    /// By node: whether anything was ever sent there.
    asked: Vec<bool>,
    /// By node: until when its store may clean up behind an acquisition that failed. Empty while none has.
    cleaned_up_by: Vec<Option<Moment>>,
    /// The longest TTL of the acquisitions.
    ttl: Duration,
    /// The claim's fencing token, for nodes that take it later.
    fence: Option<i64>,
    /// It is given back: nothing begins any more.
    is_over: bool,
    /// Whether somebody polls what is under way, and how to tell that there is more, or nothing.
    polled: bool,
    waker: Option<Waker>,
}

/// What a claim that is given back leaves behind.
pub(super) struct Left {
    /// By node: an acquisition that is under way there.
    pub(super) under_way: Vec<Option<Answer<()>>>,
    /// By node: whether anything was ever sent there.
    pub(super) asked: Vec<bool>,
}

impl Claims {
    /// Notes a claim that was acquired.
    pub(super) fn enter(
        &self,
        claim: &Claim,
        under_way: Vec<Option<Answer<()>>>,
        asked: Vec<bool>,
        fence: Option<i64>,
    ) -> Arc<Entry> {
        let (cleaned_up_by, ttl) = (Vec::new(), claim.ttl);
        let state = State { under_way, asked, cleaned_up_by, ttl, fence, is_over: false, polled: false, waker: None };
        let entry = Arc::new(Entry(Mutex::new(state)));
        lock(&self.0).insert(claim.token.proof().into(), entry.clone());
        entry
    }

    /// `None`: it was acquired elsewhere, or given back.
    pub(super) fn get(&self, token: &Token) -> Option<Arc<Entry>> {
        lock(&self.0).get(token.proof()).cloned()
    }

    /// Forgets a claim that is given back. Of one that is not known here, any of the `nodes` may have something.
    pub(super) fn leave(&self, token: &Token, nodes: usize) -> Left {
        let entry = lock(&self.0).remove(token.proof());
        entry.map_or_else(
            || Left { under_way: (0..nodes).map(|_| None).collect(), asked: vec![true; nodes] },
            |entry| entry.leave(),
        )
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

impl Entry {
    /// By node, whether it is not settled at `now` what came of an acquisition there: it is under way, or may be cleaned up.
    pub(super) fn unsettled(&self, now: Moment) -> Vec<bool> {
        let state = self.state();
        (0..state.under_way.len()).map(|node| state.is_unsettled(node, now)).collect()
    }

    /// The acquisition on `node` failed, not later than `now`.
    pub(super) fn failed(&self, node: usize, now: Moment) {
        self.state().failed(node, now);
    }

    /// Begins `now` with what `taking` makes of the claim's fencing token on `node`, for `ttl`, unless something is not settled
    /// there, or the claim was given back.
    pub(super) fn begin(
        &self,
        node: usize,
        ttl: Duration,
        now: Moment,
        taking: impl FnOnce(Option<i64>) -> Answer<()>,
    ) -> bool {
        let mut state = self.state();
        let begins = !state.is_over && !state.is_unsettled(node, now);
        if begins {
            state.ttl = state.ttl.max(ttl);
            state.asked[node] = true;
            state.under_way[node] = Some(taking(state.fence));
        }
        begins
    }

    /// Works on what is under way until nothing is, by the clock `now`. `None`: there is nothing, or somebody does so already, and
    /// was told that there is more.
    pub(super) fn work<N>(self: &Arc<Self>, now: N) -> Option<impl Future<Output = ()> + Send + use<N>>
    where
        N: Fn() -> Moment + Send + Sync + 'static,
    {
        let mut state = self.state();
        if state.under_way.iter().all(Option::is_none) {
            return None;
        }
        if std::mem::replace(&mut state.polled, true) {
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
            return None;
        }
        drop(state);
        let working = Working { entry: self.clone(), is_done: false };
        Some(async move {
            poll_fn(|cx| working.entry.poll(cx, &now)).await;
            working.done();
        })
    }

    /// Ready when nothing is under way.
    fn poll(&self, cx: &mut Context<'_>, now: &impl Fn() -> Moment) -> Poll<()> {
        let mut state = self.state();
        for node in 0..state.under_way.len() {
            let Some(under_way) = &mut state.under_way[node] else { continue };
            if let Poll::Ready(answer) = under_way.as_mut().poll(cx) {
                state.under_way[node] = None;
                if answer.is_err() {
                    state.failed(node, now());
                }
            }
        }
        if state.under_way.iter().any(Option::is_some) {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // Under the lock: what begins from here on finds nobody at work.
        state.polled = false;
        Poll::Ready(())
    }

    fn leave(&self) -> Left {
        let mut state = self.state();
        state.is_over = true;
        let none = state.under_way.iter().map(|_| None).collect();
        let left =
            Left { under_way: std::mem::replace(&mut state.under_way, none), asked: std::mem::take(&mut state.asked) };
        let waker = state.waker.take();
        drop(state);
        // Whoever polled has nothing left to do.
        if let Some(waker) = waker {
            waker.wake();
        }
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn is_unsettled(&self, node: usize, now: Moment) -> bool {
        self.under_way[node].is_some() || self.cleaned_up_by.get(node).copied().flatten() > Some(now)
    }

    fn failed(&mut self, node: usize, now: Moment) {
        self.cleaned_up_by.resize(self.under_way.len(), None);
        self.cleaned_up_by[node] = Some(now.plus(self.ttl).plus(LATE));
    }
}

/// Somebody who polls what is under way. It may be dropped before that is done, with its runtime.
struct Working {
    entry: Arc<Entry>,
    is_done: bool,
}

impl Working {
    fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if !self.is_done {
            self.entry.state().polled = false;
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A store that panics in a poll leaves whole data behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::super::nodes::not_settled;
    use super::*;

    const TTL: Duration = Duration::from_secs(8);

    fn nothing(nodes: usize) -> Vec<Option<Answer<()>>> {
        (0..nodes).map(|_| None).collect()
    }

    fn claim() -> Claim {
        Claim::new("k".into(), TTL, "".into())
    }

    fn at(secs: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(secs))
    }

    /// Promise: nothing begins for a claim that was given back, also not for somebody who had looked it up before.
    ///
    /// Turned red by: looking it up, and nothing else.
    #[test]
    fn nothing_begins_after_the_end() {
        let (claims, claim) = (Claims::default(), claim());
        let entry = claims.enter(&claim, nothing(3), vec![true, true, false], Some(7));
        assert!(entry.begin(2, TTL, at(0), |fence| {
            assert_eq!(fence, Some(7));
            Box::pin(pending())
        }));
        assert!(!entry.begin(2, TTL, at(0), |_| unreachable!("it is under way")));
        assert_eq!(entry.unsettled(at(0)), [false, false, true]);
        let Left { under_way, asked } = claims.leave(&claim.token, 3);
        assert!(under_way[2].is_some() && asked == [true; 3]);
        assert!(!entry.begin(0, TTL, at(0), |_| unreachable!("it is over")));
        assert!(claims.get(&claim.token).is_none() && claims.len() == 0);
        assert_eq!(claims.leave(&claim.token, 2).asked, [true; 2], "of a claim of others, nothing is known");
    }

    /// Promise: nothing begins, and nothing counts, where a clean-up may come: for the longest TTL that was asked for.
    ///
    /// Turned red by: the TTL of the first acquisition; a node that is left out for ever.
    #[tokio::test]
    async fn who_failed_is_left_out_for_a_ttl() {
        let (claims, claim) = (Claims::default(), claim());
        let entry = claims.enter(&claim, nothing(2), vec![true; 2], None);
        entry.failed(0, at(100));
        assert_eq!(entry.unsettled(at(109)), [true, false]);
        assert!(!entry.begin(0, TTL, at(109), |_| unreachable!("it may be cleaned up")));
        assert_eq!(entry.unsettled(at(110)), [false, false]);
        let failing = |_| -> Answer<()> { Box::pin(ready(Err(not_settled()))) };
        assert!(entry.begin(0, 2 * TTL, at(110), failing));
        entry.work(|| at(111)).expect("nobody works").await;
        assert_eq!(entry.unsettled(at(128)), [true, false]);
        assert_eq!(entry.unsettled(at(129)), [false, false]);
    }

    /// Promise: one task works on what is under way, until nothing is, and another begins when there is more.
    ///
    /// Turned red by: a task for each; none after the first.
    #[tokio::test]
    async fn one_works_on_all() {
        let (claims, claim) = (Claims::default(), claim());
        let entry = claims.enter(&claim, nothing(2), vec![true; 2], None);
        let work = || entry.work(|| at(0));
        assert!(work().is_none(), "nothing to do");
        for _ in 0..2 {
            assert!(entry.begin(0, TTL, at(0), |_| Box::pin(async {
                tokio::task::yield_now().await;
                Ok(())
            })));
            let working = tokio::spawn(work().expect("nobody works"));
            assert!(entry.begin(1, TTL, at(0), |_| Box::pin(ready(Ok(())))));
            assert!(work().is_none(), "somebody does");
            working.await.expect("no panic");
            assert_eq!(entry.unsettled(at(0)), [false; 2]);
        }
        // One whose runtime ends has not done it.
        assert!(entry.begin(0, TTL, at(0), |_| Box::pin(pending())));
        drop(work());
        let working = tokio::spawn(work().expect("nobody works"));
        tokio::task::yield_now().await;
        claims.leave(&claim.token, 2);
        working.await.expect("nothing is left to be done");
    }
}
