//! The storage trait and its implementations.
