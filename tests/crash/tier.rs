//! How much of the campaign runs: a little in CI, more by hand before a release.

/// The number that the environment gives, or `default`.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
        Err(_) => default,
    }
}

/// The seed of a test's choices, printed so that they can be made again.
pub(crate) fn seed(test: &str) -> u64 {
    let mut chance = gangline::engine::chance::Chance::from_system().expect("random bytes");
    let seed = number("GANGLINE_SEED", chance.next_u64());
    eprintln!("{test}: GANGLINE_SEED={seed}");
    seed
}
