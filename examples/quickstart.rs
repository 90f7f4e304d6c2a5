//! Takes a lock, works under it, and gives it back.
//!
//! ```sh
//! redis-server &
//! cargo run --example quickstart
//! ```
//!
//! Run it twice at once, and the second finds the lock taken. `REDIS_URL` names another server.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use lock_runtime::LockManager;

#[tokio::main]
async fn main() -> ExitCode {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1/".to_owned());
    let locks = match LockManager::connect(&url).await {
        Ok(locks) => locks,
        Err(error) => {
            eprintln!("{error}");
            eprintln!("Start a server with `redis-server`, or set REDIS_URL to the address of one.");
            return ExitCode::FAILURE;
        }
    };

    // SET my-lock <token> NX PX 5000
    let guard = match locks.lock("my-lock").ttl(Duration::from_secs(5)).acquire().await {
        Ok(guard) => guard,
        Err(error) => {
            println!("Failed to acquire lock");
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!("Lock acquired: {}", guard.token().as_str());

    // The work.
    tokio::time::sleep(Duration::from_secs(2)).await;

    // Deletes the key, but only while it still holds this token: compare and delete, in one script.
    match guard.release().await {
        Ok(()) => {
            println!("Lock released (Lua)");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("Failed to release lock (Lua)");
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
