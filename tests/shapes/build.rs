//! Writes a program of templates for `tests/templates.rs`: what the macro accepts must compile, and make its key.
//!
//! `LOCK_TEMPLATES_SEED=7 cargo test -p lock-shape-tests --test templates` makes another one.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::{env, fs};

use grammar::{Choices, Lot, Piece, Value};

/// The one of the macro's own tests.
#[path = "../../lock-macros/src/fuzz/grammar.rs"]
mod grammar;

const SEED: &str = "LOCK_TEMPLATES_SEED";
const CASES: usize = 300;

/// The value of the constant in the program.
const TENANT: &str = "acme:1";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../lock-macros/src/fuzz/grammar.rs");
    println!("cargo::rerun-if-env-changed={SEED}");
    let seed = env::var(SEED).map_or(1, |seed| seed.parse().expect("a number"));
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    let program = program(&mut Choices(Lot(seed)), seed).expect("text");
    fs::write(Path::new(&out).join("templates.rs"), program).expect("a writable directory");
}

fn program(choices: &mut Choices<Lot>, seed: u64) -> Result<String, fmt::Error> {
    let mut functions = String::new();
    let mut calls = String::new();
    for case in 0..CASES {
        let pieces = grammar::template(choices);
        let paths: Vec<_> = pieces.iter().filter_map(path).collect();
        let values: BTreeMap<_, _> = paths.iter().map(|path| (*path, value(choices, path))).collect();
        let key = grammar::key(&pieces, paths.iter().map(|path| &values[path]));
        let source = grammar::source(&pieces);
        let (parameters, arguments) = parameters(&values);
        writeln!(
            functions,
            "#[distributed_lock(key = {source:?}, ttl = \"5s\")]\n\
             async fn case_{case}({parameters}) -> Result<(), LockError> {{ body(); Ok(()) }}\n"
        )?;
        writeln!(calls, "({source:?}, {key:?}, Box::pin(Shop::case_{case}({arguments}))),")?;
    }
    Ok(format!(
        "pub(super) const SEED: u64 = {seed};\n\nconst TENANT: &str = {TENANT:?};\n\n\
         impl Shop {{\n{functions}}}\n\npub(super) fn calls() -> Vec<Call> {{\nvec![\n{calls}]\n}}\n"
    ))
}

fn path(piece: &Piece) -> Option<&'static str> {
    match piece {
        Piece::Part { path, .. } => Some(path),
        Piece::Text(_) => None,
    }
}

/// One that may stand in a key: an empty part is refused.
fn value(choices: &mut Choices<Lot>, path: &str) -> Value {
    let (_, number) = grammar::PATHS.iter().find(|(known, _)| *known == path).expect("one of them");
    match grammar::value(choices, *number) {
        Value::Text(_) if path == "TENANT" => Value::Text(TENANT.to_owned()),
        Value::Text(text) if text.is_empty() => Value::Text("empty".to_owned()),
        value => value,
    }
}

/// What the function of a template with these values declares, and what its caller writes.
fn parameters(values: &BTreeMap<&str, Value>) -> (String, String) {
    let at = |path: &str| match values.get(path) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Text(text)) => format!("{text:?}"),
        None if matches!(path, "order.id" | "order.lines.0" | "order.gen" | "t.0") => "0".to_owned(),
        None => "\"\"".to_owned(),
    };
    let order = || {
        let [id, name, first, second, found, made] =
            ["order.id", "order.name", "order.lines.0", "order.lines.1.1", "order.match", "order.gen"].map(at);
        format!(
            "&Order {{ id: {id}, name: {name}, lines: ({first}, ((), {second})), r#match: {found}, r#gen: {made} }}"
        )
    };
    let all = [
        ("self", "&self", format!("&Shop {{ zone: {} }}", at("self.zone"))),
        ("id", "id: i64", at("id")),
        ("number", "number: i64", at("number")),
        ("name", "name: &str", at("name")),
        ("type", "r#type: &str", at("type")),
        ("gen", "r#gen: &str", at("gen")),
        ("größe", "größe: &str", at("größe")),
        ("_x1", "_x1: i64", at("_x1")),
        ("order", "order: &Order", order()),
        ("t", "t: (i64, (&str,))", format!("({}, ({},))", at("t.0"), at("t.1.0"))),
    ];
    let used = all.iter().filter(|(root, ..)| values.keys().any(|path| path.split('.').next() == Some(root)));
    let (parameters, arguments): (Vec<_>, Vec<_>) =
        used.map(|(_, parameter, value)| (*parameter, value.as_str())).unzip();
    (parameters.join(", "), arguments.join(", "))
}
