//! Chance as an argument: a seeded generator (SplitMix64) that a simulation can replay. Not for secrets.

/// A stream of random numbers from a seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream that `seed` begins.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Chance {
        Chance(seed)
    }

    /// A stream nobody can guess: seeded from the operating system.
    ///
    /// # Errors
    /// If the operating system has no random bytes to give.
    pub fn from_system() -> std::io::Result<Chance> {
        let mut seed = [0; 8];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut seed)?;
        Ok(Chance(u64::from_le_bytes(seed)))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }
}
