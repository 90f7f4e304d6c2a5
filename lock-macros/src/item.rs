//! The function under the attribute: its signature is parsed, its body never is.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, FnArg, GenericParam, Pat, ReturnType, Signature, Token, Type, Visibility};

use crate::output::erase_impl_trait;
use crate::{boxed, suggest};

pub(crate) struct LockFn {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// `#![…]` at the start of the body.
    pub(crate) inner: Vec<Attribute>,
    /// The rest of the body, in the user's own braces. It may be half typed: only rustc reads it.
    pub(crate) body: Group,
    pub(crate) shape: Shape,
}

/// How the function comes to be asynchronous.
pub(crate) enum Shape {
    /// `async fn`
    Async,
    /// What `#[async_trait]` makes of one.
    Boxed(Box<boxed::Boxed>),
}

impl Parse for LockFn {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        is_function(input)?;
        let sig: Signature = input.parse()?;
        if let Some(semi) = input.parse::<Option<Token![;]>>()? {
            let name = &sig.ident;
            return Err(syn::Error::new(
                semi.span,
                format!(
                    "`{name}` has no body that could run under a lock\n\
                     help: put `#[distributed_lock]` on `{name}` in each `impl`, or give it a body here"
                ),
            ));
        }
        let Some(mut body) = group(input.parse()?, Delimiter::Brace) else {
            return Err(syn::Error::new(sig.ident.span(), "expected a function body in braces"));
        };
        let span = body.span();
        let parser = |input: ParseStream<'_>| Ok((input.call(Attribute::parse_inner)?, input.parse()?));
        let (inner, content) = parser.parse2(body.stream())?;
        // The braces stay the user's own, so that lints and errors about the block as a whole are shown there.
        body = Group::new(Delimiter::Brace, content);
        body.set_span(span);
        let shape = match sig.asyncness {
            Some(_) => Shape::Async,
            None => Shape::Boxed(boxed::Boxed::find(&sig, &body).map(Box::new).ok_or_else(|| not_async(&sig))?),
        };
        Ok(Self { attrs, vis, sig, inner, body, shape })
    }
}

/// A group with these delimiters, which may be in invisible ones: a `$body:block` of `macro_rules!` is.
pub(crate) fn group(token: TokenTree, delimiter: Delimiter) -> Option<Group> {
    match token {
        TokenTree::Group(found) if found.delimiter() == delimiter => Some(found),
        TokenTree::Group(found) if found.delimiter() == Delimiter::None => {
            let mut inside = found.stream().into_iter();
            inside.next().filter(|_| inside.next().is_none()).and_then(|inside| group(inside, delimiter))
        }
        _ => None,
    }
}

fn not_async(sig: &Signature) -> syn::Error {
    syn::Error::new(
        sig.fn_token.span,
        "`#[distributed_lock]` needs an `async fn`\n\
         help: if an attribute above it, such as `#[tokio::main]` or `#[tokio::test]`, has removed the `async`, \
         put `#[distributed_lock]` above that attribute",
    )
}

/// Says what the attribute was put on, if it is no function; syn would say "expected `fn`".
fn is_function(input: ParseStream<'_>) -> syn::Result<()> {
    let ahead = input.fork();
    let mut constant = false;
    while !ahead.is_empty() && !ahead.peek(Token![fn]) {
        let found: TokenTree = ahead.parse()?;
        let TokenTree::Ident(word) = &found else {
            // The ABI of an `extern "C" fn`.
            if matches!(found, TokenTree::Literal(_)) {
                continue;
            }
            break;
        };
        let what = match word.to_string().as_str() {
            "const" => {
                constant = true;
                continue;
            }
            "async" | "unsafe" | "safe" | "extern" | "default" => continue,
            "impl" => "an `impl` block: put it on the methods",
            "trait" => "a trait: put it on the methods",
            "mod" => "a module: put it on the functions",
            "struct" | "enum" | "union" | "type" => "a type",
            "static" => "a static",
            "let" => "a `let` statement",
            _ if constant => "a constant",
            _ => "this item",
        };
        return Err(syn::Error::new(
            word.span(),
            format!("`#[distributed_lock]` goes on an `async fn`, not on {what}"),
        ));
    }
    Ok(())
}

impl LockFn {
    /// The same function with another body.
    pub(crate) fn with_body(&self, content: &TokenStream) -> TokenStream {
        let Self { attrs, vis, sig, inner, body, .. } = self;
        let mut outer = Group::new(Delimiter::Brace, quote!(#(#inner)* #content));
        outer.set_span(body.span());
        quote!(#(#attrs)* #vis #sig #outer)
    }

    /// Input: `async fn f() -> Result<impl Iterator<Item = u8>, AppError>`
    /// Output: `Result<_, AppError>`
    ///
    /// `impl Trait` is no type that can be written in a body; rustc infers what stands there.
    pub(crate) fn output(&self) -> TokenStream {
        match (&self.shape, &self.sig.output) {
            (Shape::Boxed(boxed), _) => boxed.output.to_token_stream(),
            (Shape::Async, ReturnType::Type(_, ty)) => erase_impl_trait(ty.to_token_stream()),
            (Shape::Async, ReturnType::Default) => {
                let mut unit = Group::new(Delimiter::Parenthesis, TokenStream::new());
                unit.set_span(Span::mixed_site().located_at(self.sig.ident.span()));
                TokenTree::from(unit).into()
            }
        }
    }

    /// What no lock failure can be reported through. `handled`: there is an `on_error`.
    pub(crate) fn check_output(&self, handled: bool) -> syn::Result<()> {
        let name = &self.sig.ident;
        let ty = match (&self.shape, &self.sig.output) {
            (Shape::Boxed(boxed), _) => Some(&boxed.output),
            (Shape::Async, ReturnType::Type(_, ty)) => Some(&**ty),
            (Shape::Async, ReturnType::Default) => None,
        };
        match ty.map(peel) {
            Some(ty @ Type::ImplTrait(_)) => Err(syn::Error::new_spanned(
                ty,
                format!(
                    "`impl Trait` cannot carry a lock failure\n\
                     help: return `Result<{}, E>` where `E: From<LockError>`",
                    written(ty)
                ),
            )),
            Some(ty @ Type::Never(_)) => Err(syn::Error::new_spanned(
                ty,
                "`!` cannot carry a lock failure\n\
                 help: return `Result<std::convert::Infallible, E>` where `E: From<LockError>`",
            )),
            None if !handled => Err(syn::Error::new(name.span(), nothing(name))),
            Some(ty @ Type::Tuple(unit)) if unit.elems.is_empty() && !handled => {
                Err(syn::Error::new_spanned(ty, nothing(name)))
            }
            _ => Ok(()),
        }
    }
}

fn nothing(name: &Ident) -> String {
    format!(
        "`{name}` returns nothing, so nobody would learn that the lock failed\n\
         help: return `Result<(), E>` where `E: From<LockError>`, or add `on_error = |error| …`"
    )
}

/// The type without the spaces that tokens are printed with.
fn written(ty: &Type) -> String {
    let text = ty.to_token_stream().to_string();
    [(" :: ", "::"), (" < ", "<"), (" >", ">")].iter().fold(text, |text, (from, to)| text.replace(from, to))
}

fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        ty => ty,
    }
}

/// The names that a template may use.
#[derive(Default)]
pub(crate) struct Scope {
    /// Whether these are all; `key!` has no signature to look at, and leaves the names to rustc.
    complete: bool,
    names: Vec<Ident>,
    /// How many of them, at the end of the list, are const generics.
    constants: usize,
}

impl Scope {
    pub(crate) fn of(sig: &Signature) -> Self {
        let mut scope = Self { complete: true, ..Self::default() };
        for input in &sig.inputs {
            match input {
                FnArg::Receiver(receiver) => scope.names.push(Ident::new("self", receiver.self_token.span)),
                FnArg::Typed(input) => scope.bind(&input.pat),
            }
        }
        let constants = sig.generics.params.iter().filter_map(|param| match param {
            GenericParam::Const(constant) => Some(constant.ident.clone()),
            _ => None,
        });
        let parameters = scope.names.len();
        scope.names.extend(constants);
        scope.constants = scope.names.len() - parameters;
        scope
    }

    fn bind(&mut self, pat: &Pat) {
        match pat {
            Pat::Ident(pat) => {
                self.names.push(pat.ident.clone());
                if let Some((_, pat)) = &pat.subpat {
                    self.bind(pat);
                }
            }
            Pat::Tuple(pat) => pat.elems.iter().for_each(|pat| self.bind(pat)),
            Pat::TupleStruct(pat) => pat.elems.iter().for_each(|pat| self.bind(pat)),
            Pat::Struct(pat) => pat.fields.iter().for_each(|field| self.bind(&field.pat)),
            Pat::Slice(pat) => pat.elems.iter().for_each(|pat| self.bind(pat)),
            Pat::Reference(pat) => self.bind(&pat.pat),
            Pat::Paren(pat) => self.bind(&pat.pat),
            Pat::Type(pat) => self.bind(&pat.pat),
            // Every case binds the same names.
            Pat::Or(pat) => pat.cases.first().into_iter().for_each(|pat| self.bind(pat)),
            _ => {}
        }
    }

    /// The arguments, without the constants.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &Ident> {
        self.names.iter().take(self.names.len() - self.constants)
    }

    pub(crate) fn find(&self, name: &Ident) -> Option<&Ident> {
        self.names.iter().find(|known| known.unraw() == name.unraw())
    }

    pub(crate) fn contains(&self, name: &Ident) -> bool {
        self.find(name).is_some()
    }

    /// Where to resolve a name of the template in `literal`: as the parameter is, even if one of the two came through
    /// `macro_rules!` and the other did not. What is no parameter is a constant, or, in `key!`, a variable.
    pub(crate) fn hygiene(&self, name: &Ident, literal: Span) -> Span {
        match self.find(name) {
            Some(parameter) => parameter.span(),
            None if self.complete => Span::mixed_site(),
            None => literal,
        }
    }

    /// Whether a `let` of this name would hide a parameter.
    pub(crate) fn has_parameter(&self, name: &Ident) -> bool {
        let parameters = self.names.len() - self.constants;
        self.names.iter().take(parameters).any(|known| known.unraw() == name.unraw())
    }

    /// What to say of a placeholder that begins with no known name.
    pub(crate) fn unknown(&self, name: &Ident, source: &str) -> String {
        let names: Vec<String> = self.names.iter().map(|name| name.unraw().to_string()).collect();
        let hidden = |name: &&str| !name.starts_with("__arg");
        let seen = || names.iter().map(String::as_str).filter(hidden);
        let name = name.unraw().to_string();
        let known = match suggest::similar(&name, seen()) {
            Some(similar) => format!("; a similar name exists: `{similar}`"),
            None if seen().next().is_none() => "; the function has none".to_owned(),
            None => format!("; there is {}", suggest::list(seen(), "and")),
        };
        let help = if seen().count() < names.len() {
            "\nhelp: `#[async_trait]` takes patterns apart after the lock is taken; give the parameter a name"
                .to_owned()
        } else if suggest::similar(&name, seen()).is_some() {
            String::new()
        } else if names.iter().any(|known| known == "self") {
            format!("\nhelp: for a field of `self`, write `{{self.{source}}}`")
        } else {
            String::new()
        };
        format!("`{{{source}}}`: no parameter is called `{name}`{known}{help}")
    }
}

#[cfg(test)]
mod tests {
    use super::{LockFn, Scope};
    use quote::quote;
    use syn::parse_quote;

    #[track_caller]
    fn refusal(tokens: proc_macro2::TokenStream) -> String {
        match syn::parse2::<LockFn>(tokens) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_body_may_be_half_typed() {
        let item: LockFn = parse_quote! { pub async fn f() { #![allow(dead_code)] if 1 + . ; let x = } };
        assert_eq!(item.inner.len(), 1);
        assert_eq!(item.body.stream().to_string(), "if 1 + . ; let x =");
    }

    #[test]
    fn the_body_may_come_through_a_macro() {
        let body = proc_macro2::Group::new(proc_macro2::Delimiter::None, quote!({ 1 }));
        let item: LockFn = parse_quote! { async fn f() #body };
        assert_eq!(item.body.to_string(), "{ 1 }");
        let two = proc_macro2::Group::new(proc_macro2::Delimiter::None, quote!({ 1 } { 2 }));
        assert_eq!(refusal(quote!(async fn f() #two)), "expected a function body in braces");
    }

    #[test]
    fn says_what_it_was_put_on() {
        let on = |tokens| refusal(tokens).replace("`#[distributed_lock]` goes on an `async fn`, not on ", "");
        assert_eq!(
            on(quote!(
                pub struct S;
            )),
            "a type"
        );
        assert_eq!(on(quote!(impl S {})), "an `impl` block: put it on the methods");
        assert_eq!(on(quote!(unsafe impl S {})), "an `impl` block: put it on the methods");
        assert_eq!(
            on(quote!(
                pub(crate) const X: u8 = 1;
            )),
            "a constant"
        );
        assert_eq!(
            on(quote!(
                static X: fn() = f;
            )),
            "a static"
        );
        assert_eq!(
            on(quote!(
                use a::b;
            )),
            "this item"
        );
        assert_eq!(on(quote!(let f = 1;)), "a `let` statement");
    }

    #[test]
    fn not_async() {
        assert!(
            refusal(quote!(
                const fn f() {}
            ))
            .contains("needs an `async fn`")
        );
        assert!(
            refusal(quote!(
                unsafe extern "C" fn f() {}
            ))
            .contains("needs an `async fn`")
        );
        assert!(
            refusal(quote!(
                fn f() -> impl Future<Output = ()> {
                    async {}
                }
            ))
            .contains("`async fn`")
        );
    }

    #[test]
    fn every_pattern_binds_its_names() {
        let item: LockFn = parse_quote! {
            async fn f<const N: usize>(&self, mut a: u8, (b, _): T, S { c, d: e, .. }: S, [g, .., h]: [u8; N],
                Path(i): Path<u8>, all @ (j, k): T, &l: &u8, (Ok(m) | Err(m)): R, r#type: u8) {}
        };
        let scope = Scope::of(&item.sig);
        let names: Vec<_> = scope.names.iter().map(ToString::to_string).collect();
        assert_eq!(names.join(" "), "self a b c e g h i all j k l m r#type N");
        assert!(scope.contains(&parse_quote!(N)) && !scope.has_parameter(&parse_quote!(N)));
        assert!(scope.has_parameter(&parse_quote!(r#type)) && !scope.has_parameter(&parse_quote!(d)));
    }

    #[test]
    fn unknown_names() {
        let item: LockFn = parse_quote! { async fn f(&self, id: u64) {} };
        let scope = Scope::of(&item.sig);
        assert_eq!(
            scope.unknown(&parse_quote!(idd), "idd"),
            "`{idd}`: no parameter is called `idd`; a similar name exists: `id`"
        );
        assert_eq!(
            scope.unknown(&parse_quote!(tenant), "tenant"),
            "`{tenant}`: no parameter is called `tenant`; there is `self` and `id`\n\
             help: for a field of `self`, write `{self.tenant}`"
        );
        assert_eq!(
            Scope::default().unknown(&parse_quote!(id), "id"),
            "`{id}`: no parameter is called `id`; the function has none"
        );
    }
}
