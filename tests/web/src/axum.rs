//! The service on axum.

use std::future::pending;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lock_runtime::{LockError, LockManager, distributed_lock};
use tokio::net::TcpListener;

use crate::{Shared, Site};

/// Starts it on a free port, in the current runtime.
///
/// # Panics
///
/// When there is no free port.
pub async fn start() -> Site {
    let shared = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let app = app(&shared);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Site { address, shared }
}

fn app(shared: &Shared) -> Router {
    let deep = Router::new().route("/deep/{key}", get(plain));
    let inner = Router::new().route("/inner/{key}", get(plain)).layer(shared.inner.layer());
    Router::new()
        .route("/result/{key}", get(result))
        .route("/response/{key}", get(response))
        .route("/status/{key}", get(status))
        .route("/any/{key}", get(any))
        .route("/plain/{key}", get(plain))
        .route("/own/{key}", get(own))
        .route("/own/{key}/{status}", get(own_failure))
        .route("/late/{key}/{status}", get(late))
        .route("/hang/{key}", get(hang))
        .route("/until/{key}", get(until))
        .nest("/nested", deep)
        .merge(inner)
        .layer(shared.locks.layer())
        .route("/bare/{key}", get(plain))
        .with_state(shared.clone())
}

fn mine(status: u16) -> Response {
    (StatusCode::from_u16(status).expect("a status"), "mine").into_response()
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn result(Path(key): Path<String>) -> Result<&'static str, LockError> {
    assert!(LockManager::current().is_some(), "for {key}");
    Ok("mine")
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn response(Path(key): Path<String>) -> Result<&'static str, Response> {
    if key.is_empty() { Err(mine(404)) } else { Ok("mine") }
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn status(Path(key): Path<String>) -> Result<&'static str, StatusCode> {
    if key.is_empty() { Err(StatusCode::NOT_FOUND) } else { Ok("mine") }
}

/// axum's own `Result`, which takes everything that is a response.
#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn any(Path(key): Path<String>) -> axum::response::Result<&'static str> {
    if key.is_empty() { Err(mine(404).into()) } else { Ok("mine") }
}

/// The handler, for tests that call it without a server.
#[distributed_lock(key = "web:{key}", ttl = "60s")]
pub async fn plain(Path(key): Path<String>) -> Response {
    drop(key);
    mine(200)
}

/// An error of the service's own.
#[derive(Debug)]
struct AppError(Response);

impl From<LockError> for AppError {
    fn from(error: LockError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        self.0
    }
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn own(Path(key): Path<String>) -> Result<impl IntoResponse, AppError> {
    if key.is_empty() { Err(AppError(mine(404))) } else { Ok("mine") }
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn own_failure(Path((key, status)): Path<(String, u16)>) -> Result<&'static str, AppError> {
    drop(key);
    Err(AppError(mine(status)))
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn late(State(shared): State<Shared>, Path((key, status)): Path<(String, u16)>) -> Response {
    shared.locks.lose(format!("web:{key}"));
    mine(status)
}

#[distributed_lock(key = "web:{key}", ttl = "60s", metadata = "canary-metadata {key}")]
async fn hang(State(shared): State<Shared>, Path(key): Path<String>) -> Response {
    drop(key);
    shared.begun.notify_one();
    pending().await
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn until(State(shared): State<Shared>, Path(key): Path<String>) -> Response {
    drop(key);
    shared.begun.notify_one();
    shared.until.notified().await;
    mine(200)
}
