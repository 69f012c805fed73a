//! Wires store, API server, registry, scheduler and controllers into one process.
