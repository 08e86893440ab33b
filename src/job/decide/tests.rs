//! Every command at every stage of a job, as one table; what the budgets, repeats and bounds do is in the files below.

mod bound;
mod budget;
mod repeat;

use crate::clock::Timestamp;
use crate::job::decide::Refused;
use crate::job::decide::claim::claim;
use crate::job::decide::claim::expire;
use crate::job::decide::control::cancel;
use crate::job::decide::control::delete;
use crate::job::decide::control::retry;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::decide::finish::finish;
use crate::job::decide::finish::progress;
use crate::job::decide::submit::Origin;
use crate::job::event::Event;
use crate::job::event::FailureKind;
use crate::job::event::Progress;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueNo;
use crate::job::journal::Journal;
use crate::job::journal::complete;
use crate::job::journal::fail;
use crate::job::journal::job;
use crate::job::journal::release;
use crate::job::retry::Retryable;
use crate::job::spec::NewJob;
use crate::job::spec::Policy;
use crate::job::state::Job;
use crate::job::state::State;

/// What each command (row) leads to at each stage (column): events, or `!` and the refusal. [JOB-1] [LEASE-1]
///
/// Stages: *due* now; *later*: scheduled; *late*: not started before its expiry; *again*: waiting after an attempt, whose
/// lease is presented; *running* under the presented lease; *stale*: running under a later lease than the presented one;
/// *dead*; *gone*: succeeded under the presented lease; *never* submitted.
const TABLE: &str = "
                  due         later       late        again       running     stale       dead        gone        never
claim             started     started     expired     started     !NotLive    !NotLive    !Ended      -           -
complete          !NotRunning !NotRunning !NotRunning !NotRunning succeeded   !StaleLease !NotRunning !NotLive    !NotLive
failed            !NotRunning !NotRunning !NotRunning !NotRunning retrying    !StaleLease !NotRunning !NotLive    !NotLive
failed for good   !NotRunning !NotRunning !NotRunning !NotRunning dead        !StaleLease !NotRunning !NotLive    !NotLive
crashed           !NotRunning !NotRunning !NotRunning !NotRunning retrying    !StaleLease !NotRunning !NotLive    !NotLive
crashed for good  !NotRunning !NotRunning !NotRunning !NotRunning dead        !StaleLease !NotRunning !NotLive    !NotLive
timedout          !NotRunning !NotRunning !NotRunning !NotRunning retrying    !StaleLease !NotRunning !NotLive    !NotLive
timedout for good !NotRunning !NotRunning !NotRunning !NotRunning dead        !StaleLease !NotRunning !NotLive    !NotLive
lost              !NotRunning !NotRunning !NotRunning !NotRunning retrying    !StaleLease !NotRunning !NotLive    !NotLive
lost for good     !NotRunning !NotRunning !NotRunning !NotRunning dead        !StaleLease !NotRunning !NotLive    !NotLive
release           !NotRunning !NotRunning !NotRunning !NotRunning released    !StaleLease !NotRunning !NotLive    !NotLive
progress          !NotRunning !NotRunning !NotRunning !NotRunning progress    !StaleLease !NotRunning !NotLive    !NotLive
cancel            cancelled   cancelled   cancelled   cancelled   cancelled   cancelled   !Ended      !NotLive    !NotLive
retry             !NotDead    !NotDead    !NotDead    !NotDead    !NotDead    !NotDead    retried     !NotLive    !NotLive
delete            !NotEnded   !NotEnded   !NotEnded   !NotEnded   !NotEnded   !NotEnded   deleted     !NotLive    !NotLive
delete finished   !NotEnded   !NotEnded   !NotEnded   !NotEnded   !NotEnded   !NotEnded   deleted     deleted     deleted
expire            nothing     nothing     expired     nothing     nothing     nothing     nothing     -           -
";

const STAGES: [&str; 9] = ["due", "later", "late", "again", "running", "stale", "dead", "gone", "never"];
const EXPIRY: Timestamp = Timestamp(2_000_000);
const LATER: Timestamp = Timestamp(9_000_000);

#[test]
fn every_command_at_every_stage_leads_to_what_the_table_says() {
    let mut table = format!("\n{:18}", "");
    STAGES.iter().for_each(|stage| table += &format!("{stage:12}"));
    for (name, command) in commands() {
        table = format!("{}\n{name:18}", table.trim_end());
        for stage in STAGES {
            table += &format!("{:12}", outcome(stage, &command));
        }
    }
    let table = format!("{}\n", table.trim_end());
    assert_eq!(table, TABLE, "this is the table now:{table}");
}

type Decided = Result<Vec<Event>, Refused>;
type Command = Box<dyn Fn(&Journal, JobId, LeaseToken) -> Option<Decided>>;

fn commands() -> Vec<(String, Command)> {
    let mut commands: Vec<(String, Command)> = vec![
        (
            "claim".into(),
            on_job(|state, job, now| claim(state, job, &"w".into(), now).map(|event| vec![event])),
        ),
        ("complete".into(), finishing(complete)),
    ];
    for kind in [FailureKind::Failed, FailureKind::Crashed, FailureKind::TimedOut, FailureKind::Lost] {
        let name = format!("{kind:?}").to_lowercase();
        commands.push((name.clone(), finishing(move || fail(kind, Retryable::Yes))));
        commands.push((format!("{name} for good"), finishing(move || fail(kind, Retryable::No))));
    }
    commands.extend([
        ("release".into(), finishing(release)),
        (
            "progress".into(),
            deciding(|journal, id, token| {
                let told = Progress { done: Some(5_000), message: "half".into() };
                progress(&journal.state, Holder { id, token, hint: None }, told)
            }),
        ),
        ("cancel".into(), deciding(|journal, id, _| cancel(&journal.state, id, "".into()))),
        ("retry".into(), deciding(|journal, id, _| retry(&journal.state, id))),
        ("delete".into(), deciding(|journal, id, _| delete(&journal.state, id, None))),
        ("delete finished".into(), deciding(|journal, id, _| delete(&journal.state, id, Some(QueueNo(0))))),
        ("expire".into(), on_job(|state, job, now| Ok(expire(state, job, now).into_iter().collect()))),
    ]);
    commands
}

fn deciding(decide: impl Fn(&Journal, JobId, LeaseToken) -> Result<Event, Refused> + 'static) -> Command {
    Box::new(move |journal, id, token| Some(decide(journal, id, token).map(|event| vec![event])))
}

fn on_job(decide: impl Fn(&State, &Job, Timestamp) -> Decided + 'static) -> Command {
    Box::new(move |journal, id, _| {
        journal.state.find(id, None).map(|(_, job)| decide(&journal.state, job, journal.now))
    })
}

fn finishing(end: impl Fn() -> Finish + 'static) -> Command {
    Box::new(move |journal, id, token| {
        let mut events = Vec::new();
        let holder = Holder { id, token, hint: None };
        let finished = finish(&journal.state, holder, end(), journal.now, 0, &mut events);
        assert!(finished.is_ok() || events.is_empty(), "a refusal leaves no event behind");
        Some(finished.map(|_| events))
    })
}

/// Brings a job to `stage`, gives the command, applies what it leads to, and says what that was.
fn outcome(stage: &str, command: &Command) -> String {
    let (mut journal, id, token) = brought_to(stage);
    match command(&journal, id, token) {
        None => "-".to_owned(),
        Some(Err(refused)) => {
            let name = format!("{refused:?}");
            format!("!{}", name.split(|c: char| !c.is_alphanumeric()).next().unwrap())
        }
        Some(Ok(events)) if events.is_empty() => "nothing".to_owned(),
        Some(Ok(events)) => {
            journal.append(&events);
            events.iter().map(Event::kind_name).collect::<Vec<_>>().join("+")
        }
    }
}

fn brought_to(stage: &str) -> (Journal, JobId, LeaseToken) {
    let mut journal = Journal::new();
    let policy = Policy { expires: Some(EXPIRY), ..Policy::default() };
    let run_at = if stage == "later" { LATER } else { Timestamp(0) };
    let new = NewJob { run_at, policy: Some(Box::new(policy)), ..job("q") };
    let id = journal.submit(vec![new], Origin::Anonymous).unwrap().ranges[0].first;
    let mut token = LeaseToken(journal.state.sequence().0);
    if ["again", "running", "stale", "dead", "gone"].contains(&stage) {
        token = journal.claim(id);
    }
    match stage {
        "again" | "stale" => {
            journal.finish(id, token, release()).unwrap();
        }
        "dead" => {
            journal.finish(id, token, fail(FailureKind::Failed, Retryable::No)).unwrap();
        }
        "gone" => {
            journal.finish(id, token, complete()).unwrap();
        }
        _ => {}
    }
    if stage == "stale" {
        journal.claim(id);
    }
    if stage != "due" && stage != "later" {
        journal.now = EXPIRY;
    }
    let id = if stage == "never" { JobId::from_u128(77) } else { id };
    (journal, id, token)
}
