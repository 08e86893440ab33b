//! The run itself: lines go in as far as the window allows, ends of lines come out of the log.

use crate::cli::lines::Lines;
use crate::cli::output::Reader;
use crate::cli::run::Arguments;
use crate::cli::run::QUEUE;
use crate::cli::run::bar::Bar;
use crate::cli::run::compare::Past;
use crate::cli::run::fold::Fold;
use crate::cli::run::print::Order;
use crate::cli::run::print::Printer;
use crate::client::Batch;
use crate::client::Client;
use crate::client::Submitter;
use crate::client::Updates;
use crate::proto::v1;
use crate::proto::v1::get_updates_request::After;

/// Lines that may be on their way: read, but not ended, or not printed if their order counts. [MEM-1]
const WINDOW_LINES: u64 = 10_000;
/// Their bytes. [MEM-1]
const WINDOW_BYTES: usize = 32 << 20;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every line has ended.
    Finished {
        /// How many there are.
        lines: u64,
        /// How many of them have no result.
        dead: u64,
    },
    /// Nobody reads the results any more.
    ReaderGone,
    /// The user has stopped it.
    Interrupted,
    /// The log cannot be written to any more.
    LogFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    There,
    Ended,
}

/// A run at work.
pub(super) struct Drive<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    submitter: Submitter,
    updates: Updates,
    fold: Fold,
    printer: Printer,
    bar: Bar,
    input: Input,
}

impl<'a> Drive<'a> {
    /// A run after what was `past`: the log is read from its beginning, so that the output is complete.
    pub(super) fn new(
        arguments: &'a Arguments,
        client: &'a Client,
        submitter: Submitter,
        past: Past,
    ) -> Self {
        let kinds = [
            v1::UpdateKind::Submitted,
            v1::UpdateKind::Succeeded,
            v1::UpdateKind::Dead,
            v1::UpdateKind::Cancelled,
            v1::UpdateKind::Expired,
        ];
        let updates = client.updates(v1::GetUpdatesRequest {
            after: Some(After::End(v1::LogEnd::Floor.into())),
            queues: vec![QUEUE.to_owned()],
            kinds: kinds.map(i32::from).to_vec(),
            include_payload: true,
            include_result: true,
            ..v1::GetUpdatesRequest::default()
        });
        let order = if arguments.keep_order { Order::Input } else { Order::Finished };
        Drive {
            arguments,
            client,
            submitter,
            updates,
            fold: Fold::new(past.retried),
            printer: Printer::new(arguments.form(), order),
            bar: Bar::new(),
            input: Input::There,
        }
    }

    /// Works until every line has ended and is printed.
    pub(super) async fn run(mut self, lines: &mut Lines) -> anyhow::Result<End> {
        while !self.is_finished() {
            tokio::select! {
                line = lines.next(), if self.wants_lines() => match line? {
                    None => self.input = Input::Ended,
                    Some(line) => {
                        self.submitter.push(self.arguments.job(line));
                        while self.wants_lines() && let Some(line) = lines.at_hand() {
                            self.submitter.push(self.arguments.job(line));
                        }
                    }
                },
                // Which lines are stored shows in the log; their ids are of no use here.
                accepted = self.submitter.accepted(), if self.submitter.unanswered() > 0 => drop(accepted?),
                batch = self.updates.next() => {
                    if let Some(batch) = batch?
                        && self.take(batch).await? == Reader::Gone
                    {
                        return Ok(End::ReaderGone);
                    }
                }
            }
            self.bar.show(self.fold.finished(), self.pushed(), self.fold.dead());
        }
        Ok(End::Finished { lines: self.pushed(), dead: self.fold.dead() })
    }

    async fn take(&mut self, batch: Batch) -> anyhow::Result<Reader> {
        let mut ended = Vec::new();
        for update in batch.updates {
            ended.extend(self.fold.take(update)?);
        }
        if ended.is_empty() {
            return Ok(Reader::There);
        }
        self.printer.print(self.client, &self.bar, ended).await
    }

    /// Lines that have been given to the submitter, in this run and before.
    fn pushed(&self) -> u64 {
        self.submitter.last_ordinal() + self.submitter.unanswered() as u64
    }

    fn wants_lines(&self) -> bool {
        let on_their_way = self.pushed().saturating_sub(self.printer.printed());
        self.input == Input::There
            && on_their_way < WINDOW_LINES
            && self.fold.live_bytes() < WINDOW_BYTES
            && self.submitter.has_room()
    }

    fn is_finished(&self) -> bool {
        self.input == Input::Ended
            && self.submitter.unanswered() == 0
            && self.printer.printed() == self.submitter.last_ordinal()
    }
}
