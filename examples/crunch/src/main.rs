//! Counts the primes below its argument by a segmented sieve: CPU-bound, runs to completion, says how long it took on the wall clock. Under a
//! CPU limit of 250m it takes about four times as long as without.

use std::time::Instant;

// Links `cabi_realloc`, see the SDK's crate documentation.
use coracle_sdk as _;

fn main() {
    let limit = match std::env::args().nth(1).map(|text| text.parse::<u64>()) {
        None => 50_000_000,
        Some(Ok(limit)) => limit,
        Some(Err(error)) => {
            eprintln!("the argument is how far to count: {error}");
            std::process::exit(2);
        }
    };
    let started = Instant::now();
    let primes = count_primes(limit);
    println!(
        "{primes} primes below {limit}, counted in {} ms",
        started.elapsed().as_millis()
    );
}

/// How many primes are smaller than `limit`. Uses memory for one segment and the primes below the limit's root.
fn count_primes(limit: u64) -> usize {
    /// Fits the first-level cache.
    const SEGMENT: u64 = 32 * 1024;
    let mut small: Vec<u64> = Vec::new();
    let mut candidate = 2;
    while candidate * candidate < limit {
        if small
            .iter()
            .take_while(|&&p| p * p <= candidate)
            .all(|p| candidate % p != 0)
        {
            small.push(candidate);
        }
        candidate += 1;
    }
    let mut count = 0;
    let mut low = 2;
    let mut composite = vec![false; SEGMENT as usize];
    while low < limit {
        let high = (low + SEGMENT).min(limit);
        composite.fill(false);
        for &prime in small.iter().take_while(|&&p| p * p < high) {
            let first = (low.div_ceil(prime) * prime).max(prime * prime);
            for multiple in (first..high).step_by(prime as usize) {
                composite[(multiple - low) as usize] = true;
            }
        }
        count += composite[..(high - low) as usize]
            .iter()
            .filter(|&&is| !is)
            .count();
        low = high;
    }
    count
}
