//! The arguments of the attribute.
//!
//! Two steps: [`Given::parse`] reads what is written and goes on after a mistake, so that several are reported at once;
//! [`Given::build`] looks at the arguments together, and at the function.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprClosure, ExprLit, Ident, Lit, LitStr, Path, Token};

use crate::item::{LockFn, Scope};
use crate::template::{Role, Template};
use crate::{duration, suggest};

/// Every argument, with a value to show to those who got it wrong.
const ARGUMENTS: [(&str, &str); 18] = [
    ("key", "\"order:{id}\""),
    ("keys", "[\"order:{id}\", \"stock:{id}\"]"),
    ("ttl", "\"5s\""),
    ("wait", "\"2s\""),
    ("retry", "Retry::none()"),
    ("renew", "\"1s\""),
    ("max_hold", "\"1m\""),
    ("min_hold", "\"2s\""),
    ("on_busy", "\"skip\""),
    ("on_error", "|error| panic!(\"{error}\")"),
    ("on_lost", "\"proceed\""),
    ("release", "\"background\""),
    ("guard", "lock"),
    ("fence", "token"),
    ("metadata", "\"worker {id}\""),
    ("name", "\"settle order\""),
    ("manager", "self.locks"),
    ("crate", "::lock_runtime"),
];

/// What to write, for those who wrote something else.
const RENEW: &str = "write `renew` alone, or with an interval, such as `renew = \"1s\"`";

/// The arguments, complete and checked.
pub(crate) struct Args {
    pub(crate) locked: Locked,
    pub(crate) ttl: Time,
    pub(crate) options: Options,
}

/// What is locked.
pub(crate) enum Locked {
    /// `key = …`
    Key(Text),
    /// `keys = […]`
    List(Vec<Text>),
    /// `keys = …`, by an expression that yields them.
    Keys(Expr),
}

impl Locked {
    fn texts(&self) -> &[Text] {
        match self {
            Self::Key(key) => std::slice::from_ref(key),
            Self::List(keys) => keys,
            Self::Keys(_) => &[],
        }
    }

    /// The templates as they are written, if there is nothing else.
    pub(crate) fn label(&self) -> Option<String> {
        let texts = self.texts().iter().map(|text| Some(text.template()?.source.as_str()));
        texts.collect::<Option<Vec<_>>>().filter(|texts| !texts.is_empty()).map(|texts| texts.join(", "))
    }
}

impl Args {
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.locked.texts().iter().chain(&self.options.metadata).filter_map(Text::template)
    }
}

/// The arguments that may be left out.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) wait: Option<Time>,
    pub(crate) retry: Option<Expr>,
    pub(crate) renew: Option<Renew>,
    pub(crate) max_hold: Option<Time>,
    pub(crate) min_hold: Option<Time>,
    pub(crate) on_busy: Option<OnBusy>,
    pub(crate) on_error: Option<ExprClosure>,
    pub(crate) proceed_when_lost: bool,
    pub(crate) release_in_background: bool,
    pub(crate) guard: Option<Ident>,
    pub(crate) fence: Option<Ident>,
    pub(crate) metadata: Option<Text>,
    pub(crate) name: Option<LitStr>,
    pub(crate) manager: Option<Expr>,
    pub(crate) crate_path: Option<Path>,
}

/// A template, checked here, or an expression, which is rustc's business.
pub(crate) enum Text {
    Template(Template),
    Expr(Expr),
}

impl Text {
    fn template(&self) -> Option<&Template> {
        match self {
            Self::Template(template) => Some(template),
            Self::Expr(_) => None,
        }
    }
}

/// A literal duration, checked here, or an expression, which is rustc's business.
pub(crate) enum Time {
    Millis(u64, Span),
    Expr(Expr),
}

/// How often a lease is renewed.
pub(crate) enum Renew {
    /// As often as the runtime finds right.
    Flag,
    Every(Time),
}

impl Renew {
    pub(crate) fn interval(&self) -> Option<&Time> {
        match self {
            Self::Flag => None,
            Self::Every(interval) => Some(interval),
        }
    }
}

/// What the function does when somebody else holds the lock, if that is no error.
pub(crate) enum OnBusy {
    Skip,
    Closure(ExprClosure),
    Expr(Expr),
}

/// What is wrong, all of it.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn into_result<T>(self, value: Option<T>) -> syn::Result<T> {
        match (self.0, value) {
            (Some(errors), _) => Err(errors),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(syn::Error::new(Span::call_site(), "`#[distributed_lock]` cannot be used here")),
        }
    }
}

/// The arguments as they are written, those with mistakes left out.
#[derive(Default)]
pub(crate) struct Given {
    /// The names of all, with their places; those with mistakes as well. A misspelt name counts for the one it resembles,
    /// which is not missing then.
    names: Vec<Ident>,
    locked: Option<Locked>,
    ttl: Option<Time>,
    options: Options,
}

impl Given {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut given = Self::default();
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                if let Err(error) = given.argument(input) {
                    errors.push(error);
                    skip_argument(input)?;
                }
                if input.parse::<Option<Token![,]>>()?.is_none() && !input.is_empty() {
                    errors.push(input.error("expected `,` between two arguments"));
                    if !input.peek(Ident::peek_any) {
                        skip_argument(input)?;
                        input.parse::<Option<Token![,]>>()?;
                    }
                }
            }
            Ok(())
        };
        let parsed = parser.parse2(tokens);
        errors.keep(parsed);
        given
    }

    fn argument(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        if !input.peek(Ident::peek_any) {
            let Ok(text) = input.fork().parse::<LitStr>() else {
                return Err(input.error("expected an argument, such as `ttl = \"5s\"`"));
            };
            let given = |name: &str| self.has(name) || name == "key" && self.has("keys");
            let meant = ["key", "ttl", "wait"].into_iter().find(|name| !given(name)).unwrap_or("name");
            self.names.push(Ident::new(meant, text.span()));
            let text = syn::Error::new(text.span(), format!("name the argument: `{meant} = {}`", source(&text)));
            return Err(text);
        }
        let name = input.call(Ident::parse_any)?;
        let known = ARGUMENTS.iter().find(|(known, _)| name == known);
        let twice = self.names.contains(&name);
        let meant = similar(&name).map_or_else(|| name.clone(), |meant| Ident::new(meant, name.span()));
        self.names.push(meant);
        let example = known.map(|(_, example)| *example);
        let value = if input.parse::<Option<Token![=]>>()?.is_some() {
            if input.is_empty() || input.peek(Token![,]) {
                let example = example.map(|example| format!(", such as `{example}`")).unwrap_or_default();
                return Err(syn::Error::new(name.span(), format!("the value of `{name}` is missing{example}")));
            }
            Some(value(input)?)
        } else if name == "renew" {
            // Before another name, it is the comma that is missing.
            if !(input.is_empty() || input.peek(Token![,]) || input.peek(Ident::peek_any)) {
                return Err(syn::Error::new(name.span(), RENEW));
            }
            None
        } else {
            let Some(example) = example else { return Err(unknown(&name)) };
            let text = format!("`{name}` needs a value, such as `{name} = {example}`");
            return Err(syn::Error::new(name.span(), text));
        };
        if twice {
            return Err(syn::Error::new(name.span(), format!("`{name}` specified more than once")));
        }
        if let Some(value) = value {
            return self.set(&name, value);
        }
        self.options.renew = Some(Renew::Flag);
        Ok(())
    }

    fn set(&mut self, name: &Ident, value: Expr) -> syn::Result<()> {
        let options = &mut self.options;
        match name.to_string().as_str() {
            "key" => self.locked = Some(Locked::Key(text(value, Role::Key)?)),
            "keys" => self.locked = Some(keys(value)?),
            "ttl" => self.ttl = Some(time(value, name, duration::lease)?),
            "wait" => options.wait = Some(time(value, name, duration::wait)?),
            "retry" => options.retry = Some(value),
            "renew" => options.renew = Some(Renew::Every(interval(value, name)?)),
            "max_hold" => options.max_hold = Some(time(value, name, duration::max_hold)?),
            "min_hold" => options.min_hold = Some(time(value, name, duration::min_hold)?),
            "on_busy" => options.on_busy = on_busy(value)?,
            "on_error" => options.on_error = Some(closure(value)?),
            "on_lost" if matches!(value, Expr::Closure(_)) => {
                let text = "`on_lost` is `\"cancel\"` or `\"proceed\"`: what the function returns is for `on_error`";
                return Err(syn::Error::new_spanned(value, text));
            }
            "on_lost" => options.proceed_when_lost = keyword(&value, name, ["cancel", "proceed"])? == "proceed",
            "release" => options.release_in_background = keyword(&value, name, ["wait", "background"])? == "background",
            "guard" => options.guard = Some(binding(&value, "guard", "lock")?),
            "fence" => options.fence = Some(binding(&value, "fence", "token")?),
            "metadata" => options.metadata = Some(text(value, Role::Metadata)?),
            "name" => options.name = Some(label(&value)?),
            "manager" => options.manager = Some(value),
            "crate" => options.crate_path = Some(absolute(value)?),
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|given| given == name)
    }

    /// Looks at the arguments together, and at the function.
    pub(crate) fn build(self, item: Option<&LockFn>, errors: &mut Errors) -> Option<Args> {
        let named = |name: &str| self.names.iter().rposition(|given| given == name);
        if let (Some(key), Some(keys)) = (named("key"), named("keys")) {
            let text = "`key` and `keys` exclude each other: write all of them into `keys`";
            let site = self.names.get(key.max(keys)).map_or_else(Span::call_site, Ident::span);
            errors.push(syn::Error::new(site, text));
        } else if !self.has("key") && !self.has("keys") {
            errors.push(syn::Error::new(
                Span::call_site(),
                "missing `key`\nhelp: say what to lock, such as `key = \"order:{id}\"`",
            ));
        }
        if !self.has("ttl") {
            errors.push(syn::Error::new(
                Span::call_site(),
                "missing `ttl`\nhelp: say how long the lock may be held, such as `ttl = \"5s\"`",
            ));
        }
        self.check_terms(errors);
        if let Some(item) = item {
            self.check(item, errors);
        }
        Some(Args { locked: self.locked?, ttl: self.ttl?, options: self.options })
    }

    fn check(&self, item: &LockFn, errors: &mut Errors) {
        let scope = Scope::of(&item.sig);
        let keys = self.locked.as_ref().map_or(&[][..], Locked::texts);
        for template in keys.iter().chain(&self.options.metadata).filter_map(Text::template) {
            template.unknown_names(&scope).for_each(|error| errors.push(error));
        }
        let Options { guard, fence, .. } = &self.options;
        for (name, what) in [(guard, "guard"), (fence, "token")] {
            if let Some(name) = name.as_ref().filter(|name| scope.has_parameter(name)) {
                let text = format!("`{name}` is a parameter already: give the {what} another name");
                errors.push(syn::Error::new(name.span(), text));
            }
        }
        if let (Some(guard), Some(fence)) = (guard, fence)
            && guard.unraw() == fence.unraw()
        {
            let text = format!("`{fence}` is the guard already: give the token another name");
            errors.push(syn::Error::new(fence.span(), text));
        }
        errors.keep(item.check_output(self.has("on_error")));
    }

    /// What cannot be asked of one lease. Of literals: of what expressions come to, the runtime says the same.
    fn check_terms(&self, errors: &mut Errors) {
        let Options { renew, max_hold, min_hold, .. } = &self.options;
        let renewed = self.has("renew");
        let mut refuse = |time: Option<&Time>, wrong: fn(&u64, &u64) -> bool, text: &str| {
            if let (Some(Time::Millis(millis, site)), Some(Time::Millis(ttl, _))) = (time, &self.ttl)
                && wrong(millis, ttl)
            {
                errors.push(syn::Error::new(*site, text));
            }
        };
        refuse(
            renew.as_ref().and_then(Renew::interval),
            u64::ge,
            "the interval of `renew` is not below `ttl`: the lease would end before its first renewal\n\
             help: `renew` alone renews three times in each `ttl`",
        );
        refuse(
            max_hold.as_ref().filter(|_| renewed),
            u64::lt,
            "`max_hold` is shorter than `ttl`: use a shorter `ttl`, without `renew`",
        );
        refuse(min_hold.as_ref(), u64::gt, "`min_hold` is longer than `ttl`: the key would be gone before it is over");
        if let Some(name) = self.names.iter().find(|name| *name == "max_hold" && !renewed) {
            let text = "`max_hold` limits renewals, and there are none: add `renew`, or leave it out";
            errors.push(syn::Error::new(name.span(), text));
        }
    }
}

/// Goes on at the next argument after a mistake: at the comma before a name, or at the end.
fn skip_argument(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() {
        if input.peek(Token![,]) && (input.peek2(Ident::peek_any) || input.peek2(syn::parse::End)) {
            break;
        }
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

fn names() -> impl Iterator<Item = &'static str> {
    ARGUMENTS.iter().map(|(name, _)| *name)
}

/// What other libraries call an argument, and we.
const ELSEWHERE: [(&str, &str); 17] = [
    ("acquire_timeout", "wait"),
    ("backoff", "retry"),
    ("blocking_timeout", "wait"),
    ("expire", "ttl"),
    ("expires", "ttl"),
    ("expiry", "ttl"),
    ("keep_alive", "renew"),
    ("lease", "ttl"),
    ("lease_time", "ttl"),
    ("lock_at_least_for", "min_hold"),
    ("lock_at_most_for", "ttl"),
    ("retries", "retry"),
    ("tries", "retry"),
    ("timeout", "wait"),
    ("wait_time", "wait"),
    ("wait_timeout", "wait"),
    ("watchdog", "renew"),
];

fn called_elsewhere(name: &Ident) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(elsewhere, _)| name == elsewhere).map(|(_, ours)| *ours)
}

/// The argument that was probably meant; of a correct name, itself.
fn similar(name: &Ident) -> Option<&'static str> {
    called_elsewhere(name).or_else(|| suggest::similar(&name.to_string(), names()))
}

fn unknown(name: &Ident) -> syn::Error {
    let text = match (called_elsewhere(name), similar(name)) {
        (Some(ours), _) => format!("unknown argument `{name}`; here it is called `{ours}`"),
        (None, Some(similar)) => format!("unknown argument `{name}`; a similar argument exists: `{similar}`"),
        (None, None) => format!("unknown argument `{name}`; expected {}", suggest::list(names(), "or")),
    };
    syn::Error::new(name.span(), text)
}

/// A value, without what only surrounds it. What rustc does not take from a literal is refused here: rustc will not see it.
pub(crate) fn value(input: ParseStream<'_>) -> syn::Result<Expr> {
    let value = peel(input.parse()?);
    let Expr::Lit(ExprLit { attrs, lit }) = &value else { return Ok(value) };
    if let Some(attribute) = attrs.first() {
        return Err(syn::Error::new_spanned(attribute, "a literal takes no attribute: leave it out"));
    }
    match lit {
        Lit::Str(text) if !text.suffix().is_empty() => {
            Err(syn::Error::new(text.span(), format!("text takes no suffix: leave out `{}`", text.suffix())))
        }
        _ => Ok(value),
    }
}

/// What stands inside of parentheses, and of the invisible ones around a fragment of `macro_rules!`. A literal left in
/// there would be taken for an expression, its placeholders for text, and every call would share one lock.
fn peel(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) if group.attrs.is_empty() => peel(*group.expr),
        Expr::Paren(paren) if paren.attrs.is_empty() => peel(*paren.expr),
        Expr::Reference(reference) if reference.attrs.is_empty() => match peel(*reference.expr) {
            literal @ Expr::Lit(_) => literal,
            expr => Expr::Reference(syn::ExprReference { expr: Box::new(expr), ..reference }),
        },
        expr => expr,
    }
}

/// The literal as it is written.
fn source(literal: &LitStr) -> String {
    literal.to_token_stream().to_string()
}

pub(crate) fn string(value: &Expr, otherwise: impl FnOnce() -> String) -> syn::Result<LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Ok(literal.clone()),
        _ => Err(syn::Error::new_spanned(value, otherwise())),
    }
}

fn text(value: Expr, role: Role) -> syn::Result<Text> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Template::parse(&literal, role).map(Text::Template),
        Expr::Lit(_) => Err(syn::Error::new_spanned(&value, "expected text in quotes, such as `\"order:{id}\"`")),
        Expr::Macro(call) if call.mac.path.is_ident("concat") => Err(syn::Error::new_spanned(
            call,
            "the placeholders in `concat!` would not be seen: write the template as one literal",
        )),
        expr => Ok(Text::Expr(expr)),
    }
}

/// A list of templates and of expressions that are keys, or one expression that yields keys.
fn keys(value: Expr) -> syn::Result<Locked> {
    let list = match value {
        Expr::Array(list) => list,
        Expr::Reference(reference) if matches!(*reference.expr, Expr::Array(_)) => return keys(*reference.expr),
        Expr::Lit(ExprLit { lit: Lit::Str(one), .. }) => {
            let text = format!("`keys` is a list: write `keys = [{}]`, or `key = …` for a single one", source(&one));
            return Err(syn::Error::new(one.span(), text));
        }
        Expr::Lit(_) => {
            let text = "expected a list, such as `[\"order:{id}\", \"stock:{id}\"]`";
            return Err(syn::Error::new_spanned(value, text));
        }
        Expr::Macro(call) if call.mac.path.is_ident("vec") => {
            let text =
                "the placeholders in `vec!` would not be seen: write the list without it, as `keys = [\"order:{id}\"]`";
            return Err(syn::Error::new_spanned(call, text));
        }
        expr => return Ok(Locked::Keys(expr)),
    };
    if list.elems.is_empty() {
        return Err(syn::Error::new_spanned(list, "there is nothing in the list: nothing would be locked"));
    }
    let mut errors = Errors::default();
    let mut keys: Vec<Text> = Vec::new();
    for key in list.elems {
        let Some(key) = errors.keep(text(peel(key), Role::Key)) else { continue };
        if let Text::Template(template) = &key
            && keys.iter().filter_map(Text::template).any(|other| other.source == template.source)
        {
            let text = format!("`{}` is in the list already", template.source);
            errors.push(syn::Error::new(template.span(), text));
        }
        keys.push(key);
    }
    errors.into_result(Some(Locked::List(keys)))
}

fn time(value: Expr, name: &Ident, check: fn(&str) -> Result<u64, String>) -> syn::Result<Time> {
    let Expr::Lit(ExprLit { lit, .. }) = &value else { return Ok(Time::Expr(value)) };
    let text = match lit {
        Lit::Str(text) => {
            let site = text.span();
            return check(&text.value())
                .map(|millis| Time::Millis(millis, site))
                .map_err(|flaw| syn::Error::new(site, flaw));
        }
        Lit::Int(number) if number.suffix().is_empty() => {
            format!("write the unit: `{name} = \"{number}s\"`, or another of `ms`, `s`, `m`, `h` and `d`")
        }
        Lit::Int(number) => format!("write the duration in quotes: `{name} = \"{number}\"`"),
        Lit::Float(_) => format!("write whole numbers with units: `{name} = \"1s500ms\"`"),
        _ => format!("expected a duration, such as `{name} = \"5s\"`"),
    };
    Err(syn::Error::new(lit.span(), text))
}

/// `true` and its like were meant to switch renewals on.
fn interval(value: Expr, name: &Ident) -> syn::Result<Time> {
    let text = match &value {
        Expr::Lit(ExprLit { lit: Lit::Bool(on), .. }) if !on.value => {
            "without `renew`, nothing is renewed: leave it out"
        }
        Expr::Lit(ExprLit { lit: Lit::Bool(_), .. }) => RENEW,
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if !text.value().contains(|c: char| c.is_ascii_digit()) => RENEW,
        _ => return time(value, name, duration::interval),
    };
    Err(syn::Error::new_spanned(value, text))
}

/// One of two keywords, and nothing else.
fn keyword<'a>(value: &Expr, name: &Ident, keywords: [&'a str; 2]) -> syn::Result<&'a str> {
    let [one, other] = keywords;
    let literal = string(value, || format!("`{name}` is `\"{one}\"` or `\"{other}\"`"))?;
    choose(&literal, name, keywords)
}

/// The one of `keywords` that was written.
fn choose<'a, const N: usize>(literal: &LitStr, name: &Ident, keywords: [&'a str; N]) -> syn::Result<&'a str> {
    let value = literal.value();
    if let Some(keyword) = keywords.into_iter().find(|keyword| *keyword == value) {
        return Ok(keyword);
    }
    let quoted: Vec<String> = keywords.iter().map(|keyword| format!("\"{keyword}\"")).collect();
    let text = match suggest::similar(&value, keywords) {
        Some(similar) => format!("unknown value for `{name}`; a similar one exists: `\"{similar}\"`"),
        None => {
            format!("unknown value for `{name}`; expected {}", suggest::list(quoted.iter().map(String::as_str), "or"))
        }
    };
    Err(syn::Error::new(literal.span(), text))
}

fn on_busy(value: Expr) -> syn::Result<Option<OnBusy>> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => {
            let name = Ident::new("on_busy", literal.span());
            let keyword = choose(&literal, &name, ["error", "skip"]).map_err(|error| {
                let help = "help: to do something else, write a closure: `on_busy = |busy| …`";
                syn::Error::new(error.span(), format!("{error}\n{help}"))
            })?;
            Ok((keyword == "skip").then_some(OnBusy::Skip))
        }
        Expr::Closure(closure) => Ok(Some(OnBusy::Closure(closure))),
        expr => Ok(Some(OnBusy::Expr(expr))),
    }
}

fn closure(value: Expr) -> syn::Result<ExprClosure> {
    match value {
        Expr::Closure(closure) => Ok(closure),
        Expr::Path(path) => {
            let name = written(&path);
            let text = format!("`on_error` is a closure: write `on_error = |error| {name}(error)`");
            Err(syn::Error::new_spanned(path, text))
        }
        value => Err(syn::Error::new_spanned(value, "`on_error` is a closure: write `on_error = |error| …`")),
    }
}

/// A name for the guard or the token, with the place and the hygiene that the user gave it.
fn binding(value: &Expr, argument: &str, example: &str) -> syn::Result<Ident> {
    let name = match value {
        Expr::Path(path) if path.attrs.is_empty() && path.qself.is_none() => path.path.get_ident(),
        _ => None,
    };
    if let Some(name) = name.filter(|name| *name != "self" && *name != "Self" && *name != "crate" && *name != "super") {
        return Ok(name.clone());
    }
    let text = match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if syn::parse_str::<Ident>(&text.value()).is_ok() => {
            format!("write the name without quotes: `{argument} = {}`", text.value())
        }
        _ => format!("`{argument}` names a variable: write `{argument} = {example}`"),
    };
    Err(syn::Error::new_spanned(value, text))
}

/// A label must be the same in every call, or it fills the memory of whatever counts by it.
fn label(value: &Expr) -> syn::Result<LitStr> {
    let label = string(value, || "`name` is text in quotes, such as `name = \"settle order\"`".to_owned())?;
    if label.value().trim().is_empty() {
        return Err(syn::Error::new(label.span(), "the name is empty: leave `name` out to use the key template"));
    }
    if label.value().contains(['{', '}']) {
        let text = "`name` is the same for every call, so it takes no placeholders; \
                    what differs goes into `key` or `metadata`";
        return Err(syn::Error::new(label.span(), text));
    }
    Ok(label)
}

/// `::a::b`, `crate::a` or `$crate::a`: what means the same in every module.
fn absolute(value: Expr) -> syn::Result<Path> {
    let path = match value {
        Expr::Path(path) if path.qself.is_none() && path.attrs.is_empty() => path.path,
        value => return Err(syn::Error::new_spanned(value, "`crate` is a path, such as `crate = ::lock_runtime`")),
    };
    let first = path.segments.first().map(|first| first.ident.to_string()).unwrap_or_default();
    if path.leading_colon.is_some() || matches!(first.as_str(), "crate" | "$crate") {
        return Ok(path);
    }
    let written = written(&path);
    let fix = match first.as_str() {
        "self" | "super" => "an absolute one, such as `crate::locks`".to_owned(),
        _ => format!("`::{written}`, or `crate::{written}` for a module of this crate"),
    };
    Err(syn::Error::new_spanned(path, format!("`{written}` is a relative path: write {fix}")))
}

fn written(path: &impl ToTokens) -> String {
    path.to_token_stream().to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::{ARGUMENTS, Errors, Given};
    use crate::item::LockFn;
    use proc_macro2::TokenStream;
    use quote::quote;

    fn errors(args: TokenStream, item: TokenStream) -> Vec<String> {
        let item: LockFn = syn::parse2(item).expect("a function");
        let mut errors = Errors::default();
        let args = Given::parse(args, &mut errors).build(Some(&item), &mut errors);
        match errors.into_result(args) {
            Ok(_) => Vec::new(),
            Err(error) => error.into_iter().map(|error| error.to_string()).collect(),
        }
    }

    /// The errors of arguments beside a good key and ttl.
    #[expect(clippy::needless_pass_by_value, reason = "the calls read better")]
    fn beside(args: TokenStream) -> Vec<String> {
        errors(
            quote!(key = "a:{id}", ttl = "5s", #args),
            quote!(
                async fn f(id: u8) -> Result<(), E> {}
            ),
        )
    }

    #[track_caller]
    fn one(args: TokenStream, expected: &str) {
        assert_eq!(beside(args), [expected]);
    }

    #[test]
    fn every_argument_takes_the_value_that_is_shown_for_it() {
        for other in ["key", "keys"] {
            let args = ARGUMENTS.iter().filter(|(name, _)| *name != other);
            let args: Vec<String> = args.map(|(name, value)| format!("{name} = {value}")).collect();
            let args: TokenStream = args.join(", ").parse().expect("tokens");
            let item = quote!(
                async fn f(&self, id: u8) -> Result<(), E> {}
            );
            assert_eq!(errors(args, item), Vec::<String>::new());
        }
    }

    #[test]
    fn several_mistakes_at_once() {
        let found = errors(
            quote!(kye = "order:{id}", ttl = 5, wait = "2 s", wait = "2s", guard = id, on_busy = "skipp"),
            quote!(
                async fn f(id: u8) {}
            ),
        );
        assert_eq!(found.len(), 7, "{found:#?}");
        let after_bad_syntax = errors(
            quote!(key = "order:{idd}", retry = +, ttl, wait, manager =),
            quote!(
                async fn f(id: u8) -> Result<(), E> {}
            ),
        );
        assert_eq!(after_bad_syntax.len(), 5, "{after_bad_syntax:#?}");
    }

    #[test]
    fn literals_are_found_in_parentheses_and_groups() {
        let group = proc_macro2::Group::new(proc_macro2::Delimiter::None, quote!("a:{nobody}"));
        for key in [quote!(#group), quote!(("a:{nobody}")), quote!(&("a:{nobody}"))] {
            let item = quote!(
                async fn f(id: u8) -> Result<(), E> {}
            );
            assert_eq!(
                errors(quote!(key = #key, ttl = "5s"), item),
                ["`{nobody}`: no parameter is called `nobody`; there is `id`"]
            );
        }
    }

    #[test]
    fn literals_with_what_rustc_would_refuse() {
        one(quote!(wait = "5s"ms), "text takes no suffix: leave out `ms`");
        one(quote!(on_busy = ("skip"x)), "text takes no suffix: leave out `x`");
        one(
            quote!(
                metadata = #[cfg(never)]
                "a"
            ),
            "a literal takes no attribute: leave it out",
        );
    }

    #[test]
    fn names() {
        one(quote!(on_bsuy = "skip"), "unknown argument `on_bsuy`; a similar argument exists: `on_busy`");
        one(quote!(ttl = "6s"), "`ttl` specified more than once");
        one(quote!(wait), "`wait` needs a value, such as `wait = \"2s\"`");
        one(quote!(wait("2s")), "`wait` needs a value, such as `wait = \"2s\"`");
        one(quote!("2s"), "name the argument: `wait = \"2s\"`");
        one(quote!(wait = "2s" guard = lock), "expected `,` between two arguments");
        one(quote!(timeout = "2s"), "unknown argument `timeout`; here it is called `wait`");
        assert!(super::ELSEWHERE.iter().all(|(name, ours)| {
            // Each leads to an argument that there is, and is none itself.
            super::names().any(|known| known == *ours) && super::names().all(|known| known != *name)
        }));
        assert!(beside(quote!(colour = 2))[0].starts_with("unknown argument `colour`; expected `key`, `keys`, `ttl`"));
    }

    #[test]
    fn keys() {
        let of = |args: TokenStream| {
            let item = quote!(
                async fn f(id: u8, ids: Vec<u8>) -> Result<(), E> {}
            );
            errors(quote!(ttl = "5s", #args), item)
        };
        let group = proc_macro2::Group::new(proc_macro2::Delimiter::None, quote!(["a:{id}"]));
        for good in [
            quote!(keys = ["a:{id}", "b"]),
            quote!(keys = &["a:{id}", id.to_string(), key!("b:{id}")]),
            quote!(keys = (["a:{id}",])),
            quote!(keys = #group),
            quote!(keys = ids.iter().map(|id| key!("a:{id}"))),
            quote!(keys = ids),
        ] {
            assert_eq!(of(good), Vec::<String>::new());
        }
        let both = "`key` and `keys` exclude each other: write all of them into `keys`";
        assert_eq!(of(quote!(key = "a", keys = ["b"])), [both]);
        assert_eq!(of(quote!(keys = ["b"], key = "a")), [both]);
        let list = "`keys` is a list: write `keys = [\"a:{id}\"]`, or `key = …` for a single one";
        assert_eq!(of(quote!(keys = "a:{id}")), [list]);
        assert_eq!(of(quote!(keys = [])), ["there is nothing in the list: nothing would be locked"]);
        assert_eq!(of(quote!(keys = 5)), ["expected a list, such as `[\"order:{id}\", \"stock:{id}\"]`"]);
        assert_eq!(of(quote!(keys)), ["`keys` needs a value, such as `keys = [\"order:{id}\", \"stock:{id}\"]`"]);
        assert_eq!(of(quote!(keys = vec!["a:{id}"])).len(), 1);
        // All that is wrong with the templates, as of a single one.
        let found = of(quote!(keys = ["a:{id}", "a:{id}", "b:{nobody}", "c:{id}{id}", concat!("d"), 7]));
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(found.first().map(String::as_str), Some("`a:{id}` is in the list already"));
        let unknown = of(quote!(keys = ["a", "b:{nobody}"]));
        assert_eq!(unknown, ["`{nobody}`: no parameter is called `nobody`; there is `id` and `ids`"]);
        assert_eq!(of(quote!(kyes = ["a"])), ["unknown argument `kyes`; a similar argument exists: `keys`"]);
    }

    #[test]
    fn durations() {
        one(quote!(wait = 5), "write the unit: `wait = \"5s\"`, or another of `ms`, `s`, `m`, `h` and `d`");
        one(quote!(wait = 5s), "write the duration in quotes: `wait = \"5s\"`");
        one(quote!(wait = 1.5), "write whole numbers with units: `wait = \"1s500ms\"`");
        one(quote!(wait = true), "expected a duration, such as `wait = \"5s\"`");
    }

    #[test]
    fn renewals() {
        let alone_or = "write `renew` alone, or with an interval, such as `renew = \"1s\"`";
        for good in
            [quote!(renew), quote!(renew,), quote!(renew = "4999ms"), quote!(renew = every), quote!(renew = ("1s"))]
        {
            assert_eq!(beside(good), Vec::<String>::new());
        }
        for wrong in
            [quote!(renew = true), quote!(renew = "yes"), quote!(renew = ""), quote!(renew("1s")), quote!(renew "1s")]
        {
            one(wrong, alone_or);
        }
        one(quote!(renew = false), "without `renew`, nothing is renewed: leave it out");
        one(quote!(renew = 1), "write the unit: `renew = \"1s\"`, or another of `ms`, `s`, `m`, `h` and `d`");
        one(quote!(renew =), "the value of `renew` is missing, such as `\"1s\"`");
        one(quote!(renew, renew = "1s"), "`renew` specified more than once");
        one(quote!(renew = "1s", renew), "`renew` specified more than once");
        one(quote!(renew guard = lock), "expected `,` between two arguments");
        one(quote!(renw), "unknown argument `renw`; a similar argument exists: `renew`");
    }

    #[test]
    fn terms_that_contradict_each_other() {
        let interval = "the interval of `renew` is not below `ttl`: the lease would end before its first renewal\n\
                        help: `renew` alone renews three times in each `ttl`";
        one(quote!(renew = "5s"), interval);
        one(quote!(min_hold = "5001ms"), "`min_hold` is longer than `ttl`: the key would be gone before it is over");
        one(quote!(renew, max_hold = "4s"), "`max_hold` is shorter than `ttl`: use a shorter `ttl`, without `renew`");
        let no_renewals = "`max_hold` limits renewals, and there are none: add `renew`, or leave it out";
        for limit in [quote!(max_hold = "1m"), quote!(max_hold = "1s"), quote!(max_hold = limit)] {
            one(limit, no_renewals);
        }
        for good in [
            quote!(min_hold = "5s"),
            quote!(renew = "1s", max_hold = "5s"),
            quote!(renew, max_hold = limit, min_hold = floor, on_lost = "proceed"),
        ] {
            assert_eq!(beside(good), Vec::<String>::new());
        }
        // What is wrong already is not held against the rest, and neither is what only the call will know.
        one(quote!(renew = "soon", max_hold = "1m"), super::RENEW);
        one(quote!(renw, max_hold = "1m"), "unknown argument `renw`; a similar argument exists: `renew`");
        let ttl = errors(
            quote!(key = "a", ttl = lease, renew = "1h", max_hold = "1s", min_hold = "1d"),
            quote!(
                async fn f() -> Result<(), E> {}
            ),
        );
        assert_eq!(ttl, Vec::<String>::new());
    }

    #[test]
    fn keywords() {
        one(quote!(on_lost = "procede"), "unknown value for `on_lost`; a similar one exists: `\"proceed\"`");
        one(quote!(on_lost = "abort"), "unknown value for `on_lost`; expected `\"cancel\"` or `\"proceed\"`");
        one(quote!(on_lost = cancel), "`on_lost` is `\"cancel\"` or `\"proceed\"`");
        one(
            quote!(on_lost = |_| ()),
            "`on_lost` is `\"cancel\"` or `\"proceed\"`: what the function returns is for `on_error`",
        );
        one(quote!(release = "wiat"), "unknown value for `release`; a similar one exists: `\"wait\"`");
        one(quote!(release = "never"), "unknown value for `release`; expected `\"wait\"` or `\"background\"`");
        one(quote!(release = background), "`release` is `\"wait\"` or `\"background\"`");
    }

    #[test]
    fn closures() {
        one(quote!(on_error = log::it), "`on_error` is a closure: write `on_error = |error| log::it(error)`");
        one(quote!(on_error = 5), "`on_error` is a closure: write `on_error = |error| …`");
    }

    #[test]
    fn bindings() {
        one(quote!(guard = id), "`id` is a parameter already: give the guard another name");
        one(quote!(guard = "lock"), "write the name without quotes: `guard = lock`");
        one(quote!(guard = a::b), "`guard` names a variable: write `guard = lock`");
        one(quote!(guard = self), "`guard` names a variable: write `guard = lock`");
        one(quote!(fence = r#id), "`r#id` is a parameter already: give the token another name");
        one(quote!(fence = "fence"), "write the name without quotes: `fence = fence`");
        one(quote!(fence = true), "`fence` names a variable: write `fence = token`");
        one(quote!(fence), "`fence` needs a value, such as `fence = token`");
        one(quote!(guard = lock, fence = lock), "`lock` is the guard already: give the token another name");
        one(quote!(fence = lock, guard = r#lock), "`lock` is the guard already: give the token another name");
    }

    #[test]
    fn paths() {
        one(
            quote!(crate = locks),
            "`locks` is a relative path: write `::locks`, or `crate::locks` for a module of this crate",
        );
        one(
            quote!(crate = super::locks),
            "`super::locks` is a relative path: write an absolute one, such as `crate::locks`",
        );
        assert!(beside(quote!(crate = crate::locks)).is_empty());
    }

    #[test]
    fn labels() {
        assert_eq!(beside(quote!(name = "order {id}")).len(), 1);
        assert_eq!(beside(quote!(name = "")).len(), 1);
        assert_eq!(beside(quote!(name = settle)).len(), 1);
    }
}
