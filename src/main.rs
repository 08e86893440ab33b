//! The `gangline` program.

fn main() {
    gangline::pool::spawner::run_if_asked();
}
