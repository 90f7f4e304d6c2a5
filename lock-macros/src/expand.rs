//! What the attribute writes. Every name of ours carries [`Span::mixed_site`]: the user's code can neither see nor hide
//! it, and lints know that nobody wrote it.

use proc_macro2::{Group, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, LitStr};

use crate::args::{Args, Errors, Given, OnBusy, Text, Time};
use crate::item::{LockFn, Scope, Shape};
use crate::template::{Role, Template};

/// `#[distributed_lock(args)] item`
pub(crate) fn attribute(args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let given = Given::parse(args, &mut errors);
    let function = errors.keep(syn::parse2::<LockFn>(item.clone()));
    let args = given.build(function.as_ref(), &mut errors);
    match errors.into_result(args.zip(function)) {
        Ok((args, function)) => expand(&args, &function),
        // The function stays, so that its callers, its own errors and the editor's completion do.
        Err(errors) => {
            let errors = errors.into_compile_error();
            quote!(#item #errors)
        }
    }
}

/// `key!("order:{id}")`
pub(crate) fn key(tokens: TokenStream) -> TokenStream {
    let template = syn::parse2(tokens).and_then(|key: KeyLiteral| Template::parse(&key.0, Role::KeyMacro));
    match template {
        Ok(template) => template.key(&private(None), &Scope::default()),
        Err(error) => error.into_compile_error(),
    }
}

/// The one argument of `key!`, which may have come through `macro_rules!`.
struct KeyLiteral(LitStr);

impl syn::parse::Parse for KeyLiteral {
    fn parse(input: syn::parse::ParseStream<'_>) -> syn::Result<Self> {
        let expr = crate::args::peel(input.parse()?);
        input.parse::<Option<syn::Token![,]>>()?;
        crate::args::string(&expr, || "`key!` takes one template: `key!(\"order:{id}\")`".to_owned()).map(Self)
    }
}

fn private(path: Option<&syn::Path>) -> TokenStream {
    let root = path.map_or_else(|| quote_spanned! {Span::mixed_site()=> ::lock_runtime }, ToTokens::to_token_stream);
    quote_spanned! {Span::mixed_site()=> #root::__private }
}

/// Input: `async fn f(ARGS) -> R { BODY }`
/// Output: `async fn f(ARGS) -> R { REQUEST; CALL; OUTCOME }`
///
/// The future stays the function's own: it borrows what it borrowed, and is `Send` if it was.
fn expand(args: &Args, function: &LockFn) -> TokenStream {
    let expansion = Expansion {
        args,
        scope: Scope::of(&function.sig),
        private: private(args.options.crate_path.as_ref()),
        output: function.output(),
        name: function.sig.ident.to_string(),
    };
    let content = match &function.shape {
        Shape::Async => expansion.content(&function.body),
        // Inside of the box, so that the key is computed when the future is polled, as it is in an `async fn`.
        Shape::Boxed(boxed) => boxed.with_content(expansion.content(&boxed.block)),
    };
    function.with_body(&content)
}

struct Expansion<'a> {
    args: &'a Args,
    scope: Scope,
    /// `::lock_runtime::__private`
    private: TokenStream,
    /// `R`
    output: TokenStream,
    name: String,
}

impl Expansion<'_> {
    /// Input: `{ BODY }`
    /// Output:
    /// ```text
    /// let __request = …;                       // reads the arguments, before the body takes them
    /// let __call = &P::Call::<B>::new();       // filled by `run` before the first poll of the body
    /// let __outcome = {
    ///     let __body = ::core::pin::pin!(Some(async move { match P::Call::start(__call) { … } }));
    ///     P::run(__request, __call, __body).await
    /// };
    /// RESULT
    /// ```
    ///
    /// The body waits in a pinned slot, which `run` empties before it sends the release: the body's locals, and the
    /// arguments it uses, are dropped under the lock on every path.
    fn content(&self, body: &Group) -> TokenStream {
        let private = &self.private;
        let request = self.request();
        let (held, result) = (self.held(body), self.result());
        let (busy_type, busy) = self.busy();
        quote_spanned! {Span::mixed_site()=>
            let __request = #request;
            let __call = &#private::Call::<#busy_type>::new();
            let __outcome = {
                let __body = ::core::pin::pin!(::core::option::Option::Some(async move {
                    match #private::Call::start(__call) {
                        #held
                        #busy
                    }
                }));
                #private::run(__request, __call, __body).await
            };
            #result
        }
    }

    /// Output: `P::Request::new("order:{id}", KEY, TTL).wait(…).retry(…)…`
    fn request(&self) -> TokenStream {
        let private = &self.private;
        let Args { key, ttl, options } = self.args;
        let (name, key) = match key {
            Text::Template(template) => (template.source.as_str(), template.key(private, &self.scope)),
            Text::Expr(expr) => (self.name.strip_prefix("r#").unwrap_or(&self.name), expr.to_token_stream()),
        };
        let name = options.name.as_ref().map_or_else(|| name.to_owned(), LitStr::value);
        let ttl = time(ttl);
        let mut request = quote_spanned! {Span::mixed_site()=> #private::Request::new(#name, #key, #ttl) };
        if let Some(wait) = &options.wait {
            let wait = time(wait);
            request.extend(quote_spanned! {Span::mixed_site()=> .wait(#wait) });
        }
        if let Some(retry) = &options.retry {
            request.extend(quote_spanned! {Span::mixed_site()=> .retry(#retry) });
        }
        if let Some(metadata) = &options.metadata {
            let metadata = match metadata {
                Text::Template(template) => template.text(&self.scope),
                Text::Expr(expr) => expr.to_token_stream(),
            };
            request.extend(quote_spanned! {Span::mixed_site()=> .metadata(#metadata) });
        }
        if let Some(manager) = &options.manager {
            let site = at(manager);
            let manager = quote_spanned! {site=>
                ::core::convert::AsRef::<#private::LockManager>::as_ref(&(#manager))
            };
            request.extend(quote_spanned! {Span::mixed_site()=> .manager(#manager) });
        }
        if options.release_in_background {
            request.extend(quote_spanned! {Span::mixed_site()=> .release_in_background() });
        }
        request
    }

    /// Output:
    /// ```text
    /// P::Start::Held(__guard) => {
    ///     let lock = __guard;
    ///     if let Some(__ret) = None::<R> { return __ret; }
    ///     let __ret: R = { BODY };
    ///     __ret
    /// }
    /// ```
    ///
    /// The `return` that is never taken tells rustc the type of the block before it reads the body, so that the body
    /// has the errors, and the coercions, that it has in an `async fn`. The shape is async-trait's; with tracing's, the
    /// user would see warnings about unreachable code.
    fn held(&self, body: &Group) -> TokenStream {
        let Self { private, output, .. } = self;
        let guard = self.args.options.guard.as_ref();
        let guard = guard.map(|guard| quote_spanned! {Span::mixed_site()=> let #guard = __guard; });
        quote_spanned! {Span::mixed_site()=>
            #private::Start::Held(__guard) => {
                #guard
                if let ::core::option::Option::Some(__ret) = ::core::option::Option::None::<#output> {
                    return __ret;
                }
                #[allow(clippy::diverging_sub_expression)]
                let __ret: #output = #body;
                #[allow(unreachable_code)]
                __ret
            }
        }
    }

    /// Output: `P::Busy`, and `P::Start::Busy(__busy) => { let __ret: R = ON_BUSY; __ret }`
    ///
    /// In the same block as the body: it owns the arguments, and may use `?` and `.await`.
    fn busy(&self) -> (TokenStream, TokenStream) {
        let Self { private, output, .. } = self;
        let site = Span::mixed_site();
        let Some(on_busy) = &self.args.options.on_busy else {
            let never = quote_spanned! {site=> #private::Start::Busy(__never) => match __never {}, };
            return (quote_spanned! {site=> #private::Never }, never);
        };
        let value = match on_busy {
            OnBusy::Skip => quote_spanned! {site=> <#output as #private::Skip>::skip() },
            OnBusy::Closure(closure) => {
                // Through a function that says what the closure takes, or the parameter's type is not inferred.
                let call = quote_spanned! {at(closure)=> #private::call };
                quote_spanned! {site=> #call(__busy, #closure) }
            }
            OnBusy::Expr(expr) => expr.to_token_stream(),
        };
        let busy = quote_spanned! {site=>
            #private::Start::Busy(__busy) => {
                #[allow(clippy::diverging_sub_expression)]
                let __ret: #output = #value;
                #[allow(unreachable_code)]
                __ret
            }
        };
        (quote_spanned! {site=> #private::Busy }, busy)
    }

    /// Output: `<R as P::LockOutput>::from_outcome(__outcome)`
    ///
    /// The one place that asks something of `R`, and it stands where the user wrote `R`: one error, not four.
    fn result(&self) -> TokenStream {
        let Self { private, output, .. } = self;
        if let Some(closure) = &self.args.options.on_error {
            return quote_spanned! {Span::mixed_site()=> __outcome.or_else_with(#closure) };
        }
        let site = at(output);
        let function = quote_spanned! {site=> <#output as #private::LockOutput>::from_outcome };
        quote_spanned! {Span::mixed_site()=> #function(__outcome) }
    }
}

/// A place of the user's for tokens of ours.
fn at(tokens: &impl Spanned) -> Span {
    Span::mixed_site().located_at(tokens.span())
}

fn time(time: &Time) -> TokenStream {
    match time {
        Time::Millis(millis) => {
            quote_spanned! {Span::mixed_site()=> ::core::time::Duration::from_millis(#millis) }
        }
        Time::Expr(expr) => Expr::to_token_stream(expr),
    }
}
