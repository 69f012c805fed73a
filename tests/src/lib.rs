//! Harness and black-box tests.
