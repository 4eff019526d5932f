//! The program's one source of chance: seeded, portable, and split into named streams.

use rand::SeedableRng;

/// The generator that every draw comes from.
pub type Rng = rand_chacha::ChaCha8Rng;

/// A generator for one purpose, independent of the streams for other purposes.
///
/// The same seed and name give the same draws on every machine.
pub fn stream(seed: u64, purpose: &str) -> Rng {
    let mut rng = Rng::seed_from_u64(seed);
    // FNV-1a: stable for ever, which `std`'s hashers do not promise.
    let number = purpose
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    rng.set_stream(number);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    #[test]
    fn a_stream_depends_on_its_seed_and_its_purpose_and_on_nothing_else() {
        let first = |seed, purpose| stream(seed, purpose).next_u64();
        assert_eq!(first(1, "weights"), first(1, "weights"));
        assert_ne!(first(1, "weights"), first(2, "weights"));
        assert_ne!(first(1, "weights"), first(1, "ids"));
    }
}
