//! The pod worker as a pure state machine.
