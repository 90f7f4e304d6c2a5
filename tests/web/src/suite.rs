//! What clients must see, whatever the framework.

#![expect(clippy::missing_panics_doc, reason = "these are tests: they panic where a promise is not kept")]

use std::time::Duration;

use lock_runtime::test_util::Operation;
use lock_runtime::{StoreError, StoreErrorKind};
use lock_tests::eventually;

use crate::{PATIENCE, Site, assert_busy, assert_problem, header, rest};

/// Every promise below as a test of the service that `$start` starts.
#[macro_export]
macro_rules! suite {
    ($start:path: $($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                $crate::suite::$promise(&$start().await).await;
            }
        )*
    };
    ($start:path) => {
        $crate::suite! { $start:
            free
            busy
            unavailable
            lost
            lost_before_the_end
            nothing_inside_is_shown
            no_manager
            other_statuses_are_untouched
            the_layer_reaches_every_route
            the_inner_layer_decides
            hanging_up_frees_the_lock
        }
    };
}

/// Promise: with the lock free, the client gets what the handler returned, and the lock is free again.
///
/// Turned red by: a layer without the scope; a guard that does not release.
pub async fn free(site: &Site) {
    for path in ["/result/a", "/plain/a", "/own/a", "/nested/deep/a", "/inner/a"] {
        let response = site.get(path).await;
        assert_eq!((response.status, response.body.as_str()), (200, "mine"), "{path}: {response:?}");
        assert!(!site.locks().is_held("web:a"), "{path}");
    }
}

/// Promise: while somebody else holds the lock, the client is told 423, and when to come back.
///
/// Turned red by: any other status; a `Retry-After` that is left out.
pub async fn busy(site: &Site) {
    for path in ["/result/a", "/plain/a", "/own/a"] {
        site.locks().hold_elsewhere("web:a", "somebody", Duration::from_secs(30));
        assert_busy(&site.get(path).await);
    }
}

/// Promise: while the store does not answer, the client is told 503, and the handler does not run.
///
/// Turned red by: any other status.
pub async fn unavailable(site: &Site) {
    site.locks().unavailable(true);
    for path in ["/result/a", "/plain/a", "/own/a"] {
        assert_problem(&site.get(path).await, 503, "Service Unavailable", "later");
    }
    site.locks().unavailable(false);
    assert_eq!(site.get("/result/a").await.status, 200);
}

/// Promise: when the lock is lost in the middle, the client is told at once that the work was begun.
///
/// Turned red by: 503 for `Lost`, which proxies repeat.
pub async fn lost(site: &Site) {
    let client = site.begin("/hang/a").await;
    site.locks().lose("web:a");
    let response = rest(client).await;
    assert_problem(&response, 500, "Internal Server Error", "may have taken effect");
}

/// Promise: a plain response that comes after the lock was lost is replaced if it says that all went well, and is not if it
/// says that it did not.
///
/// Turned red by: `is_failure` of a response that is always `false`, or counts redirections.
pub async fn lost_before_the_end(site: &Site) {
    for status in [200, 204, 302] {
        let response = site.get(&format!("/late/a/{status}")).await;
        assert_problem(&response, 500, "Internal Server Error", "may have taken effect");
    }
    for status in [400, 404, 423, 500, 503] {
        let response = site.get(&format!("/late/a/{status}")).await;
        assert_eq!((response.status, response.body.as_str()), (status, "mine"), "{response:?}");
    }
}

/// Promise: no key, no holder, no token, no text of the store and nothing of the program is told to a client.
///
/// Turned red by: an answer that contains the error's own text.
pub async fn nothing_inside_is_shown(site: &Site) {
    let locks = site.locks();
    let mut answers = Vec::new();
    for path in ["/result/canary", "/plain/canary", "/own/canary"] {
        locks.hold_elsewhere("web:canary", "canary-host:77", Duration::from_secs(30));
        let stored = locks.store().get("web:canary").expect("held");
        let token = stored.split(' ').next().expect("a token").to_owned();
        answers.push((site.get(path).await, token.clone()));
        locks.expire("web:canary");

        let refusal = StoreError::new(StoreErrorKind::Denied, "canary-server:6379 said: NOAUTH");
        locks.faults().fail_with(Operation::Acquire, 1, refusal);
        answers.push((site.get(path).await, token));
    }
    let client = site.begin("/hang/canary").await;
    let stored = locks.store().get("web:canary").expect("held");
    let token = stored.split(' ').next().expect("a token").to_owned();
    assert!(stored.contains("canary-metadata"), "{stored}");
    locks.lose("web:canary");
    answers.push((rest(client).await, token.clone()));

    let unmanaged = site.get("/bare/canary").await;
    answers.push((unmanaged, token));
    assert_eq!(
        answers.iter().map(|(answer, _)| answer.status).collect::<Vec<_>>(),
        [423, 503, 423, 503, 423, 503, 500, 500]
    );
    for (answer, token) in answers {
        let text = format!("{answer:?}");
        for secret in ["canary", "web:", "6379", "NOAUTH", "manager", "lock-runtime", "lock_runtime", token.as_str()] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// Promise: a handler outside of every layer, without a manager, does not run; the client is told that it is not its fault.
///
/// Turned red by: a scope that is left behind on the thread by another request.
pub async fn no_manager(site: &Site) {
    assert_eq!(site.get("/result/a").await.status, 200);
    assert_problem(&site.get("/bare/a").await, 500, "Internal Server Error", "will not help");
}

/// Promise: what is no lock failure reaches the client as it is.
///
/// Turned red by: treating every error status as a lock failure.
pub async fn other_statuses_are_untouched(site: &Site) {
    for status in [404, 409, 423, 500, 503] {
        let response = site.get(&format!("/own/a/{status}")).await;
        assert_eq!((response.status, response.body.as_str()), (status, "mine"), "{response:?}");
        assert_eq!(header(&response, "retry-after"), None);
        assert!(!site.locks().is_held("web:a"), "{status}");
    }
    assert_eq!(site.get("/nowhere").await.status, 404);
}

/// Promise: the layer is around all routes, nested ones too; each finds the one manager.
///
/// Turned red by: a layer that scopes something else than the service inside of it.
pub async fn the_layer_reaches_every_route(site: &Site) {
    let paths = ["/result/a", "/plain/a", "/own/a", "/nested/deep/a"];
    site.locks().hold_elsewhere("web:a", "somebody", Duration::from_secs(60));
    for path in paths {
        assert_eq!(site.get(path).await.status, 423, "{path}");
    }
    site.locks().expire("web:a");
    for path in paths {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
}

/// Promise: of nested layers, the inner one decides.
///
/// Turned red by: a layer that leaves a scope alone which is there already.
pub async fn the_inner_layer_decides(site: &Site) {
    site.locks().hold_elsewhere("web:a", "somebody", Duration::from_secs(60));
    assert_eq!(site.get("/inner/a").await.status, 200);
    assert_eq!(site.get("/plain/a").await.status, 423);
    site.inner().hold_elsewhere("web:b", "somebody", Duration::from_secs(60));
    assert_eq!(site.get("/inner/b").await.status, 423);
    assert_eq!(site.get("/plain/b").await.status, 200);
}

/// Promise: when a client hangs up, the handler is dropped and its lock is free at once, long before its TTL is over.
///
/// Turned red by: running the handler in a task of its own; a `Drop` of the guard that does nothing.
pub async fn hanging_up_frees_the_lock(site: &Site) {
    let client = site.begin("/hang/a").await;
    assert_eq!(site.get("/plain/a").await.status, 423);
    drop(client);
    eventually("the lock is free", PATIENCE, || !site.locks().is_held("web:a")).await;
    assert_eq!(site.get("/plain/a").await.status, 200);
}

/// Promise: two services of one process, each with a manager of its own, know nothing of each other's locks.
///
/// Turned red by: one manager for the whole process; a scope that is left behind on the thread.
pub async fn two_services_do_not_mix(one: &Site, other: &Site) {
    one.locks().hold_elsewhere("web:a", "somebody", Duration::from_secs(60));
    for _ in 0..10 {
        let (busy, free) = tokio::join!(one.get("/plain/a"), other.get("/plain/a"));
        assert_eq!((busy.status, free.status), (423, 200));
    }
    let client = other.begin("/hang/b").await;
    assert_eq!(one.get("/plain/b").await.status, 200);
    assert_eq!(other.get("/plain/b").await.status, 423);
    drop(client);
}
