//! The checker bites: each small bad history is named by its promise, and the good one passes.

use crate::check::Final;
use crate::check::check;
use crate::history::Ack;
use crate::history::Controlled;
use crate::history::Finished;
use crate::history::History;
use crate::history::Leased;
use crate::history::Reading;
use crate::history::Resume;
use crate::history::Saw;
use crate::history::digest;
use crate::history::file::Account;
use crate::history::file::Kept;
use crate::history::line;
use crate::history::recorder::Recorder;
use crate::plan;
use crate::plan::Ending;
use crate::plan::Plan;
use gangline::proto::v1;
use v1::FailureKind;
use v1::FinishOutcome;
use v1::JobState;
use v1::UpdateKind;

const WORKER: &str = "w";

fn payload(number: u64) -> String {
    let plans = [Plan::Quick, Plan::Fail, Plan::Mend];
    plan::payload("a", number, plans[(number - 1) as usize])
}

fn update(kind: UpdateKind, job: &str, attempt: u32) -> v1::Update {
    v1::Update { kind: kind.into(), job_id: job.to_owned(), attempt, ..v1::Update::default() }
}

fn submitted(job: &str, number: u64) -> v1::Update {
    let spec = Some(plan::spec("q", &payload(number)));
    v1::Update { spec, ..update(UpdateKind::Submitted, job, 0) }
}

fn started(job: &str, attempt: u32) -> v1::Update {
    v1::Update { worker_id: WORKER.to_owned(), ..update(UpdateKind::Started, job, attempt) }
}

fn failed(kind: UpdateKind, job: &str, attempt: u32, failure: FailureKind) -> v1::Update {
    let failure = Some(v1::Failure { kind: failure.into(), ..v1::Failure::default() });
    v1::Update { failure, ..update(kind, job, attempt) }
}

fn succeeded(job: &str, attempt: u32, number: u64) -> v1::Update {
    let result = plan::result(&payload(number)).into();
    v1::Update { result, ..update(UpdateKind::Succeeded, job, attempt) }
}

/// Three jobs: 1 completes, 2 fails once, 3 dies, is retried, and its second lease is lost once.
fn good_updates() -> Vec<v1::Update> {
    vec![
        submitted("1", 1),
        started("1", 1),
        submitted("2", 2),
        started("2", 1),
        succeeded("1", 1, 1),
        failed(UpdateKind::Retrying, "2", 1, FailureKind::Failed),
        started("2", 2),
        succeeded("2", 2, 2),
        submitted("3", 3),
        started("3", 1),
        failed(UpdateKind::Dead, "3", 1, FailureKind::Failed),
        v1::Update { generation: 1, ..update(UpdateKind::Retried, "3", 0) },
        started("3", 2),
        failed(UpdateKind::Retrying, "3", 2, FailureKind::Lost),
        started("3", 3),
        succeeded("3", 3, 3),
    ]
}

fn listed(job: &str, number: u64, attempts: u32, generation: u32, sequences: (u64, u64)) -> v1::Job {
    v1::Job {
        id: job.to_owned(),
        state: JobState::Succeeded.into(),
        spec: Some(plan::spec("q", &payload(number))),
        result: plan::result(&payload(number)).into(),
        attempts,
        generation,
        submitted_sequence: sequences.0,
        last_sequence: sequences.1,
        ..v1::Job::default()
    }
}

fn finish(job: &str, token: u64, ending: Ending) -> Finished {
    Finished { job: job.to_owned(), token, ending, answer: Some(FinishOutcome::Accepted) }
}

/// A world that a test breaks in one place.
struct World {
    history: History,
    last: Final,
}

impl World {
    fn good() -> World {
        let updates = numbered(good_updates());
        let jobs =
            vec![listed("1", 1, 1, 0, (1, 5)), listed("2", 2, 2, 0, (3, 8)), listed("3", 3, 3, 1, (9, 16))];
        let ack = |number: u64, first_sequence| Ack {
            ordered_by: Some("a".to_owned()),
            payload: payload(number),
            job: Some(number.to_string()),
            first_sequence,
        };
        let lease = |job: u64, token, attempt| Leased {
            worker: WORKER.to_owned(),
            job: job.to_string(),
            token,
            attempt,
            payload: payload(job),
        };
        let history = History {
            asked: (1..=3).map(payload).collect(),
            acks: vec![ack(1, 1), ack(2, 3), ack(3, 9)],
            leases: vec![lease(1, 2, 1), lease(2, 4, 1), lease(2, 7, 2), lease(3, 13, 2)],
            finishes: vec![
                finish("1", 2, Ending::Completed),
                finish("2", 4, Ending::Failed),
                finish("2", 7, Ending::Completed),
                finish("3", 10, Ending::FailedForGood),
                finish("3", 15, Ending::Completed),
            ],
            controls: vec![Controlled { job: "3".to_owned(), kind: UpdateKind::Retried, sequence: 12 }],
            readings: vec![Reading {
                reader: "r".to_owned(),
                seen: updates.iter().map(|update| (update.sequence, digest(update))).collect(),
                ..Reading::default()
            }],
            ..History::default()
        };
        let got = jobs.iter().cloned().map(Ok).collect();
        World { history, last: Final { updates, listed: jobs, got } }
    }

    /// Another log, which the reader also saw.
    fn with(updates: Vec<v1::Update>) -> World {
        let mut world = World::good();
        world.last.updates = numbered(updates);
        let seen = world.last.updates.iter().map(|update| (update.sequence, digest(update)));
        world.history.readings[0].seen = seen.collect();
        world
    }

    fn assert_names(&self, promise: &str, words: &str) {
        let violations = check(&self.history, &self.last);
        let named = violations.iter().any(|found| found.promise == promise && found.what.contains(words));
        assert!(named, "not named: [{promise}] {words}; found {violations:#?}");
    }
}

fn numbered(mut updates: Vec<v1::Update>) -> Vec<v1::Update> {
    for (sequence, update) in (1..).zip(&mut updates) {
        update.sequence = sequence;
    }
    updates
}

#[test]
fn a_good_history_passes() {
    let World { history, last } = World::good();
    assert_eq!(check(&history, &last), []);
}

/// Writes a history as clients would.
fn write(history: &History, last: &Final, recorder: &Recorder) {
    recorder.note(&Saw::Asked(history.asked.iter().cloned().collect()));
    recorder.note(&Saw::Acked(history.acks.clone()));
    history.resumes.iter().for_each(|resume| recorder.note(&Saw::Resumed(resume.clone())));
    recorder.note(&Saw::Leased(history.leases.clone()));
    for finish in &history.finishes {
        let index = recorder.finishing(Finished { answer: None, ..finish.clone() });
        let answer = finish.answer.map(|answer| (index, i32::from(answer)));
        recorder.note(&Saw::Answered(answer.into_iter().collect()));
    }
    recorder.note(&Saw::Controlled(history.controls.clone()));
    for reading in &history.readings {
        let index = recorder.reader(&reading.reader, reading.queue.clone());
        recorder.note(&Saw::Read(index, reading.seen.clone()));
        (0..reading.reconnects).for_each(|_| recorder.note(&Saw::Reconnects(index)));
    }
    for (call, reason) in &history.failures {
        recorder.note(&Saw::Failed(call.clone(), reason.clone()));
    }
    recorder.note(&Saw::PowerChanges);
    last.updates.iter().for_each(|update| recorder.note(&Saw::Update(line::text(update))));
    last.listed.iter().for_each(|job| recorder.note(&Saw::Listed(line::text(job))));
    for job in &last.got {
        recorder.note(&Saw::Got(job.as_ref().map(line::text).map_err(Clone::clone)));
    }
    recorder.flush();
}

/// The checker is told nothing that the file does not say, and the file says everything.
#[test]
fn a_history_comes_back_from_its_file_and_an_unfinished_one_does_not_pass() {
    let World { mut history, mut last } = World::good();
    let resume = Resume { producer: "p".to_owned(), acknowledged: 3, sent: 9, last_ordinal: 4 };
    history.resumes.push(resume);
    history.readings[0].reconnects = 2;
    history.failures.push(("submit".to_owned(), "DISK_FULL".to_owned()));
    history.finishes[1].answer = None;
    last.got.push(Err("unreadable".to_owned()));
    let kept = Kept::new("good", 0);
    let recorder = Recorder::new(kept.path());
    write(&history, &last, &recorder);
    assert_eq!(recorder.look(|sum| sum.acks), 3);
    let cut = Account::read(kept.path());
    assert!(cut.history.unsettled[0].contains("no end"), "{:?}", cut.history.unsettled);
    recorder.note(&Saw::End);
    recorder.flush();
    let account = kept.read();
    assert_eq!((account.history, account.last), (history, last));
}

/// Judges the history that `GANGLINE_HISTORY` names, or, if it names none, one that is written here.
#[test]
fn a_kept_history_is_judged_again() {
    let kept = Kept::new("judged", 0);
    let named = std::env::var_os("GANGLINE_HISTORY");
    if named.is_none() {
        let World { history, last } = World::good();
        let recorder = Recorder::new(kept.path());
        write(&history, &last, &recorder);
        recorder.note(&Saw::End);
        recorder.flush();
    }
    let path = named.map_or(kept.path().to_owned(), std::path::PathBuf::from);
    let account = Account::read(&path);
    eprintln!("{}: {} acknowledged submits", path.display(), account.history.acks.len());
    crate::check::assert_kept(&account, 0);
}

#[test]
fn lost_jobs_and_finishes_are_named() {
    let mut world = World::good();
    world.history.asked.insert(plan::payload("a", 9, Plan::Quick));
    let ack = Ack { payload: plan::payload("a", 9, Plan::Quick), job: None, ..world.history.acks[0].clone() };
    world.history.acks.push(ack);
    world.assert_names("ACK-1", "was acknowledged and is lost");

    let mut world = World::good();
    world.last.listed.remove(1);
    world.assert_names("ACK-1", "not where it belongs in the list");

    let mut world = World::good();
    world.last.got[0] = Err("not found".to_owned());
    world.assert_names("ACK-1", "cannot be read");

    let mut updates = good_updates();
    updates.truncate(15);
    let world = World::with(updates);
    world.assert_names("ACK-1", "an accepted finish of 3 under lease 15 is lost");
    world.assert_names("JOB-1", "3 never ended");

    let mut world = World::good();
    let resume = Resume { producer: "p".to_owned(), acknowledged: 5, sent: 9, last_ordinal: 4 };
    world.history.resumes.push(resume);
    world.assert_names("ACK-1", "a producer's acknowledged jobs are lost");

    let mut world = World::good();
    world.history.controls[0].sequence = 11;
    world.assert_names("ACK-1", "an acknowledged call is lost");

    let mut world = World::good();
    world.last.got[0] = Ok(v1::Job { result: "else".into(), ..world.last.listed[0].clone() });
    world.assert_names("ACK-1", "is not what was sent");
}

#[test]
fn gaps_reorderings_and_other_contents_are_named() {
    let mut world = World::good();
    world.last.updates.remove(4);
    world.assert_names("LOG-1", "sequence 5 is missing");

    let mut world = World::good();
    world.history.readings[0].seen.remove(4);
    world.assert_names("LOG-2", "r saw update 6 where 5 is next");

    let mut world = World::good();
    world.history.readings[0].seen.swap(4, 5);
    world.assert_names("LOG-2", "r saw update 6 where 5 is next");

    let mut world = World::good();
    let seen = world.history.readings[0].seen[4];
    world.history.readings[0].seen.insert(4, seen);
    world.assert_names("LOG-2", "r saw update 5 where 6 is next");

    let mut world = World::good();
    world.history.readings[0].seen[4].1 ^= 1;
    world.assert_names("LOG-1", "r saw another update 5");

    let mut world = World::good();
    world.history.readings[0].seen.push((17, 1));
    world.assert_names("LOG-1", "r saw update 17, which the log does not hold");

    let mut world = World::good();
    world.history.readings[0].seen.pop();
    world.assert_names("LOG-2", "r never saw update 16");

    let mut world = World::good();
    world.history.acks.swap(0, 1);
    world.assert_names("LOG-1", "comes before a job that was acknowledged before");
}

#[test]
fn second_ends_and_unexplained_runs_are_named() {
    let mut updates = good_updates();
    updates.push(succeeded("1", 1, 1));
    World::with(updates).assert_names("JOB-1", "1 has a second terminal update, at 17");

    let mut updates = good_updates();
    updates.push(update(UpdateKind::Cancelled, "1", 0));
    World::with(updates).assert_names("JOB-1", "1 has a second terminal update, at 17");

    let mut updates = good_updates();
    updates.push(started("1", 2));
    World::with(updates).assert_names("JOB-1", "1 started again after its end, at 17");

    let mut updates = good_updates();
    updates.remove(13);
    World::with(updates).assert_names("JOB-3", "3 has an attempt 3 that nothing explains");

    let mut world = World::good();
    world.history.finishes.remove(1);
    world.assert_names("JOB-3", "no worker ended attempt 1 of 2");

    let mut world = World::good();
    world.last.listed[1].attempts = 1;
    world.assert_names("LOG-3", "2 is ");
}

#[test]
fn stale_finishes_burnt_budgets_and_doubled_submits_are_named() {
    let mut world = World::good();
    world.history.finishes.push(finish("3", 13, Ending::Completed));
    world.assert_names("LEASE-1", "the lease 13 of 3 was gone");

    let mut world = World::good();
    world.history.finishes.push(finish("1", 2, Ending::Completed));
    world.assert_names("LEASE-1", "the lease 2 of 1 finished it twice");

    let mut world = World::good();
    world.history.leases[3].token = 12;
    world.assert_names("ACK-1", "a lease was given that the log does not hold");

    let mut updates = good_updates();
    updates[13] = failed(UpdateKind::Dead, "3", 2, FailureKind::Lost);
    World::with(updates).assert_names("RETRY-1", "3 died of Some(Lost)");

    let mut updates = good_updates();
    updates.push(submitted("4", 1));
    World::with(updates).assert_names("ID-1", "became two jobs, 1 and 4");

    let mut world = World::good();
    world.history.acks[0].job = Some("7".to_owned());
    world.assert_names("ID-1", "was acknowledged as");

    let mut world = World::good();
    world.history.asked.remove(&payload(1));
    world.assert_names("ACK-1", "a payload that nobody submitted");
}
