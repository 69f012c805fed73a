//! The pod worker as a closed state machine: what a node does about one pod, decided without doing it.
//!
//! [`step`] takes a [`State`], an [`Event`] and the present ([`Ctx`]) and answers with the next state and [`Effect`]s, which somebody else executes
//! and whose results come back as events. [`State::wake_at`] says when time itself becomes an event. [`status`] is what the API server is told.
//! Nothing here waits, reads a clock, or is random. In reading order: [`event`] and [`effect`] are the two sides of the contract; [`state`] is what
//! is remembered; [`adopt`] makes it from a pod that may have run before; `step` absorbs events, `advance`, `container` and `ending` decide what is due;
//! [`restart`] and [`probes`] hold the arithmetic; `conditions` and [`status`] describe the outcome.

pub mod effect;
pub mod event;
pub mod state;

pub mod adopt;
pub mod probes;
pub mod restart;
pub mod status;

mod advance;
mod conditions;
mod container;
mod ending;
mod spec;
mod step;

pub use effect::{Effect, Note, NoteKind};
pub use event::{Event, Exit, FetchFault, Image, RunId, StartFault};
pub use spec::{hook_of, with_ephemeral};
pub use state::{Ctx, State};
pub use step::step;

#[cfg(test)]
mod tests;
