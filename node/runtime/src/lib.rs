//! Runs components under wasmtime with limits; the only crate that names wasmtime.
