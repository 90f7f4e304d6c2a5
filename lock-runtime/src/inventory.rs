//! Every function under the attribute, as the source code has it.

use std::time::Duration;

/// A function under `#[distributed_lock]`: one of [`inventory()`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockedFunction {
    /// Its name.
    pub function: &'static str,
    /// The path of the module in which it stands.
    pub module: &'static str,
    /// The template of its key, or of its keys, separated by commas; empty where the key is no template.
    pub template: &'static str,
    /// What its locks are called in logs and metrics.
    pub name: &'static str,
    /// How long its locks live, unless they are extended; `None` where that is no literal.
    pub ttl: Option<Duration>,
    /// The arguments of the attribute, as they are written.
    pub arguments: &'static str,
    /// The file in which the attribute stands,
    pub file: &'static str,
    /// and the line.
    pub line: u32,
}

impl LockedFunction {
    /// For the attribute.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        [function, module, template, name, arguments]: [&'static str; 5],
        ttl: Option<Duration>,
        (file, line): (&'static str, u32),
    ) -> Self {
        Self { function, module, template, name, ttl, arguments, file, line }
    }
}

::inventory::collect!(LockedFunction);

/// Every function under the attribute that is part of this program, its libraries included, in the order of files and lines: to be
/// shown to those who look after it, and to be checked by a test, such as that no two functions lock the same keys by accident.
///
/// ```
/// # #[cfg(feature = "macros")]
/// # {
/// use lock_runtime::{LockError, distributed_lock, inventory};
///
/// #[distributed_lock(key = "report:{day}", ttl = "30s", renew, max_hold = "10m")]
/// async fn write_report(day: u32) -> Result<(), LockError> {
///     Ok(())
/// }
///
/// let report = inventory().into_iter().find(|function| function.function == "write_report").expect("it is part of this");
/// assert_eq!((report.template, report.arguments.contains("renew")), ("report:{day}", true));
/// # }
/// ```
#[must_use]
pub fn inventory() -> Vec<&'static LockedFunction> {
    let mut functions: Vec<_> = ::inventory::iter::<LockedFunction>.into_iter().collect();
    functions.sort_by_key(|function| (function.file, function.line, function.function));
    functions
}
