//! The frameworks do not differ.

use std::time::Duration;

use lock_runtime::test_util::Operation;
use lock_runtime::{StoreError, StoreErrorKind};
use lock_web_tests::{Site, actix, axum};

/// The answers of one site to one failure of each sort.
async fn answers(site: &Site) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    site.locks().hold_elsewhere("web:a", "somebody", Duration::from_secs(60));
    answers.push(site.get("/plain/a").await);
    site.locks().expire("web:a");
    let silence = StoreError::new(StoreErrorKind::Timeout, "no answer");
    site.locks().faults().fail_with(Operation::Acquire, 1, silence);
    answers.push(site.get("/plain/a").await);
    answers.push(site.get("/late/a/200").await);
    answers.push(site.get("/bare/a").await);
    answers.into_iter().map(|answer| (answer.status, answer.body)).collect()
}

/// Promise: a client cannot tell from the answer what the service is built with.
///
/// Turned red by: a body of one framework's own.
#[tokio::test]
async fn the_answers_are_the_same() {
    let (axum, actix) = (answers(&axum::start().await).await, answers(&actix::start().await).await);
    assert_eq!(axum, actix);
    assert_eq!(axum.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [423, 503, 500, 500]);
}
