//! Templates that must be accepted, and the keys that they must make, written down without the parser and the runtime.
//! `tests/shapes/build.rs` has this file too, and makes a program of such templates.

use std::fmt::Write as _;

/// Numbers that look drawn by lot, the same for the same seed: `SplitMix64`.
#[derive(Debug)]
pub(crate) struct Lot(pub(crate) u64);

impl Iterator for Lot {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some((mixed >> 48) as u16)
    }
}

/// Decisions, by numbers that a test draws. When they are used up, it is always the first of what there is.
#[derive(Debug)]
pub(crate) struct Choices<I>(pub(crate) I);

impl<I: Iterator<Item = u16>> Choices<I> {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % limit
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// A piece of a template.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// As it will be in the key.
    Text(String),
    Part {
        path: &'static str,
        spec: String,
    },
}

/// What a placeholder stands for. Text takes no width: padded, `a` and `a ` would be the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
}

/// Every kind of path, with the type that it has in a program, and whether that is a number.
pub(crate) const PATHS: [(&str, bool); 17] = [
    ("id", true),
    ("number", true),
    ("name", false),
    ("type", false),
    ("größe", false),
    ("_x1", true),
    ("order.id", true),
    ("order.name", false),
    ("order.lines.0", true),
    ("order.lines.1.1", false),
    ("order.match", false),
    ("order.gen", true),
    ("gen", false),
    ("t.0", true),
    ("t.1.0", false),
    ("self.zone", false),
    ("TENANT", false),
];

const SEPARATORS: [&str; 16] = [":", "/", "-", "_", ".", " ", "|", "{", "}", "é", "→", "\"", "\\", "\n", "²", "😀"];

/// What a value must not be mistaken for.
const DANGEROUS: [&str; 22] = [
    ":", "/", "%", "{", "}", "%3A", "%3a", "3A", "%7B", "_", "-", ".", " ", "a", "x1", "0", "é", "→", "\u{301}", "\n",
    "\0", "\u{2028}",
];

/// A template with at least one piece, whose placeholders are kept apart.
pub(crate) fn template<I: Iterator<Item = u16>>(choices: &mut Choices<I>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let parts = choices.below(5);
    for part in 0..=parts {
        let between = (1..parts).contains(&part);
        let text = text(choices, between || parts == 0);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        if part < parts {
            let (path, number) = PATHS[choices.below(PATHS.len())];
            pieces.push(Piece::Part { path, spec: spec(choices, number) });
        }
    }
    pieces
}

fn text<I: Iterator<Item = u16>>(choices: &mut Choices<I>, needed: bool) -> String {
    let mut text = String::new();
    for _ in 0..choices.below(3) {
        text.push_str(choices.pick(&["a", "x1", "Z", "0", "order", "7"]));
    }
    for _ in 0..choices.below(3) + usize::from(needed) {
        text.push_str(choices.pick(&SEPARATORS));
    }
    for _ in 0..choices.below(2) {
        text.push_str(choices.pick(&["a", "x1", "9", "ms"]));
    }
    text
}

fn spec<I: Iterator<Item = u16>>(choices: &mut Choices<I>, number: bool) -> String {
    let mut spec = choices.pick(&["", "", "+"]).to_owned();
    spec.push_str(choices.pick(&["", "", "#"]));
    if number {
        spec.push_str(choices.pick(&["", "", "0"]));
        spec.push_str(choices.pick(&["", "", "1", "5", "8", "20"]));
        spec.push_str(choices.pick(&["", "", "x", "X", "o", "b"]));
    }
    spec
}

/// The template as its author writes it, without the quotes.
pub(crate) fn source(pieces: &[Piece]) -> String {
    pieces.iter().fold(String::new(), |mut source, piece| {
        match piece {
            Piece::Text(text) => source.push_str(&text.replace('{', "{{").replace('}', "}}")),
            Piece::Part { path, spec } if spec.is_empty() => write!(source, "{{{path}}}").expect("text"),
            Piece::Part { path, spec } => write!(source, "{{{path}:{spec}}}").expect("text"),
        }
        source
    })
}

pub(crate) fn value<I: Iterator<Item = u16>>(choices: &mut Choices<I>, number: bool) -> Value {
    if number {
        const NUMBERS: [i64; 12] = [0, 1, -1, 5, -5, 10, 16, 0x3A, 100, 255, i64::MAX, i64::MIN];
        return Value::Number(NUMBERS[choices.below(NUMBERS.len())]);
    }
    let mut text = String::new();
    for _ in 0..choices.below(4) {
        text.push_str(choices.pick(&DANGEROUS));
    }
    Value::Text(text)
}

/// The key of these values, one for each part.
pub(crate) fn key<'a>(pieces: &[Piece], values: impl IntoIterator<Item = &'a Value>) -> String {
    let mut values = values.into_iter();
    pieces.iter().fold(String::new(), |mut key, piece| {
        match piece {
            Piece::Text(text) => key.push_str(text),
            Piece::Part { spec, .. } => {
                let value = values.next().expect("a value for each part");
                formatted(value, spec).chars().for_each(|letter| escape(letter, pieces, &mut key));
            }
        }
        key
    })
}

fn escape(letter: char, pieces: &[Piece], key: &mut String) {
    let special = !letter.is_ascii_alphanumeric()
        && pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains(letter)));
    if special || letter.is_control() || ['%', '{', '}'].contains(&letter) {
        let mut bytes = [0; 4];
        letter.encode_utf8(&mut bytes).bytes().for_each(|byte| write!(key, "%{byte:02X}").expect("text"));
    } else {
        key.push(letter);
    }
}

/// `format!("{:SPEC}", value)`, for a spec that is known only now.
pub(crate) fn formatted(value: &Value, spec: &str) -> String {
    let (plus, rest) = spec.strip_prefix('+').map_or((false, spec), |rest| (true, rest));
    let (alternate, rest) = rest.strip_prefix('#').map_or((false, rest), |rest| (true, rest));
    let width = rest.trim_end_matches(['x', 'X', 'o', 'b']);
    let radix = &rest[width.len()..];
    let number = match value {
        Value::Number(number) => *number,
        // Signs and zeros are for numbers.
        Value::Text(text) => return format!("{text:width$}", width = width.parse().unwrap_or(0)),
    };
    // With a radix, the two's complement: there are no negative numbers.
    let (digits, prefix) = match radix {
        "" => (number.unsigned_abs().to_string(), ""),
        "x" => (format!("{number:x}"), "0x"),
        "X" => (format!("{number:X}"), "0x"),
        "o" => (format!("{number:o}"), "0o"),
        _ => (format!("{number:b}"), "0b"),
    };
    let sign = match (number < 0 && radix.is_empty(), plus) {
        (true, _) => "-",
        (false, true) => "+",
        (false, false) => "",
    };
    let prefix = format!("{sign}{}", if alternate { prefix } else { "" });
    let missing = width.parse::<usize>().unwrap_or(0).saturating_sub(prefix.len() + digits.len());
    if width.starts_with('0') {
        format!("{prefix}{}{digits}", "0".repeat(missing))
    } else {
        format!("{}{prefix}{digits}", " ".repeat(missing))
    }
}
