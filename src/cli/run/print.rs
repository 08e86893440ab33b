//! Results on stdout, as they come or in the order of the lines, and dead lines on stderr.

use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::run::bar::Bar;
use crate::cli::run::fold::Done;
use crate::cli::run::fold::Ended;
use crate::cli::show::text;
use crate::cli::show::text::Blob;
use crate::cli::show::update::FailureJson;
use crate::cli::show::update::failure_text;
use crate::client::Client;
use crate::client::With;
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;

/// Results that wait for an earlier line are kept in memory up to here, beyond it they are read again. [MEM-1]
const HELD_BYTES_MAX: usize = 32 << 20;
/// So many dead lines are told one by one; the rest is counted.
const TOLD_MAX: u64 = 10;
/// How much of a dead line is shown.
const PREVIEW_CHARS: usize = 60;

/// What a result looks like on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As the command wrote it, with a line end if it has none.
    Plain,
    /// One JSON object a line.
    Json,
}

/// When a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As soon as it is there.
    Finished,
    /// After those of all earlier lines.
    Input,
}

/// Prints the ends of lines.
#[derive(Debug)]
pub(super) struct Printer {
    form: Form,
    order: Order,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    printed: u64,
    told: u64,
    buffer: Vec<u8>,
}

/// A line that has ended before an earlier one.
#[derive(Debug)]
enum Held {
    Whole(Box<Done>),
    /// Its result is read again when its turn comes.
    OnServer(Box<Done>),
}

#[derive(Serialize)]
struct DoneJson<'a> {
    id: String,
    line: u64,
    input: Blob<'a>,
    state: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureJson<'a>>,
}

impl Printer {
    pub(super) fn new(form: Form, order: Order) -> Printer {
        let (held, buffer) = (BTreeMap::new(), Vec::new());
        Printer { form, order, held, held_bytes: 0, printed: 0, told: 0, buffer }
    }

    /// How many lines have been printed.
    pub(super) fn printed(&self) -> u64 {
        self.printed
    }

    /// Takes lines that have ended and prints what can be printed.
    pub(super) async fn print(
        &mut self,
        client: &Client,
        bar: &Bar,
        ended: Vec<Done>,
    ) -> anyhow::Result<Reader> {
        for done in ended {
            self.tell_if_dead(bar, &done);
            match self.order {
                Order::Finished => self.write(&done)?,
                Order::Input => self.hold(done),
            }
        }
        while let Some(entry) = self.held.first_entry()
            && *entry.key() == self.printed + 1
        {
            let done = match entry.remove() {
                Held::Whole(done) => {
                    self.held_bytes -= size(&done);
                    done
                }
                Held::OnServer(mut done) => {
                    let with = With { payload: self.form == Form::Json, result: true };
                    let job = client.get(done.id, with).await?;
                    done.input = job.spec.unwrap_or_default().payload;
                    done.ended = Ended::Succeeded(job.result);
                    done
                }
            };
            self.write(&done)?;
        }
        let printed = bar.pause_for_data(|| output::bytes(&self.buffer))?;
        self.buffer.clear();
        Ok(printed)
    }

    fn hold(&mut self, mut done: Done) {
        let bytes = size(&done);
        let held = match &done.ended {
            Ended::Succeeded(_) if self.held_bytes + bytes > HELD_BYTES_MAX => {
                (done.input, done.ended) = (Bytes::new(), Ended::Succeeded(Bytes::new()));
                Held::OnServer(Box::new(done))
            }
            Ended::Succeeded(_) | Ended::Dead(_) | Ended::Cancelled(_) | Ended::Expired => {
                self.held_bytes += bytes;
                Held::Whole(Box::new(done))
            }
        };
        let number = match &held {
            Held::Whole(done) | Held::OnServer(done) => done.number,
        };
        self.held.insert(number, held);
    }

    fn write(&mut self, done: &Done) -> anyhow::Result<()> {
        self.printed += 1;
        match self.form {
            Form::Json => {
                serde_json::to_writer(&mut self.buffer, &json(done))?;
                self.buffer.push(b'\n');
            }
            Form::Plain => {
                if let Ended::Succeeded(result) = &done.ended {
                    self.buffer.extend_from_slice(result);
                    if !result.is_empty() && !result.ends_with(b"\n") {
                        self.buffer.push(b'\n');
                    }
                }
            }
        }
        Ok(())
    }

    fn tell_if_dead(&mut self, bar: &Bar, done: &Done) {
        let how = match &done.ended {
            Ended::Succeeded(_) => return,
            Ended::Dead(failure) => failure_text(failure),
            Ended::Cancelled(reason) => {
                format!("cancelled {}", text::preview(reason.as_bytes(), PREVIEW_CHARS))
            }
            Ended::Expired => "expired".to_owned(),
        };
        self.told += 1;
        let (number, input) = (done.number, text::preview(&done.input, PREVIEW_CHARS));
        if self.told <= TOLD_MAX {
            bar.pause(|| output::note(format_args!("line {number} ({input}): {}", how.trim_end())));
        } else if self.told == TOLD_MAX + 1 {
            bar.pause(|| output::note("further failed lines are only counted; --json tells all"));
        }
    }
}

fn size(done: &Done) -> usize {
    let ended = match &done.ended {
        Ended::Succeeded(result) => result.len(),
        Ended::Dead(failure) => {
            failure.message.len() + failure.process.as_ref().map_or(0, |process| process.stderr.len())
        }
        Ended::Cancelled(reason) => reason.len(),
        Ended::Expired => 0,
    };
    done.input.len() + ended
}

fn json(done: &Done) -> DoneJson<'_> {
    let (state, result, error) = match &done.ended {
        Ended::Succeeded(result) => ("succeeded", Some(Blob(result)), None),
        Ended::Dead(failure) => ("dead", None, Some(FailureJson::of(failure))),
        Ended::Cancelled(reason) => ("cancelled", None, Some(FailureJson::plain("cancelled", reason))),
        Ended::Expired => ("expired", None, Some(FailureJson::plain("expired", ""))),
    };
    let id = done.id.to_string();
    let input = Blob(&done.input);
    DoneJson { id, line: done.number, input, state, attempts: done.attempts, result, error }
}
