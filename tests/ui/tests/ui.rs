//! What the compiler says of code under the attribute. `TRYBUILD=overwrite cargo test -p lock-ui-tests` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Promise: every mistake in the attribute is an error that says what to write instead.
///
/// Any change to a text of the macro crate, or to where it is shown, turns this red.
#[rustversion::attr(not(stable(1.95)), ignore = "the texts are those of Rust 1.95")]
#[test]
fn every_mistake_is_explained() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("fail/*.rs");
    cases.compile_fail("body/*/*.rs");
}

/// Promise: a body has the errors that it has without the attribute, with the same words at the same places; of a borrow of
/// an argument, as many and on the same lines.
///
/// Expanding to `async move { BODY }` without the `return` that is never taken turns this red, and so does an async block
/// with a span of ours.
#[test]
fn the_body_has_the_errors_that_it_has_without_the_attribute() {
    let (plain, locked) = (texts("body/plain", "stderr"), texts("body/locked", "stderr"));
    assert!(plain.len() > 15 && plain.keys().eq(locked.keys()));
    for (name, plain) in &plain {
        let (plain, locked) = (errors(plain), errors(&locked[name]));
        if name.starts_with("borrow") {
            let line = |(_, place): &(String, String)| place.rsplit_once(':').map(|(line, _)| line.to_owned());
            assert!(plain.iter().map(line).eq(locked.iter().map(line)), "{name}: {plain:#?} {locked:#?}");
        } else {
            assert_eq!(plain, locked, "{name}");
        }
    }
}

/// The two halves of the test above are the same code.
#[test]
fn the_bodies_differ_in_the_attribute_alone() {
    let (plain, locked) = (texts("body/plain", "rs"), texts("body/locked", "rs"));
    assert!(plain.keys().eq(locked.keys()));
    for (name, plain) in &plain {
        let other = |(line, other): &(&str, &str)| line != other;
        let different: Vec<_> = plain.lines().zip(locked[name].lines()).filter(other).collect();
        assert_eq!(
            different,
            [("// Without the attribute.", "#[lock_runtime::distributed_lock(key = \"order\", ttl = \"5s\")]")]
        );
    }
}

/// The files of a folder by name, with the folder left out of their texts.
fn texts(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).expect("the folder is there").map(|file| file.expect("it can be listed").path());
    let files = files.filter(|file| file.extension().is_some_and(|found| found == extension));
    let text = |file: &Path| fs::read_to_string(file).expect("it can be read").replace(folder, "body");
    files.map(|file| (file.file_stem().expect("a name").to_string_lossy().into_owned(), text(&file))).collect()
}

/// The first line of each error, and its place.
fn errors(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().zip(text.lines().skip(1)).filter(|(line, _)| line.starts_with("error"));
    lines.map(|(line, place)| (line.replace("async function", "async block"), place.to_owned())).collect()
}
