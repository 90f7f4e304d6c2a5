//! Our locks and those of libraries in other languages, on the same keys of a real server: the [`Scene`] of such a test,
//! and the [`Peer`] which takes part in it.
//!
//! Where python3, node or a package is missing, a test says so on standard error and passes without having tested anything.
//! Under `CI` or `LOCK_REQUIRE_INTEROP=1` it fails instead. `tests/run.sh` installs the packages below the target
//! directory, where they are found by single tests as well.

mod peer;
mod scene;

pub use peer::{Library, Missing, Peer};
pub use scene::Scene;

/// Makes of each function two tests, `redis_py::NAME` and `node_redlock::NAME`. A function takes a [`Scene`].
#[macro_export]
macro_rules! with_each_library {
    ($($name:ident),* $(,)?) => {
        $crate::with_library!(redis_py, RedisPy: $($name),*);
        $crate::with_library!(node_redlock, NodeRedlock: $($name),*);
    };
}

/// Makes of each function one test, with one library.
#[macro_export]
macro_rules! with_library {
    ($module:ident, $library:ident: $($name:ident),* $(,)?) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(scene) = $crate::Scene::set($crate::Library::$library).await {
                        super::$name(scene).await;
                    }
                }
            )*
        }
    };
}
