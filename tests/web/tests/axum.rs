//! What clients of an axum service see of its locks.

use std::time::Duration;

use axum::extract::Path;
use lock_runtime::LockError;
use lock_runtime::test_util::TestLocks;
use lock_web_tests::axum::{plain, start};
use lock_web_tests::{assert_busy, header, suite};

lock_web_tests::suite!(start);

#[tokio::test]
async fn two_services_do_not_mix() {
    suite::two_services_do_not_mix(&start().await, &start().await).await;
}

/// Promise: every way in which axum's handlers return their errors takes a lock failure.
///
/// Turned red by: leaving out one of the `From<LockError>`.
#[tokio::test]
async fn every_kind_of_result() {
    let site = start().await;
    for path in ["/response/a", "/any/a"] {
        assert_eq!(site.get(path).await.body, "mine");
        site.locks().hold_elsewhere("web:a", "somebody", Duration::from_secs(30));
        assert_busy(&site.get(path).await);
        site.locks().expire("web:a");
    }
    assert_eq!(site.get("/status/a").await.body, "mine");
    site.locks().hold_elsewhere("web:a", "somebody", Duration::from_secs(30));
    let bare = site.get("/status/a").await;
    assert_eq!((bare.status, bare.body.as_str()), (423, ""), "a status, and nothing else: {bare:?}");
    assert_eq!(header(&bare, "retry-after"), None);
}

/// Promise: a middleware that logs finds the error, with all that the client is not told.
///
/// Turned red by: a response without the extension.
#[tokio::test]
async fn the_error_is_in_the_extensions() {
    let locks = TestLocks::new();
    locks.hold_elsewhere("web:a", "somebody:77", Duration::from_secs(30));
    let response = locks.scope(plain(Path("a".to_owned()))).await;
    let error = response.extensions().get::<LockError>().expect("the error");
    assert!(error.to_string().contains("somebody:77"), "{error}");
}
