//! What `apply` takes and what it refuses: a log that no writer wrote is told apart, changes nothing, and never panics.

use crate::clock::Timestamp;
use crate::job::apply::At;
use crate::job::apply::Change;
use crate::job::apply::Inconsistent;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::Progress;
use crate::job::event::Submitted;
use crate::job::event::specimens::arbitrary;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::journal::picture;
use crate::job::queue::Counts;
use crate::job::spec::Payload;
use crate::job::spec::QueueSettings;
use crate::job::state::Job;
use crate::job::state::JobState;
use crate::job::state::State;
use crate::job::table::Slot;
use proptest::prelude::*;

const ID: JobId = JobId::from_u128(1);
const QUEUE: QueueNo = QueueNo(0);

fn apply(state: &mut State, event: &Event) -> Result<Change, Inconsistent> {
    let at = At { pointer: Pointer { position: state.position().next(), index: 0 }, time: Timestamp(5) };
    state.apply(event, at, Some(Slot(1)))
}

fn apply_all(state: &mut State, events: &[Event]) {
    for event in events {
        apply(state, event).unwrap();
    }
}

fn submitted(id: u128, queue: QueueNo) -> Event {
    let (policy, extra, payload) = (None, None, Payload::default());
    let id = JobId::from_u128(id);
    Event::Submitted(Submitted { id, queue, priority: 0, due: Timestamp(0), policy, extra, payload })
}

fn failure() -> Failure {
    Failure { kind: FailureKind::Failed, message: "".into(), process: None }
}

/// The events about the job with the right numbers for its first running attempt.
fn updates(id: JobId, queue: QueueNo, attempt: u32) -> [Event; 11] {
    let due = Timestamp(0);
    let (result, content_type) = (Payload::default(), "".into());
    [
        submitted(id.as_u128(), queue),
        Event::Started { id, queue, attempt, worker: "w".into() },
        Event::Progress { id, queue, progress: Progress { done: None, message: "".into() } },
        Event::Retrying { id, queue, attempt, failure: failure(), due },
        Event::Released { id, queue, attempt, due, reason: "".into() },
        Event::Succeeded { id, queue, attempt, result, content_type, usage: None },
        Event::Dead { id, queue, attempt, failure: failure() },
        Event::Cancelled { id, queue, attempt, reason: "".into() },
        Event::Expired { id, queue },
        Event::Retried { id, queue, generation: 1 },
        Event::Deleted { id, queue },
    ]
}

fn brought_to(stage: &str) -> State {
    let mut state = State::default();
    let [submitted, started, _, _, _, succeeded, dead, ..] = updates(ID, QUEUE, 1);
    let made = |no, name: &str| Event::QueueMade { queue: QueueNo(no), name: name.parse().unwrap() };
    let mut events = vec![made(0, "q"), made(1, "other")];
    events.extend(match stage {
        "unknown" => vec![],
        "waiting" => vec![submitted],
        "running" => vec![submitted, started],
        "dead" => vec![submitted, started, dead],
        "gone" => vec![submitted, started, succeeded],
        other => panic!("{other}"),
    });
    apply_all(&mut state, &events);
    state
}

/// What each event (row) does at each stage (column): the state it leads to, or `!` where it does not fit. Ids only
/// rise, so that the id of a job that is gone is never a new one's.
const TABLE: &str = "
          unknown   waiting   running   dead      gone
submitted Waiting   !         !         !         !
started   !         Running   !         !         !
progress  !         !         Running   !         !
retrying  !         !         Waiting   !         !
released  !         !         Waiting   !         !
succeeded !         !         gone      !         !
dead      !         !         Dead      !         !
cancelled !         gone      gone      !         !
expired   !         gone      !         !         !
retried   !         !         !         Waiting   !
deleted   nothing   !         !         gone      nothing
";

/// What ends a job and what takes it out of the live jobs is one event. [JOB-2]
#[test]
fn an_event_is_taken_only_at_its_stage() {
    let stages = ["unknown", "waiting", "running", "dead", "gone"];
    let mut table = format!("\n{:10}", "");
    stages.iter().for_each(|stage| table += &format!("{stage:10}"));
    for (row, event) in updates(ID, QUEUE, 1).iter().enumerate() {
        table = format!("{}\n{:10}", table.trim_end(), event.kind_name());
        for stage in stages {
            let unstarted = matches!(event, Event::Cancelled { .. }) && stage == "waiting";
            let event = updates(ID, QUEUE, u32::from(!unstarted))[row].clone();
            let mut state = brought_to(stage);
            let before = (picture(&state), state.sequence());
            let outcome = match apply(&mut state, &event) {
                Ok(Change::Live(slot)) => format!("{:?}", state.jobs().at(slot).state()),
                Ok(Change::Gone(slot)) if state.jobs().get(slot).is_none() => "gone".to_owned(),
                Ok(Change::Gone(slot)) => panic!("{slot:?} is not free"),
                Ok(Change::None) => "nothing".to_owned(),
                Err(_) => {
                    assert_eq!(
                        (picture(&state), state.sequence()),
                        before,
                        "a refused event changes nothing"
                    );
                    "!".to_owned()
                }
            };
            table += &format!("{outcome:10}");
        }
    }
    let table = format!("{}\n", table.trim_end());
    assert_eq!(table, TABLE, "this is the table now:{table}");
}

#[test]
fn an_event_with_another_attempt_queue_or_generation_does_not_fit() {
    let misfits = |stage: &str, events: &[Event]| {
        for event in events {
            assert!(apply(&mut brought_to(stage), event).is_err(), "{event:?} when {stage}");
        }
    };
    let [_, started, _, retrying, released, succeeded, dead, cancelled, ..] = updates(ID, QUEUE, 2);
    misfits("waiting", &[started, cancelled.clone()]);
    misfits("running", &[retrying, released, succeeded, dead, cancelled]);
    let [_, started, progress, retrying, released, succeeded, dead, cancelled, expired, retried, deleted] =
        updates(ID, QueueNo(1), 1);
    misfits("waiting", &[started, cancelled, expired]);
    misfits("running", &[progress, retrying, released, succeeded, dead]);
    misfits("dead", &[retried, deleted]);
    misfits("dead", &[Event::Retried { id: ID, queue: QUEUE, generation: 2 }]);
    misfits("unknown", &updates(ID, QueueNo(2), 1));
}

#[test]
fn tables_take_only_what_follows() {
    let made = |queue, name: &str| Event::QueueMade { queue: QueueNo(queue), name: name.parse().unwrap() };
    let set = |queue| Event::QueueSet { queue: QueueNo(queue), settings: QueueSettings::default() };
    let cursor = |sequence| Event::CursorSet { name: "c".into(), sequence: Sequence(sequence) };
    let key = |key: &str, first, jobs| Event::KeyTaken {
        key: key.into(),
        fingerprint: 1,
        first: JobId::from_u128(first),
        jobs,
    };
    let advanced = |ordinal, jobs| Event::ProducerAdvanced { producer: "p".into(), ordinal, first: ID, jobs };
    let mut state = brought_to("waiting");
    let before = picture(&state);
    let misfits = [
        made(3, "new"),
        made(1, "new"),
        made(2, "q"),
        set(2),
        cursor(2),
        Event::CursorDropped { name: "c".into() },
        key("k", 2, 0),
        advanced(0, 1),
        advanced(2, 1),
        advanced(1, 0),
    ];
    for event in &misfits {
        assert!(apply(&mut state, event).is_err(), "{event:?}");
    }
    assert_eq!(picture(&state), before);
    let fits =
        [made(2, "new"), set(2), cursor(1), advanced(1, u32::MAX), key("k", 2, 2), submitted(2, QUEUE)];
    apply_all(&mut state, &fits);
    assert!(apply(&mut state, &key("k2", 7, 1)).is_err(), "inside the batch of another key");
    assert!(apply(&mut state, &submitted(4, QUEUE)).is_err(), "not the next job of its key");
    apply(&mut state, &submitted(3, QUEUE)).unwrap();
    assert!(apply(&mut state, &key("k", 7, 1)).is_err(), "taken already [ID-1]");
    apply(&mut state, &submitted(4, QUEUE)).unwrap();
}

/// Counts all jobs again, the plain way.
fn recounted(state: &State, queue: QueueNo) -> Counts {
    let of = |wanted: JobState| {
        let jobs = state.jobs().iter().filter(|(_, job)| job.queue == queue && job.state() == wanted);
        jobs.count() as u64
    };
    Counts {
        waiting: of(JobState::Waiting),
        running: of(JobState::Running),
        dead: of(JobState::Dead),
        ..state.queue(queue).counts
    }
}

fn check(state: &State) {
    for (number, queue) in state.queues().iter() {
        assert_eq!(queue.counts, recounted(state, number));
        assert_eq!(queue.dead.len() as u64, queue.counts.dead);
        let dead = queue.dead.iter().map(|(_, slot)| state.jobs().at(*slot).state());
        assert!(dead.into_iter().all(|stage| stage == JobState::Dead));
    }
    for (slot, job) in state.jobs().iter() {
        assert_eq!(state.jobs().find(job.id, None), Some(slot));
    }
    for key in state.keys().in_order() {
        let digest_of = |job: &Job| state.key(job).map(|key| state.keys().digest_of(key));
        let holders = state.jobs().iter().filter(|(_, job)| digest_of(job) == Some(key.digest)).count();
        assert!(holders <= key.live as usize, "{key:?} is held by {holders}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_sequence_of_events_panics_and_a_refused_one_changes_nothing(
        events in prop::collection::vec(arbitrary(), 1..150)
    ) {
        let mut state = brought_to("unknown");
        let mut taken = Vec::new();
        for event in events {
            let before = picture(&state);
            match apply(&mut state, &event) {
                Ok(_) => taken.push(event),
                Err(_) => prop_assert_eq!(picture(&state), before, "after {:?}", event),
            }
            check(&state);
        }
        let mut again = brought_to("unknown");
        apply_all(&mut again, &taken);
        prop_assert_eq!(picture(&again), picture(&state));
    }
}
