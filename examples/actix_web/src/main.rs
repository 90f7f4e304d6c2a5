//! A web shop whose handlers lock what they change: the example `web`, on actix-web.
//!
//! ```sh
//! cargo run -p lock-example-actix-web                                   # locks in memory: for one process
//! REDIS_URL=redis://127.0.0.1/ cargo run -p lock-example-actix-web      # locks in Redis: for many
//! LOCK=off cargo run -p lock-example-actix-web                          # no locks: watch the stock go below zero
//! ```
//!
//! `PORT` chooses the port; 0 takes any that is free.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::{Data, Path, ServiceConfig, get, post};
use actix_web::{App, HttpResponse, HttpServer, ResponseError};
use lock_runtime::{Busy, LockError, LockManager, distributed_lock};

// The handlers. The lock's key names what must not be changed by two at once: this item, this order. Everybody who
// wants the same waits; different items and orders do not wait for each other. The locks come from the layer in `serve`.

/// Sells one piece, as long as there is one.
#[distributed_lock(key = "stock:{item}", ttl = "5s", wait = "30s")]
async fn buy(shop: Data<Shop>, item: Path<String>) -> Result<String, AppError> {
    shop.sell(&item).await
}

/// Charges for an order, once, however often the customer clicks.
#[distributed_lock(key = "order:{id}", ttl = "5s", wait = "30s")]
async fn pay(shop: Data<Shop>, id: Path<u64>) -> Result<String, AppError> {
    shop.charge(*id).await
}

/// Builds the report, in one instance of this service at a time. The others do not wait for it, and say so.
#[distributed_lock(key = "report", ttl = "30s", on_busy = |busy| Ok(come_back(&busy)))]
async fn report(shop: Data<Shop>) -> Result<HttpResponse, AppError> {
    shop.report().await
}

fn come_back(busy: &Busy) -> HttpResponse {
    let seconds = busy.retry_after.map_or(1, |left| left.as_secs().max(1));
    let text = format!("The report is being built. It will take {seconds} s at most.\n");
    HttpResponse::Accepted().insert_header((RETRY_AFTER, 1)).body(text)
}

/// The same handlers without their locks.
mod unlocked {
    use super::{AppError, Data, HttpResponse, Path, Shop};

    pub(super) async fn buy(shop: Data<Shop>, item: Path<String>) -> Result<String, AppError> {
        shop.sell(&item).await
    }

    pub(super) async fn pay(shop: Data<Shop>, id: Path<u64>) -> Result<String, AppError> {
        shop.charge(*id).await
    }

    pub(super) async fn report(shop: Data<Shop>) -> Result<HttpResponse, AppError> {
        shop.report().await
    }
}

// Looking needs no lock.

async fn stock(shop: Data<Shop>, item: Path<String>) -> String {
    format!("{}\n", shop.stock.read(&item).await)
}

async fn charges(shop: Data<Shop>, id: Path<u64>) -> String {
    format!("{}\n", shop.charges.read(&id.to_string()).await)
}

/// How a handler fails. `From<LockError>` is what lets the attribute return an error of the handler's own type.
#[derive(Debug)]
enum AppError {
    SoldOut,
    AlreadyPaid,
    Lock(LockError),
}

impl From<LockError> for AppError {
    fn from(error: LockError) -> Self {
        // The whole story, with the key and the holder, is for the operator and not for the customer.
        eprintln!("{error}");
        Self::Lock(error)
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoldOut => f.write_str("Sold out."),
            Self::AlreadyPaid => f.write_str("Already paid."),
            Self::Lock(error) => error.fmt(f),
        }
    }
}

impl ResponseError for AppError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::SoldOut | Self::AlreadyPaid => StatusCode::CONFLICT,
            Self::Lock(error) => error.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::SoldOut | Self::AlreadyPaid => HttpResponse::build(self.status_code()).body(format!("{self}\n")),
            // 423 with `Retry-After`, 503, 500: without the key and the holder.
            Self::Lock(error) => error.error_response(),
        }
    }
}

/// What all handlers share.
struct Shop {
    stock: Table,
    charges: Table,
}

impl Shop {
    fn new() -> Self {
        let stock = Table::with([("coffee", 50), ("tea", 50)]);
        Self { stock, charges: Table::with([]) }
    }

    // Each of these looks first and acts later. In between, somebody else may do the same.

    async fn sell(&self, item: &str) -> Result<String, AppError> {
        if self.stock.read(item).await <= 0 {
            return Err(AppError::SoldOut);
        }
        let left = self.stock.add(item, -1).await;
        Ok(format!("One {item} for you, {left} left.\n"))
    }

    async fn charge(&self, order: u64) -> Result<String, AppError> {
        let order = order.to_string();
        if self.charges.read(&order).await > 0 {
            return Err(AppError::AlreadyPaid);
        }
        self.charges.add(&order, 1).await;
        Ok("Thank you.\n".to_owned())
    }

    async fn report(&self) -> Result<HttpResponse, AppError> {
        let mut lines = vec!["The stock:".to_owned()];
        for item in ["coffee", "tea"] {
            // Reports are slow.
            tokio::time::sleep(Duration::from_millis(500)).await;
            lines.push(format!("{item}: {}", self.stock.read(item).await));
        }
        Ok(HttpResponse::Ok().body(lines.join("\n") + "\n"))
    }
}

/// Stands for a table of a database: each query is right in itself and takes a round trip. There are no transactions.
struct Table(Mutex<HashMap<String, i64>>);

impl Table {
    const ROUND_TRIP: Duration = Duration::from_millis(2);

    fn with<const N: usize>(rows: [(&str, i64); N]) -> Self {
        Self(Mutex::new(rows.map(|(row, value)| (row.to_owned(), value)).into()))
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

fn routes(locked: bool) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        app.route("/stock/{item}", get().to(stock)).route("/orders/{id}", get().to(charges));
        if locked {
            app.route("/stock/{item}/buy", post().to(buy))
                .route("/orders/{id}/pay", post().to(pay))
                .route("/report", get().to(report));
        } else {
            app.route("/stock/{item}/buy", post().to(unlocked::buy))
                .route("/orders/{id}/pay", post().to(unlocked::pay))
                .route("/report", get().to(unlocked::report));
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let locks = if let Ok(url) = env::var("REDIS_URL") {
        println!("Locks are in Redis: start as many instances as you like.");
        LockManager::connect(&url).await?
    } else {
        println!("REDIS_URL is not set: locks are in memory, and reach no further than this process.");
        LockManager::in_memory()
    };
    let locked = env::var("LOCK").as_deref() != Ok("off");
    if !locked {
        println!("LOCK=off: the handlers run without their locks.");
    }

    let port = env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    // One shop and one manager for all workers: made outside of the closure, which runs once in each of them.
    let (shop, layer) = (Data::new(Shop::new()), locks.layer());
    let server =
        HttpServer::new(move || App::new().app_data(shop.clone()).configure(routes(locked)).wrap(layer.clone()))
            // Whoever hangs up gives up, and frees the lock at once.
            .h1_allow_half_closed(false)
            // What is under way at Ctrl-C is finished. Left to itself, actix-web would break it off.
            .shutdown_signal(interrupt())
            .bind(("127.0.0.1", port))?;
    for address in server.addrs() {
        println!("Serving on http://{address}");
        println!("  curl -X POST http://{address}/stock/coffee/buy     curl http://{address}/stock/coffee");
        println!("  curl -X POST http://{address}/orders/42/pay        curl http://{address}/orders/42");
        println!("  curl http://{address}/report");
    }

    server.run().await?;
    // Whatever is still held is released, and not left to its TTL.
    locks.shutdown().await;
    Ok(())
}

/// Ends at Ctrl-C.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without such a signal, the service runs until it is killed.
        std::future::pending::<()>().await;
    }
}
