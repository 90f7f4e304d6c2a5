//! What stands under the attribute: it is a function afterwards, or it is what it was, beside an error.

use std::ops::Range;
use std::str::FromStr;

use proc_macro2::extra::invalidate_current_thread_spans;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use proptest::prelude::*;

use super::{cases, slip, slips};
use crate::args::{Errors, Given};
use crate::expand;
use crate::item::LockFn;

/// An error, with the place in the text where it is shown; that of the whole attribute is empty.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

/// What `#[distributed_lock(args)] item` is refused for.
pub(super) fn errors(args: &TokenStream, item: &TokenStream) -> Vec<Shown> {
    let mut errors = Errors::default();
    let given = Given::parse(args.clone(), &mut errors);
    let function = errors.keep(syn::parse2::<LockFn>(item.clone()));
    let args = given.build(function.as_ref(), &mut errors);
    let Err(errors) = errors.into_result(args.zip(function)) else { return Vec::new() };
    errors.into_iter().map(|error| Shown { range: error.span().byte_range(), text: error.to_string() }).collect()
}

pub(super) fn expansion(args: &TokenStream, item: &TokenStream) -> TokenStream {
    expand::attribute(args.clone(), item)
}

/// Whether it is a function, of a module or of an `impl` block.
pub(super) fn parses(item: &TokenStream) -> bool {
    syn::parse2::<syn::ItemFn>(item.clone()).is_ok() || syn::parse2::<syn::ImplItemFn>(item.clone()).is_ok()
}

/// What must be true of any tokens.
pub(super) fn check(args: &TokenStream, item: &TokenStream) -> Result<(), TestCaseError> {
    let errors = errors(args, item);
    let expansion = expansion(args, item);
    if errors.is_empty() {
        prop_assert!(parses(&expansion) || !parses(item), "{}", expansion);
    } else {
        let (item, expansion) = (item.to_string(), expansion.to_string());
        prop_assert!(expansion.starts_with(&item), "{}: {}", item, expansion);
        prop_assert_eq!(expansion[item.len()..].matches("compile_error").count(), errors.len());
    }
    for error in &errors {
        prop_assert!(!error.text.is_empty());
        prop_assert_ne!(&error.text, "`#[distributed_lock]` cannot be used here");
        // Where tokens end too early, or within a fragment of `macro_rules!`, syn has nothing to show.
        let whole =
            ["missing `", "unexpected end of input", "expected "].iter().any(|start| error.text.starts_with(start));
        let whole = whole || has_invisible(args) || has_invisible(item);
        prop_assert!(whole || !error.range.is_empty(), "{:?}", error);
    }
    Ok(())
}

/// The text of tokens, from these and in brackets of all kinds; the invisible ones are those around a fragment of `macro_rules!`.
pub(super) fn tokens(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    let text = prop::sample::select(texts).prop_map(str::to_owned);
    let nested = text.prop_recursive(2, 24, 6, |inner| {
        let open = prop::sample::select(vec![("(", ")"), ("[", "]"), ("{", "}"), ("(invisible ", ")")]);
        (open, prop::collection::vec(inner, 0..6))
            .prop_map(|((open, close), inner)| format!("{open}{}{close}", inner.join(" ")))
    });
    prop::collection::vec(nested, 0..14).prop_map(|texts| texts.join(" "))
}

/// The tokens of the arguments and of the item. `None` where brackets do not match: such never reach a macro.
///
/// Those of an earlier call must not be used any more: with their places, they would be kept for ever.
pub(super) fn lexed(args: &str, item: &str) -> Option<(TokenStream, TokenStream)> {
    invalidate_current_thread_spans();
    let lexed = |text| TokenStream::from_str(text).map(invisible).ok();
    Some((lexed(args)?, lexed(item)?))
}

/// Input: `a (invisible b) (c)`
/// Output: `a b (c)`, with `b` in a group that has no brackets
fn invisible(tokens: TokenStream) -> TokenStream {
    let group = |group: Group| {
        let mut inside = invisible(group.stream()).into_iter().peekable();
        let marked = inside.next_if(|token| matches!(token, TokenTree::Ident(word) if word == "invisible"));
        let mut new = Group::new(marked.map_or(group.delimiter(), |_| Delimiter::None), inside.collect());
        new.set_span(group.span());
        new
    };
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Group(found) => TokenTree::Group(group(found)),
            token => token,
        })
        .collect()
}

fn has_invisible(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::None || has_invisible(&group.stream()),
        _ => false,
    })
}

const FUNCTIONS: [&str; 9] = [
    "async fn settle ( id : u64 ) -> Result < u64 , E > { Ok ( id ) }",
    "pub ( crate ) async unsafe fn f < 'a , T : Send , const N : usize > ( & 'a mut self , mut id : [ T ; N ] ) -> Result < & 'a T , E > where T : Copy { # ! [ allow ( a ) ] match id { _ => todo ! ( ) } }",
    "# [ a ] /* b */ # [ doc = \"c\" ] async fn f ( ( id , _ ) : ( u8 , u8 ) , S { a , b : Some ( c ) | None , .. } : S , [ d , .. , e ] : & [ u8 ] ) -> Result < impl Iterator < Item = Vec < u8 > > + 'static , E > { if a { return Err ( b ) ; } id . f ( ) . await }",
    "async fn f ( self : Arc < Self > , id : impl Fn ( u8 ) -> u8 ) -> Result < Box < dyn for < 'b > Fn ( & 'b u8 ) -> & 'b u8 > , E > { let id = | x : u8 | -> u8 { id ( x ) } ; Ok ( Box :: new ( id ) ) }",
    "fn f < 'life0 , 'async_trait > ( & 'life0 self , id : u64 ) -> :: core :: pin :: Pin < Box < dyn :: core :: future :: Future < Output = Result < u8 , E > > + :: core :: marker :: Send + 'async_trait > > where 'life0 : 'async_trait , Self : 'async_trait { Box :: pin ( async move { let __self = self ; let id = id ; let __ret : Result < u8 , E > = { Ok ( id ) } ; __ret } ) }",
    "pub async fn f ( id : u64 ) { loop { } }",
    "extern \"C\" fn f ( id : u64 ) -> ! { loop { } }",
    "async fn f ( id : u64 ) -> Result < ( ) , E > ;",
    "impl S { async fn f ( id : u64 ) -> Result < ( ) , E > { Ok ( ( ) ) } }",
];

/// What slips in.
const WORDS: [&str; 42] = [
    "async", "fn", "unsafe", "const", "extern", "pub", "impl", "dyn", "where", "for", "self", "id", "r#id", "_",
    "move", "let", "static", "struct", "->", "=>", "<", ">", "'a", "&", "|", "..", "::", ":", ",", ";", "#", "!", "?",
    "=", "(", ")", "{", "}", "[", "]", "5", "\"a\"",
];

proptest! {
    #![proptest_config(cases(2_000))]

    /// Promise: a function in order, or with slips of the hand, is as much of a function afterwards as it was before; and one
    /// that is refused stands there as it was, with errors at its tokens.
    ///
    /// Losing a token of the item beside an error turns this red, and so does an error at nothing.
    #[test]
    fn functions_with_slips(
        function in prop::sample::select(&FUNCTIONS),
        slips in slips(prop::collection::vec(prop::sample::select(&WORDS), 1..3)),
        fragment in prop::option::of((0..64_usize, 1..12_usize)),
    ) {
        let mut words: Vec<&str> = function.split(' ').collect();
        slip(&mut words, &slips);
        if let Some((from, length)) = fragment {
            let from = from % (words.len() + 1);
            let to = (from + length).min(words.len());
            words.insert(to, ")");
            words.insert(from, "( invisible");
        }
        let args = "key = \"a:{id}\", ttl = \"5s\", on_busy = \"skip\", guard = lock";
        if let Some((args, item)) = lexed(args, &words.join(" ")) {
            check(&args, &item)?;
        }
    }

    /// Promise: the same of any tokens.
    #[test]
    fn any_tokens(item in tokens(&WORDS[..34])) {
        let (args, item) = lexed("key = \"a:{id}\", ttl = \"5s\"", &item).expect("tokens");
        check(&args, &item)?;
    }
}

/// Promise: the functions that slips are made in are functions afterwards, but for those at the end, which say why not.
#[test]
fn functions_in_order() {
    let args = TokenStream::from_str("key = \"a:{id}\", ttl = \"5s\"").expect("tokens");
    for function in &FUNCTIONS[..5] {
        let item = TokenStream::from_str(function).expect(function);
        assert!(errors(&args, &item).is_empty(), "{function}: {:?}", errors(&args, &item));
        assert!(parses(&item) && parses(&expansion(&args, &item)), "{function}");
    }
    for function in &FUNCTIONS[5..] {
        let item = TokenStream::from_str(function).expect(function);
        assert_eq!(errors(&args, &item).len(), 1, "{function}: {:?}", errors(&args, &item));
    }
}
