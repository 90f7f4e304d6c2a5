//! Promise: every template that the macro accepts compiles, and makes the key that is written. The templates are drawn by lot,
//! from the grammar that the macro's own tests have (`build.rs`), and so are the values of their parts.

use std::future::Future;
use std::pin::Pin;

use lock_runtime::{LockError, distributed_lock};
use lock_shape_tests::{body, under};

/// A template, the key that it must make, and the call that is to lock it.
type Call = (&'static str, &'static str, Pin<Box<dyn Future<Output = Result<(), LockError>>>>);

struct Shop {
    zone: &'static str,
}

struct Order {
    id: i64,
    name: &'static str,
    lines: (i64, ((), &'static str)),
    r#match: &'static str,
    r#gen: i64,
}

#[allow(
    clippy::octal_escapes,
    clippy::unreadable_literal,
    clippy::used_underscore_binding,
    clippy::too_many_lines,
    reason = "written by a program, for a program"
)]
mod generated {
    use super::{Call, LockError, Order, Shop, body, distributed_lock};

    include!(concat!(env!("OUT_DIR"), "/templates.rs"));
}

/// Any template that does not compile, or makes another key, turns this red: a keyword as a name that is not made raw, a
/// format that rustc reads in another way, a part that is escaped once too often.
#[tokio::test]
async fn templates_make_their_keys() {
    let calls = generated::calls();
    println!("{} templates of seed {}", calls.len(), generated::SEED);
    for (template, key, call) in calls {
        println!("{template:?} makes {key:?}");
        under(key, call).await.expect("free");
    }
}
