//! Many keys, each used once: what of them stays in memory.

use lock_budget_tests::keys::Live;

use crate::report::{Line, Report, Table};

/// What was live, as a table and as comparisons.
#[must_use]
pub fn report(stores: &[(&'static str, Live)]) -> Report {
    let mut table =
        Table::new("Keys used once, by two tasks: live memory", &["", "keys", "before, bytes", "more after, at most"]);
    for (store, live) in stores {
        let numbers = [live.keys.to_string(), live.before.to_string(), live.growth().to_string()];
        table.row(std::iter::once((*store).to_owned()).chain(numbers));
    }
    let bytes = |bytes: usize| f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
    let lines = stores.iter().map(|(store, live)| {
        let most = live.after.iter().max().copied().unwrap_or_default();
        Line::counted(
            format!("live bytes after {} keys {store}, against before", live.keys),
            bytes(most),
            bytes(live.before),
        )
    });
    Report { name: "keys", tables: vec![table], lines: lines.collect() }
}
