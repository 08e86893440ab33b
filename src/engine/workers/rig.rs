//! A worker that attaches, for the tests of every layer that has workers.

use crate::engine::workers::Attach;
use crate::engine::workers::Liveness;
use crate::engine::workers::Output;
use crate::engine::workers::Unnamed;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::unbounded_channel;

/// What a remote worker says that holds nothing yet, and where it is told things.
pub(crate) fn attaching(name: &str, queues: &[&str], free: u32) -> (Attach, UnboundedReceiver<Output>) {
    let (outlet, outputs) = unbounded_channel();
    let attach = Attach {
        name: name.into(),
        description: "".into(),
        slots: 0,
        queues: queues.iter().map(|queue| queue.parse().unwrap()).collect(),
        free,
        held: Vec::new(),
        outlet,
        liveness: Liveness::Signs,
        unnamed: Unnamed::Lost,
    };
    (attach, outputs)
}
