//! The settings of wasmtime, and why. Measured before: docs/perf.md.

use std::num::NonZeroUsize;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// After so much fuel a guest yields to its thread: about a millisecond of the fastest code. Ten times less costs 1.5 % more, a hundred times
/// less 15 %.
pub(crate) const YIELD_FUEL: u64 = 10_000_000;
/// Core instances of an adapted module: the module, the adapter and two shims.
const CORE_INSTANCES: u32 = 4;
/// Tables of an adapted module.
const TABLES: u32 = 3;
/// Memory mappings per slot of the pool in the process, measured: two for the stack, four for the rest.
const MAPPINGS_PER_INSTANCE: u64 = 6;
/// Mappings left for everything else in the process.
const MAPPINGS_SLACK: u64 = 2_000;
/// What the kernel allows when it does not say.
const DEFAULT_MAX_MAP_COUNT: u64 = 65_530;

/// How many instances fit into the process: the kernel bounds a process's memory mappings, and running out of them breaks malloc.
#[must_use]
pub fn instances_that_fit() -> u32 {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    let limit = limit
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_MAX_MAP_COUNT);
    u32::try_from(limit.saturating_sub(MAPPINGS_SLACK) / MAPPINGS_PER_INSTANCE).unwrap_or(u32::MAX)
}

/// An engine for `instances` instances at a time.
///
/// # Errors
/// When the address space for the pool can't be had.
pub(crate) fn new(instances: u32) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES))
        .total_stacks(instances)
        .max_memory_size(4 << 30)
        // A slot that keeps its first pages resident is reset by clearing what was written instead of by unmapping.
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(16);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_init_cow(true)
        .consume_fuel(true)
        // Preview-2 components have no concurrent tasks; the machinery for them costs a third of small calls.
        .concurrency_support(false)
        .async_stack_size(1 << 20)
        .max_wasm_stack(512 << 10)
        .wasm_backtrace_max_frames(NonZeroUsize::new(32));
    Engine::new(&config)
}
