//! Names of the user's that are names of the expansion's too.

use lock_shape_tests::{body, under};

/// Promise: arguments and locals may be called as the expansion calls its own.
#[tokio::test]
async fn names_of_the_expansion() {
    #![allow(
        clippy::too_many_arguments,
        clippy::used_underscore_binding,
        reason = "these are the names that the expansion uses"
    )]
    use lock_runtime::{LockError, distributed_lock};

    #[distributed_lock(key = "h:{__request}:{__ret}:{__key}", ttl = "5s", metadata = "{__call}", guard = __lock)]
    async fn ours(
        __request: u8,
        __ret: u8,
        __key: u8,
        __call: u8,
        __outcome: u8,
        __body: u8,
        __guard: u8,
        __value: u8,
    ) -> Result<u8, LockError> {
        body();
        assert_eq!(__lock.metadata(), "4");
        Ok(__request + __ret + __key + __call + __outcome + __body + __guard + __value)
    }
    #[distributed_lock(key = "h", ttl = "5s", on_busy = Ok(__busy), on_error = |__error| Ok(__busy))]
    async fn in_the_answers(__busy: u8) -> Result<u8, LockError> {
        body();
        Ok(0)
    }
    #[distributed_lock(key = "h", ttl = "5s", guard = __call, fence = __guard)]
    async fn tokens(__ret: i64) -> Result<i64, LockError> {
        body();
        assert_eq!(Some(__guard), __call.fence());
        Ok(__guard + __ret)
    }
    #[distributed_lock(key = "h", ttl = "5s", guard = __guard)]
    async fn guards(__never: u8) -> Result<u8, LockError> {
        body();
        assert_eq!(__guard.key().as_str(), "h");
        Ok(__never)
    }
    assert_eq!(under("h:1:2:3", ours(1, 2, 3, 4, 5, 6, 7, 8)).await.expect("free"), 36);
    assert_eq!(lock_shape_tests::while_busy("h", in_the_answers(9)).await.expect("answered"), 9);
    assert_eq!(under("h", guards(1)).await.expect("free"), 1);
    assert!(under("h", tokens(1)).await.expect("free") > 1);
}

/// Promise: locals, arguments and functions may be called as the modules and functions that the expansion uses.
#[tokio::test]
async fn names_of_crates() {
    use ::lock_runtime::{LockError, distributed_lock};

    #[distributed_lock(key = "h:{lock_runtime}:{core}", ttl = "5s")]
    async fn crates(lock_runtime: u8, core: u8, std: u8) -> Result<u8, LockError> {
        fn run(n: u8) -> u8 {
            n
        }
        body();
        let call = run(std);
        let pin = lock_runtime + core;
        Ok(pin + call)
    }
    assert_eq!(under("h:1:2", crates(1, 2, 3)).await.expect("free"), 6);
}

/// Promise: modules called as crates are not mistaken for them.
mod modules {
    use ::lock_runtime::LockError;
    use lock_shape_tests::{body, under};

    mod lock_runtime {
        pub(super) const NAME: &str = "mine";
    }
    mod core {
        pub(super) const NAME: &str = "my core";
    }
    mod std {
        pub(super) const NAME: &str = "my std";
    }

    #[::lock_runtime::distributed_lock(
        key = "h:{id}",
        ttl = "5s",
        wait = "1s",
        guard = lock,
        fence = token,
        manager = manager
    )]
    async fn names(
        id: u8,
        manager: ::lock_runtime::LockManager,
    ) -> ::core::result::Result<[&'static str; 3], LockError> {
        body();
        let _ = (lock.remaining(), token);
        Ok([lock_runtime::NAME, core::NAME, std::NAME])
    }

    #[tokio::test]
    async fn names_of_modules() {
        let names = names(1, lock_shape_tests::recorded());
        assert_eq!(under("h:1", names).await.expect("free"), ["mine", "my core", "my std"]);
    }
}

/// Promise: the prelude's names may mean something else where the function stands.
mod prelude {
    #![allow(dead_code, unused_macros, reason = "what these are for is to be in the way")]
    use lock_shape_tests::{body, under, while_busy};

    #[derive(Debug, PartialEq)]
    enum Option {
        Some(u8),
        None,
    }
    use self::Option::{None, Some};

    #[allow(non_camel_case_types, reason = "it is the name of a primitive type")]
    struct i64;
    struct Ok;
    struct Err;
    struct Box;
    struct Vec;
    struct String;
    struct Request;
    struct Busy;
    struct Duration;
    struct LockKey;
    struct LockManager;
    trait From {}
    trait AsRef {}
    trait Future {}
    trait Into {}
    trait FnOnce {}

    macro_rules! format {
        () => {};
    }
    macro_rules! matches {
        () => {};
    }

    type Result<T> = ::core::result::Result<T, lock_runtime::LockError>;

    #[lock_runtime::distributed_lock(
        key = "h:{id}:{id:03}",
        ttl = "5s",
        wait = "1s",
        retry = lock_runtime::Retry::linear(::core::time::Duration::from_millis(10)),
        metadata = "id {id}",
        renew = "1s",
        max_hold = "1m",
        on_lost = "proceed",
        guard = lock,
        on_busy = |busy| ::core::result::Result::Ok(if busy.holder.is_some() { None } else { Some(0) }),
        on_error = |error| if error.is_lost() { ::core::panic!() } else { ::core::result::Result::Err(error) },
        release = "background",
        name = "hostile"
    )]
    async fn hostile(id: u8) -> Result<Option> {
        body();
        assert_eq!(lock.metadata().len(), 4);
        ::core::result::Result::Ok(if id > 1 { Some(id) } else { None })
    }

    #[lock_runtime::distributed_lock(key = "h:{id}", ttl = "5s", fence = token)]
    async fn fenced(id: u8) -> Result<::core::primitive::i64> {
        body();
        ::core::result::Result::Ok(token + ::core::primitive::i64::from(id))
    }

    #[lock_runtime::distributed_lock(key = "h:{id}", ttl = "5s", on_busy = "skip")]
    async fn skipped(id: u8) -> Result<()> {
        body();
        ::core::result::Result::Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn names_of_the_prelude() {
        let locks = lock_shape_tests::recorded();
        assert_eq!(locks.scope(hostile(1)).await.expect("free"), None);
        assert_eq!(lock_shape_tests::noted(), ["lock h:1:001", "body", "abandon h:1:001"]);
        assert_eq!(while_busy("h:2:002", hostile(2)).await.expect("answered"), None);
        assert!(under("h:1", fenced(1)).await.expect("free") > 1);
        under("h:1", skipped(1)).await.expect("free");
        while_busy("h:1", skipped(1)).await.expect("skipped");
    }
}

/// Promise: a trait of the user's, implemented for everything, does not take the expansion's calls.
mod methods {
    #![allow(dead_code, reason = "what these are for is to be in the way")]
    use lock_runtime::{LockError, LockManager, distributed_lock};
    use lock_shape_tests::{body, under};

    trait Everything: Sized {
        fn literal(&self, _: &str) {}
        fn part<T>(&self, _: &str, _: T) {}
        fn formatted<T>(&self, _: &str, _: T) {}
        fn finish(&self) {}
        fn wait(&self, _: core::time::Duration) {}
        fn retry<T>(&self, _: T) {}
        fn metadata<T>(&self, _: T) {}
        fn manager<T>(&self, _: T) {}
        fn renew(&self) {}
        fn renew_every<T>(&self, _: T) {}
        fn max_hold<T>(&self, _: T) {}
        fn proceed_when_lost(&self) {}
        fn fence(&self) {}
        fn release_in_background(&self) {}
        fn or_else_with<T>(&self, _: T) {}
        fn start(&self) {}
        fn as_ref(&self) {}
        fn into(&self) {}
    }

    impl<T> Everything for T {}

    #[distributed_lock(
        key = "h:{id}:{id:02}",
        ttl = "5s",
        wait = "1s",
        renew,
        max_hold = "1m",
        on_lost = "proceed",
        metadata = "m{id}",
        manager = locks,
        on_error = |error| if error.is_lost() { Ok(0) } else { Err(error) }
    )]
    async fn called(id: u8, locks: &LockManager) -> Result<u8, LockError> {
        body();
        Ok(id)
    }

    #[tokio::test]
    async fn traits_for_everything() {
        let locks = lock_shape_tests::recorded();
        assert_eq!(under("h:1:01", called(1, &locks)).await.expect("free"), 1);
    }
}
