//! The engine in a simulation: random commands, workers, clocks, crashes and full disks from a seed, over the simulated
//! log. A reference that knows only what clients saw and what the durable frames say checks every promise. A failing
//! seed is printed; `GANGLINE_SIM_SEED` replays it, `GANGLINE_SIM_SEEDS` sets how many are run.

mod checks;
mod clients;
mod hands;
mod life;
mod pruner;
mod reference;
mod seeded;
mod world;

use crate::engine::simulation::world::World;
use std::panic::AssertUnwindSafe;

const STEPS: usize = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs every fourth seed from `first` on: the test runner takes the four parts to as many cores as there are.
fn run(first: u64) {
    if let Some(seed) = number("GANGLINE_SIM_SEED") {
        return World::new(seed).live(STEPS);
    }
    for seed in (first..number("GANGLINE_SIM_SEEDS").unwrap_or(300)).step_by(4) {
        let lived = std::panic::catch_unwind(AssertUnwindSafe(|| World::new(seed).live(STEPS)));
        assert!(lived.is_ok(), "seed {seed} breaks a promise: replay it with GANGLINE_SIM_SEED={seed}");
    }
}

/// [ACK-1] [LOG-1] [LOG-3] [JOB-1] [JOB-3] [LEASE-1] [LEASE-2] [RETRY-1] [DEAD-1] [ID-1]
#[test]
fn any_run_keeps_every_promise() {
    run(0);
}

#[test]
fn any_run_keeps_every_promise_second_part() {
    run(1);
}

#[test]
fn any_run_keeps_every_promise_third_part() {
    run(2);
}

#[test]
fn any_run_keeps_every_promise_fourth_part() {
    run(3);
}
