//! Pools with real processes, the real spawner, and a zoo of jobs that behave badly.

#[path = "pool/rig.rs"]
mod rig;

#[path = "pool/each.rs"]
mod each;
#[path = "pool/handler.rs"]
mod handler;
#[path = "pool/life.rs"]
mod life;
#[path = "pool/local.rs"]
mod local;
#[path = "pool/serve.rs"]
mod serve;
#[path = "pool/usage.rs"]
mod usage;
#[path = "pool/zoo.rs"]
mod zoo;
