//! The simulation bites: with each bug that can be put in at its level it breaks the promise that the bug breaks, within
//! few seeds.

use crate::engine::simulation::STEPS;
use crate::engine::simulation::world::World;
use crate::seeded;
use crate::seeded::Bug;

const SEEDS: u64 = 100;

/// Which seed finds it, and in which words.
fn hunt(bug: Bug) -> (u64, String) {
    let found = |seed| Some((seed, seeded::found(bug, move || World::new(seed).live(STEPS))?));
    (0..SEEDS).find_map(found).unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS} seeds"))
}

#[test]
fn every_seeded_bug_is_found_by_the_promise_it_breaks() {
    for (bug, name) in Bug::ALL {
        let promises: &[&str] = match bug {
            Bug::SkipSync | Bug::PublishBeforeSync | Bug::TrustPageCache => &["[ACK-1]"],
            Bug::AcceptStaleToken => &["[LEASE-1]"],
            Bug::TwoTerminals => &["[JOB-1]"],
            Bug::ReuseSequence => &["[ACK-1]", "[LOG-1]"],
            // Readers are no part of the simulation: the fault campaign finds it.
            Bug::DropUpdateAtResume => continue,
        };
        let (seed, said) = hunt(bug);
        println!("{name}: seed {seed}: {said}");
        assert!(promises.iter().any(|promise| said.contains(promise)), "{bug:?}, seed {seed}: {said}");
    }
}
