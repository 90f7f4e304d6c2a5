//! The shape that `#[async_trait]` leaves behind: it is expanded before the attributes of the methods inside.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::TokenStreamExt;
use syn::{AngleBracketedGenericArguments, GenericArgument, PathArguments, ReturnType, Signature, Type};

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
        let TokenTree::Group(parentheses) = path.pop()? else { return None };
        let is_pin = matches!(path.last(), Some(TokenTree::Ident(name)) if name == "pin");
        let is_path = path.iter().all(|token| match token {
            TokenTree::Ident(_) => true,
            TokenTree::Punct(punct) => matches!(punct.as_char(), ':' | '$'),
            _ => false,
        });
        if !is_pin || !is_path || parentheses.delimiter() != Delimiter::Parenthesis {
            return None;
        }
        let mut keywords: Vec<TokenTree> = parentheses.stream().into_iter().collect();
        let TokenTree::Group(block) = keywords.pop()? else { return None };
        let is_async = matches!(keywords.first(), Some(TokenTree::Ident(word)) if word == "async");
        let is_move = matches!(keywords.last(), Some(TokenTree::Ident(word)) if word == "move");
        if !is_async || !is_move || keywords.len() != 2 || block.delimiter() != Delimiter::Brace {
            return None;
        }
        let (path, keywords) = (path.into_iter().collect(), keywords.into_iter().collect());
        Some(Self { output, path, parentheses, keywords, block })
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
