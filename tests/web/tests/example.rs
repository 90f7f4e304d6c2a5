//! The actix-web example does what it says, as the user runs it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lock_tests::http::{Response, request};
use lock_tests::{Process, RedisServer, eventually};
use lock_web_tests::PATIENCE;
use tokio::task::JoinSet;

/// The example's program, built with the features that the whole workspace has: after `cargo test --workspace` there is
/// nothing left to do.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = env::current_exe().expect("the path of this test");
        let directory = test.parent().and_then(Path::parent).expect("the test lies in `deps`");
        let profile = match directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // `--examples` brings in the features of the tests.
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--workspace", "--bins", "--examples", "--profile", profile])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("start cargo");
        assert!(status.success(), "the example does not compile");
        directory.join("lock-example-actix-web")
    })
}

/// The running service.
struct Shop {
    address: String,
    program: Process,
}

impl Shop {
    fn start(configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program());
        for variable in ["REDIS_URL", "LOCK"] {
            command.env_remove(variable);
        }
        command.env("PORT", "0");
        configure(&mut command);
        let mut program = Process::spawn(&command);
        loop {
            let line = program.line(PATIENCE);
            if let Some(address) = line.strip_prefix("Serving on http://") {
                let address = address.to_owned();
                return Self { address, program };
            }
        }
    }

    async fn get(&self, path: &str) -> Response {
        request(&self.address, "GET", path).await.expect("an answer")
    }

    async fn number(&self, path: &str) -> i64 {
        let response = self.get(path).await;
        response.body.trim().parse().unwrap_or_else(|_| panic!("{response:?}"))
    }

    /// Sends 100 requests at once, and counts the answers with status 200. The others must have the given status.
    async fn hundred(&self, path: &'static str, refused: u16) -> usize {
        let mut requests = JoinSet::new();
        for _ in 0..100 {
            let address = self.address.clone();
            requests.spawn(async move { request(&address, "POST", path).await.expect("an answer") });
        }
        let answers = requests.join_all().await;
        let other: Vec<_> = answers.iter().filter(|answer| ![200, refused].contains(&answer.status)).collect();
        assert!(other.is_empty(), "{other:?}");
        answers.iter().filter(|answer| answer.status == 200).count()
    }
}

/// Promise: with the attribute on its handlers, the service sells what it has and charges once.
///
/// Turned red by: a queue that lets two callers through; a layer with a manager for each worker.
#[tokio::test]
async fn it_sells_what_it_has_and_charges_once() {
    let shop = Shop::start(|_| {});
    assert_eq!(shop.hundred("/stock/coffee/buy", 409).await, 50);
    assert_eq!(shop.number("/stock/coffee").await, 0);
    assert_eq!(shop.hundred("/orders/42/pay", 409).await, 1);
    assert_eq!(shop.number("/orders/42").await, 1);
}

/// The test above can fail: without its locks, the same service sells what it does not have, and charges twice.
#[tokio::test]
async fn without_locks_it_goes_wrong() {
    // A race shows when requests overlap, which on a busy machine they may not do: the demonstration gets several goes.
    for _ in 0..10 {
        let shop = Shop::start(|command| {
            command.env("LOCK", "off");
        });
        let sold = shop.hundred("/stock/coffee/buy", 409).await;
        let paid = shop.hundred("/orders/42/pay", 409).await;
        let (left, charges) = (shop.number("/stock/coffee").await, shop.number("/orders/42").await);
        if sold > 50 && left < 0 && paid > 1 && charges > 1 {
            return;
        }
    }
    panic!("ten times a hundred requests without a lock, and nothing went wrong");
}

/// Promise: of two instances one builds the report, and the other says so; at Ctrl-C, what is under way is finished, and no
/// lock stays behind.
///
/// Turned red by: leaving out the layer, or `shutdown_signal`.
#[tokio::test]
async fn reports_on_redis() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let start = || {
        Shop::start(|command| {
            command.env("REDIS_URL", server.url());
        })
    };
    let (mut one, other) = (start(), start());

    let address = one.address.clone();
    let report = tokio::spawn(async move { request(&address, "GET", "/report").await });
    eventually("the report is being built", PATIENCE, || admin.exists("report")).await;
    let refused = other.get("/report").await;
    assert_eq!(refused.status, 202, "{refused:?}");
    assert!(refused.body.contains("is being built"), "{refused:?}");
    one.program.interrupt();
    let report = report.await.expect("no panic").expect("an answer");
    assert_eq!(report.status, 200, "{report:?}");
    assert!(report.body.contains("coffee: 50"), "{report:?}");
    let (status, output) = one.program.finish(PATIENCE);
    assert!(status.success(), "{output}");
    assert!(admin.keys().is_empty());
}
