//! Code without mistakes, compiled without a warning. Not by trybuild, which would build every dependency once more for it.

#[path = "../pass/every-argument.rs"]
mod every_argument;
#[path = "../pass/literals-that-come-through-macros.rs"]
mod literals_that_come_through_macros;
#[path = "../pass/names-that-are-used-in-the-key-alone.rs"]
mod names_that_are_used_in_the_key_alone;
#[path = "../pass/several-keys.rs"]
mod several_keys;

/// Promise: every argument of the documentation's table is accepted, beside all others.
#[test]
fn every_argument() {
    every_argument::main();
}

/// Promise: a key that came as `$key:literal` is a template: two ids, two keys. Without unwrapping the invisible group
/// around it, both would be `order:{id}`.
#[test]
fn literals_that_come_through_macros() {
    literals_that_come_through_macros::main();
}

/// Promise: an argument that only the key uses is used. Without `Boxed::block_that_uses`, async-trait's copy of it would not
/// be, and the file would not compile.
#[test]
fn names_that_are_used_in_the_key_alone() {
    names_that_are_used_in_the_key_alone::main();
}

/// Promise: `keys` takes templates and expressions in a list, and everything that yields keys; with generics, and through macros.
#[test]
fn several_keys() {
    several_keys::main();
}
