//! What the attribute writes. Wherever code of the user's is in scope, names of ours carry [`Span::mixed_site`]: that code can
//! neither see nor hide them, and lints know that nobody wrote them.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Ident, LitStr};

use crate::args::{Args, Errors, Given, Locked, OnBusy, Renew, Text, Time};
use crate::captures;
use crate::item::{LockFn, Scope, Shape};
use crate::output::erase_lifetimes;
use crate::template::{Role, Template};

/// `#[distributed_lock(args)] item`
pub(crate) fn attribute(args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let written = args.to_string();
    let given = Given::parse(args, &mut errors);
    let function = errors.keep(syn::parse2::<LockFn>(item.clone()));
    let args = given.build(function.as_ref(), &mut errors);
    match errors.into_result(args.zip(function)) {
        Ok((args, function)) => expand(&args, &function, &written),
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
        Ok(template) => template.key(&private_module(None, Span::mixed_site()), &Scope::default()),
        Err(error) => error.into_compile_error(),
    }
}

/// The one argument of `key!`, which may have come through `macro_rules!`.
struct KeyLiteral(LitStr);

impl syn::parse::Parse for KeyLiteral {
    fn parse(input: syn::parse::ParseStream<'_>) -> syn::Result<Self> {
        let expr = crate::args::value(input)?;
        input.parse::<Option<syn::Token![,]>>()?;
        crate::args::string(&expr, || "`key!` takes one template: `key!(\"order:{id}\")`".to_owned()).map(Self)
    }
}

/// `::lock_runtime::__private`, reported at `site` where it is to blame.
fn private_module(path: Option<&syn::Path>, site: Span) -> TokenStream {
    let root = path.map_or_else(|| quote_spanned! {site=> ::lock_runtime }, ToTokens::to_token_stream);
    quote_spanned! {site=> #root::__private }
}

/// Input: `async fn f(ARGS) -> R { BODY }`, under an attribute with the arguments `written`
/// Output: `async fn f(ARGS) -> R { NOTE; REQUEST; CALL; OUTCOME }`
///
/// The future stays the function's own: it borrows what it borrowed, and is `Send` if it was.
fn expand(args: &Args, function: &LockFn, written: &str) -> TokenStream {
    let expansion = Expansion {
        args,
        scope: Scope::of(&function.sig),
        private: private_module(args.options.crate_path.as_ref(), Span::mixed_site()),
        output: function.output(),
        name: function.sig.ident.to_string(),
        written,
    };
    let content = match &function.shape {
        Shape::Async => expansion.content(&function.body),
        // Inside of the box, so that the key is computed when the future is polled, as it is in an `async fn`.
        Shape::Boxed(boxed) => {
            let block = boxed.block_that_uses(args.templates().flat_map(Template::names));
            boxed.with_content(expansion.content(&block))
        }
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
    /// The arguments of the attribute.
    written: &'a str,
}

impl Expansion<'_> {
    /// The same module, for an error about `tokens` of the user's.
    fn private_at(&self, tokens: &impl Spanned) -> TokenStream {
        private_module(self.args.options.crate_path.as_ref(), at(tokens))
    }

    /// Input: `{ BODY }`
    /// Output:
    /// ```text
    /// P::locked_function! { … }                // for the inventory; nothing without it
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
        let (note, request) = (self.note(), self.request());
        let (held, result) = (self.held(body), self.result());
        let (busy_type, busy) = self.busy();
        // The block is the user's, as far as rustc is concerned: in a block of ours it would not name the arguments in
        // errors about borrows, and would report some of them at the attribute.
        let mut block = Group::new(
            Delimiter::Brace,
            quote_spanned! {Span::mixed_site()=>
                match #private::Call::start(__call) {
                    #held
                    #busy
                }
            },
        );
        block.set_span(body.span());
        let block = quote_spanned! {body.span()=> async move #block };
        quote_spanned! {Span::mixed_site()=>
            #note
            let __request = #request;
            let __call = &#private::Call::<#busy_type>::new();
            let __outcome = {
                let __body = ::core::pin::pin!(::core::option::Option::Some(#block));
                #private::run(__request, __call, __body).await
            };
            #result
        }
    }

    /// What the call is named.
    fn label(&self) -> String {
        let Args { locked, options, .. } = self.args;
        options
            .name
            .as_ref()
            .map(LitStr::value)
            .or_else(|| locked.label())
            .unwrap_or_else(|| self.function().to_owned())
    }

    /// The name of the function, as it is called.
    fn function(&self) -> &str {
        self.name.strip_prefix("r#").unwrap_or(&self.name)
    }

    /// Output: `P::locked_function! { "settle", "order:{id}", "order:{id}", "key = …, ttl = …", 5000 }`
    fn note(&self) -> TokenStream {
        let Self { private, args, written, .. } = self;
        let (function, template, label) = (self.function(), args.locked.label().unwrap_or_default(), self.label());
        let millis = match &args.ttl {
            Time::Millis(millis, _) => Some(millis),
            Time::Expr(_) => None,
        };
        let millis = millis.into_iter();
        quote_spanned! {Span::mixed_site()=>
            #private::locked_function! { #function, #template, #label, #written #(, #millis)* }
        }
    }

    /// Output: `P::Request::new("order:{id}", KEY, TTL).wait(…).retry(…)…`, and for several keys
    /// `P::Request::of("from:{a}, to:{b}", P::keys([KEY, KEY]), TTL)…`
    fn request(&self) -> TokenStream {
        let private = &self.private;
        let Args { locked, ttl, options } = self.args;
        let name = self.label();
        let ttl = time(ttl);
        let mut request = match locked {
            Locked::Key(key) => {
                let key = self.key(key);
                quote_spanned! {Span::mixed_site()=> #private::Request::new(#name, #key, #ttl) }
            }
            Locked::List(keys) => {
                let keys = keys.iter().map(|key| self.key(key));
                quote_spanned! {Span::mixed_site()=> #private::Request::of(#name, #private::keys([#(#keys),*]), #ttl) }
            }
            Locked::Keys(expr) => {
                let keys = self.private_at(expr);
                let keys = applied(&quote_spanned! {at(expr)=> #keys::keys }, expr);
                quote_spanned! {Span::mixed_site()=> #private::Request::of(#name, #keys, #ttl) }
            }
        };
        let interval = options.renew.as_ref().and_then(Renew::interval);
        let times = [
            ("wait", options.wait.as_ref()),
            ("renew_every", interval),
            ("max_hold", options.max_hold.as_ref()),
            ("min_hold", options.min_hold.as_ref()),
        ];
        for (method, value) in times {
            let (method, value) = (Ident::new(method, Span::mixed_site()), value.map(time).into_iter());
            request.extend(quote_spanned! {Span::mixed_site()=> #(.#method(#value))* });
        }
        if let Some(retry) = &options.retry {
            let private = self.private_at(retry);
            let retry = typed(retry, &quote_spanned! {at(retry)=> #private::Retry });
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
        let flags = [
            ("renew", matches!(options.renew, Some(Renew::Flag))),
            ("proceed_when_lost", options.proceed_when_lost),
            ("fence", options.fence.is_some()),
            ("release_in_background", options.release_in_background),
        ];
        for (method, _) in flags.into_iter().filter(|(_, set)| *set) {
            let method = Ident::new(method, Span::mixed_site());
            request.extend(quote_spanned! {Span::mixed_site()=> .#method() });
        }
        request
    }

    /// Output: a `P::LockKey`
    fn key(&self, key: &Text) -> TokenStream {
        match key {
            Text::Template(template) => template.key(&self.private, &self.scope),
            Text::Expr(expr) => {
                let private = self.private_at(expr);
                let convert = quote_spanned! {at(expr)=> <#private::LockKey as ::core::convert::From<_>>::from };
                applied(&convert, expr)
            }
        }
    }

    /// Output:
    /// ```text
    /// P::Start::Held(__guard) => {
    ///     let lock = __guard;
    ///     let token = P::fence(__guard);
    ///     let _: &_ = &ARGUMENT;               // of each that the body uses
    ///     if let Some(__ret) = None::<R> { return __ret; }
    ///     let __ret: R = { BODY };
    ///     __ret
    /// }
    /// ```
    ///
    /// The `return` that is never taken tells rustc the type of the block before it reads the body, so that the body
    /// has the errors, and the coercions, that it has in an `async fn`. The shape is async-trait's; with tracing's, the
    /// user would see warnings about unreachable code.
    ///
    /// The references make the block take each argument whole. Without them it would take `order.id` out of `order`, and
    /// leave the rest to be dropped after the release.
    fn held(&self, body: &Group) -> TokenStream {
        let Self { private, .. } = self;
        let output = &erase_lifetimes(self.output.clone());
        let whole = captures::used(self.scope.arguments(), &body.stream()).into_iter().map(|argument| {
            quote_spanned! {Span::mixed_site()=> let _: &_ = &#argument; }
        });
        let guard = self.args.options.guard.as_ref();
        let guard = guard.map(|guard| quote_spanned! {Span::mixed_site()=> let #guard = __guard; });
        let fence = self.args.options.fence.as_ref();
        let fence = fence.map(|fence| quote_spanned! {Span::mixed_site()=> let #fence = #private::fence(__guard); });
        // Nothing of the user's is in the scope of these two, so they may be the user's, as far as rustc is concerned: it
        // shows them when it says where the type of the body comes from, and where a value leaves it.
        let returned = Ident::new("__ret", output.span());
        let value = Ident::new("__ret", tail(body));
        let edge = quote_spanned! {output.span()=> return #returned };
        quote_spanned! {Span::mixed_site()=>
            #private::Start::Held(__guard) => {
                #guard
                #fence
                #(#whole)*
                if let ::core::option::Option::Some(#returned) = ::core::option::Option::None::<#output> {
                    #edge;
                }
                #[allow(clippy::diverging_sub_expression)]
                let #value: #output = #body;
                #[allow(unreachable_code)]
                #value
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
                let private = self.private_at(closure);
                let call = quote_spanned! {at(closure)=> #private::call };
                applied(&call, quote_spanned! {site=> __busy, #closure })
            }
            OnBusy::Expr(expr) => expr.to_token_stream(),
        };
        let busy = quote_spanned! {site=>
            #private::Start::Busy(__busy) => {
                #[allow(
                    clippy::diverging_sub_expression,
                    clippy::redundant_closure,
                    clippy::redundant_closure_for_method_calls
                )]
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
            // A closure it has to be, even where clippy would have the path of a function.
            return quote_spanned! {Span::mixed_site()=>
                #[allow(clippy::redundant_closure, clippy::redundant_closure_for_method_calls)]
                let __ret = __outcome.or_else_with(#closure);
                __ret
            };
        }
        let site = at(output);
        let function = quote_spanned! {site=> <#output as #private::LockOutput>::from_outcome };
        quote_spanned! {Span::mixed_site()=> #function(__outcome) }
    }
}

/// Where the value of a body is written: after its last semicolon.
fn tail(body: &Group) -> Span {
    let mut first = None;
    for token in body.stream() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => first = None,
            token => first = first.or(Some(token.span())),
        }
    }
    first.unwrap_or_else(|| body.span())
}

/// A place of the user's for tokens of ours.
fn at(tokens: &impl Spanned) -> Span {
    Span::mixed_site().located_at(tokens.span())
}

fn time(time: &Time) -> TokenStream {
    match time {
        Time::Millis(millis, _) => {
            quote_spanned! {Span::mixed_site()=> ::core::time::Duration::from_millis(#millis) }
        }
        Time::Expr(expr) => typed(expr, &quote_spanned! {at(expr)=> ::core::time::Duration }),
    }
}

/// `function(arguments)`, which ends where the arguments do: an error about the call is shown under all of them.
fn applied(function: &TokenStream, arguments: impl ToTokens) -> TokenStream {
    let arguments = arguments.into_token_stream();
    let end = arguments.clone().into_iter().last().map_or_else(Span::mixed_site, |last| last.span());
    let mut arguments = Group::new(Delimiter::Parenthesis, arguments);
    arguments.set_span(Span::mixed_site().located_at(end));
    quote!(#function #arguments)
}

/// The expression as a value of this type. As an argument, a wrong one would be blamed on a function of ours.
fn typed(expr: &Expr, ty: &TokenStream) -> TokenStream {
    let binding = quote_spanned! {at(expr)=> let __value: #ty };
    quote_spanned! {Span::mixed_site()=> { #binding = #expr; __value } }
}
