//! Promise: everything that `tests/shapes` shows is true in edition 2021 too: the same modules, in a crate of that edition.

// By a macro, so that rustfmt does not follow: they are formatted where they belong, in the style of their edition.
macro_rules! modules {
    ($($name:ident = $path:literal),* $(,)?) => {
        $(
            #[path = $path]
            mod $name;
        )*
    };
}

modules! {
    arguments = "../../shapes/tests/shapes/arguments.rs",
    busy = "../../shapes/tests/shapes/busy.rs",
    entry = "../../shapes/tests/shapes/entry.rs",
    hygiene = "../../shapes/tests/shapes/hygiene.rs",
    keys = "../../shapes/tests/shapes/keys.rs",
    macros = "../../shapes/tests/shapes/macros.rs",
    methods = "../../shapes/tests/shapes/methods.rs",
    options = "../../shapes/tests/shapes/options.rs",
    reexport = "../../shapes/tests/shapes/reexport.rs",
    results = "../../shapes/tests/shapes/results.rs",
    traits = "../../shapes/tests/shapes/traits.rs",
    web = "../../shapes/tests/shapes/web.rs",
}
