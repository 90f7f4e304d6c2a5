//! The same small service on axum and on actix-web, and what its clients must see of its locks.
//!
//! All handlers lock `web:{key}` for a minute, so what is free before that was given back. Under the layer of the site's
//! manager:
//!
//! | path | the handler returns |
//! |---|---|
//! | `/result/{key}` | `Result` with an error of the framework |
//! | `/plain/{key}` | a plain response |
//! | `/own/{key}`, `/own/{key}/{status}` | `Result` with an error of the service: with a status, that failure |
//! | `/late/{key}/{status}` | a plain response of that status, after the lock was lost |
//! | `/hang/{key}` | nothing, ever |
//! | `/until/{key}` | a plain response, when [`Site::go_on`] is called |
//! | `/nested/deep/{key}` | as `/plain`, two routers further down |
//!
//! Under the layer of another manager inside of that one: `/inner/{key}`. Under none: `/bare/{key}`.

pub mod actix;
pub mod axum;
pub mod suite;

use std::sync::Arc;
use std::time::Duration;

use lock_runtime::test_util::TestLocks;
use lock_tests::http::{self, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Far more than any of this takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What all handlers share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// The manager of most routes.
    pub locks: TestLocks,
    /// The manager of the routes under `/inner`.
    pub inner: TestLocks,
    begun: Arc<Notify>,
    until: Arc<Notify>,
}

/// A running service.
#[derive(Debug)]
pub struct Site {
    address: String,
    shared: Shared,
}

impl Site {
    /// Locks as the handlers of most routes see them.
    #[must_use]
    pub fn locks(&self) -> &TestLocks {
        &self.shared.locks
    }

    /// Locks as the handlers under `/inner` see them.
    #[must_use]
    pub fn inner(&self) -> &TestLocks {
        &self.shared.inner
    }

    /// Lets one handler of `/until` go on.
    pub fn go_on(&self) {
        self.shared.until.notify_one();
    }

    /// The answer to `GET path`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn get(&self, path: &str) -> Response {
        http::request(&self.address, "GET", path).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Sends `GET path`, a path of `/hang` or `/until`, and returns when the handler is running, under its lock. The answer is
    /// left to whoever has the connection.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    pub async fn begin(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("connect");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.expect("send");
        timeout(PATIENCE, self.shared.begun.notified()).await.expect("the handler runs");
        stream
    }
}

/// The value of a header, if it is there.
#[must_use]
pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// What is left to read of a connection: the answer.
///
/// # Panics
///
/// When the connection breaks, or nothing comes.
pub async fn rest(mut connection: TcpStream) -> Response {
    let mut answer = String::new();
    let read = timeout(PATIENCE, connection.read_to_string(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    Response { status, head: head.to_owned(), body: body.to_owned() }
}

/// Checks that `response` is a problem of RFC 9457 with this status, whose detail contains `advice`, and that it does not say
/// when to come back.
///
/// # Panics
///
/// When it is not.
pub fn assert_problem(response: &Response, status: u16, title: &str, advice: &str) {
    assert_eq!(header(response, "retry-after"), None, "{response:?}");
    assert_body(response, status, title, advice);
}

/// Checks that `response` is the problem of a lock that somebody else holds for the next 30 seconds.
///
/// # Panics
///
/// When it is not.
pub fn assert_busy(response: &Response) {
    let seconds = header(response, "retry-after").unwrap_or_else(|| panic!("{response:?}"));
    let seconds: u64 = seconds.parse().expect("whole seconds");
    // The exact figure is a matter of unit tests; a busy machine may have taken its time to get here.
    assert!((15..=30).contains(&seconds), "{response:?}");
    assert_body(response, 423, "Locked", "Retry-After");
}

fn assert_body(response: &Response, status: u16, title: &str, advice: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(header(response, "content-type"), Some("application/problem+json"), "{response:?}");
    let body: Value = serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"));
    let members = body.as_object().expect("an object");
    assert_eq!(members.len(), 4, "{response:?}");
    assert_eq!(members["type"], "about:blank");
    assert_eq!(members["title"], title);
    assert_eq!(members["status"], status);
    assert!(members["detail"].as_str().is_some_and(|detail| detail.contains(advice)), "{response:?}");
}
