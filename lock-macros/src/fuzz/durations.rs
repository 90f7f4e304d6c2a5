//! `"1m30s"`: the milliseconds that are written, or a refusal.

use proptest::prelude::*;

use super::{cases, slipped, slips_of_text};
use crate::duration::{interval, lease, max_hold, min_hold, wait};

const LONGEST: u128 = 30 * 24 * 60 * 60 * 1_000;

/// The milliseconds that the text writes, whatever their number: one letter after the other, each with what may follow it.
fn written(text: &str) -> Option<u128> {
    let mut total = 0_u128;
    let mut number: Option<u128> = None;
    // How many of `d`, `h`, `m`, `s`, `ms` have gone by.
    let mut gone = 0;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if let Some(digit) = letter.to_digit(10) {
            number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit.into()));
            continue;
        }
        let (place, millis) = match (letter, letters.peek()) {
            ('m', Some('s')) => {
                letters.next();
                (5, 1)
            }
            ('d', _) => (1, 24 * 60 * 60 * 1_000),
            ('h', _) => (2, 60 * 60 * 1_000),
            ('m', _) => (3, 60 * 1_000),
            ('s', _) => (4, 1_000),
            _ => return None,
        };
        if place <= gone {
            return None;
        }
        gone = place;
        total = total.saturating_add(number.take()?.saturating_mul(millis));
    }
    (number.is_none() && gone > 0).then_some(total)
}

/// Each use of durations, against the oracle: the same milliseconds, or a refusal with a reason.
fn check(text: &str) -> Result<(), TestCaseError> {
    let written = written(text);
    for (parse, shortest) in [(lease as fn(&str) -> _, 10), (wait, 1), (interval, 1), (max_hold, 1), (min_hold, 1)] {
        let expected = written.filter(|millis| (shortest..=LONGEST).contains(millis));
        match parse(text) {
            Ok(millis) => prop_assert_eq!(Some(u128::from(millis)), expected, "{:?}", text),
            Err(flaw) => {
                prop_assert_eq!(None, expected, "{:?}: {}", text, flaw);
                prop_assert!(!flaw.is_empty());
                advice_is_good(&flaw)?;
            }
        }
    }
    Ok(())
}

/// What a refusal says to write is a duration, up to its limits.
fn advice_is_good(flaw: &str) -> Result<(), TestCaseError> {
    for before in ["write `", "such as `"] {
        if let Some((_, after)) = flaw.rsplit_once(before) {
            let advised = after.split('`').next().unwrap_or_default();
            let shown = matches!(advised, "ms" | "wait" | "renew" | "min_hold");
            prop_assert!(shown || written(advised).is_some(), "{}", flaw);
        }
    }
    Ok(())
}

/// Numbers with units, most of them in order.
fn nearly() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        6 => (0..100_u64).prop_map(|number| number.to_string()),
        2 => (0..3_000_000_000_u64).prop_map(|number| number.to_string()),
        1 => "[0-9]{1,45}",
        1 => "0{0,40}[0-9]{1,3}",
    ];
    let ordered = prop::sample::subsequence(vec!["d", "h", "m", "s", "ms"], 1..=5);
    let units = prop_oneof![
        6 => ordered.prop_map(|units| units.into_iter().map(str::to_owned).collect::<Vec<_>>()),
        1 => prop::collection::vec("d|h|m|s|ms|us|µs|sec|minutes|S|MS|\\.|,| s|x", 1..4),
    ];
    let parts = (prop::collection::vec(number, 5), units);
    parts
        .prop_map(|(numbers, units)| numbers.into_iter().zip(units).flat_map(|(number, unit)| [number, unit]).collect())
}

proptest! {
    #![proptest_config(cases(4_000))]

    /// Promise: a duration is as long as it says, or it is refused. Taking `m` for milliseconds turns this red, and so does
    /// `<` for `<=` at a limit, or a sum that wraps.
    #[test]
    fn nearly_durations(text in nearly(), slips in slips_of_text("[0-9dhms., µS]{1,3}")) {
        check(&text)?;
        check(&slipped(&text, &slips))?;
    }

    /// Promise: the same of texts in the letters of durations,
    #[test]
    fn letters_of_durations(text in "[0-9dhms., µ]{0,12}") {
        check(&text)?;
    }

    /// Promise: and of any text.
    #[test]
    fn any_text(text in "\\PC{0,16}|[\\x00-\\x{10ffff}]{0,8}") {
        check(&text)?;
    }
}

/// Promise: the limits are where the documentation has them: each length around them, written in each way.
#[test]
fn around_the_limits() {
    for limit in [0, 1, 10, u64::try_from(LONGEST).expect("fits")] {
        for millis in limit.saturating_sub(3)..=limit + 3 {
            let (seconds, rest) = (millis / 1_000, millis % 1_000);
            for text in [format!("{millis}ms"), format!("{seconds}s{rest}ms"), format!("0d0h{millis}ms")] {
                check(&text).expect("as the oracle has it");
            }
        }
    }
}

/// Promise: what is longer than a number can be is refused, and is not what is left of it: the last products that fit, and the
/// first that do not, for each unit.
#[test]
fn beyond_all_numbers() {
    for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let last = u128::from(u64::MAX) / scale;
        for number in last - 2..last + 4 {
            check(&format!("{number}{unit}")).expect("as the oracle has it");
            check(&format!("1d{number}{unit}")).expect("as the oracle has it");
        }
    }
}
