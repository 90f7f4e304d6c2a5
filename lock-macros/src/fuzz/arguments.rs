//! `key = "…", ttl = "5s", …`: each mistake is one error, at the argument that it is in.

use proc_macro2::TokenStream;
use proptest::prelude::*;

use super::cases;
use super::functions::{check, errors, expansion, lexed, parses, tokens};

const FUNCTION: &str =
    "async fn settle(&self, id: u64, order: Order) -> Result<u64, E> { self.pay(order).await?; Ok(id) }";

/// Values that are right, with the milliseconds of those that are literal durations, and values that are wrong.
type Known = (&'static str, &'static [(&'static str, Option<u64>)], &'static [&'static str]);

const KNOWN: [Known; 17] = [
    (
        "key",
        &[
            ("\"order:{id}\"", None),
            ("\"k:{order.name}:{id:05x}\"", None),
            ("(\"a:{id}\")", None),
            ("&\"a\"", None),
            ("r#\"a:\"{self.zone.0}\"\"#", None),
            ("{ let zone = 1; format!(\"{zone}\") }", None),
            ("if id > 1 { one } else { other }", None),
        ],
        &[
            "5",
            "'a'",
            "b\"a\"",
            "concat!(\"a\", \"b\")",
            "\"\"",
            "\"{id\"",
            "\"{}\"",
            "\"{id}{id}\"",
            "\"{nobody}\"",
            "\"a\"s",
            "#[a] \"a\"",
        ],
    ),
    (
        "ttl",
        &[
            ("\"5s\"", Some(5_000)),
            ("\"1m30s\"", Some(90_000)),
            ("(\"10ms\")", Some(10)),
            ("TTL", None),
            ("Duration::MAX", None),
        ],
        &["5", "5s", "1.5", "\"5\"", "\"9ms\"", "\"31d\"", "true", "\"5s\"ms", "#[cfg(a)] \"5s\""],
    ),
    (
        "wait",
        &[("\"2s\"", Some(2_000)), ("&\"1d\"", Some(86_400_000)), ("limit", None)],
        &["5", "\"0s\"", "\"soon\"", "'5'", "\"5s\"x"],
    ),
    ("retry", &[("Retry::none()", None), ("a..b", None), ("x?.y", None), ("|| 5", None)], &[]),
    (
        "renew",
        &[("\"1s\"", Some(1_000)), ("\"5s\"", Some(5_000)), ("\"9ms\"", Some(9)), ("every", None)],
        &["true", "false", "\"yes\"", "1", "\"0s\"", "\"1s\"s"],
    ),
    ("max_hold", &[("\"1m\"", Some(60_000)), ("\"5ms\"", Some(5)), ("limit", None)], &["5", "\"0ms\"", "\"1.5m\""]),
    ("min_hold", &[("\"2s\"", Some(2_000)), ("\"6s\"", Some(6_000)), ("floor()", None)], &["5", "\"0ms\"", "\"1m1m\""]),
    (
        "on_busy",
        &[
            ("\"skip\"", None),
            ("\"error\"", None),
            ("|busy| Err(busy.into())", None),
            ("return Ok(7)", None),
            ("later(order).await?", None),
        ],
        &["\"skipp\"", "\"\"", "\"skip\"s"],
    ),
    ("on_error", &[("|error| panic!(\"{error}\")", None), ("move |_| { 5 }", None)], &["log::it", "5", "\"skip\""]),
    ("on_lost", &[("\"cancel\"", None), ("(\"proceed\")", None)], &["proceed", "\"procede\"", "|_| ()", "\"cancel\"e"]),
    ("release", &[("\"wait\"", None), ("\"background\"", None)], &["background", "\"never\"", "5"]),
    ("guard", &[("lock", None), ("r#type", None)], &["id", "\"lock\"", "a::b", "self", "5"]),
    ("fence", &[("token", None), ("fence", None)], &["order", "\"fence\"", "_", "true"]),
    (
        "metadata",
        &[("\"worker {id:>5}\"", None), ("\"\"", None), ("self.name()", None)],
        &["5", "\"{\"", "\"{nobody}\"", "concat!(\"a\")", "\"a\"u8"],
    ),
    ("name", &[("\"settle order\"", None), ("(\"x\")", None)], &["\"\"", "\"{id}\"", "settle", "5", "\"a\"b"]),
    ("manager", &[("self.locks", None), ("&*LOCKS", None), ("{ 1; locks() }", None)], &[]),
    (
        "crate",
        &[("::lock_runtime", None), ("crate::locks", None)],
        &["locks", "super::locks", "self::locks", "5", "<T>::locks"],
    ),
];

/// Names that are none, with the one that each is taken for.
const UNKNOWN: [(&str, Option<&str>); 6] = [
    ("kye", Some("key")),
    ("tttl", Some("ttl")),
    ("wiat", Some("wait")),
    ("renw", Some("renew")),
    ("timeout", Some("wait")),
    ("retries_of_mine", None),
];

#[derive(Clone, Debug)]
enum Argument {
    Right(&'static str, &'static str, Option<u64>),
    Wrong(&'static str, &'static str),
    Unknown(&'static str, Option<&'static str>),
    /// `renew`, which needs no value.
    Flag,
    /// Another name without a value, with the equals sign or without.
    Bare(&'static str, bool),
}

impl Argument {
    fn text(&self) -> String {
        match self {
            Self::Right(name, value, _) | Self::Wrong(name, value) => format!("{name} = {value}"),
            Self::Unknown(name, _) => format!("{name} = \"5s\""),
            Self::Flag => "renew".to_owned(),
            Self::Bare(name, equals) => format!("{name}{}", if *equals { " =" } else { "" }),
        }
    }

    /// The name that it is taken for.
    fn meant(&self) -> Option<&'static str> {
        match self {
            Self::Right(name, ..) | Self::Wrong(name, _) | Self::Bare(name, _) => Some(name),
            Self::Unknown(_, meant) => *meant,
            Self::Flag => Some("renew"),
        }
    }

    fn millis(&self) -> Option<u64> {
        match self {
            Self::Right(_, _, millis) => *millis,
            _ => None,
        }
    }
}

/// The arguments that errors have to be at, one for each error, and the names of those that are missing.
fn mistakes(arguments: &[Argument]) -> (Vec<usize>, Vec<&'static str>) {
    let mut wrong = Vec::new();
    // The first of each name counts.
    let mut first = Vec::<(&str, usize)>::new();
    for (place, argument) in arguments.iter().enumerate() {
        let again = argument.meant().is_some_and(|meant| first.iter().any(|(name, _)| *name == meant));
        if again || !matches!(argument, Argument::Right(..) | Argument::Flag) {
            wrong.push(place);
        }
        if let Some(meant) = argument.meant().filter(|_| !again) {
            first.push((meant, place));
        }
    }
    let place = |wanted: &str| first.iter().find(|(name, _)| *name == wanted).map(|(_, place)| *place);
    let millis = |name: &str| place(name).and_then(|place| Some((place, arguments[place].millis()?)));
    if let Some((_, ttl)) = millis("ttl") {
        wrong.extend(millis("renew").filter(|(_, interval)| *interval >= ttl).map(|(place, _)| place));
        wrong.extend(millis("min_hold").filter(|(_, hold)| *hold > ttl).map(|(place, _)| place));
        let renewed = place("renew").is_some();
        wrong.extend(millis("max_hold").filter(|(_, hold)| renewed && *hold < ttl).map(|(place, _)| place));
    }
    if place("renew").is_none() {
        wrong.extend(place("max_hold"));
    }
    wrong.sort_unstable();
    (wrong, ["key", "ttl"].into_iter().filter(|name| place(name).is_none()).collect())
}

fn known() -> impl Strategy<Value = Argument> {
    (0..KNOWN.len(), any::<prop::sample::Index>(), prop::bool::weighted(0.15), any::<prop::sample::Index>()).prop_map(
        |(argument, right, mistaken, wrong)| {
            let (name, rights, wrongs) = KNOWN[argument];
            if mistaken && !wrongs.is_empty() {
                return Argument::Wrong(name, wrongs[wrong.index(wrongs.len())]);
            }
            let (value, millis) = rights[right.index(rights.len())];
            Argument::Right(name, value, millis)
        },
    )
}

fn arguments() -> impl Strategy<Value = Vec<Argument>> {
    let argument = || {
        prop_oneof![
            20 => known(),
            1 => prop::sample::select(UNKNOWN.to_vec()).prop_map(|(name, meant)| Argument::Unknown(name, meant)),
            2 => Just(Argument::Flag),
            1 => (0..KNOWN.len(), any::<bool>()).prop_map(|(argument, equals)| match KNOWN[argument].0 {
                "renew" => Argument::Bare("renew", true),
                name => Argument::Bare(name, equals),
            }),
        ]
    };
    let rest = prop::collection::vec(argument(), 0..8);
    let first = |name: usize| {
        let rights = KNOWN[name].1.to_vec();
        let right = prop::sample::select(rights);
        prop::option::weighted(
            0.9,
            right.prop_map(move |(value, millis)| Argument::Right(KNOWN[name].0, value, millis)),
        )
    };
    (first(0), first(1), rest)
        .prop_map(|(key, ttl, rest)| key.into_iter().chain(ttl).chain(rest).collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(cases(2_000))]

    /// Promise: what is right is accepted beside everything else that is right, and the function is one afterwards. Each
    /// mistake is one error, and is shown at the argument with the mistake.
    ///
    /// Stopping at the first mistake turns this red, and so does an error at the whole attribute, or `>` for `>=` between
    /// two durations.
    #[test]
    fn each_mistake_is_one_error_at_its_argument(arguments in arguments(), comma in any::<bool>()) {
        let mut text = String::new();
        let mut ranges = Vec::new();
        for argument in &arguments {
            let start = text.len();
            text.push_str(&argument.text());
            ranges.push(start..text.len());
            text.push_str(", ");
        }
        if !comma && !arguments.is_empty() {
            text.truncate(text.len() - 2);
        }
        let (attribute, item) = lexed(&text, FUNCTION).expect("tokens");
        let errors = errors(&attribute, &item);
        let (wrong, missing) = mistakes(&arguments);
        let (whole, shown): (Vec<_>, Vec<_>) = errors.iter().partition(|error| error.range.is_empty());
        let whole: Vec<_> = whole.iter().map(|error| error.text.lines().next().unwrap_or_default()).collect();
        let missing: Vec<_> = missing.iter().map(|name| format!("missing `{name}`")).collect();
        prop_assert_eq!(&whole, &missing, "{}: {:?}", text, errors);
        let place = |start: usize| ranges.iter().position(|range| range.contains(&start));
        let mut places: Vec<_> = shown.iter().filter_map(|error| place(error.range.start)).collect();
        places.sort_unstable();
        prop_assert_eq!(&places, &wrong, "{}: {:?}", text, errors);
        prop_assert_eq!(shown.len(), wrong.len(), "{}: {:?}", text, errors);

        let expansion = expansion(&attribute, &item);
        if errors.is_empty() {
            prop_assert!(parses(&expansion), "{}: {}", text, expansion);
            let signature = FUNCTION.split('{').next().unwrap_or_default().parse::<TokenStream>().expect("tokens");
            prop_assert!(expansion.to_string().starts_with(&signature.to_string()));
        } else {
            prop_assert_eq!(expansion.to_string().matches("compile_error").count(), errors.len());
        }
    }

    /// Promise: any tokens are refused with an error at one of them, or are arguments.
    #[test]
    fn any_tokens(tokens in tokens(&[
        "key", "ttl", "wait", "renew", "max_hold", "on_busy", "on_error", "guard", "fence", "crate", "manager", "name", "r#key", "_",
        "=", "=", "=", ",", ",", ",", "|", "||", "..", "::", "&", "?", "#", "$", "-", "'a", ";", "let", "async", "move", "match",
        "\"order:{id}\"", "\"5s\"", "\"5s\"x", "\"\"", "\"{\"", "5", "5s", "1.5", "'a'", "b\"a\"", "c\"a\"", "true", "id", "self", "concat!",
    ])) {
        let (args, item) = lexed(&tokens, FUNCTION).expect("tokens");
        check(&args, &item)?;
        prop_assert!(!crate::expand::key(args).is_empty());
    }
}
