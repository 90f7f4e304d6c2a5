//! A web shop whose handlers lock what they change, with a page that shows it live: a flash sale, who waits for its lock, and
//! who has it.
//!
//! ```sh
//! cargo run --example web                                   # locks in memory: for one process
//! REDIS_URL=redis://127.0.0.1/ cargo run --example web      # locks in Redis: for many, which show each other's buyers
//! LOCK=off cargo run --example web                          # no locks: watch the stock go below zero
//! ```
//!
//! `PORT` chooses the port; 0 takes any that is free. Where to begin to read: `buy.rs` for the flash sale, `shop.rs` for
//! handlers of axum.

mod buy;
mod buyer;
mod crowd;
mod feed;
mod metrics;
mod page;
mod sale;
mod shop;
mod stock;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use lock_runtime::LockManager;
use tokio::net::TcpListener;

use crate::feed::Feed;
use crate::sale::Sale;
use crate::shop::Shop;
use crate::stock::Stock;

#[tokio::main]
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
    let (locks, stock, feed) = if let Ok(url) = env::var("REDIS_URL") {
        println!("Locks are in Redis: start as many instances as you like.");
        let locks = LockManager::connect(&url).await?;
        let client = redis::Client::open(url)?;
        (locks, Stock::Redis(client.get_connection_manager().await?), Feed::on_redis(&client).await?)
    } else {
        println!("REDIS_URL is not set: locks are in memory, and reach no further than this process.");
        (LockManager::in_memory(), Stock::in_memory(), Feed::in_memory())
    };
    let counted = metrics::count()?;
    let locked = env::var("LOCK").as_deref() != Ok("off");
    if !locked {
        println!("LOCK=off: the handlers run without their locks.");
    }

    let port = env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    println!("Serving on http://{address}");
    println!("  Open it in a browser: a flash sale, live. Or by hand:");
    println!("  curl -X POST http://{address}/stock/coffee/buy     curl http://{address}/stock/coffee");
    println!("  curl -X POST http://{address}/orders/42/pay        curl http://{address}/orders/42");
    println!("  curl http://{address}/report");
    println!("  curl http://{address}/metrics                      what is counted, for Prometheus");

    let sale = Arc::new(Sale::new(locks.clone(), stock, Arc::clone(&feed), &address.port().to_string()));
    tokio::spawn(page::look(Arc::clone(&sale)));
    let app = shop::router(locked)
        .with_state(Shop::new(locks.clone()))
        .merge(crowd::router().merge(page::router()).with_state(sale))
        .merge(metrics::router(counted));
    let ended = async move {
        interrupt().await;
        feed.close();
    };
    axum::serve(listener, app).with_graceful_shutdown(ended).await?;
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
