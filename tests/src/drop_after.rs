//! Dropping a future in the middle, at a poll of one's choice.

use std::pin::Pin;
use std::task::{Context, Poll};

/// When exactly the future is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// As soon as its k-th poll was [`Poll::Pending`]: whatever it has asked for is still under way.
    Pending,
    /// When it is woken after its k-th poll, and not polled again: the answer is there, and nobody looks at it.
    Woken,
}

/// Drops `future` after `polls` polls. `None` when it was dropped, `Some` when it was finished before.
pub fn drop_after<F: Future>(polls: usize, moment: Moment, future: F) -> DropAfter<F> {
    DropAfter { future: Some(Box::pin(future)), polls, moment }
}

/// See [`drop_after`].
#[derive(Debug)]
pub struct DropAfter<F> {
    future: Option<Pin<Box<F>>>,
    polls: usize,
    moment: Moment,
}

impl<F: Future> Future for DropAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.polls > 0 {
            this.polls -= 1;
            let Some(future) = &mut this.future else { return Poll::Ready(None) };
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            if this.polls > 0 || this.moment == Moment::Woken {
                return Poll::Pending;
            }
        }
        this.future = None;
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn yields(times: usize) -> &'static str {
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
        "finished"
    }

    #[tokio::test]
    async fn drops_between_the_polls() {
        for moment in [Moment::Pending, Moment::Woken] {
            for polls in 0..=3 {
                assert_eq!(drop_after(polls, moment, yields(3)).await, None);
            }
            assert_eq!(drop_after(4, moment, yields(3)).await, Some("finished"));
        }
    }
}
