//! Which libraries the other tests of this package have tested with, in words.

use std::io::Write;

use lock_interop_tests::{Library, Scene};

/// Says which versions there are. (`tests/nextest.toml` shows what it says.)
#[tokio::test]
async fn versions() {
    for library in [Library::RedisPy, Library::NodeRedlock] {
        if let Some(scene) = Scene::set(library).await {
            writeln!(std::io::stderr(), "tested with {}", scene.peer.version()).expect("standard error");
        }
    }
}
