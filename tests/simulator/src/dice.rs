//! Chance, from a seed: one stream per purpose, so that a change to what one of them draws leaves the others alone.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// A stream of chance for one purpose.
pub(crate) struct Dice(Xoshiro256PlusPlus);

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What the policy, the people and the outside are like, and what they do.
    Story,
    /// Which calls fail, hang or wait, which messages are lost.
    Faults,
    /// Who is first of those that could go on at the same moment.
    Order,
    /// What people do once nothing fails any more.
    Ending,
}

impl Dice {
    /// The stream of a seed for a purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        // Seeds come in order; the generator spreads them itself, the purposes only have to differ.
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ (purpose as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.0.random_range(0..1_000) < permille
    }

    /// A number from `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most.max(least))
    }

    /// A position below `count`, which is at least 1.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count.max(1))
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T; 4]) -> T {
        of[self.below(4)]
    }

    /// A number that puts one thing before or after another of the same moment.
    pub(crate) fn rank(&mut self) -> u32 {
        self.0.random()
    }
}
