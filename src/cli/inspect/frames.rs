//! `gangline inspect frames`: where each frame is, what it is chained on, and how many updates were synced together.

use crate::cli::exit::Exit;
use crate::cli::inspect::Damage;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::show::text;
use crate::grpc::convert::time::to_timestamp;
use crate::job::id::Position;
use crate::log::frame::Hash;
use crate::offline::DataDirectory;
use crate::offline::From;
use crate::offline::Located;
use crate::offline::Step;
use crate::offline::Tail;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Output is handed on when it is about so long.
const PRINT_BYTES: usize = 64 * 1024;

/// What `inspect frames` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory, or a copy of it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Begin with this frame
    #[arg(long, value_name = "POSITION")]
    from_frame: Option<u64>,
    /// End with this frame
    #[arg(long, value_name = "POSITION")]
    to_frame: Option<u64>,
    /// Only the summary: how many updates were synced together
    #[arg(long)]
    summary: bool,
    /// One JSON object a line; the summary is the last one
    #[arg(long)]
    json: bool,
}

/// A frame as JSON has it.
#[derive(Debug, Serialize)]
struct FrameJson {
    position: u64,
    segment: u64,
    offset: u64,
    bytes: u64,
    updates: u32,
    first_sequence: u64,
    epoch: u64,
    synced_up_to: u64,
    time: String,
    previous: String,
    hash: String,
}

/// How updates were grouped.
#[derive(Debug, Serialize)]
struct SummaryJson {
    frames: u64,
    /// Frames without updates: vouches, and what a server notes for itself.
    without_updates: u64,
    updates: u64,
    bytes: u64,
    updates_a_frame: Option<Spread>,
    bytes_an_update: Option<u64>,
    /// Updates at the end, in whole frames of which no later one says that they were synced.
    unvouched_updates: u64,
    torn_bytes: u64,
}

/// How the sizes of batches are spread, over frames with updates.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    mean: f64,
    p50: u32,
    p90: u32,
    p99: u32,
    max: u32,
}

/// Runs `inspect frames`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let directory = DataDirectory::open(&arguments.directory)?;
    let mut damage = Damage::of(&directory);
    directory.faults().iter().for_each(|fault| damage.tell(fault));
    let from = arguments.from_frame.map_or(Position(0), Position);
    let mut walk = match arguments.from_frame {
        Some(from) => directory.walk_from(From::Position(Position(from)))?,
        None => directory.walk(),
    };
    let mut batches = Batches::default();
    let mut text = String::new();
    if !arguments.json && !arguments.summary {
        text.push_str(HEADER);
    }
    for step in &mut walk {
        let located = match step? {
            Step::Frame(located) => located,
            Step::Fault(fault) => {
                damage.tell(&fault);
                continue;
            }
        };
        if arguments.to_frame.is_some_and(|to| located.frame.position.0 > to) {
            break;
        }
        if located.frame.position < from {
            continue;
        }
        batches.add(&located);
        if !arguments.summary {
            text.push_str(&if arguments.json {
                serde_json::to_string(&to_json(&located))?
            } else {
                line(&located)
            });
            text.push('\n');
        }
        if text.len() >= PRINT_BYTES {
            if output::bytes(text.as_bytes())? == Reader::Gone {
                return Ok(Exit::OK);
            }
            text.clear();
        }
    }
    output::bytes(text.as_bytes())?;
    let tail = walk.tail();
    let summary = batches.summary(tail);
    if arguments.json {
        output::json([summary])?;
    } else {
        output::lines(tell(&summary).into_iter())?;
    }
    Ok(damage.end(tail))
}

const HEADER: &str = "POSITION  SEGMENT     OFFSET     BYTES  UPDATES     FIRST  EPOCH    SYNCED  TIME                      HASH\n";

fn line(located: &Located) -> String {
    let frame = &located.frame;
    format!(
        "{:>8}  {:>7}  {:>9}  {:>8}  {:>7}  {:>8}  {:>5}  {:>8}  {}  {}",
        frame.position,
        located.segment,
        located.offset,
        located.span,
        frame.updates,
        frame.first_sequence,
        frame.epoch,
        located.synced_up_to,
        text::time(&to_timestamp(frame.time)),
        hex(located.hash),
    )
}

fn to_json(located: &Located) -> FrameJson {
    let frame = &located.frame;
    FrameJson {
        position: frame.position.0,
        segment: located.segment,
        offset: located.offset,
        bytes: located.span,
        updates: frame.updates,
        first_sequence: frame.first_sequence.0,
        epoch: frame.epoch.0,
        synced_up_to: located.synced_up_to.0,
        time: text::time(&to_timestamp(frame.time)),
        previous: hex(frame.previous),
        hash: hex(located.hash),
    }
}

fn hex(hash: Hash) -> String {
    format!("{hash:?}")
}

/// Batches seen so far, in memory for each size only.
#[derive(Debug, Default)]
struct Batches {
    sizes: BTreeMap<u32, u64>,
    frames: u64,
    updates: u64,
    bytes: u64,
}

impl Batches {
    fn add(&mut self, located: &Located) {
        *self.sizes.entry(located.frame.updates).or_default() += 1;
        self.frames += 1;
        self.updates += u64::from(located.frame.updates);
        self.bytes += located.span;
    }

    fn summary(&self, tail: &Tail) -> SummaryJson {
        let without_updates = self.sizes.get(&0).copied().unwrap_or(0);
        SummaryJson {
            frames: self.frames,
            without_updates,
            updates: self.updates,
            bytes: self.bytes,
            updates_a_frame: self.spread(self.frames - without_updates),
            bytes_an_update: self.bytes.checked_div(self.updates),
            unvouched_updates: tail.unvouched_updates,
            torn_bytes: tail.torn_bytes,
        }
    }

    fn spread(&self, frames: u64) -> Option<Spread> {
        let max = *self.sizes.keys().next_back()?;
        if frames == 0 {
            return None;
        }
        let at = |percent: u64| {
            let mut left = (frames * percent).div_ceil(100);
            for (size, count) in self.sizes.iter().filter(|(size, _)| **size > 0) {
                if *count >= left {
                    return *size;
                }
                left -= count;
            }
            max
        };
        #[allow(clippy::cast_precision_loss, reason = "a mean for people")]
        let mean = (self.updates as f64 / frames as f64 * 10.0).round() / 10.0;
        Some(Spread { mean, p50: at(50), p90: at(90), p99: at(99), max })
    }
}

fn tell(summary: &SummaryJson) -> Vec<String> {
    let SummaryJson { frames, without_updates, updates, bytes, unvouched_updates, torn_bytes, .. } = summary;
    let mut lines = vec![format!(
        "{frames} frames, {without_updates} of them without updates; {updates} updates; {bytes} bytes"
    )];
    if let Some(Spread { mean, p50, p90, p99, max }) = summary.updates_a_frame {
        lines.push(format!("updates a frame: mean {mean}, median {p50}, p90 {p90}, p99 {p99}, most {max}"));
    }
    if *unvouched_updates > 0 || *torn_bytes > 0 {
        lines.push(format!(
            "at the end: {unvouched_updates} updates that nothing vouches for yet, {torn_bytes} bytes torn"
        ));
    }
    lines
}
