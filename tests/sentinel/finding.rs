//! The master is found, by whatever sentinels there are.

use std::time::Instant;

use lock_runtime::SetupError;
use lock_runtime::store::redis::Credentials;
use lock_tests::{Admin, MASTER, eventually};

use super::*;

/// Promise: locks are on the master, by a URL and by the builder, with the sentinels' password and with the master's; whoever waits
/// is called. One sentinel that is gone and one that is silent make no difference but time.
///
/// Turned red by: asking the first sentinel alone; waiting for all of them; the master's user at the sentinels.
#[tokio::test]
async fn by_url_and_by_builder() {
    let mut sentinels = Sentinels::with_password("s3cret").await;
    let url = sentinels.url().replacen("://", "://:s3cret@", 1);
    let locks = LockManager::connect(&url).await.expect("connect");
    locks.self_test().await.expect("nothing is missing");
    let by_builder = RedisStore::sentinel(sentinels.urls(), MASTER).expect("good addresses");
    let others = LockManager::builder(by_builder.credentials(|| Credentials::password("s3cret"))).build();

    let held = others.lock("work").ttl(TTL).acquire().await.expect("free");
    let mut admin = sentinels.servers()[0].admin();
    assert!(admin.exists("work"));
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locked(&locks, "work", async {}).await }
    });
    let line = || admin.command::<u64>(&["LLEN", "work:lock_runtime:q1"]) > 0;
    eventually("it stands in line", AT_ONCE, line).await;
    held.release().await.expect("ours");
    tokio::time::timeout(AT_ONCE, waiting).await.expect("it is called").expect("no panic").expect("the lock");

    permissions(&sentinels.urls(), &url, &mut admin).await;
    sentinels.sentinels()[0].kill();
    sentinels.sentinels()[1].pause();
    let begun = Instant::now();
    let late = LockManager::connect(&url).await.expect("the third one knows");
    println!("with one of three sentinels: connected after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(1), "half of the time for connecting, and a busy machine");
    locked(&late, "work", async {}).await.expect("free");
    sentinels.sentinels()[1].resume();
}

/// Promise: what the readme says that users of the sentinels and of the master need is enough, also to be told of a new master.
///
/// Turned red by: a command, or a channel, that is missing in the readme.
async fn permissions(urls: &[String], url: &str, admin: &mut Admin) {
    let lines = include_str!("../../README.md").lines().filter(|line| line.starts_with("ACL SETUSER "));
    let [locks, waiting, at_master, at_sentinels] =
        <[&str; 4]>::try_from(lines.collect::<Vec<_>>()).expect("the readme has four such lines");
    let setup = |admin: &mut Admin, line: &str| admin.command::<()>(&line.split(' ').collect::<Vec<_>>());
    for line in [locks, waiting, at_master] {
        setup(admin, line);
    }
    let mut at_each: Vec<_> = urls.iter().map(|url| Admin::new(url)).collect();
    for sentinel in &mut at_each {
        setup(sentinel, at_sentinels);
    }
    let url = url.replace("://:s3cret@", "://locks:password@").replace("=watch", "=password&sentinel_user=locks");
    let waits = RedisStore::open(&url).expect("a good address").wait_replicas(1, AT_ONCE).expect("one node");
    let locks = LockManager::builder(waits).build();
    locks.self_test().await.expect("nothing is missing");
    locked(&locks, "work", async {}).await.expect("free");
    eventually("each sentinel is listened to", AT_ONCE, || {
        at_each.iter_mut().all(|sentinel| {
            let clients: String = sentinel.command(&["CLIENT", "LIST"]);
            clients.lines().any(|client| client.contains(" user=locks ") && client.contains(" sub=2 "))
        })
    })
    .await;
    admin.command::<()>(&["ACL", "SETUSER", "locks", "-wait"]);
    let error = locks.self_test().await.expect_err("it lacks a permission");
    assert!(error.to_string().contains("the command `WAIT`: "), "{error}");
}

/// Promise: what is wrong is told, with the sentinels' words and without a password.
///
/// Turned red by: "cannot connect" for everything.
#[tokio::test]
async fn what_is_wrong_is_told() {
    let sentinels = Sentinels::start().await;
    let told = async |url: &str| match LockManager::connect(url).await {
        Err(SetupError::Unreachable { source, .. }) => source.to_string(),
        other => panic!("{url}: {other:?}"),
    };
    let url = sentinels.url();
    let text = told(&url.replace(MASTER, "hismaster")).await;
    assert!(text.starts_with("no sentinel names the master `hismaster`: "), "{text}");
    assert!(text.contains("watches no master of this name"), "{text}");
    let text = told(&url.replace("sentinel_password=watch", "sentinel_password=canary")).await;
    assert!(text.contains("wrong user name or password") && !text.contains("canary"), "{text}");
    // Where a master itself is taken for a sentinel.
    let text = told(&format!("redis+sentinel://127.0.0.1:{}/{MASTER}", sentinels.servers()[0].port())).await;
    assert!(text.contains("no sentinel names the master"), "{text}");
    let text = told(&format!("redis+sentinel://127.0.0.1:1/{MASTER}")).await;
    assert!(text.contains("127.0.0.1:1 (a sentinel) refuses connections"), "{text}");
    let error = RedisStore::sentinel(Vec::<String>::new(), MASTER).expect_err("nobody to ask");
    assert!(error.to_string().contains("no sentinel"), "{error}");
}
