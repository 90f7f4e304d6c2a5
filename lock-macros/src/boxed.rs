//! The shape that `#[async_trait]` leaves behind: it is expanded before the attributes of the methods inside.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{TokenStreamExt, quote_spanned};
use syn::{AngleBracketedGenericArguments, GenericArgument, PathArguments, ReturnType, Signature, Type};

use crate::item::group;

/// `fn f(…) -> Pin<Box<dyn Future<Output = R> + Send + 'async_trait>> { Box::pin(async move { … }) }`
pub(crate) struct Boxed {
    /// `R`
    pub(crate) output: Type,
    /// `Box::pin`
    path: TokenStream,
    /// `( … )`, of which only the span is kept.
    parentheses: Group,
    /// `async move`
    keywords: TokenStream,
    /// `{ … }`
    pub(crate) block: Group,
}

impl Boxed {
    pub(crate) fn find(sig: &Signature, body: &Group) -> Option<Self> {
        let ReturnType::Type(_, ty) = &sig.output else { return None };
        let output = future_output(ty)?;
        let mut path: Vec<TokenTree> = body.stream().into_iter().collect();
        let parentheses = group(path.pop()?, Delimiter::Parenthesis)?;
        let is_pin = matches!(path.last(), Some(TokenTree::Ident(name)) if name == "pin");
        let is_path = path.iter().all(|token| match token {
            TokenTree::Ident(_) => true,
            TokenTree::Punct(punct) => matches!(punct.as_char(), ':' | '$'),
            _ => false,
        });
        if !is_pin || !is_path {
            return None;
        }
        let mut keywords: Vec<TokenTree> = parentheses.stream().into_iter().collect();
        let block = group(keywords.pop()?, Delimiter::Brace)?;
        let is_async = matches!(keywords.first(), Some(TokenTree::Ident(word)) if word == "async");
        let is_move = matches!(keywords.last(), Some(TokenTree::Ident(word)) if word == "move");
        if !is_async || !is_move || keywords.len() != 2 {
            return None;
        }
        let (path, keywords) = (path.into_iter().collect(), keywords.into_iter().collect());
        Some(Self { output, path, parentheses, keywords, block })
    }

    /// Input: `{ … let id = id; … }`, where `id` stands in a template
    /// Output: `{ … let id = id; let _ = &id; … }`
    ///
    /// `#[async_trait]` moves every argument once more, inside of the block. One that is used by the key alone would be
    /// reported as unused there.
    pub(crate) fn block_that_uses<'a>(&self, names: impl IntoIterator<Item = &'a Ident>) -> Group {
        let names: Vec<String> = names.into_iter().map(ToString::to_string).collect();
        let mut content = TokenStream::new();
        let mut statement: Vec<TokenTree> = Vec::new();
        for token in self.block.stream() {
            let ends = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ';');
            content.append(token.clone());
            if !ends {
                statement.push(token);
                continue;
            }
            if let [.., TokenTree::Ident(to), TokenTree::Punct(equals), TokenTree::Ident(from)] = statement.as_slice()
                && (to, equals.as_char()) == (from, '=')
                && names.contains(&to.to_string())
            {
                content.extend(quote_spanned! {Span::mixed_site()=> let _ = &#to; });
            }
            statement.clear();
        }
        let mut block = Group::new(Delimiter::Brace, content);
        block.set_span(self.block.span());
        block
    }

    /// Input: `Box::pin(async move { BODY })`
    /// Output: `Box::pin(async move { content })`
    pub(crate) fn with_content(&self, content: TokenStream) -> TokenStream {
        let mut block = Group::new(Delimiter::Brace, content);
        block.set_span(self.block.span());
        let mut argument = self.keywords.clone();
        argument.append(block);
        let mut parentheses = Group::new(Delimiter::Parenthesis, argument);
        parentheses.set_span(self.parentheses.span());
        let mut call = self.path.clone();
        call.append(parentheses);
        call
    }
}

/// `R` of `Pin<Box<dyn Future<Output = R> + …>>`, however the paths are qualified.
fn future_output(ty: &Type) -> Option<Type> {
    let Type::TraitObject(object) = argument(argument(ty, "Pin")?, "Box")? else { return None };
    object.bounds.iter().find_map(|bound| {
        let syn::TypeParamBound::Trait(bound) = bound else { return None };
        generics(&bound.path, "Future")?.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(output) if output.ident == "Output" => Some(output.ty.clone()),
            _ => None,
        })
    })
}

/// `T` of `name<T>`.
fn argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(ty) = ty else { return None };
    generics(&ty.path, name)?.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn generics<'a>(path: &'a syn::Path, name: &str) -> Option<&'a AngleBracketedGenericArguments> {
    let last = path.segments.last().filter(|last| last.ident == name)?;
    match &last.arguments {
        PathArguments::AngleBracketed(generics) => Some(generics),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::item::{LockFn, Shape};
    use proc_macro2::{Ident, Span};
    use quote::{ToTokens, quote};

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better")]
    fn find(output: proc_macro2::TokenStream, body: proc_macro2::TokenStream) -> Option<String> {
        let item = syn::parse2::<LockFn>(quote! { fn f<'async_trait>(&self) -> #output { #body } }).ok()?;
        let Shape::Boxed(boxed) = item.shape else { return None };
        assert_eq!(boxed.with_content(boxed.block.stream()).to_string(), body.to_string());
        Some(boxed.output.to_token_stream().to_string())
    }

    #[test]
    fn what_async_trait_makes() {
        let body = quote! { Box::pin(async move { let __self = self; 1 }) };
        let output = quote! {
            ::core::pin::Pin<Box<dyn ::core::future::Future<Output = Result<u8, E>>
                + ::core::marker::Send + 'async_trait>>
        };
        assert_eq!(find(output, body.clone()), Some(quote!(Result<u8, E>).to_string()));
        let local = quote! { Pin<Box<dyn Future<Output = Result<u8, E>> + 'async_trait>> };
        assert_eq!(find(local, body), Some(quote!(Result<u8, E>).to_string()));
    }

    #[test]
    fn a_name_of_the_key_is_used() {
        let item = quote! {
            fn f<'async_trait>() -> Pin<Box<dyn Future<Output = u8> + 'async_trait>> {
                Box::pin(async move { if true { return 1; } let id = id; let mut x = x; let y = id; { let id = id; } })
            }
        };
        let Ok(LockFn { shape: Shape::Boxed(boxed), .. }) = syn::parse2::<LockFn>(item) else { panic!("not boxed") };
        let expected = quote! {
            { if true { return 1; } let id = id; let _ = &id; let mut x = x; let _ = &x; let y = id; { let id = id; } }
        };
        let names = ["id", "x", "y"].map(|name| Ident::new(name, Span::call_site()));
        assert_eq!(boxed.block_that_uses(&names).to_string(), expected.to_string());
    }

    #[test]
    fn what_it_does_not_make() {
        let output = quote! { Pin<Box<dyn Future<Output = u8> + 'async_trait>> };
        for body in [
            quote! { self.other().boxed() },
            quote! { let x = 1; Box::pin(async move { x }) },
            quote! { Box::pin(async { 1 }) },
            quote! { Box::pin(other) },
            quote! { Box::pin[async move { 1 }] },
            quote! {},
        ] {
            assert_eq!(find(output.clone(), body), None);
        }
        assert_eq!(find(quote!(Box<dyn Future<Output = u8>>), quote! { Box::pin(async move { 1 }) }), None);
        assert_eq!(find(quote!(Pin<Box<dyn Future + 'a>>), quote! { Box::pin(async move { 1 }) }), None);
    }
}
