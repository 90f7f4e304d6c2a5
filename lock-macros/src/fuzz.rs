//! The parsers under every text and every tokens, by the hundred thousand: none makes them panic, and what they accept and what
//! they refuse is what an oracle of its own says. `PROPTEST_CASES=1000000 cargo test --release -p lock-macros fuzz` looks longer.

use std::fmt::Debug;
use std::ops::Range;

use proptest::prelude::*;

mod arguments;
mod durations;
mod functions;
mod grammar;
mod templates;

/// As many cases as `PROPTEST_CASES` says, or `usually`.
fn cases(usually: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { usually };
    // A case that failed becomes a test by its own name; a file of seeds says nothing to its reader.
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2_000, ..config }
}

/// A slip of the hand in a text, by characters, or in tokens.
#[derive(Clone, Debug)]
enum Slip<T> {
    Insert(usize, Vec<T>),
    Delete(Range<usize>),
    Repeat(Range<usize>),
    Swap(usize, usize),
}

/// A few slips; places count modulo the length of what they are made in.
fn slips<T: Clone + Debug>(inserted: impl Strategy<Value = Vec<T>>) -> impl Strategy<Value = Vec<Slip<T>>> {
    let place = 0..64_usize;
    let range = (0..64_usize, 1..4_usize).prop_map(|(from, length)| from..from + length);
    let slip = prop_oneof![
        4 => (place.clone(), inserted).prop_map(|(at, items)| Slip::Insert(at, items)),
        2 => range.clone().prop_map(Slip::Delete),
        1 => range.prop_map(Slip::Repeat),
        1 => (place.clone(), place).prop_map(|(one, other)| Slip::Swap(one, other)),
    ];
    prop::collection::vec(slip, 0..4)
}

fn slip<T: Clone>(items: &mut Vec<T>, slips: &[Slip<T>]) {
    for slip in slips {
        let length = items.len();
        let within = |range: &Range<usize>| {
            let start = range.start % (length + 1);
            start..(start + range.len()).min(length)
        };
        match slip {
            Slip::Insert(at, inserted) => {
                let at = at % (length + 1);
                drop(items.splice(at..at, inserted.iter().cloned()));
            }
            Slip::Delete(range) => drop(items.drain(within(range))),
            Slip::Repeat(range) => {
                let range = within(range);
                let again = items[range.clone()].to_vec();
                drop(items.splice(range.end..range.end, again));
            }
            Slip::Swap(one, other) if length > 0 => items.swap(one % length, other % length),
            Slip::Swap(..) => {}
        }
    }
}

/// Slips in a text, where characters of this pattern slip in.
fn slips_of_text(pattern: &'static str) -> impl Strategy<Value = Vec<Slip<char>>> {
    slips(pattern.prop_map(|text| text.chars().collect()))
}

fn slipped(text: &str, slips: &[Slip<char>]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    slip(&mut chars, slips);
    chars.into_iter().collect()
}
