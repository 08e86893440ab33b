//! The names of queues by their numbers: from a checkpoint, and from the log.

use crate::codec::Reader;
use crate::engine::checkpoint;
use crate::job::event::Event;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::saved;
use crate::log::Error;
use crate::offline::DataDirectory;
use crate::offline::From;
use crate::offline::Step;
use std::collections::BTreeMap;

/// Names by number. A queue keeps its number for ever, so an older table is never wrong, only short.
#[derive(Clone, Debug, Default)]
pub struct Names {
    known: BTreeMap<QueueNo, QueueName>,
    /// Every queue made up to this frame is known.
    up_to: Position,
}

impl Names {
    /// What the newest good checkpoint knows.
    ///
    /// # Errors
    /// An input/output error. Damaged checkpoints are passed over.
    pub fn of(directory: &DataDirectory) -> Result<Names, Error> {
        for at in directory.checkpoints()? {
            let mut input = match directory.checkpoint(at) {
                Ok(input) => input,
                Err(Error::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let input = &mut Reader::over(&mut input);
            if checkpoint::read_head(input).is_ok()
                && let Ok(names) = saved::queue_names(input)
            {
                return Ok(Names { known: (0..).map(QueueNo).zip(names).collect(), up_to: at });
            }
        }
        Ok(Names::default())
    }

    /// Every queue known so far, in the order of their numbers.
    pub(in crate::offline) fn all(&self) -> impl Iterator<Item = (QueueNo, QueueName)> {
        self.known.iter().map(|(queue, name)| (*queue, name.clone()))
    }

    /// Learns from an event of the log.
    pub fn see(&mut self, event: &Event) {
        if let Event::QueueMade { queue, name } = event {
            self.known.insert(*queue, name.clone());
        }
    }

    /// The name of a queue, looked for in the log if it is not known yet; `lost:` and its number if it is lost.
    ///
    /// # Errors
    /// An input/output error.
    pub fn get(&mut self, directory: &DataDirectory, queue: QueueNo) -> Result<QueueName, Error> {
        if let Some(name) = self.known.get(&queue) {
            return Ok(name.clone());
        }
        for step in directory.walk_from(From::Position(self.up_to.next()))? {
            if let Step::Frame(located) = step?
                && let Ok(events) = located.frame.events()
            {
                events.iter().for_each(|event| self.see(event));
                self.up_to = located.frame.position;
            }
            if self.known.contains_key(&queue) {
                break;
            }
        }
        let lost = || format!("lost:{queue}").parse().expect("letters, a colon and digits are a name");
        Ok(self.known.entry(queue).or_insert_with(lost).clone())
    }
}
