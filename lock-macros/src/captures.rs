//! Which arguments the body uses, so that it can take them whole.

use proc_macro2::{Ident, Spacing, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// Those of `names` that occur in `body` other than as a field, a method, or what stands before a colon.
///
/// The body is not parsed, so a name that the body has given to something else counts as well: the argument is then dropped
/// with the body although the body does not use it, which nobody can tell from outside.
pub(crate) fn used<'a>(names: impl Iterator<Item = &'a Ident>, body: &TokenStream) -> Vec<&'a Ident> {
    names.filter(|name| occurs(name, body)).collect()
}

fn occurs(name: &Ident, tokens: &TokenStream) -> bool {
    let is =
        |token: Option<&TokenTree>, sign| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
    let mut tokens = tokens.clone().into_iter().peekable();
    let mut before: Option<TokenTree> = None;
    let mut before_that: Option<TokenTree> = None;
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Ident(ident) if ident.unraw() == name.unraw() => {
                let field = is(before.as_ref(), '.') && !is(before_that.as_ref(), '.');
                let label = matches!(
                    tokens.peek(),
                    Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && punct.spacing() == Spacing::Alone
                );
                if !field && !label {
                    return true;
                }
            }
            TokenTree::Group(group) if occurs(name, &group.stream()) => return true,
            _ => {}
        }
        before_that = before.replace(token);
    }
    false
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;
    use quote::quote;

    use super::*;

    fn finds(body: &TokenStream) -> bool {
        !used([Ident::new("order", Span::call_site())].iter(), body).is_empty()
    }

    #[test]
    fn a_name_is_found_wherever_it_is_a_value() {
        for body in [
            quote!(order),
            quote!(order.id),
            quote!(f(&order.id)),
            quote!(if x {
                g(vec![order])
            }),
            quote!(0..order),
            quote!(Paid { order }),
            quote!(Paid { id: order }),
            quote!(r#order),
            quote!(order::<u8>()),
        ] {
            assert!(finds(&body), "{body}");
        }
    }

    #[test]
    fn fields_methods_and_labels_are_other_names() {
        for body in [quote!(self.order), quote!(x.order()), quote!(Paid { order: 7 }), quote!("order"), quote!(orders)]
        {
            assert!(!finds(&body), "{body}");
        }
    }
}
