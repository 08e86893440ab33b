//! Names of queues by number, remembered by one reader so that it need not ask the view for each update.

use crate::engine::view::View;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use std::sync::Arc;

/// What one reader knows of the names of queues.
#[derive(Debug)]
pub struct Names {
    view: Arc<View>,
    known: Vec<QueueName>,
}

impl Names {
    /// The names as `view` shows them.
    #[must_use]
    pub fn new(view: Arc<View>) -> Names {
        Names { view, known: Vec::new() }
    }

    /// The name of a queue that a published update is of.
    pub fn get(&mut self, queue: QueueNo) -> &QueueName {
        let place = queue.0 as usize;
        if place >= self.known.len() {
            self.known = self.view.queue_names();
        }
        self.known.get(place).expect("a queue is shown before the first update of one of its jobs")
    }
}
