//! Promise: the attribute works on every shape of async function, and the function still does what it did. Every test runs
//! the function, and looks into the store's journal: one lock, of the key expected, around the body.
//!
//! `tests/shapes-2021` runs the same modules in edition 2021.

mod arguments;
mod busy;
mod entry;
mod hygiene;
mod keys;
mod macros;
mod methods;
mod options;
mod reexport;
mod results;
mod traits;
mod web;
