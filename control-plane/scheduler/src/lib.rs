//! The scheduler's decisions: filter, score, assign, queue.
