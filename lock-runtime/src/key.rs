//! Keys: what may be one, and how values are written into a template so that two of them never make the same key.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The longest key that is accepted, in bytes. Redis would take 512 MB, and keep it for as long as somebody likes.
const MAX_BYTES: usize = 1024;

/// The key of a lock: exactly what the store will see, without a hidden prefix.
///
/// Made from a string, or from a template by `key!` or the attribute. Making one never fails; an empty
/// key, one with a NUL character and one over 1 KiB are refused as
/// [`LockError::Invalid`](crate::LockError::Invalid) when the lock is asked for, and so is a template with an empty part.
#[derive(Clone)]
pub struct LockKey {
    text: Arc<str>,
    flaw: Option<&'static str>,
}

impl LockKey {
    /// The key as the store sees it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Why this is no key, if so.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        if self.flaw.is_some() {
            self.flaw
        } else if self.text.is_empty() {
            Some("the key is empty")
        } else if self.text.len() > MAX_BYTES {
            Some("the key is longer than 1 KiB; hash the long part")
        } else if self.text.contains('\0') {
            Some("the key contains a NUL character")
        } else {
            None
        }
    }

    /// The same key behind `prefix`.
    pub(crate) fn prefixed(&self, prefix: &str) -> Self {
        if prefix.is_empty() {
            self.clone()
        } else {
            Self { text: format!("{prefix}{}", self.text).into(), flaw: self.flaw() }
        }
    }
}

impl Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl PartialEq for LockKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LockKey {}

impl PartialOrd for LockKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LockKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for LockKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl AsRef<str> for LockKey {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl From<&str> for LockKey {
    fn from(text: &str) -> Self {
        Self { text: text.into(), flaw: None }
    }
}

impl From<&&str> for LockKey {
    fn from(text: &&str) -> Self {
        Self::from(*text)
    }
}

impl From<String> for LockKey {
    fn from(text: String) -> Self {
        Self { text: text.into(), flaw: None }
    }
}

impl From<&String> for LockKey {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Cow<'_, str>> for LockKey {
    fn from(text: Cow<'_, str>) -> Self {
        Self { text: text.into(), flaw: None }
    }
}

impl From<Arc<str>> for LockKey {
    fn from(text: Arc<str>) -> Self {
        Self { text, flaw: None }
    }
}

impl From<&LockKey> for LockKey {
    fn from(key: &LockKey) -> Self {
        key.clone()
    }
}

/// A value that can stand in a placeholder of a key template: everything that implements [`Display`].
///
/// `Option` does not, and cannot be made to: decide first what `None` locks.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a lock key",
    label = "a part of a lock key must implement `Display`",
    note = "for an `Option`, decide first what `None` locks; for a type of your own, lock by its id"
)]
pub trait KeyPart {
    /// Writes the value as it is to appear in the key, before escaping.
    ///
    /// # Errors
    ///
    /// The formatter's; a key whose part failed is refused when the lock is asked for.
    fn write_part(&self, to: &mut dyn fmt::Write) -> fmt::Result;
}

#[diagnostic::do_not_recommend]
impl<T: Display + ?Sized> KeyPart for T {
    fn write_part(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "{self}")
    }
}

/// A value that can stand in a placeholder with a width, such as `{id:05}`: a number.
///
/// Text is padded with what it may end with: in `{name:5}`, `a` and `a ` would make the same key. A type of your own that shows
/// nothing but a number may implement this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be padded in a lock key",
    label = "a placeholder with a width must be a number",
    note = "padded text could look like another text, and different values could share one lock: leave out the width"
)]
pub trait KeyNumber {}

// Every number is one, and nothing else of the standard library.
#[diagnostic::do_not_recommend]
impl<T: fmt::LowerExp + ?Sized> KeyNumber for T {}

/// Writes one key from the pieces of a template. Part of the expansion's contract, not of the public API.
///
/// Invariant: the parts' text contains neither `%` nor any character of the template's own literal text other than ASCII
/// letters and digits. The macro refuses `%` in literals and placeholders that are not separated by such a character, so
/// the literals can be found in the finished key, and with them the parts: the key is injective over its parts.
#[derive(Debug)]
pub struct KeyWriter {
    text: String,
    specials: &'static str,
    flaw: Option<&'static str>,
}

impl KeyWriter {
    /// `specials`: the characters of the template's literal text that are no ASCII letters or digits.
    #[must_use]
    pub fn new(specials: &'static str) -> Self {
        Self { text: String::with_capacity(48), specials, flaw: None }
    }

    /// Literal text of the template.
    pub fn literal(&mut self, text: &'static str) {
        self.text.push_str(text);
    }

    /// The value of the placeholder `{placeholder}`.
    pub fn part<T: KeyPart + ?Sized>(&mut self, _placeholder: &'static str, value: &T) {
        self.escaped(|escape| value.write_part(escape));
    }

    /// Says of the next value that its format pads it.
    pub fn padded<T: KeyNumber + ?Sized>(_value: &T) {}

    /// The value of a placeholder with a format spec.
    pub fn formatted(&mut self, _placeholder: &'static str, value: fmt::Arguments<'_>) {
        self.escaped(|escape| escape.write_fmt(value));
    }

    /// The finished key.
    #[must_use]
    pub fn finish(self) -> LockKey {
        LockKey { text: self.text.into(), flaw: self.flaw }
    }

    fn escaped(&mut self, write: impl FnOnce(&mut Escape<'_>) -> fmt::Result) {
        let before = self.text.len();
        let outcome = write(&mut Escape { text: &mut self.text, specials: self.specials });
        if outcome.is_err() {
            self.flaw = Some("a value in the key template failed to format");
        } else if self.text.len() == before {
            self.flaw = self.flaw.or(Some("a placeholder of the key template is empty"));
        }
    }
}

/// Percent-encodes what could be mistaken for a part of the template.
struct Escape<'a> {
    text: &'a mut String,
    specials: &'static str,
}

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for c in piece.chars() {
            if c.is_ascii_alphanumeric() {
                self.text.push(c);
            } else if matches!(c, '%' | '{' | '}') || c.is_control() || self.specials.contains(c) {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    write!(self.text, "%{byte:02X}")?;
                }
            } else {
                self.text.push(c);
            }
            // A value that formats without end must not take the memory with it.
            if self.text.len() > 2 * MAX_BYTES {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(tenant: &str, id: &str) -> LockKey {
        let mut key = KeyWriter::new(":/");
        key.literal("order:");
        key.part("tenant", tenant);
        key.literal("/x");
        key.part("id", id);
        key.finish()
    }

    #[test]
    fn an_ordinary_value_comes_out_unchanged() {
        assert_eq!(order("acme", "42").as_str(), "order:acme/x42");
        assert_eq!(order("a.b-c_d", "ü").as_str(), "order:a.b-c_d/xü");
    }

    #[test]
    fn separators_braces_percent_and_controls_are_escaped() {
        assert_eq!(order("a:b/c", "{1}%\n").as_str(), "order:a%3Ab%2Fc/x%7B1%7D%25%0A");
    }

    #[test]
    fn a_non_ascii_separator_is_escaped_byte_by_byte() {
        let mut key = KeyWriter::new("→");
        key.part("a", "1→2");
        key.literal("→");
        key.part("b", "3");
        assert_eq!(key.finish().as_str(), "1%E2%86%922→3");
    }

    #[test]
    fn format_specs_are_honoured() {
        let mut key = KeyWriter::new(":");
        key.literal("n:");
        key.formatted("n:05", format_args!("{:05}", 42));
        assert_eq!(key.finish().as_str(), "n:00042");
    }

    #[test]
    fn what_is_no_key_says_why() {
        assert_eq!(LockKey::from("").flaw(), Some("the key is empty"));
        assert!(LockKey::from("a\0b").flaw().is_some());
        assert!(LockKey::from("x".repeat(1025)).flaw().is_some());
        assert!(LockKey::from("x".repeat(1024)).flaw().is_none());
        assert!(LockKey::from("x".repeat(1024)).prefixed("p").flaw().is_some());
        assert_eq!(order("", "1").flaw(), Some("a placeholder of the key template is empty"));
        assert!(order("a", "1").flaw().is_none());
        // The flaw of a part is not forgotten when the rest makes up for the length.
        assert!(order("a", "").prefixed("app:").flaw().is_some());
    }

    #[test]
    fn a_value_that_fails_to_format_is_refused() {
        struct Broken;
        impl Display for Broken {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        let mut key = KeyWriter::new("");
        key.part("broken", &Broken);
        assert_eq!(key.finish().flaw(), Some("a value in the key template failed to format"));
    }

    #[test]
    fn a_huge_value_is_cut_and_refused() {
        let key = order(&"x".repeat(10_000_000), "1");
        assert!(key.as_str().len() < 4 * MAX_BYTES);
        assert!(key.flaw().is_some());
    }

    /// A template: literal text around `n` placeholders. As the macro has it, no literal holds a `%`, and those between two
    /// placeholders hold something other than ASCII letters and digits.
    fn template() -> impl Strategy<Value = Vec<&'static str>> {
        let literal = || prop_oneof!["[ab12:/{}→é. -]{0,5}", "[^%]{0,4}"];
        let separates = |text: &String| text.chars().any(|c| !c.is_ascii_alphanumeric());
        let between = prop::collection::vec(literal().prop_filter("it separates", separates), 0..4);
        (literal(), between, literal()).prop_map(|(first, between, last)| {
            // The writer takes text of the source code, which lives for ever.
            let text = |text: String| -> &'static str { text.leak() };
            [vec![text(first)], between.into_iter().map(text).collect(), vec![text(last)]].concat()
        })
    }

    fn part() -> impl Strategy<Value = String> {
        prop_oneof!["[ab12:/{}→é. %-]{1,4}", ".{1,4}"]
    }

    fn written(template: &[&'static str], parts: &[String]) -> LockKey {
        let mut specials: Vec<char> = template.concat().chars().filter(|c| !c.is_ascii_alphanumeric()).collect();
        specials.dedup();
        let mut key = KeyWriter::new(specials.into_iter().collect::<String>().leak());
        for (number, literal) in template.iter().enumerate() {
            if let Some(part) = number.checked_sub(1).and_then(|number| parts.get(number)) {
                key.part("part", part);
            }
            key.literal(literal);
        }
        key.finish()
    }

    proptest! {
        /// Promise: in any template, two different lists of values never make the same key.
        #[test]
        fn keys_of_any_template_are_injective(
            template in template(),
            these in prop::collection::vec(part(), 5),
            those in prop::collection::vec(part(), 5),
        ) {
            let n = template.len() - 1;
            let (these, those) = (&these[..n], &those[..n]);
            prop_assert_eq!(written(&template, these) == written(&template, those), these == those);
        }

        /// Promise: the same, where the values differ in one place by the template's own text.
        #[test]
        fn text_moved_from_one_value_to_the_next_makes_another_key(
            template in template().prop_filter("two values", |template| template.len() > 2),
            mut these in prop::collection::vec(part(), 5),
            cut in 0..3_usize,
        ) {
            let mut those = these.clone();
            let moved: String = these[1].chars().take(cut + 1).collect();
            those[0] = format!("{}{}{moved}", these[0], template[1]);
            those[1] = these[1].chars().skip(cut + 1).collect::<String>() + "x";
            these.truncate(template.len() - 1);
            those.truncate(template.len() - 1);
            prop_assert_eq!(written(&template, &these) == written(&template, &those), these == those);
        }

        /// Promise: two different lists of values never make the same key.
        #[test]
        fn keys_are_injective(a in ".{1,12}", b in ".{1,12}", c in ".{1,12}", d in ".{1,12}") {
            prop_assert_eq!(order(&a, &b) == order(&c, &d), (a, b) == (c, d));
        }

        /// Promise: the same over values made of nothing but the dangerous characters.
        #[test]
        fn keys_of_separators_are_injective(
            a in "[:/x%{}3A]{1,5}", b in "[:/x%{}3A]{1,5}", c in "[:/x%{}3A]{1,5}", d in "[:/x%{}3A]{1,5}",
        ) {
            prop_assert_eq!(order(&a, &b) == order(&c, &d), (a, b) == (c, d));
        }

        /// Promise: user input cannot place a cluster hash tag.
        #[test]
        fn no_part_writes_a_brace(a in ".*") {
            let key = order(&a, "1");
            let braces = key.as_str().matches(['{', '}']).count();
            prop_assert_eq!(braces, 0);
        }
    }
}
