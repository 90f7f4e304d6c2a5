//! Durations as people write them: `"5s"`, `"500ms"`, `"1m30s"`.

use crate::suggest;

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", DAY), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const DAY: u64 = 86_400_000;

/// The longest duration of any argument. A longer one is a mistake, and Redis has a limit as well.
const LONGEST: u64 = 30 * DAY;

/// The shortest lease: below this it is over before the answer to its request is here.
const SHORTEST_LEASE: u64 = 10;

/// What is wrong with a duration, in words for its author.
type Flaw = String;

/// The length of a lease, in milliseconds.
pub(crate) fn lease(text: &str) -> Result<u64, Flaw> {
    match limited(text)? {
        millis if millis < SHORTEST_LEASE => {
            Err(format!("`{text}` is too short for a lease: at least `{SHORTEST_LEASE}ms`"))
        }
        millis => Ok(millis),
    }
}

/// The length of a wait, in milliseconds.
pub(crate) fn wait(text: &str) -> Result<u64, Flaw> {
    above_zero(text, "a wait of zero is no wait: leave `wait` out to try once")
}

/// The time from one renewal to the next, in milliseconds.
pub(crate) fn interval(text: &str) -> Result<u64, Flaw> {
    above_zero(text, "an interval of zero is no interval: `renew` alone renews three times in each `ttl`")
}

/// The longest hold, in milliseconds.
pub(crate) fn max_hold(text: &str) -> Result<u64, Flaw> {
    above_zero(text, "a hold of zero is no hold: `max_hold` is at least `ttl`")
}

/// The shortest hold, in milliseconds.
pub(crate) fn min_hold(text: &str) -> Result<u64, Flaw> {
    above_zero(text, "a hold of zero is no hold: leave `min_hold` out to release at once")
}

fn above_zero(text: &str, zero: &str) -> Result<u64, Flaw> {
    match limited(text)? {
        0 => Err(zero.to_owned()),
        millis => Ok(millis),
    }
}

fn limited(text: &str) -> Result<u64, Flaw> {
    match parse(text)? {
        millis if millis > LONGEST => Err(format!("`{text}` is too long: at most `30d`")),
        millis => Ok(millis),
    }
}

/// Numbers with units, the units in descending order and each at most once.
fn parse(text: &str) -> Result<u64, Flaw> {
    if text.is_empty() {
        return Err("the duration is empty: write a number with a unit, such as `5s`".to_owned());
    }
    let packed: String = text.split_whitespace().collect();
    if packed != text && parse(&packed).is_ok() {
        return Err(format!("write `{packed}`, without spaces"));
    }
    let mut total = 0_u64;
    let mut smallest = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(format!("`{text}` is no duration: write a number with a unit, such as `5s`"));
        }
        if unit.is_empty() {
            return Err(format!("`{number}` has no unit: write `{number}s`, or another of {}", units()));
        }
        if matches!(unit, "." | ",") {
            return Err(no_fraction(text, number, after));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(number, unit));
        };
        if *scale >= smallest {
            return Err(format!("`{text}`: write the larger units first, and each once"));
        }
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*scale))
            .and_then(|millis| total.checked_add(millis))
            .ok_or_else(|| format!("`{text}` is too long: at most `30d`"))?;
        smallest = *scale;
        rest = after;
    }
    Ok(total)
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

fn units() -> String {
    suggest::list(UNITS.iter().rev().map(|(name, _)| *name), "or")
}

/// `1.5s`, with the milliseconds that it means where these are a whole number.
fn no_fraction(text: &str, whole: &str, fraction: &str) -> Flaw {
    let exact = || {
        let (digits, unit) = split_where(fraction, |c| !c.is_ascii_digit());
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let all: u64 = format!("{whole}{digits}").parse().ok()?;
        let parts = 10_u64.checked_pow(digits.len().try_into().ok()?)?;
        let millis = all.checked_mul(*scale)?;
        (millis % parts == 0).then(|| format!("{}ms", millis / parts))
    };
    let exact = exact().unwrap_or_else(|| "1s500ms".to_owned());
    format!("`{text}` has a fraction: write whole numbers, such as `{exact}`")
}

fn unknown_unit(number: &str, unit: &str) -> Flaw {
    let unit = unit.trim();
    let lower = unit.to_ascii_lowercase();
    let meant = match lower.as_str() {
        "us" | "µs" | "ns" => return format!("`{number}{unit}` is too fine: the smallest unit is `ms`"),
        lower if lower == "ms" || lower.starts_with("milli") || lower.starts_with("msec") => Some("ms"),
        lower if lower.starts_with('s') => Some("s"),
        lower if lower.starts_with("mo") => None,
        lower if lower.starts_with('m') => Some("m"),
        lower if lower.starts_with('h') => Some("h"),
        lower if lower.starts_with('d') => Some("d"),
        _ => None,
    };
    match meant {
        Some(meant) => format!("unknown unit `{unit}`: write `{number}{meant}`"),
        None => format!("unknown unit `{unit}` in `{number}{unit}`: write {}", units()),
    }
}

#[cfg(test)]
mod tests {
    use super::{interval, lease, max_hold, min_hold, parse, wait};
    use proptest::prelude::*;

    #[track_caller]
    fn flaw(text: &str, expected: &str) {
        assert_eq!(lease(text).expect_err(text), expected);
    }

    #[test]
    fn numbers_with_units() {
        assert_eq!(lease("10ms"), Ok(10));
        assert_eq!(lease("5s"), Ok(5_000));
        assert_eq!(lease("1m30s"), Ok(90_000));
        assert_eq!(lease("1d2h3m4s5ms"), Ok(93_784_005));
        assert_eq!(lease("90s"), Ok(90_000));
        assert_eq!(lease("30d"), Ok(2_592_000_000));
        assert_eq!(lease("007s"), Ok(7_000));
        assert_eq!(wait("1ms"), Ok(1));
    }

    #[test]
    fn without_a_unit() {
        flaw("5", "`5` has no unit: write `5s`, or another of `ms`, `s`, `m`, `h` or `d`");
        flaw("1m30", "`30` has no unit: write `30s`, or another of `ms`, `s`, `m`, `h` or `d`");
    }

    #[test]
    fn unknown_units() {
        flaw("5x", "unknown unit `x` in `5x`: write `ms`, `s`, `m`, `h` or `d`");
        flaw("5sec", "unknown unit `sec`: write `5s`");
        flaw("5S", "unknown unit `S`: write `5s`");
        flaw("5 minutes", "unknown unit `minutes`: write `5m`");
        flaw("5minutes", "unknown unit `minutes`: write `5m`");
        flaw("100millis", "unknown unit `millis`: write `100ms`");
        flaw("2months", "unknown unit `months` in `2months`: write `ms`, `s`, `m`, `h` or `d`");
        flaw("5µs", "`5µs` is too fine: the smallest unit is `ms`");
    }

    #[test]
    fn not_a_duration() {
        flaw("", "the duration is empty: write a number with a unit, such as `5s`");
        flaw("soon", "`soon` is no duration: write a number with a unit, such as `5s`");
        flaw("-5s", "`-5s` is no duration: write a number with a unit, such as `5s`");
        flaw("5 s", "write `5s`, without spaces");
        flaw("1m 30s", "write `1m30s`, without spaces");
    }

    #[test]
    fn fractions_are_spelled_out() {
        flaw("1.5s", "`1.5s` has a fraction: write whole numbers, such as `1500ms`");
        flaw("0.25h", "`0.25h` has a fraction: write whole numbers, such as `900000ms`");
        flaw("0.0001s", "`0.0001s` has a fraction: write whole numbers, such as `1s500ms`");
    }

    #[test]
    fn units_descend() {
        flaw("30s1m", "`30s1m`: write the larger units first, and each once");
        flaw("1s1s", "`1s1s`: write the larger units first, and each once");
    }

    #[test]
    fn limits() {
        flaw("9ms", "`9ms` is too short for a lease: at least `10ms`");
        flaw("0s", "`0s` is too short for a lease: at least `10ms`");
        flaw("31d", "`31d` is too long: at most `30d`");
        flaw("30d1ms", "`30d1ms` is too long: at most `30d`");
        flaw("99999999999999999999s", "`99999999999999999999s` is too long: at most `30d`");
        flaw("9999999999999999999s", "`9999999999999999999s` is too long: at most `30d`");
        assert_eq!(wait("0s"), Err("a wait of zero is no wait: leave `wait` out to try once".to_owned()));
        for check in [wait, interval, max_hold, min_hold] {
            assert_eq!(check("1ms"), Ok(1));
            assert!(check("0h0ms").expect_err("zero").contains(" of zero is no "));
            assert_eq!(check("31d"), Err("`31d` is too long: at most `30d`".to_owned()));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = (lease(&text), wait(&text));
        }

        #[test]
        fn no_text_of_its_own_alphabet_makes_it_panic(text in "[0-9dhms., µ]{0,24}") {
            let _ = (lease(&text), wait(&text));
        }

        #[test]
        fn the_sum_of_its_parts(d in 0..9_u64, h in 0..30_u64, m in 0..99_u64, s in 0..99_u64, ms in 0..9999_u64) {
            let sum = d * 86_400_000 + h * 3_600_000 + m * 60_000 + s * 1_000 + ms;
            prop_assert_eq!(parse(&format!("{d}d{h}h{m}m{s}s{ms}ms")), Ok(sum));
        }
    }
}
