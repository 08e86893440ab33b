//! The `gangline` program.

fn main() {}
