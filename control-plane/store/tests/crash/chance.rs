//! Random numbers that come again with the same seed. A failing test prints its seed; `CORACLE_TORTURE_SEED` sets it.

/// The generator: splitmix64.
pub(crate) struct Chance(u64);

impl Chance {
    /// Seeded from the environment or `otherwise`.
    pub(crate) fn new(otherwise: u64) -> Self {
        Self(crate::rounds("CORACLE_TORTURE_SEED", otherwise))
    }

    /// Seeded.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// True so many times out of a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
