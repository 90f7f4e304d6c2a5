//! The tail cannot be coerced to a trait object.
#![allow(dead_code)]

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s", on_error = |_| Box::new(|| ()))]
async fn f(id: u64) -> Box<dyn Fn()> {
    Box::new(move |other: u64| assert_eq!(other, id))
}

fn main() {}
