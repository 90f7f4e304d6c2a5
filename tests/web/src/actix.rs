//! The service on actix-web.

use std::fmt;
use std::future::pending;
use std::thread;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::rt::System;
use actix_web::web::{Data, Path, get, scope};
use actix_web::{App, Error, HttpResponse, HttpServer, ResponseError};
use lock_runtime::{LockError, LockManager, distributed_lock};
use tokio::sync::oneshot::channel;

use crate::{Shared, Site};

/// Starts it on a free port, in a thread of its own. A client that closes its half of the connection counts as gone.
///
/// # Panics
///
/// When there is no free port.
pub async fn start() -> Site {
    serve(Some(false)).await
}

/// As [`start`], but with actix-web's own opinion of clients that close their half of the connection.
///
/// # Panics
///
/// When there is no free port.
pub async fn start_with_defaults() -> Site {
    serve(None).await
}

async fn serve(half_closed: Option<bool>) -> Site {
    let shared = Shared::default();
    let (sender, address) = channel();
    let state = shared.clone();
    thread::spawn(move || {
        System::new().block_on(async move {
            let mut server = HttpServer::new(move || app(&state)).workers(1).disable_signals();
            if let Some(half_closed) = half_closed {
                server = server.h1_allow_half_closed(half_closed);
            }
            let server = server.bind("127.0.0.1:0").expect("a free port");
            sender.send(server.addrs()[0].to_string()).expect("the test waits");
            server.run().await
        })
    });
    Site { address: address.await.expect("the server has started"), shared }
}

/// The service, for tests that call it without a server.
pub fn app(
    shared: &Shared,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    // The middleware of an actix application is around all of its routes, so those without it are beside a scope.
    let layered = scope("")
        .route("/result/{key}", get().to(result))
        .route("/lock/{key}", get().to(lock))
        .route("/plain/{key}", get().to(plain))
        .route("/own/{key}", get().to(own))
        .route("/own/{key}/{status}", get().to(own_failure))
        .route("/late/{key}/{status}", get().to(late))
        .route("/hang/{key}", get().to(hang))
        .route("/until/{key}", get().to(until))
        .service(scope("/nested").service(scope("/deep").route("/{key}", get().to(plain))))
        .service(scope("/inner").wrap(shared.inner.layer()).route("/{key}", get().to(plain)))
        .wrap(shared.locks.layer());
    App::new().app_data(Data::new(shared.clone())).route("/bare/{key}", get().to(plain)).service(layered)
}

fn mine(status: u16) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(status).expect("a status")).body("mine")
}

/// actix-web's own `Result`, which takes everything that is a `ResponseError`.
#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn result(key: Path<String>) -> actix_web::Result<&'static str> {
    assert!(LockManager::current().is_some(), "for {key}");
    Ok("mine")
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn lock(key: Path<String>) -> Result<&'static str, LockError> {
    drop(key);
    Ok("mine")
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn plain(key: Path<String>) -> HttpResponse {
    drop(key);
    mine(200)
}

/// An error of the service's own.
#[derive(Debug)]
enum AppError {
    Status(u16),
    Lock(LockError),
}

impl From<LockError> for AppError {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ResponseError for AppError {
    fn status_code(&self) -> StatusCode {
        self.error_response().status()
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Status(status) => mine(*status),
            Self::Lock(error) => error.error_response(),
        }
    }
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn own(key: Path<String>) -> Result<&'static str, AppError> {
    if key.is_empty() { Err(AppError::Status(404)) } else { Ok("mine") }
}

#[distributed_lock(key = "web:{path.0}", ttl = "60s")]
async fn own_failure(path: Path<(String, u16)>) -> Result<&'static str, AppError> {
    Err(AppError::Status(path.1))
}

#[distributed_lock(key = "web:{path.0}", ttl = "60s")]
async fn late(shared: Data<Shared>, path: Path<(String, u16)>) -> HttpResponse {
    shared.locks.lose(format!("web:{}", path.0));
    mine(path.1)
}

#[distributed_lock(key = "web:{key}", ttl = "60s", metadata = "canary-metadata {key}")]
async fn hang(shared: Data<Shared>, key: Path<String>) -> HttpResponse {
    drop(key);
    shared.begun.notify_one();
    pending().await
}

#[distributed_lock(key = "web:{key}", ttl = "60s")]
async fn until(shared: Data<Shared>, key: Path<String>) -> HttpResponse {
    drop(key);
    shared.begun.notify_one();
    shared.until.notified().await;
    mine(200)
}
