//! What clients of an actix-web service see of its locks.

use std::time::Duration;

use actix_web::test::{TestRequest, call_service, init_service};
use lock_runtime::LockError;
use lock_web_tests::actix::{app, start, start_with_defaults};
use lock_web_tests::{Shared, assert_busy, rest, suite};
use tokio::io::AsyncWriteExt;

lock_web_tests::suite!(start);

#[tokio::test]
async fn two_services_do_not_mix() {
    suite::two_services_do_not_mix(&start().await, &start().await).await;
}

/// Promise: `LockError` is an error that a handler may return as it is.
///
/// Turned red by: leaving out its `ResponseError`.
#[tokio::test]
async fn the_error_itself() {
    let site = start().await;
    assert_eq!(site.get("/lock/a").await.body, "mine");
    site.locks().hold_elsewhere("web:a", "somebody", Duration::from_secs(30));
    assert_busy(&site.get("/lock/a").await);
}

/// Promise: a middleware that logs finds the error, with all that the client is not told.
///
/// Turned red by: a plain response that is made from the error's `error_response`.
#[tokio::test]
async fn the_error_is_in_the_response() {
    let shared = Shared::default();
    let app = init_service(app(&shared)).await;
    for path in ["/plain/a", "/result/a"] {
        shared.locks.hold_elsewhere("web:a", "somebody:77", Duration::from_secs(30));
        let response = call_service(&app, TestRequest::get().uri(path).to_request()).await;
        let error = response.response().error().and_then(|error| error.as_error::<LockError>());
        let error = error.expect("the error").to_string();
        assert!(error.contains("somebody:77"), "{path}: {error}");
    }
}

/// What the documentation says of actix-web: unless told otherwise, it serves a client that has closed its half of the
/// connection, so a lock is kept until the handler is done.
///
/// Turned red by: actix-web, if it changes its mind.
#[tokio::test]
async fn by_default_a_client_may_close_its_half() {
    let site = start_with_defaults().await;
    let mut client = site.begin("/until/a").await;
    client.shutdown().await.expect("close our half");
    assert_eq!(site.get("/plain/a").await.status, 423);
    site.go_on();
    let answer = rest(client).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "mine"), "{answer:?}");
    assert_eq!(site.get("/plain/a").await.status, 200);
}
