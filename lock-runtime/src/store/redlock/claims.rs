//! The claims that are held, and what is still under way for them: acquisitions on nodes that the others did not wait for.
//!
//! Invariant: no acquisition that takes effect after the claim's release stays. So whoever gives a claim back takes over what is
//! under way first, and nothing begins after that: a release is repeated if it came before the acquisition, and a clean-up has that
//! dropped, which stores follow with a clean-up of their own.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::ballot::Answer;
use crate::holder::Token;

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
        token: &Token,
        under_way: Vec<Option<Answer<()>>>,
        asked: Vec<bool>,
        fence: Option<i64>,
    ) -> Arc<Entry> {
        let state = State { under_way, asked, fence, is_over: false, polled: false, waker: None };
        let entry = Arc::new(Entry(Mutex::new(state)));
        lock(&self.0).insert(token.proof().into(), entry.clone());
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
    /// By node, whether an acquisition is under way there.
    pub(super) fn under_way(&self) -> Vec<bool> {
        self.state().under_way.iter().map(Option::is_some).collect()
    }

    /// Begins with what `taking` makes of the claim's fencing token on `node`, unless something is under way there, or the claim
    /// was given back.
    pub(super) fn begin(&self, node: usize, taking: impl FnOnce(Option<i64>) -> Answer<()>) -> bool {
        let mut state = self.state();
        let begins = !state.is_over && state.under_way[node].is_none();
        if begins {
            state.asked[node] = true;
            state.under_way[node] = Some(taking(state.fence));
        }
        begins
    }

    /// Works on what is under way until nothing is. `None`: there is nothing, or somebody does so already, and was told that there
    /// is more.
    pub(super) fn work(self: &Arc<Self>) -> Option<impl Future<Output = ()> + Send + 'static> {
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
            poll_fn(|cx| working.entry.poll(cx)).await;
            working.done();
        })
    }

    /// Ready when nothing is under way.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        for under_way in &mut state.under_way {
            if under_way.as_mut().is_some_and(|answer| answer.as_mut().poll(cx).is_ready()) {
                *under_way = None;
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

    use super::*;

    fn nothing(nodes: usize) -> Vec<Option<Answer<()>>> {
        (0..nodes).map(|_| None).collect()
    }

    /// Promise: nothing begins for a claim that was given back, also not for somebody who had looked it up before.
    ///
    /// Turned red by: looking it up, and nothing else.
    #[test]
    fn nothing_begins_after_the_end() {
        let (claims, token) = (Claims::default(), Token::fresh());
        let entry = claims.enter(&token, nothing(3), vec![true, true, false], Some(7));
        assert!(entry.begin(2, |fence| {
            assert_eq!(fence, Some(7));
            Box::pin(pending())
        }));
        assert!(!entry.begin(2, |_| unreachable!("it is under way")));
        assert_eq!(entry.under_way(), [false, false, true]);
        let Left { under_way, asked } = claims.leave(&token, 3);
        assert!(under_way[2].is_some() && asked == [true; 3]);
        assert!(!entry.begin(0, |_| unreachable!("it is over")));
        assert!(claims.get(&token).is_none() && claims.len() == 0);
        assert_eq!(claims.leave(&token, 2).asked, [true; 2], "of a claim of others, nothing is known");
    }

    /// Promise: one task works on what is under way, until nothing is, and another begins when there is more.
    ///
    /// Turned red by: a task for each; none after the first.
    #[tokio::test]
    async fn one_works_on_all() {
        let (claims, token) = (Claims::default(), Token::fresh());
        let entry = claims.enter(&token, nothing(2), vec![true; 2], None);
        assert!(entry.work().is_none(), "nothing to do");
        for _ in 0..2 {
            assert!(entry.begin(0, |_| Box::pin(async {
                tokio::task::yield_now().await;
                Ok(())
            })));
            let work = tokio::spawn(entry.work().expect("nobody works"));
            assert!(entry.begin(1, |_| Box::pin(ready(Ok(())))));
            assert!(entry.work().is_none(), "somebody does");
            work.await.expect("no panic");
            assert_eq!(entry.under_way(), [false; 2]);
        }
        // One whose runtime ends has not done it.
        assert!(entry.begin(0, |_| Box::pin(pending())));
        drop(entry.work());
        let work = tokio::spawn(entry.work().expect("nobody works"));
        tokio::task::yield_now().await;
        claims.leave(&token, 2);
        work.await.expect("nothing is left to be done");
    }
}
