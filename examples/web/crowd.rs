//! What the buttons of the page do: they send buyers, all at once.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::buy::{buy, buy_unlocked};
use crate::buyer::Buyer;
use crate::sale::{Refusal, Sale};

/// How many may come at once.
const MOST: u32 = 200;

/// Buyers who were sent by one press of a button.
pub(crate) struct Crowd {
    pub(crate) manners: Manners,
    pub(crate) size: u32,
    /// Tells it from the others of this process.
    pub(crate) number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// They wait for the lock.
    Locked,
    /// They walk in.
    Unlocked,
    /// They wait for the lock, and have it for longer than its lease.
    Stalling,
}

pub(crate) fn router() -> Router<Arc<Sale>> {
    let crowd =
        |manners| post(async move |State(sale): State<Arc<Sale>>, Path(size): Path<u32>| comes(sale, manners, size));
    Router::new()
        .route("/sale/locked/{buyers}", crowd(Manners::Locked))
        .route("/sale/unlocked/{buyers}", crowd(Manners::Unlocked))
        .route("/sale/stalling/{buyers}", crowd(Manners::Stalling))
}

fn comes(sale: Arc<Sale>, manners: Manners, size: u32) -> Response {
    if !(1..=MOST).contains(&size) {
        return (StatusCode::BAD_REQUEST, format!("Send 1 to {MOST} buyers.\n")).into_response();
    }
    tokio::spawn(async move {
        report(sale.open().await);
        let crowd = Arc::new(Crowd { manners, size, number: sale.next_crowd() });
        for _ in 0..size {
            tokio::spawn(visit(Arc::clone(&sale), Arc::clone(&crowd)));
        }
    });
    StatusCode::ACCEPTED.into_response()
}

async fn visit(sale: Arc<Sale>, crowd: Arc<Crowd>) {
    let buyer = Buyer::arrives(&sale, &crowd);
    report(match crowd.manners {
        Manners::Unlocked => buy_unlocked(&sale, &buyer).await,
        Manners::Locked | Manners::Stalling => buy(&sale, &buyer).await,
    });
}

/// Being too late is no failure. The rest is for the operator.
fn report<T>(outcome: Result<T, Refusal>) {
    match outcome {
        Ok(_) | Err(Refusal::SoldOut) => {}
        Err(error) => eprintln!("{error}"),
    }
}
