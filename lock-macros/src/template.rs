//! `"order:{order.id}"`: text with placeholders, for keys and for the holder's metadata.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::{Ident, Index, LitStr, Member};

use crate::item::Scope;
use crate::suggest;

/// The longest key that the runtime takes, in bytes.
const LONGEST_KEY: u16 = 1024;

/// What a template is written for. Only keys must keep different values apart.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Role {
    /// `key = "…"`
    Key,
    /// `key!("…")`
    KeyMacro,
    /// `metadata = "…"`
    Metadata,
}

/// A template that was found correct, up to what only rustc can know.
pub(crate) struct Template {
    /// What stands between the quotes.
    pub(crate) source: String,
    span: Span,
    pieces: Vec<Piece>,
}

enum Piece {
    /// Text as it will be in the key, `{{` and `}}` resolved.
    Text(String),
    Part(Placeholder),
}

struct Placeholder {
    /// What stands between the braces.
    source: String,
    name: Ident,
    fields: Vec<Member>,
    /// What stands after the colon, or nothing.
    spec: String,
}

impl Template {
    pub(crate) fn parse(literal: &LitStr, role: Role) -> syn::Result<Self> {
        let source = literal.value();
        let flaw = |text: String| syn::Error::new(literal.span(), text);
        let pieces = pieces(&source, role).map_err(flaw)?;
        if role != Role::Metadata {
            keeps_keys_apart(&pieces).map_err(flaw)?;
        }
        Ok(Self { source, span: literal.span(), pieces })
    }

    /// An error for every placeholder that names no parameter.
    pub(crate) fn unknown_names<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = syn::Error> + 'a {
        let unknown = self.parts().filter(|part| !scope.contains(&part.name) && !is_constant(&part.name));
        unknown.map(|part| syn::Error::new(self.span, scope.unknown(&part.name, &part.source)))
    }

    /// Where it is written.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// The names that the placeholders begin with.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Ident> {
        self.parts().map(|part| &part.name)
    }

    fn parts(&self) -> impl Iterator<Item = &Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Part(part) => Some(part),
            Piece::Text(_) => None,
        })
    }

    /// The characters of the template's own text that a part must not contain as they are.
    fn specials(&self) -> String {
        let mut specials = String::new();
        for piece in &self.pieces {
            if let Piece::Text(text) = piece {
                for special in text.chars().filter(|c| !c.is_ascii_alphanumeric()) {
                    if !specials.contains(special) {
                        specials.push(special);
                    }
                }
            }
        }
        specials
    }

    /// Input: `"order:{order.id}:{line:05}"`
    /// Output:
    /// ```text
    /// {
    ///     let mut __key = P::KeyWriter::new(":");
    ///     P::KeyWriter::literal(&mut __key, "order:");
    ///     P::KeyWriter::part(&mut __key, "order.id", &order.id);
    ///     P::KeyWriter::literal(&mut __key, ":");
    ///     P::KeyWriter::padded(&line);
    ///     P::KeyWriter::formatted(&mut __key, "line:05", ::core::format_args!("{:05}", line));
    ///     P::KeyWriter::finish(__key)
    /// }
    /// ```
    ///
    /// By path, because a method call would prefer `fn part(&self)` of a trait of the user's to ours with `&mut self`.
    pub(crate) fn key(&self, private: &TokenStream, scope: &Scope) -> TokenStream {
        // At the literal, so that rustc's errors about a part are shown there; still marked as generated.
        let site = Span::mixed_site().located_at(self.span);
        let specials = self.specials();
        let steps = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => quote_spanned! {site=> #private::KeyWriter::literal(&mut __key, #text); },
            Piece::Part(part) => {
                let source = &part.source;
                let value = part.value(self.span, scope);
                if part.spec.is_empty() {
                    quote_spanned! {site=> #private::KeyWriter::part(&mut __key, #source, &#value); }
                } else {
                    let format = LitStr::new(&format!("{{:{}}}", part.spec), site);
                    // Digits without a radix: whether the value is a number, its format does not ask.
                    let padded = part.spec.ends_with(|c: char| c.is_ascii_digit());
                    let padded = padded.then(|| quote_spanned! {site=> #private::KeyWriter::padded(&#value); });
                    quote_spanned! {site=>
                        #padded
                        #private::KeyWriter::formatted(&mut __key, #source, ::core::format_args!(#format, #value));
                    }
                }
            }
        });
        quote_spanned! {site=>
            {
                let mut __key = #private::KeyWriter::new(#specials);
                #(#steps)*
                #private::KeyWriter::finish(__key)
            }
        }
    }

    /// Input: `"{self.zone}/{order.id}"`
    /// Output: `::std::format!("{}/{}", self.zone, order.id)`
    pub(crate) fn text(&self, scope: &Scope) -> TokenStream {
        let site = Span::mixed_site().located_at(self.span);
        let mut format = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => format.push_str(&text.replace('{', "{{").replace('}', "}}")),
                Piece::Part(part) if part.spec.is_empty() => format.push_str("{}"),
                Piece::Part(part) => format.extend(["{:", &part.spec, "}"]),
            }
        }
        let format = LitStr::new(&format, site);
        let values = self.parts().map(|part| part.value(self.span, scope));
        quote_spanned! {site=> ::std::format!(#format #(, #values)*) }
    }
}

impl Placeholder {
    /// `order.id`, resolved where the parameter is, so that templates that come through `macro_rules!` find it.
    fn value(&self, literal: Span, scope: &Scope) -> TokenStream {
        let site = Span::mixed_site().located_at(literal);
        let mut name = scope.find(&self.name).unwrap_or(&self.name).clone();
        name.set_span(scope.hygiene(&self.name, literal).located_at(literal));
        let fields = self.fields.iter().map(|field| match field {
            Member::Named(field) => {
                let mut field = field.clone();
                field.set_span(site);
                field.into_token_stream()
            }
            Member::Unnamed(index) => Index { index: index.index, span: site }.into_token_stream(),
        });
        quote_spanned! {site=> #name #(. #fields)* }
    }
}

/// `TENANT`, by convention a constant or a static; whether it exists is for rustc to say.
fn is_constant(name: &Ident) -> bool {
    let name = name.to_string();
    name.contains(char::is_uppercase) && !name.contains(char::is_lowercase) && name != "Self"
}

fn pieces(source: &str, role: Role) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = source;
    while let Some((before, from)) = rest.find(['{', '}']).map(|at| rest.split_at(at)) {
        text.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            text.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            text.push('}');
            rest = after;
        } else if let Some(from) = from.strip_prefix('{') {
            let Some((inside, after)) = from.split_once('}').filter(|(inside, _)| !inside.contains('{')) else {
                return Err(unclosed(from));
            };
            let part = Placeholder::parse(inside).ok_or_else(|| no_placeholder(inside, source, role))?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Part(part));
            rest = after;
        } else {
            return Err("`}` closes nothing: write `}}` for the character itself".to_owned());
        }
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

impl Placeholder {
    fn parse(source: &str) -> Option<Self> {
        let (path, spec) = source.split_once(':').unwrap_or((source, ""));
        if spec.starts_with(':') {
            return None;
        }
        let mut path = path.split('.');
        let name = identifier(path.next()?)?;
        let fields = path.map(member).collect::<Option<_>>()?;
        Some(Self { source: source.to_owned(), name, fields, spec: spec.to_owned() })
    }
}

/// `id`, `self`, and `type` for `r#type`.
fn identifier(text: &str) -> Option<Ident> {
    // What could upset the lexer never reaches it.
    let plain = text.chars().all(|c| c == '_' || c.is_alphanumeric());
    if !plain || text.starts_with(|c: char| c.is_numeric()) || matches!(text, "" | "_" | "super" | "crate") {
        return None;
    }
    if matches!(text, "self" | "Self") {
        return Some(Ident::new(text, Span::call_site()));
    }
    // A keyword since edition 2024, which syn does not know. Raw, it is the same name in every edition.
    if text == "gen" {
        return Some(Ident::new_raw(text, Span::call_site()));
    }
    syn::parse_str(text).or_else(|_| syn::parse_str(&format!("r#{text}"))).ok()
}

fn member(text: &str) -> Option<Member> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Some(Member::Unnamed(Index { index: text.parse().ok()?, span: Span::call_site() }));
    }
    // No field has the name `self`, and rustc would be at a loss for words.
    identifier(text).filter(|field| field != "self" && field != "Self").map(Member::Named)
}

fn unclosed(from: &str) -> String {
    let name = from.split(|c: char| !(c == '.' || c == '_' || c.is_alphanumeric())).next().unwrap_or("");
    let name = if name.is_empty() { "id" } else { name };
    format!("`{{` is not closed: write `{{{name}}}`, or `{{{{` for the character itself")
}

/// What to say of `inside`, which is no placeholder.
fn no_placeholder(inside: &str, source: &str, role: Role) -> String {
    let (path, _) = inside.split_once(':').unwrap_or((inside, ""));
    let packed: String = inside.split_whitespace().collect();
    if path.is_empty() {
        return format!("`{{{inside}}}` names nothing: write the name of a parameter, such as `{{id}}`");
    }
    if path.chars().all(|c| c.is_ascii_digit()) {
        return format!("`{{{inside}}}`: there are no positional values here; write a name, such as `{{id}}`");
    }
    if let Some(plain) = path.strip_prefix("r#").filter(|plain| identifier(plain).is_some()) {
        return format!("write `{{{plain}}}`, without `r#`");
    }
    if packed != inside && Placeholder::parse(&packed).is_some() && inside.trim() == packed {
        return format!("write `{{{packed}}}`, without spaces");
    }
    let inside = inside.trim();
    let named = source.replacen(&format!("{{{inside}}}"), "{part}", 1);
    let way_out = match role {
        Role::Key => format!("`key = {{ let part = {inside}; lock_runtime::key!(\"{named}\") }}`"),
        Role::KeyMacro => format!("`let part = {inside};`, then `key!(\"{named}\")`"),
        Role::Metadata => {
            format!("`metadata = {{ let part = {inside}; format!(\"{named}\") }}`")
        }
    };
    format!("`{{{inside}}}` is an expression; a placeholder is a name, or a field of one\nhelp: write {way_out}")
}

/// Two different lists of values must never be written as the same key.
fn keeps_keys_apart(pieces: &[Piece]) -> Result<(), String> {
    if pieces.is_empty() {
        return Err("the key is empty: every call everywhere would share one lock".to_owned());
    }
    let mut last: Option<&Placeholder> = None;
    let mut between = "";
    for piece in pieces {
        match piece {
            Piece::Text(text) => {
                plain_text(text)?;
                between = text;
            }
            Piece::Part(part) => {
                spec(part)?;
                if let Some(last) = last.replace(part)
                    && between.chars().all(|c| c.is_ascii_alphanumeric())
                {
                    return Err(run_together(&last.source, between, &part.source));
                }
                between = "";
            }
        }
    }
    Ok(())
}

fn plain_text(text: &str) -> Result<(), String> {
    if text.contains('%') {
        return Err("`%` cannot stand in a key template: the parts of a key are escaped with it\n\
                    help: separate with another character, such as `:` or `/`"
            .to_owned());
    }
    if text.contains('\0') {
        return Err("a key cannot contain NUL".to_owned());
    }
    Ok(())
}

fn run_together(left: &str, between: &str, right: &str) -> String {
    let what = if between.is_empty() {
        format!("`{{{left}}}{{{right}}}`: nothing separates these two")
    } else {
        format!("`{{{left}}}{between}{{{right}}}`: `{between}` may also be part of a value, so it separates nothing")
    };
    format!("{what}, and different values could share one lock\nhelp: write `{{{left}}}:{{{right}}}`")
}

/// Allowed is what a number needs and what keeps different values different: `+`, `#`, `0`, a width, a radix.
fn spec(part: &Placeholder) -> Result<(), String> {
    let source = &part.source;
    let path = source.strip_suffix(&part.spec).and_then(|path| path.strip_suffix(':')).unwrap_or(source);
    let spec = part.spec.as_str();
    let rest = spec.strip_prefix('+').unwrap_or(spec);
    let rest = rest.strip_prefix('#').unwrap_or(rest);
    let radix = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if matches!(radix, "" | "x" | "X" | "o" | "b") {
        let width = rest.strip_suffix(radix).unwrap_or(rest);
        if width.is_empty() || width.parse().is_ok_and(|width: u16| width <= LONGEST_KEY) {
            return Ok(());
        }
        return Err(format!("`{{{source}}}`: a key has at most {LONGEST_KEY} bytes, and this would be wider"));
    }
    let why = if spec.ends_with('?') {
        "debug output may change with any update, and it writes an `Option` as `Some(1)`"
    } else if spec.ends_with('p') {
        "an address is different in every process"
    } else if spec.contains(['$', '*']) {
        "a width that varies writes one value as several keys"
    } else if spec.contains('.') {
        "a precision cuts, and different values could share one lock"
    } else if spec.contains(['<', '^', '>']) {
        "padding can look like a part of the value, and different values could share one lock"
    } else {
        let allowed = suggest::list(["+", "#", "05", "x", "X", "o", "b"], "and");
        return Err(format!("`{{{source}}}`: unknown format `{spec}`; a key takes {allowed}"));
    };
    Err(format!("`{{{source}}}`: {why}\nhelp: write `{{{path}}}`"))
}

#[cfg(test)]
mod tests {
    use proc_macro2::{Span, TokenStream};
    use proptest::prelude::*;
    use quote::quote;
    use syn::LitStr;

    use super::{Role, Template};
    use crate::item::Scope;

    fn parse(text: &str, role: Role) -> syn::Result<Template> {
        Template::parse(&LitStr::new(text, Span::call_site()), role)
    }

    #[track_caller]
    fn key(text: &str, expected: &TokenStream) {
        let written = parse(text, Role::Key).expect(text).key(&quote!(P), &Scope::default());
        assert_eq!(written.to_string(), expected.to_string());
    }

    #[track_caller]
    fn flaw(text: &str, expected: &str) {
        match parse(text, Role::Key) {
            Ok(_) => panic!("`{text}` was accepted"),
            Err(error) => assert_eq!(error.to_string(), expected),
        }
    }

    #[test]
    fn a_key_is_written_piece_by_piece() {
        key(
            "order:{order.id}/{lines.0.1:05}",
            &quote! {
                {
                    let mut __key = P::KeyWriter::new(":/");
                    P::KeyWriter::literal(&mut __key, "order:");
                    P::KeyWriter::part(&mut __key, "order.id", &order.id);
                    P::KeyWriter::literal(&mut __key, "/");
                    P::KeyWriter::padded(&lines. 0 . 1);
                    P::KeyWriter::formatted(&mut __key, "lines.0.1:05", ::core::format_args!("{:05}", lines. 0 . 1));
                    P::KeyWriter::finish(__key)
                }
            },
        );
    }

    #[test]
    fn braces_keywords_and_self() {
        key(
            "{{{self.tenant}}}-{type}",
            &quote! {
                {
                    let mut __key = P::KeyWriter::new("{}-");
                    P::KeyWriter::literal(&mut __key, "{");
                    P::KeyWriter::part(&mut __key, "self.tenant", &self.tenant);
                    P::KeyWriter::literal(&mut __key, "}-");
                    P::KeyWriter::part(&mut __key, "type", &r#type);
                    P::KeyWriter::finish(__key)
                }
            },
        );
    }

    #[test]
    fn metadata_is_a_format_string() {
        let template = parse("100% {{{a}}}{b:?} c", Role::Metadata).expect("accepted");
        let expected = quote! { ::std::format!("100% {{{}}}{:?} c", a, b) };
        assert_eq!(template.text(&Scope::default()).to_string(), expected.to_string());
    }

    #[test]
    fn braces_that_do_not_match() {
        flaw("a:{id", "`{` is not closed: write `{id}`, or `{{` for the character itself");
        flaw("a:{order.id:{b}", "`{` is not closed: write `{order.id}`, or `{{` for the character itself");
        flaw("a:{", "`{` is not closed: write `{id}`, or `{{` for the character itself");
        flaw("a:id}", "`}` closes nothing: write `}}` for the character itself");
    }

    #[test]
    fn placeholders_without_a_name() {
        flaw("a:{}", "`{}` names nothing: write the name of a parameter, such as `{id}`");
        flaw("a:{:05}", "`{:05}` names nothing: write the name of a parameter, such as `{id}`");
        flaw("a:{0}", "`{0}`: there are no positional values here; write a name, such as `{id}`");
        flaw("a:{r#type}", "write `{type}`, without `r#`");
        flaw("a:{ id }", "write `{id}`, without spaces");
    }

    #[test]
    fn expressions() {
        flaw(
            "a:{order.id()}",
            "`{order.id()}` is an expression; a placeholder is a name, or a field of one\n\
             help: write `key = { let part = order.id(); lock_runtime::key!(\"a:{part}\") }`",
        );
        for inside in [
            "a + b", "a[0]", "a::B", "&a", "a.", ".a", "a..b", "crate", "super", "_", "1a", "a b", "a.-1", "a.self",
            "a.Self",
        ] {
            let Err(error) = parse(&format!("x:{{{inside}}}"), Role::Key) else { panic!("`{inside}` was accepted") };
            assert!(error.to_string().contains("is an expression"), "{error}");
        }
    }

    #[test]
    fn formats_that_keep_values_apart() {
        for spec in ["", "05", "8", "+", "#x", "08x", "X", "o", "#010b", "+05"] {
            assert!(parse(&format!("a:{{id:{spec}}}"), Role::Key).is_ok(), "{spec}");
        }
        for spec in ["?", "#?", "x?", "p", "w$", "1$", ".3", ".*", "<5", "*^5", "->5", "e", "-", " ", "x5", "05 "] {
            assert!(parse(&format!("a:{{id:{spec}}}"), Role::Key).is_err(), "{spec}");
        }
        assert!(parse("a:{id:1024}", Role::Key).is_ok());
        flaw("a:{id:1025x}", "`{id:1025x}`: a key has at most 1024 bytes, and this would be wider");
        flaw(
            "a:{x.y:.2}",
            "`{x.y:.2}`: a precision cuts, and different values could share one lock\nhelp: write `{x.y}`",
        );
    }

    #[test]
    fn values_that_would_run_together() {
        flaw(
            "{a}{b}",
            "`{a}{b}`: nothing separates these two, and different values could share one lock\nhelp: write `{a}:{b}`",
        );
        flaw(
            "{a}x1{b}",
            "`{a}x1{b}`: `x1` may also be part of a value, so it separates nothing, \
             and different values could share one lock\nhelp: write `{a}:{b}`",
        );
        for text in ["{a}:{b}", "{a}x:1{b}", "{a}é{b}", "{a}{{{b}}}", "x{a}y", "{a} {b}"] {
            assert!(parse(text, Role::Key).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_key() {
        flaw("", "the key is empty: every call everywhere would share one lock");
        flaw("a\0b", "a key cannot contain NUL");
        assert!(parse("50%:{a}", Role::Key).is_err());
        assert!(parse("", Role::Metadata).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = parse(&text, Role::Key).map(|template| template.key(&quote!(P), &Scope::default()));
        }

        #[test]
        fn no_text_of_its_own_alphabet_makes_it_panic(text in "[{}:.a0_# é\\-?$²ⅷ]{0,24}") {
            for role in [Role::Key, Role::KeyMacro, Role::Metadata] {
                let _ = parse(&text, role).map(|template| template.text(&Scope::default()));
            }
        }
    }
}
