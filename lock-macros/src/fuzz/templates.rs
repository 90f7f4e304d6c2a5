//! `"order:{order.id}"`: what is accepted makes the key that is written, and a different one of different values.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use lock_runtime::__private::KeyWriter;
use lock_runtime::LockKey;
use proc_macro2::{Span, TokenStream};
use proptest::prelude::*;
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::{Block, Expr, ExprCall, ExprMacro, Lit, LitStr, Stmt, Token};

use super::grammar::{self, Choices, Lot, Piece, Value};
use super::{cases, slipped, slips_of_text};
use crate::item::Scope;
use crate::template::{Role, Template};

/// Bytes of the longest key.
const LONGEST: usize = 1024;

fn parse(source: &str) -> syn::Result<TokenStream> {
    let template = Template::parse(&LitStr::new(source, Span::call_site()), Role::Key)?;
    Ok(template.key(&quote!(P), &Scope::default()))
}

/// One statement of an expansion.
#[derive(Debug)]
enum Step {
    Literal(&'static str),
    Part(Part),
}

#[derive(Debug)]
struct Part {
    /// As it is written, between the braces.
    source: &'static str,
    path: String,
    spec: String,
    /// Whether rustc takes nothing but a number.
    number: bool,
}

/// An expansion that can be run without rustc, on the runtime's own `KeyWriter`.
#[derive(Debug)]
struct Program {
    specials: &'static str,
    steps: Vec<Step>,
}

impl Program {
    /// Reads `{ let mut __key = P::KeyWriter::new(…); … P::KeyWriter::finish(__key) }`, and nothing else.
    fn read(expansion: TokenStream) -> Self {
        let Block { stmts, .. } = syn::parse2(expansion).expect("a block");
        let [Stmt::Local(new), steps @ .., Stmt::Expr(finish, None)] = stmts.as_slice() else {
            panic!("{} statements", stmts.len())
        };
        let (name, arguments) = call(&new.init.as_ref().expect("a value").expr);
        assert_eq!((name.as_str(), arguments.len()), ("new", 1));
        let mut program = Self { specials: literal(arguments[0]), steps: Vec::new() };
        assert_eq!(call(finish).0, "finish");
        // Whether the last step said that the next one pads its value.
        let mut padded = false;
        for step in steps {
            let Stmt::Expr(step, Some(_)) = step else { panic!("{}", step.to_token_stream()) };
            let (name, arguments) = call(step);
            let step = match (name.as_str(), arguments.as_slice()) {
                ("literal", [_, text]) => Step::Literal(literal(text)),
                ("part", [_, source, value]) => {
                    let Expr::Reference(value) = value else { panic!("no reference") };
                    let (source, path) = (literal(source), path(&value.expr));
                    Step::Part(Part { source, path, spec: String::new(), number: false })
                }
                ("formatted", [_, source, Expr::Macro(format)]) => {
                    let (source, (spec, path)) = (literal(source), format_args(format));
                    let number = std::mem::take(&mut padded) || spec.ends_with(['x', 'X', 'o', 'b']);
                    Step::Part(Part { source, path, spec, number })
                }
                ("padded", [_]) => {
                    padded = true;
                    continue;
                }
                _ => panic!("{name} of {}", arguments.len()),
            };
            program.steps.push(step);
        }
        program
    }

    /// The paths, and whether each has to be a number.
    fn paths(&self) -> BTreeMap<&str, bool> {
        let mut paths = BTreeMap::new();
        for step in &self.steps {
            if let Step::Part(part) = step {
                *paths.entry(part.path.as_str()).or_default() |= part.number;
            }
        }
        paths
    }

    fn run(&self, values: &BTreeMap<&str, Value>) -> LockKey {
        let mut key = KeyWriter::new(self.specials);
        for step in &self.steps {
            match step {
                Step::Literal(text) => key.literal(text),
                Step::Part(Part { source, path, spec, .. }) => match &values[path.as_str()] {
                    Value::Text(text) if spec.is_empty() => key.part(source, text),
                    Value::Number(number) if spec.is_empty() => key.part(source, number),
                    value => key.formatted(source, format_args!("{}", grammar::formatted(value, spec))),
                },
            }
        }
        key.finish()
    }

    fn pieces(&self) -> Vec<Piece> {
        let piece = |step: &Step| match step {
            Step::Literal(text) => Piece::Text((*text).to_owned()),
            Step::Part(part) => Piece::Part { path: "", spec: part.spec.clone() },
        };
        self.steps.iter().map(piece).collect()
    }

    fn parts<'a>(&'a self, values: &'a BTreeMap<&str, Value>) -> impl Iterator<Item = &'a Value> {
        self.steps.iter().filter_map(|step| match step {
            Step::Part(part) => Some(&values[part.path.as_str()]),
            Step::Literal(_) => None,
        })
    }
}

/// The name and the arguments of `P::KeyWriter::name(…)`.
fn call(expr: &Expr) -> (String, Vec<&Expr>) {
    let Expr::Call(ExprCall { func, args, .. }) = expr else { panic!("{}", expr.to_token_stream()) };
    let name = func.to_token_stream().to_string();
    let name = name.strip_prefix("P :: KeyWriter :: ").unwrap_or_else(|| panic!("{name}"));
    (name.to_owned(), args.iter().collect())
}

/// `format_args!("{:05}", order.id)`, as `05` and `order.id`.
fn format_args(expr: &ExprMacro) -> (String, String) {
    assert_eq!(expr.mac.path.to_token_stream().to_string(), ":: core :: format_args");
    let arguments = expr.mac.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated).expect("arguments");
    assert_eq!(arguments.len(), 2);
    let spec =
        literal(&arguments[0]).strip_prefix("{:").and_then(|spec| spec.strip_suffix('}')).expect("one placeholder");
    assert!(!spec.contains(['{', '}']));
    (spec.to_owned(), path(&arguments[1]))
}

fn path(expr: &Expr) -> String {
    expr.to_token_stream().to_string().replace(' ', "")
}

/// Text of the source code lives for ever, and the writer wants it to; here each text does so once.
fn literal(expr: &Expr) -> &'static str {
    thread_local! {
        static TEXTS: RefCell<HashSet<&'static str>> = RefCell::default();
    }
    let Expr::Lit(expr) = expr else { panic!("{}", expr.to_token_stream()) };
    let Lit::Str(text) = &expr.lit else { panic!("{}", expr.to_token_stream()) };
    TEXTS.with_borrow_mut(|texts| {
        let text = text.value();
        if let Some(known) = texts.get(text.as_str()) {
            return *known;
        }
        let text: &'static str = text.leak();
        texts.insert(text);
        text
    })
}

/// The values' text, found in the key by looking for the literals: what holds no separator of the template can be told from it.
fn decoded(key: &str, pieces: &[Piece]) -> Option<Vec<String>> {
    let mut rest = key;
    let mut found = Vec::new();
    let mut pieces = pieces.iter().peekable();
    while let Some(piece) = pieces.next() {
        match (piece, pieces.peek()) {
            (Piece::Text(text), _) => rest = rest.strip_prefix(text.as_str())?,
            (Piece::Part { .. }, None) => found.push(unescaped(std::mem::take(&mut rest))?),
            (Piece::Part { .. }, Some(Piece::Text(text))) => {
                let separator = text.find(|c: char| !c.is_ascii_alphanumeric());
                let end = match separator {
                    Some(before) => {
                        rest.find(text.chars().find(|c| !c.is_ascii_alphanumeric())?)?.checked_sub(before)?
                    }
                    // Only at the end.
                    None => rest.len().checked_sub(text.len())?,
                };
                let (part, after) = rest.split_at_checked(end)?;
                found.push(unescaped(part)?);
                rest = after;
            }
            (Piece::Part { .. }, Some(Piece::Part { .. })) => return None,
        }
    }
    rest.is_empty().then_some(found)
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

/// Whether the template must be accepted. Of names it knows the ASCII ones: of others, rustc's lexer decides.
fn is_template(source: &str) -> bool {
    let mut letters = source.chars().peekable();
    let mut empty = true;
    // Whether there was a placeholder before, and what can end its value since.
    let (mut after_part, mut separated) = (false, false);
    while let Some(letter) = letters.next() {
        empty = false;
        if letter == '{' && letters.next_if_eq(&'{').is_none() {
            let mut inside = String::new();
            loop {
                match letters.next() {
                    Some('}') => break,
                    None | Some('{') => return false,
                    Some(letter) => inside.push(letter),
                }
            }
            if !is_placeholder(&inside) || (after_part && !separated) {
                return false;
            }
            (after_part, separated) = (true, false);
        } else if (letter == '}' && letters.next_if_eq(&'}').is_none()) || letter == '%' || letter == '\0' {
            return false;
        } else {
            separated |= !letter.is_ascii_alphanumeric();
        }
    }
    !empty
}

fn is_placeholder(inside: &str) -> bool {
    let (path, spec) = inside.split_once(':').unwrap_or((inside, ""));
    let name = |name: &str| {
        let mut letters = name.chars();
        letters.next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
            && letters.all(|letter| letter == '_' || letter.is_ascii_alphanumeric())
            && !["_", "super", "crate"].contains(&name)
    };
    let index = |text: &str| !text.is_empty() && text.parse::<u32>().is_ok() && !text.starts_with('+');
    let mut path = path.split('.');
    if !path.next().is_some_and(name)
        || !path.all(|field| index(field) || (name(field) && !matches!(field, "self" | "Self")))
    {
        return false;
    }
    let letters: Vec<char> = spec.chars().collect();
    let after_plus = usize::from(letters.first() == Some(&'+'));
    let after_flags = after_plus + usize::from(letters.get(after_plus) == Some(&'#'));
    let radix = usize::from(letters.last().is_some_and(|last| "xXob".contains(*last)));
    let Some(width) = letters.get(after_flags..letters.len() - radix) else { return false };
    let width: String = width.iter().collect();
    width.chars().all(|digit| digit.is_ascii_digit())
        && (width.is_empty() || width.parse().is_ok_and(|width: usize| width <= LONGEST))
}

/// What must be true of a template that was accepted, whatever it looks like.
fn check_accepted(source: &str, expansion: TokenStream, seed: u64) -> Result<(), TestCaseError> {
    let program = Program::read(expansion);
    let (pieces, paths) = (program.pieces(), program.paths());
    let mut choices = Choices(Lot(seed));
    let mut keys: HashMap<LockKey, BTreeMap<&str, Value>> = HashMap::new();
    for _ in 0..8 {
        let values: BTreeMap<_, _> =
            paths.iter().map(|(path, number)| (*path, grammar::value(&mut choices, *number))).collect();
        let key = program.run(&values);
        let expected = grammar::key(&pieces, program.parts(&values));
        if expected.len() > LONGEST {
            // No lock is taken on it; the writer need not write all of it.
            prop_assert!(key.as_str().len() > LONGEST, "{}", source);
            continue;
        }
        prop_assert_eq!(key.as_str(), expected, "{}", source);
        let texts = pieces.iter().filter_map(|piece| match piece {
            Piece::Part { spec, .. } => Some(spec),
            Piece::Text(_) => None,
        });
        let texts = texts.zip(program.parts(&values)).map(|(spec, value)| grammar::formatted(value, spec)).collect();
        prop_assert_eq!(decoded(key.as_str(), &pieces), Some(texts), "{} as {}", source, key);
        if let Some(others) = keys.insert(key.clone(), values.clone()) {
            prop_assert_eq!(others, values, "{} makes {} of both", source, key);
        }
    }
    Ok(())
}

fn check(source: &str, seed: u64) -> Result<(), TestCaseError> {
    // What else may be a name, rustc's lexer decides.
    let names_are_ascii = source.is_ascii() || !source.contains('{');
    match parse(source) {
        Ok(expansion) => {
            prop_assert!(!names_are_ascii || is_template(source), "{:?} was accepted", source);
            check_accepted(source, expansion, seed)
        }
        Err(error) => {
            prop_assert!(!is_template(source), "{:?}: {}", source, error);
            prop_assert!(!error.to_string().is_empty());
            Ok(())
        }
    }
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    prop::collection::vec(any::<u16>(), 48).prop_map(|numbers| grammar::template(&mut Choices(numbers.into_iter())))
}

proptest! {
    #![proptest_config(cases(2_000))]

    /// Promise: a template in order is accepted, and makes its key: of the text as it is, and of the values, escaped. Of
    /// different values it makes different keys, and from the key they can be read.
    ///
    /// Leaving a separator out of `specials` turns this red, and so does a part that is written without escaping.
    #[test]
    fn templates_in_order(pieces in pieces(), seed in any::<u64>()) {
        let source = grammar::source(&pieces);
        match parse(&source) {
            Ok(expansion) => check_accepted(&source, expansion, seed)?,
            Err(error) => return Err(TestCaseError::fail(format!("{source:?}: {error}"))),
        }
        check(&source, seed)?;
    }

    /// Promise: a template with slips of the hand is refused, or is as good as any other.
    ///
    /// Taking `{a}x{b}` turns this red, and so do `%` in the text and a format that pads with what a value may hold.
    #[test]
    fn templates_with_slips(
        pieces in pieces(), slips in slips_of_text("[{}:.a0_# é%x+<5$?²ⅷ\u{0}]{1,3}|\\{\\{|\\}\\}|self|\\{id:99999\\}|\\{id\\}[x1]{0,2}"), seed in any::<u64>(),
    ) {
        let source = grammar::source(&pieces);
        check(&slipped(&source, &slips), seed)?;
    }

    /// Promise: the same of texts in the letters of templates,
    #[test]
    fn letters_of_templates(source in "[{}:.a0_# é+x²%]{0,12}", seed in any::<u64>()) {
        check(&source, seed)?;
    }

    /// Promise: and of any text.
    #[test]
    fn any_text(source in "\\PC{0,16}|[\\x00-\\x{10ffff}]{0,8}|(\\PC{0,4}[{}]){0,4}", seed in any::<u64>()) {
        check(&source, seed)?;
    }

    /// Promise: metadata is as good at saying what is wrong, and never panics.
    #[test]
    fn metadata(source in "[{}:.a0_# é+x²%?$]{0,12}|\\PC{0,16}") {
        for role in [Role::KeyMacro, Role::Metadata] {
            match Template::parse(&LitStr::new(&source, Span::call_site()), role) {
                Ok(template) => drop(syn::parse2::<Expr>(template.text(&Scope::default())).expect("an expression")),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
