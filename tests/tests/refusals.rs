//! What is refused before anything is sent: addresses that cannot be used.

use lock_runtime::{LockError, LockManager, SetupError};

/// Stands in every part of an address, and in no message.
const CANARY: &str = "canary";

/// Promise: an address that cannot be used is refused before anything is sent; the error says what is wrong with it and how
/// to write it, and never repeats it, since it may hold a password.
///
/// Turned red by: an error text with the address, or a part of it; one text for all mistakes.
#[tokio::test]
async fn a_bad_address_is_named_by_what_is_wrong() {
    const SCHEME: &str = "its scheme is not";
    const NONE: &str = "it has no scheme";
    const PARTS: &str = "its host, port or database cannot be read";
    for (address, wrong) in [
        ("rediss://:canary@canary.example:99999/", PARTS),
        ("http://canary:canary@canary.example", SCHEME),
        ("canary://canary.example", SCHEME),
        ("REDIS+canary://canary.example", SCHEME),
        ("", NONE),
        ("canary.example:6379", NONE),
        ("redis//:canary@canary.example", NONE),
        ("redis:/canary.example", NONE),
        ("redis://:canary@canary.example:99999/", PARTS),
        ("redis://:canary@canary.example:canary/", PARTS),
        ("redis://:canary@canary.example/canary", PARTS),
        ("redis://:canary@[::1", PARTS),
    ] {
        for result in [LockManager::connect_lazy(address), LockManager::connect(address).await] {
            let error = result.err().unwrap_or_else(|| panic!("{address:?} is accepted"));
            assert!(matches!(error, SetupError::Address { .. }), "{address:?}: {error}");
            for text in [error.to_string(), format!("{error:?}"), LockError::from(error.clone()).to_string()] {
                assert!(text.contains(wrong), "{address:?}: {text}");
                assert!(!text.contains(CANARY), "{address:?} is repeated: {text}");
            }
            assert!(error.to_string().ends_with("write it as `redis://[user:password@]host[:port][/database]`"));
        }
    }
}
