//! Tests of the machine as a whole: scenarios by hand, the transition table, and laws that hold for every history.

mod endings;
mod laws;
mod scenarios;
mod table;
mod world;
