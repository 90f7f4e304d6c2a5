//! Where `crate = crate::reexport::lock_runtime` points to: a crate that passes the runtime on.

pub(crate) use ::lock_runtime;
