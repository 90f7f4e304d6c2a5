//! The shop: handlers that lock what they change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lock_runtime::{Busy, LockError, LockManager, distributed_lock};

// The handlers. The lock's key names what must not be changed by two at once: this item, this order. Everybody who
// wants the same waits; different items and orders do not wait for each other.

/// Sells one piece, as long as there is one.
#[distributed_lock(key = "stock:{item}", ttl = "5s", wait = "30s", manager = shop.locks)]
async fn buy(State(shop): State<Shop>, Path(item): Path<String>) -> Result<String, AppError> {
    shop.sell(&item).await
}

/// Charges for an order, once, however often the customer clicks.
#[distributed_lock(key = "order:{id}", ttl = "5s", wait = "30s", manager = shop.locks)]
async fn pay(State(shop): State<Shop>, Path(id): Path<u64>) -> Result<String, AppError> {
    shop.charge(id).await
}

/// Builds the report, in one instance of this service at a time. The others do not wait for it, and say so.
#[distributed_lock(key = "report", ttl = "30s", manager = shop.locks, on_busy = |busy| Ok(come_back(&busy)))]
async fn report(State(shop): State<Shop>) -> Result<Response, AppError> {
    shop.report().await
}

fn come_back(busy: &Busy) -> Response {
    let seconds = busy.retry_after.map_or(1, |left| left.as_secs().max(1));
    let text = format!("The report is being built. It will take {seconds} s at most.\n");
    (StatusCode::ACCEPTED, [("retry-after", "1")], text).into_response()
}

/// The same handlers without their locks.
mod unlocked {
    use super::{AppError, Path, Response, Shop, State};

    pub(super) async fn buy(State(shop): State<Shop>, Path(item): Path<String>) -> Result<String, AppError> {
        shop.sell(&item).await
    }

    pub(super) async fn pay(State(shop): State<Shop>, Path(id): Path<u64>) -> Result<String, AppError> {
        shop.charge(id).await
    }

    pub(super) async fn report(State(shop): State<Shop>) -> Result<Response, AppError> {
        shop.report().await
    }
}

// Looking needs no lock.

async fn stock(State(shop): State<Shop>, Path(item): Path<String>) -> String {
    format!("{}\n", shop.stock.read(&item).await)
}

async fn charges(State(shop): State<Shop>, Path(id): Path<u64>) -> String {
    format!("{}\n", shop.charges.read(&id.to_string()).await)
}

/// How a handler fails. `From<LockError>` is what lets the attribute return an error of the handler's own type.
struct AppError {
    status: StatusCode,
    text: &'static str,
}

impl From<LockError> for AppError {
    fn from(error: LockError) -> Self {
        // The whole story, with the key and the holder, is for the operator and not for the customer.
        eprintln!("{error}");
        let (status, text) = match error {
            LockError::Busy(_) => (StatusCode::LOCKED, "Somebody else is at it. Try again.\n"),
            LockError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Not now. Try again later.\n"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "That went wrong.\n"),
        };
        Self { status, text }
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        (self.status, self.text).into_response()
    }
}

const SOLD_OUT: AppError = AppError { status: StatusCode::CONFLICT, text: "Sold out.\n" };
const ALREADY_PAID: AppError = AppError { status: StatusCode::CONFLICT, text: "Already paid.\n" };

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct Shop {
    locks: LockManager,
    stock: Table,
    charges: Table,
}

impl Shop {
    pub(crate) fn new(locks: LockManager) -> Self {
        let stock = Table::with([("coffee", 50), ("tea", 50)]);
        Self { locks, stock, charges: Table::with([]) }
    }

    // Each of these looks first and acts later. In between, somebody else may do the same.

    async fn sell(&self, item: &str) -> Result<String, AppError> {
        if self.stock.read(item).await <= 0 {
            return Err(SOLD_OUT);
        }
        let left = self.stock.add(item, -1).await;
        Ok(format!("One {item} for you, {left} left.\n"))
    }

    async fn charge(&self, order: u64) -> Result<String, AppError> {
        let order = order.to_string();
        if self.charges.read(&order).await > 0 {
            return Err(ALREADY_PAID);
        }
        self.charges.add(&order, 1).await;
        Ok("Thank you.\n".to_owned())
    }

    async fn report(&self) -> Result<Response, AppError> {
        let mut lines = vec!["The stock:".to_owned()];
        for item in ["coffee", "tea"] {
            // Reports are slow.
            tokio::time::sleep(Duration::from_millis(500)).await;
            lines.push(format!("{item}: {}", self.stock.read(item).await));
        }
        Ok((lines.join("\n") + "\n").into_response())
    }
}

/// Stands for a table of a database: each query is right in itself and takes a round trip. There are no transactions.
#[derive(Clone)]
struct Table(Arc<Mutex<HashMap<String, i64>>>);

impl Table {
    const ROUND_TRIP: Duration = Duration::from_millis(2);

    fn with<const N: usize>(rows: [(&str, i64); N]) -> Self {
        Self(Arc::new(Mutex::new(rows.map(|(row, value)| (row.to_owned(), value)).into())))
    }

    /// `SELECT value FROM … WHERE row = …`
    async fn read(&self, row: &str) -> i64 {
        self.query(|rows| rows.get(row).copied().unwrap_or_default()).await
    }

    /// `UPDATE … SET value = value + … WHERE row = … RETURNING value`
    async fn add(&self, row: &str, amount: i64) -> i64 {
        self.query(|rows| {
            let value = rows.entry(row.to_owned()).or_default();
            *value += amount;
            *value
        })
        .await
    }

    async fn query<T>(&self, query: impl FnOnce(&mut HashMap<String, i64>) -> T) -> T {
        tokio::time::sleep(Self::ROUND_TRIP).await;
        query(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) fn router(locked: bool) -> Router<Shop> {
    let router = Router::new().route("/stock/{item}", get(stock)).route("/orders/{id}", get(charges));
    if locked {
        router.route("/stock/{item}/buy", post(buy)).route("/orders/{id}/pay", post(pay)).route("/report", get(report))
    } else {
        router
            .route("/stock/{item}/buy", post(unlocked::buy))
            .route("/orders/{id}/pay", post(unlocked::pay))
            .route("/report", get(unlocked::report))
    }
}
