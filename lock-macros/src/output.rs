//! The return type as it can be written inside of the body.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::TokenStreamExt;

/// Replaces every `impl Bounds` by `_`, on tokens: bounds end where the list or the brackets around them do.
pub(crate) fn erase_impl_trait(ty: TokenStream) -> TokenStream {
    let mut erased = TokenStream::new();
    // How many angle brackets are open inside of the bounds that are being left out.
    let mut skipping: Option<usize> = None;
    let mut arrow = false;
    for token in ty {
        let punct = match &token {
            TokenTree::Punct(punct) => Some(punct.as_char()),
            _ => None,
        };
        // The `>` of `->` closes nothing.
        let closes = punct == Some('>') && !arrow;
        arrow = punct == Some('-');
        skipping = match (skipping, punct) {
            (Some(0), Some(',' | ';')) => None,
            (Some(0), _) if closes => None,
            (Some(open), _) if closes => Some(open - 1),
            (Some(open), Some('<')) => Some(open + 1),
            (skipping, _) => skipping,
        };
        if skipping.is_some() {
            continue;
        }
        match token {
            TokenTree::Ident(word) if word == "impl" => {
                skipping = Some(0);
                erased.append(Ident::new("_", word.span()));
            }
            TokenTree::Group(group) => {
                let mut inside = Group::new(group.delimiter(), erase_impl_trait(group.stream()));
                inside.set_span(group.span());
                erased.append(inside);
            }
            token => erased.append(token),
        }
    }
    erased
}

/// Input: `Result<&'a Order, Error<'static>>`
/// Output: `Result<&'_ Order, Error<'static>>`
///
/// For the places inside of the body that tell rustc its type: a lifetime of the signature that is named there is what
/// rustc would blame in errors about borrows.
pub(crate) fn erase_lifetimes(ty: TokenStream) -> TokenStream {
    erase(ty, &mut Vec::new())
}

/// `bound`: the names of a `for<…>` around, which stay.
fn erase(ty: TokenStream, bound: &mut Vec<Ident>) -> TokenStream {
    let is =
        |token: &Option<TokenTree>, sign| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
    let mut erased = TokenStream::new();
    let mut before = None;
    // Within the `<…>` of `for<'a>`.
    let mut binder = false;
    for token in ty {
        let after_for = matches!(&before, Some(TokenTree::Ident(word)) if word == "for");
        let here = Some(token.clone());
        match token {
            TokenTree::Ident(name) if is(&before, '\'') => {
                if binder {
                    bound.push(name.clone());
                }
                let kept = name == "static" || bound.contains(&name);
                erased.append(if kept { name } else { Ident::new("_", name.span()) });
            }
            TokenTree::Group(group) => {
                let mut inside = Group::new(group.delimiter(), erase(group.stream(), bound));
                inside.set_span(group.span());
                erased.append(inside);
            }
            token => erased.append(token),
        }
        binder = (binder && !is(&here, '>')) || (after_for && is(&here, '<'));
        before = here;
    }
    erased
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn impl_trait_becomes_a_blank_wherever_it_stands() {
        let erase = |tokens| erase_impl_trait(tokens).to_string();
        assert_eq!(erase(quote!(Result<u8, E>)), quote!(Result<u8, E>).to_string());
        assert_eq!(erase(quote!(Result<impl Iterator<Item = Vec<u8>> + Send, E>)), quote!(Result<_, E>).to_string());
        assert_eq!(erase(quote!(Result<(impl A, impl B + 'a), E>)), quote!(Result<(_, _), E>).to_string());
        assert_eq!(erase(quote!(Option<Box<dyn Iterator<Item = impl A>>>)), {
            quote!(Option<Box<dyn Iterator<Item = _>>>).to_string()
        });
        assert_eq!(erase(quote!(Result<impl Fn(u8) -> Vec<u8>, E>)), quote!(Result<_, E>).to_string());
        assert_eq!(erase(quote!([impl A; 3])), quote!([_; 3]).to_string());
        assert_eq!(erase(quote!(fn(u8) -> u8)), quote!(fn(u8) -> u8).to_string());
    }

    #[test]
    fn lifetimes_of_the_signature_are_left_to_rustc() {
        let erase = |tokens| erase_lifetimes(tokens).to_string();
        assert_eq!(erase(quote!(Result<&'a Order<'a>, E>)), quote!(Result<&'_ Order<'_>, E>).to_string());
        assert_eq!(erase(quote!(&'static str)), quote!(&'static str).to_string());
        let bound = quote!(Box<dyn for<'b> Fn(&'b u8) -> &'b u8>);
        assert_eq!(erase(bound.clone()), bound.to_string());
    }
}
