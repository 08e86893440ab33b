//! `gangline inspect log`: the update log of a data directory, or a part of it, also while a server writes it.

use crate::cli::exit::Exit;
use crate::cli::inspect::Damage;
use crate::cli::inspect::event;
use crate::cli::inspect::event::PlacedJson;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::words;
use crate::clock::Timestamp;
use crate::grpc::convert::update::Parts;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::offline::DataDirectory;
use crate::offline::From;
use crate::offline::Located;
use crate::offline::Names;
use crate::offline::Step;
use crate::offline::Walk;
use clap::builder::PossibleValuesParser;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

/// How often a live directory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The same while its end is torn: each look then reads the rest of the segment.
const LOOK_AT_TORN_EVERY: Duration = Duration::from_secs(1);
/// Output is handed on when it is about so long.
const PRINT_BYTES: usize = 64 * 1024;

/// Every kind of event as it is typed.
const KINDS: [&str; 20] = [
    "submitted",
    "started",
    "progress",
    "retrying",
    "released",
    "succeeded",
    "dead",
    "cancelled",
    "expired",
    "retried",
    "deleted",
    "queue-made",
    "queue-set",
    "cursor-set",
    "cursor-dropped",
    "key-taken",
    "keys-forgotten",
    "producer-advanced",
    "producers-forgotten",
    "opened",
];

/// What `inspect log` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory, or a copy of it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Begin with this update
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
    /// End with this update
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "follow")]
    to: Option<u64>,
    /// Begin with this frame
    #[arg(long, value_name = "POSITION", conflicts_with = "from")]
    from_frame: Option<u64>,
    /// End with this frame
    #[arg(long, value_name = "POSITION", conflicts_with = "follow")]
    to_frame: Option<u64>,
    /// Begin with this time of the log
    #[arg(long, value_name = "TIME", value_parser = words::time)]
    since: Option<Timestamp>,
    /// End with this time of the log
    #[arg(long, value_name = "TIME", value_parser = words::time, conflicts_with = "follow")]
    until: Option<Timestamp>,
    /// Only updates of this queue; may be repeated
    #[arg(long, short, value_name = "NAME")]
    queue: Vec<QueueName>,
    /// Only updates of this job; may be repeated
    #[arg(long, short, value_name = "ID")]
    job: Vec<JobId>,
    /// Only events of this kind; may be repeated
    #[arg(long, short, value_name = "KIND", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(KINDS))]
    kind: Vec<String>,
    /// Also events that are no updates: queues made, cursors, keys, starts of servers
    #[arg(long)]
    all: bool,
    /// With the payloads of submitted jobs
    #[arg(long)]
    payload: bool,
    /// With the results of succeeded jobs
    #[arg(long)]
    result: bool,
    /// Go on with what a server writes, as soon as it is synced
    #[arg(long)]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs `inspect log`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let directory = DataDirectory::open(&arguments.directory)?;
    let mut damage = Damage::of(&directory);
    directory.faults().iter().for_each(|fault| damage.tell(fault));
    let mut walk = match start(&arguments) {
        Some(from) => directory.walk_from(from)?,
        None => directory.walk(),
    };
    let names = Names::of(&directory)?;
    let parts = Parts { payload: arguments.payload, result: arguments.result };
    let mut printing =
        Printing { arguments: &arguments, directory: &directory, names, parts, text: String::new() };
    if arguments.follow {
        follow(&mut walk, &mut printing, &mut damage)?;
        return Ok(damage.end(walk.tail()));
    }
    for step in &mut walk {
        match step? {
            Step::Fault(fault) => damage.tell(&fault),
            Step::Frame(located) => match printing.frame(&located)? {
                Go::On => {}
                Go::Stop => break,
            },
        }
    }
    printing.flush()?;
    Ok(damage.end(walk.tail()))
}

fn start(arguments: &Arguments) -> Option<From> {
    let sequence = arguments.from.map(|from| From::Sequence(Sequence(from)));
    let position = arguments.from_frame.map(|from| From::Position(Position(from)));
    sequence.or(position).or(arguments.since.map(From::Time))
}

/// Prints what is there and what comes, each frame when a later one says that it is synced. [ACK-1]
fn follow(walk: &mut Walk, printing: &mut Printing<'_>, damage: &mut Damage) -> anyhow::Result<()> {
    let mut held: VecDeque<Located> = VecDeque::new();
    loop {
        while let Some(step) = walk.next() {
            match step? {
                Step::Fault(fault) => damage.tell(&fault),
                Step::Frame(located) => held.push_back(located),
            }
            let synced = walk.tail().vouched;
            while let Some(located) = held.pop_front_if(|located| located.frame.position <= synced) {
                if printing.frame(&located)? == Go::Stop {
                    return Ok(());
                }
            }
        }
        if printing.flush()? == Reader::Gone {
            return Ok(());
        }
        let torn = walk.tail().torn_bytes > 0;
        std::thread::sleep(if torn { LOOK_AT_TORN_EVERY } else { LOOK_EVERY });
    }
}

/// Whether more is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

/// What is printed, and how.
struct Printing<'a> {
    arguments: &'a Arguments,
    directory: &'a DataDirectory,
    names: Names,
    parts: Parts,
    text: String,
}

impl Printing<'_> {
    fn frame(&mut self, located: &Located) -> anyhow::Result<Go> {
        let frame = &located.frame;
        let past = self.arguments.to.is_some_and(|to| frame.first_sequence.0 > to)
            || self.arguments.to_frame.is_some_and(|to| frame.position.0 > to)
            || self.arguments.until.is_some_and(|until| frame.time > until);
        if past {
            return Ok(Go::Stop);
        }
        let early = self.arguments.from_frame.is_some_and(|from| frame.position.0 < from)
            || self.arguments.since.is_some_and(|since| frame.time < since);
        // A frame whose events cannot be read is told of by `verify`; here its updates are missing.
        let Ok(events) = frame.events() else {
            output::note(format_args!("the events of frame {} cannot be read", frame.position));
            return Ok(Go::On);
        };
        let mut sequence = frame.first_sequence;
        for event in &events {
            self.names.see(event);
            let own = sequence;
            sequence = own.plus(u64::from(event.is_update()));
            let within = self.arguments.from.is_none_or(|from| own.0 >= from)
                && self.arguments.to.is_none_or(|to| own.0 <= to);
            if !early && within && self.wants(event) {
                self.print(located, own, event)?;
            }
        }
        if self.text.len() >= PRINT_BYTES && self.flush()? == Reader::Gone {
            return Ok(Go::Stop);
        }
        Ok(Go::On)
    }

    fn wants(&self, event: &Event) -> bool {
        let Arguments { job, kind, all, .. } = self.arguments;
        let of_kind = if kind.is_empty() {
            event.is_update() || *all
        } else {
            kind.iter().any(|kind| *kind == event::typed_kind(event))
        };
        let of_job = job.is_empty() || event.job().is_some_and(|(id, _)| job.contains(&id));
        of_kind && of_job
    }

    fn print(&mut self, located: &Located, sequence: Sequence, event: &Event) -> anyhow::Result<()> {
        let queue = match queue_of(event) {
            Some(queue) => Some(self.names.get(self.directory, queue)?),
            None => None,
        };
        let wanted = &self.arguments.queue;
        if !wanted.is_empty() && queue.as_ref().is_none_or(|queue| !wanted.contains(queue)) {
            return Ok(());
        }
        let (position, time, json) = (located.frame.position, located.frame.time, self.arguments.json);
        let update = queue
            .as_ref()
            .and_then(|queue| event::update_of(Some(sequence), Some(time), queue, event, self.parts));
        let line = match (&update, json) {
            (Some(update), true) => serde_json::to_string(&PlacedJson::of(position, update, self.parts))?,
            (Some(update), false) => event::line(update, self.parts),
            (None, true) => event::other_json(position, time, event, queue.as_ref()).to_string(),
            (None, false) => event::other_line(time, event, queue.as_ref()),
        };
        self.text.push_str(&line);
        self.text.push('\n');
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<Reader> {
        let reader = output::bytes(self.text.as_bytes())?;
        self.text.clear();
        Ok(reader)
    }
}

/// The queue that an event is about.
fn queue_of(event: &Event) -> Option<QueueNo> {
    match event {
        Event::QueueMade { queue, .. } | Event::QueueSet { queue, .. } => Some(*queue),
        Event::Submitted(_)
        | Event::Started { .. }
        | Event::Progress { .. }
        | Event::Retrying { .. }
        | Event::Released { .. }
        | Event::Succeeded { .. }
        | Event::Dead { .. }
        | Event::Cancelled { .. }
        | Event::Expired { .. }
        | Event::Retried { .. }
        | Event::Deleted { .. } => event.job().map(|(_, queue)| queue),
        Event::CursorSet { .. }
        | Event::CursorDropped { .. }
        | Event::KeyTaken { .. }
        | Event::KeysForgotten { .. }
        | Event::ProducerAdvanced { .. }
        | Event::ProducersForgotten { .. }
        | Event::Opened { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::inspect::event::typed_kind;
    use crate::cli::inspect::log::KINDS;
    use crate::job::event::specimens::specimens;

    #[test]
    fn every_kind_of_event_can_be_typed() {
        let mut kinds: Vec<String> = specimens().iter().map(typed_kind).collect();
        kinds.dedup();
        assert_eq!(kinds, KINDS);
    }
}
