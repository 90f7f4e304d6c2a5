//! The programs of `examples/`, as the user runs them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// An example of the workspace, built and ready to be started.
///
/// # Panics
///
/// When it does not compile.
#[must_use]
pub fn example(name: &str) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| build(&["--examples"]).join("examples"));
    alone(directory.join(name))
}

/// An example that is a package of its own, by the package's name.
///
/// # Panics
///
/// When it does not compile.
#[must_use]
pub fn example_package(name: &str) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    // `--examples` brings in the features of the tests.
    let directory = BUILT.get_or_init(|| build(&["--bins", "--examples"]));
    alone(directory.join(name))
}

fn alone(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    // What decides over the examples' behaviour comes from the test alone.
    for variable in ["REDIS_URL", "PORT", "LOCK", "FENCE"] {
        command.env_remove(variable);
    }
    command
}

/// Builds the examples beside this test (`target/debug/deps/test` and `target/debug`), with the features that the whole
/// workspace has: after `cargo test --workspace` there is nothing left to do.
fn build(targets: &[&str]) -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let directory = test.parent().and_then(Path::parent).expect("the test lies in `deps`");
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--workspace", "--profile", profile])
        .args(targets)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("start cargo");
    assert!(status.success(), "the examples do not compile");
    directory.to_owned()
}
