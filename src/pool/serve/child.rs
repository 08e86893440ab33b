//! The life of one `serve` process: jobs go in a line each, answers come out in the same order.
//!
//! The order is what makes blame possible: when the process dies, the oldest job without an answer was in
//! work and counts as crashed; those behind it had not begun and go to another process. [RETRY-1]

use crate::clock::Tick;
use crate::job::event::FailureKind;
use crate::job::event::Progress;
use crate::pool::Execution;
use crate::pool::ExecutionNo;
use crate::pool::Outcome;
use crate::pool::Report;
use crate::pool::outcome::Why;
use crate::pool::outcome::over_limit;
use crate::pool::outcome::process_goes_on;
use crate::pool::outcome::usage;
use crate::pool::process::Force;
use crate::pool::process::Interest;
use crate::pool::process::Listen;
use crate::pool::process::Process;
use crate::pool::process::Step;
use crate::pool::serve::Recycle;
use crate::pool::serve::line;
use crate::pool::serve::line::Answer;
use crate::pool::serve::meter::Meter;
use crate::pool::slot::Slot;
use crate::pool::spawner::Ended;
use crate::pool::spawner::Exit;
use bytes::Buf;
use std::collections::VecDeque;
use std::time::Duration;

/// Progress of one job is passed on no more often than this; the newest wins.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

/// Resident memory is looked at no more often than this.
const RSS_PERIOD: Duration = Duration::from_millis(100);

/// How long a process that has closed its stdin or stdout may take to end.
const CLOSED_GRACE: Duration = Duration::from_millis(500);

/// How much work may lie in the pipe behind the job in work, so that a process with short jobs never waits.
const AHEAD: Duration = Duration::from_millis(5);

/// The most jobs that may lie there.
const AHEAD_JOBS_MAX: u64 = 255;

pub(crate) struct Child {
    process: Process,
    meter: Meter,
    recycle: Recycle,
    /// Given and not answered, the one in work first.
    jobs: VecDeque<Given>,
    /// Where in the inbox the search for the end of the line goes on.
    scanned: usize,
    given: u64,
    finished: u64,
    /// Running mean of the time a job takes; `None` before the first has ended.
    mean: Option<Duration>,
    rss_checked: Tick,
    taking: Taking,
    /// When it is killed for having closed this pipe.
    closed_by: Option<(Tick, &'static str)>,
    stop_by: Option<Tick>,
    stop: Interest,
}

struct Given {
    execution: Execution,
    /// The job, as answers name it.
    id: String,
    /// When it came to the front: from then on it is in work.
    began: Tick,
    cancelled: bool,
    progress: Option<Progress>,
    progress_due: Option<Tick>,
}

/// Whether the process gets more jobs.
#[derive(PartialEq, Eq)]
enum Taking {
    Yes,
    /// It has closed its output, served its time or the pool stops.
    No,
}

impl Child {
    pub(crate) fn new(process: Process, recycle: Recycle) -> Child {
        Child {
            meter: Meter::new(process.pid()),
            process,
            recycle,
            jobs: VecDeque::new(),
            scanned: 0,
            given: 0,
            finished: 0,
            mean: None,
            rss_checked: Tick::default(),
            taking: Taking::Yes,
            closed_by: None,
            stop_by: None,
            stop: Interest::Yes,
        }
    }

    /// Gives jobs and takes answers until the process has ended. Returns whether it was well: it finished a job, or was
    /// ended for no fault of its own, as with a job that is cancelled.
    pub(crate) async fn live(mut self, slot: &mut Slot) -> bool {
        loop {
            self.give(slot);
            let room = if self.room() > 0 { Interest::Yes } else { Interest::No };
            let listen = Listen { deadline: self.deadline(), jobs: room, stop: self.stop };
            match self.process.step(slot, listen).await {
                Step::Output => self.read(slot).await,
                Step::InputEnd => self.closed(slot, "stdin"),
                Step::OutputEnd => self.closed(slot, "stdout"),
                // It is awaited when it starts, so it has been started.
                Step::NotStarted(_) => unreachable!("only a queued process can still be refused"),
                Step::Ended(ended) => {
                    self.bury(slot, ended).await;
                    return self.finished > 0 || self.process.why().is_some_and(Why::is_ours);
                }
                Step::Cancel(number) => self.cancel(slot, number),
                Step::Stop => {
                    self.stop = Interest::No;
                    self.taking = Taking::No;
                    self.stop_by = Some(slot.now().after(slot.config.stop_grace));
                    slot.release_waiting().await;
                    self.retire_if_done(slot);
                }
                Step::Deadline => self.look_at_the_clock(slot).await,
                Step::Jobs => {}
            }
        }
    }

    /// How many more jobs may be written now.
    fn room(&self) -> usize {
        if self.taking == Taking::No || self.process.why().is_some() {
            return 0;
        }
        let ahead = self.mean.map_or(0, |mean| AHEAD.as_nanos() / mean.as_nanos().max(1));
        let depth = 1 + u64::try_from(ahead).unwrap_or(u64::MAX).min(AHEAD_JOBS_MAX);
        let left = self.recycle.jobs.map_or(u64::MAX, |jobs| jobs.max(1).saturating_sub(self.given));
        let room = usize::try_from(depth.min(left)).unwrap_or(usize::MAX).saturating_sub(self.jobs.len());
        // Refilled when half empty, so that short jobs travel in batches and not one by one.
        if room < self.jobs.len() { 0 } else { room }
    }

    fn give(&mut self, slot: &Slot) {
        for execution in slot.backlog.take(self.room()) {
            let began = slot.now();
            if self.jobs.is_empty() {
                self.meter.begin(began);
            }
            line::write(&execution.job, &mut self.process.outbox);
            self.given += 1;
            let id = execution.job.id.to_string();
            let given = Given { execution, id, began, cancelled: false, progress: None, progress_due: None };
            self.jobs.push_back(given);
        }
    }

    /// The process closed a pipe that it needs: it ends soon, or is ended.
    fn closed(&mut self, slot: &Slot, which: &'static str) {
        self.taking = Taking::No;
        self.closed_by.get_or_insert((slot.now().after(CLOSED_GRACE), which));
    }

    /// The next time at which something is due.
    fn deadline(&self) -> Option<Tick> {
        let head = self.jobs.front();
        let timeout =
            head.and_then(|head| head.execution.job.timeout.map(|timeout| head.began.after(timeout)));
        let progress = head.and_then(|head| head.progress.as_ref().and(head.progress_due));
        // What is being ended already needs no further reason.
        let alive = self.process.why().is_none();
        [
            timeout.filter(|_| alive),
            progress,
            self.closed_by.map(|(by, _)| by).filter(|_| alive),
            self.stop_by.filter(|_| alive),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    async fn look_at_the_clock(&mut self, slot: &Slot) {
        let now = slot.now();
        self.flush_progress(slot, now).await;
        if let Some((_, which)) = self.closed_by.filter(|(by, _)| *by <= now) {
            let how = format!("closed its {which} and went on running");
            self.end(slot, Why::Misbehaved(how), Force::AtOnce);
        }
        if let Some(head) = self.jobs.front()
            && let Some(timeout) = head.execution.job.timeout
            && head.began.after(timeout) <= now
        {
            self.end(slot, Why::TimedOut(timeout), Force::Grace);
        }
        if self.stop_by.is_some_and(|by| by <= now) {
            self.end(slot, Why::PoolStopped, Force::Grace);
        }
    }

    /// Takes all whole lines of the inbox.
    async fn read(&mut self, slot: &Slot) {
        let line_bytes_max = 2 * slot.config.result_bytes_max + (64 << 10);
        let now = slot.now();
        let mut inbox = std::mem::take(&mut self.process.inbox);
        let mut from = 0;
        let mut problem = None;
        while problem.is_none()
            && let Some(length) = inbox[from + self.scanned..].iter().position(|byte| *byte == b'\n')
        {
            let to = from + self.scanned + length;
            self.scanned = 0;
            problem = if to - from > line_bytes_max {
                Some(Why::LineOverLimit(line_bytes_max))
            } else {
                self.heed(slot, now, &inbox[from..to]).await.err().map(Why::Misbehaved)
            };
            from = to + 1;
        }
        inbox.advance(from);
        self.scanned = inbox.len();
        if inbox.len() > line_bytes_max {
            problem = problem.or(Some(Why::LineOverLimit(line_bytes_max)));
        }
        if let Some(why) = problem {
            inbox.clear();
            self.scanned = 0;
            self.end(slot, why, Force::AtOnce);
        }
        self.process.inbox = inbox;
        self.retire_if_done(slot);
    }

    async fn heed(&mut self, slot: &Slot, now: Tick, text: &[u8]) -> Result<(), String> {
        let line = line::parse(text)?;
        match self.jobs.front() {
            Some(head) if head.id == line.id => {}
            Some(head) => {
                return Err(format!("answered job {:?} while it has job {:?} to answer", line.id, head.id));
            }
            None => return Err(format!("answered job {:?} without having a job", line.id)),
        }
        match line.answer {
            Answer::Progress(progress) => {
                self.keep_progress(progress, now);
                self.flush_progress(slot, now).await;
            }
            Answer::Failed { message, retry } => {
                let outcome = self.failed(now, &message).with_retry(retry);
                self.finish(slot, now, outcome).await;
            }
            Answer::Completed { result, .. } if result.len() > slot.config.result_bytes_max => {
                let outcome = self.failed(now, &over_limit(slot.config.result_bytes_max));
                self.finish(slot, now, outcome).await;
            }
            Answer::Completed { result, content_type } => {
                let usage = Some(self.meter.end(now));
                self.finish(slot, now, Outcome::Completed { result, content_type, usage }).await;
            }
        }
        Ok(())
    }

    /// The outcome of a job that failed in a process that goes on.
    fn failed(&mut self, now: Tick, message: &str) -> Outcome {
        self.process.hear_stderr();
        let process = process_goes_on(&self.process.tail.text(), self.meter.end(now));
        Outcome::failed(FailureKind::Failed, message, Some(process))
    }

    /// The job in work has ended; the next one begins.
    async fn finish(&mut self, slot: &Slot, now: Tick, outcome: Outcome) {
        let Some(head) = self.jobs.pop_front() else { return };
        self.finished += 1;
        // The next failure shows what was written under its own job.
        self.process.hear_stderr();
        self.process.tail.clear();
        let took = now.since(head.began);
        self.mean = Some(self.mean.map_or(took, |mean| (mean * 7 + took) / 8));
        slot.end(&head.execution, outcome).await;
        if let Some(next) = self.jobs.front_mut() {
            next.began = now;
            if next.cancelled {
                self.end(slot, Why::Cancelled, Force::Grace);
            }
        }
        self.check_memory(slot, now);
        if self.recycle.jobs.is_some_and(|jobs| self.finished >= jobs) {
            self.taking = Taking::No;
        }
    }

    fn check_memory(&mut self, slot: &Slot, now: Tick) {
        let Some(rss_kib_max) = self.recycle.rss_kib else { return };
        if self.rss_checked != Tick::default() && now.since(self.rss_checked) < RSS_PERIOD {
            return;
        }
        self.rss_checked = now;
        // A process that has just ended has no statm; its end is on its way.
        let rss_kib = resident_kib(self.process.pid()).unwrap_or(0);
        if rss_kib > rss_kib_max {
            tracing::info!(slot = slot.number, rss_kib, rss_kib_max, "a worker process grew over its limit");
            self.taking = Taking::No;
        }
    }

    /// A process that gets no more jobs ends when it has answered all: its input closes.
    fn retire_if_done(&mut self, slot: &Slot) {
        if self.taking == Taking::No && self.jobs.is_empty() && self.closed_by.is_none() {
            self.end(slot, Why::Retired, Force::EndOfInput);
        }
    }

    fn cancel(&mut self, slot: &Slot, number: ExecutionNo) {
        if let Some(place) = self.jobs.iter().position(|given| given.execution.number == number) {
            self.jobs[place].cancelled = true;
            if place == 0 {
                self.end(slot, Why::Cancelled, Force::Grace);
            }
        }
    }

    fn end(&mut self, slot: &Slot, why: Why, force: Force) {
        self.process.end(why, force, slot.now(), slot.config.kill_grace);
    }

    fn keep_progress(&mut self, progress: Progress, now: Tick) {
        if let Some(head) = self.jobs.front_mut() {
            head.progress = Some(progress);
            head.progress_due.get_or_insert(now);
        }
    }

    /// Passes on the newest progress of the job in work, if it is time.
    async fn flush_progress(&mut self, slot: &Slot, now: Tick) {
        let Some(head) = self.jobs.front_mut() else { return };
        if head.progress_due.is_some_and(|due| due <= now)
            && let Some(progress) = head.progress.take()
        {
            head.progress_due = Some(now.after(PROGRESS_PERIOD));
            slot.report(Report::Progress(head.execution.number, progress)).await;
        }
    }

    /// Says how the job in work ended with the process, and puts back what had not begun.
    async fn bury(&mut self, slot: &mut Slot, ended: Ended) {
        if self.process.why().is_none() {
            // Answers that were written before the end count.
            self.process.drain(slot.config.result_bytes_max).await;
            self.read(slot).await;
        } else {
            self.process.drain(0).await;
        }
        let stderr = self.process.tail.text();
        let why = self.process.why();
        if why != Some(&Why::Retired) {
            tracing::warn!(
                slot = slot.number,
                pid = self.process.pid(),
                ?ended,
                ?why,
                "a worker process ended"
            );
        }
        if let Some(head) = self.jobs.pop_front() {
            let ended = self.charge(ended);
            let outcome = match why {
                _ if head.cancelled => Outcome::Cancelled,
                Some(why) => Outcome::stopped(why, ended, &stderr),
                None => Outcome::died(ended, &stderr),
            };
            slot.end(&head.execution, outcome).await;
        }
        let rest = std::mem::take(&mut self.jobs);
        for given in rest.iter().filter(|given| given.cancelled) {
            slot.end(&given.execution, Outcome::Cancelled).await;
        }
        let not_begun: Vec<Execution> =
            rest.into_iter().filter(|given| !given.cancelled).map(|given| given.execution).collect();
        slot.backlog.put_back(not_begun.into_iter());
    }

    /// The end of the process with only what its last job used.
    fn charge(&self, ended: Ended) -> Ended {
        match ended {
            Ended::Exit(exit) => {
                let last = self.meter.last(usage(exit));
                Ended::Exit(Exit { cpu_ms: last.cpu_ms, rss_kib: last.rss_kib, ..exit })
            }
            Ended::SpawnerDied => Ended::SpawnerDied,
        }
    }
}

/// Resident memory of a process in KiB: the second number of statm, in pages.
fn resident_kib(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).unwrap_or(4_096) / 1_024)
}
