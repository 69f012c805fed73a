//! The read half of the pipeline: which objects are meant, at which revision, shown how.

pub mod frames;
pub mod list;
pub mod selection;
pub mod version;
pub mod view;
pub mod watch;
