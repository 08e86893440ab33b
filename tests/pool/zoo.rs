//! The zoo of bad jobs. Each beast is let loose in a pool beside which another one goes on with good jobs, and then:
//! the pool works on, the beast's job ended as the table says, with the end of its stderr and what it used, nothing of
//! it is left, and the good jobs never had to wait. `docs/workers.md` has the same table in words.

use crate::rig::PATIENCE;
use crate::rig::Rig;
use crate::rig::config;
use crate::rig::each;
use crate::rig::execution;
use crate::rig::gone;
use crate::rig::job;
use crate::rig::text;
use crate::rig::until;
use crate::rig::worker;
use gangline::clock::Clock;
use gangline::job::event::Failure;
use gangline::job::event::FailureKind;
use gangline::pool::Assignment;
use gangline::pool::Command;
use gangline::pool::Config;
use gangline::pool::Mode;
use gangline::pool::Outcome;
use gangline::pool::Pool;
use gangline::pool::Recycle;
use gangline::pool::Report;
use gangline::pool::limits::Limits;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What every beast says before it misbehaves.
const ROAR: &str = "grrr";

/// The longest that a good job may take beside a beast, on a machine that does other things too.
const PACE: Duration = Duration::from_secs(3);

/// What is left of its slot's process, in words of the operating system.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It exited with this status.
    Exit(i32),
    /// This signal killed it.
    Signal(i32),
    /// It goes on: a `serve` process that only failed the job.
    GoesOn,
}

/// How the beast's job ends.
#[derive(Clone, Copy)]
enum Fate {
    /// Completed with this result.
    Completes(&'static str),
    /// Failed in this way, with a message that holds these words.
    Fails(FailureKind, &'static str, End),
}

use End::Exit;
use End::GoesOn;
use End::Signal;
use FailureKind::Crashed;
use FailureKind::Failed;
use FailureKind::TimedOut;
use Fate::Completes;
use Fate::Fails;

const SEGV: i32 = 11;
const KILL: i32 = 9;

// What runs wild here stops by itself somewhat above what the pool allows: a pool that fails to stop it must not take the
// machine down.

/// Doubles a string up to half a gigabyte.
const HOG: &str = "x=$(head -c 1048576 /dev/zero | tr '\\0' x); for n in 1 2 3 4 5 6 7 8 9; do x=$x$x; done; exec sleep 1000";
/// Every copy makes two, to the eighth generation. The worker itself needs no fork any more, which would be refused and
/// end it.
const BOMB: &str = "bomb() { [ $1 -gt 8 ] && exec sleep 60 || { bomb $(($1+1)) & bomb $(($1+1)) & wait; }; }; bomb 1 2>/dev/null & exec sleep 1000";
/// And each in a session of its own.
const WILD_BOMB: &str = "export WILD='[ $0 -gt 8 ] && exec sleep 60 || { setsid sh -c \"$WILD\" $(($0+1)) & setsid sh -c \"$WILD\" $(($0+1)) & wait; }'; sh -c \"$WILD\" 1 2>/dev/null & exec sleep 1000";

/// Name, what it does in a shell, how it ends. It notes the processes that it leaves in the file `$LEFT`.
type Beast = (&'static str, &'static str, Fate);

const EACH: &[Beast] = &[
    ("exits with a status", "exit 3", Fails(Failed, "exit status 3: grrr", Exit(3))),
    ("dies by a signal", "kill -SEGV $$", Fails(Crashed, "killed by SIGSEGV", Signal(SEGV))),
    (
        "ignores SIGTERM",
        "trap '' TERM; while :; do sleep 1; done",
        Fails(TimedOut, "longer than", Signal(KILL)),
    ),
    // Both stay when they are done: they could be before the kill arrives, because what they print is taken until then.
    (
        "prints 1 GiB",
        "head -c 1073741824 /dev/zero; exec sleep 1000",
        Fails(Failed, "result over limit", Signal(KILL)),
    ),
    (
        "prints a line of 10 MiB",
        "head -c 10485760 /dev/zero; exec sleep 1000",
        Fails(Failed, "result over limit", Signal(KILL)),
    ),
    ("prints without end", "yes", Fails(Failed, "result over limit", Signal(KILL))),
    ("floods stderr", "yes grrr | head -c 104857600 >&2; exit 4", Fails(Failed, "exit status 4", Exit(4))),
    ("closes stdout", "echo before; exec >&-; sleep 0.1", Completes("before\n")),
    ("closes all and goes on", "exec <&- >&- 2>&-; sleep 1000", Fails(TimedOut, "longer than", Signal(15))),
    ("leaves a grandchild", "sleep 1000 & echo $! >> $LEFT", Completes("")),
    (
        "leaves a family",
        "sh -c 'trap \"\" TERM HUP; sleep 1000 & echo $! >> $LEFT; sleep 1000' & sleep 0.1; exit 5",
        Fails(Failed, "exit status 5", Exit(5)),
    ),
    ("leaves one of another session", "setsid sleep 1000 & echo $! >> $LEFT; sleep 0.1", Completes("")),
    (
        "allocates without end",
        HOG,
        Fails(Crashed, "bytes of memory, and 134217728 are allowed", Signal(KILL)),
    ),
    (
        "has a child that allocates",
        "{ head -c 1G /dev/zero; sleep 1000; } | tail",
        Fails(Crashed, "bytes of memory", Signal(KILL)),
    ),
    ("forks without end", BOMB, Fails(Crashed, "wanted more than the 40 processes", Signal(KILL))),
    (
        "forks out of its session",
        WILD_BOMB,
        Fails(Crashed, "wanted more than the 40 processes", Signal(KILL)),
    ),
];

const SERVE: &[Beast] = &[
    ("exits", "exit 3", Fails(Crashed, "exited with status 3 under the job", Exit(3))),
    (
        "says that it is done and exits",
        "exit 0",
        Fails(Crashed, "exited with status 0 under the job", Exit(0)),
    ),
    ("dies by a signal", "kill -SEGV $$", Fails(Crashed, "killed by SIGSEGV", Signal(SEGV))),
    (
        "ignores SIGTERM",
        "trap '' TERM; while :; do sleep 1; done",
        Fails(TimedOut, "longer than", Signal(KILL)),
    ),
    ("prints 1 GiB", "head -c 1073741824 /dev/zero", Fails(Failed, "result over limit", Signal(KILL))),
    (
        "answers with a line of 10 MiB",
        r#"x=$(head -c 10485760 /dev/zero | tr '\0' x); answer "\"result\":\"$x\"""#,
        Fails(Failed, "result over limit: a line of more than", Signal(KILL)),
    ),
    (
        "answers with 1 byte too much",
        r#"x=$(head -c 1048577 /dev/zero | tr '\0' x); answer "\"result\":\"$x\"""#,
        Fails(Failed, "result over limit: more than 1048576 bytes", GoesOn),
    ),
    ("answers with an error", r#"answer '"error":"no"'"#, Fails(Failed, "no", GoesOn)),
    (
        "writes a malformed line",
        "echo '{\"id\":'",
        Fails(Crashed, "a line that is not an answer", Signal(KILL)),
    ),
    ("prints words", "echo debug: here", Fails(Crashed, "a line that is not an answer", Signal(KILL))),
    ("writes bytes", r"printf '\377\376\n'", Fails(Crashed, "a line that is not an answer", Signal(KILL))),
    ("answers for another", r#"id=other; answer '"result":1'"#, Fails(Crashed, "answered job", Signal(KILL))),
    ("answers twice", r#"printf '{"id":"%s","result":%d}\n' "$id" 1 "$id" 2; sleep 1000"#, Completes("1")),
    ("closes stdout", "exec >&-; sleep 1000", Fails(Crashed, "closed its stdout and went on", Signal(KILL))),
    ("closes stdin", "exec <&-; exec sleep 1000", Fails(TimedOut, "longer than", Signal(15))),
    (
        "floods progress",
        r#"yes "{\"id\":\"$id\",\"progress\":0.5}" | head -n 300000; answer '"result":"done"'"#,
        Completes("done"),
    ),
    (
        "floods progress without end",
        r#"yes "{\"id\":\"$id\",\"progress\":0.5}""#,
        Fails(TimedOut, "longer than", Signal(15)),
    ),
    ("floods stderr", r#"yes grrr | head -c 104857600 >&2; answer '"result":"done"'"#, Completes("done")),
    (
        "leaves a grandchild that holds the pipes",
        "sleep 1000 & echo $! >> $LEFT; exit 6",
        Fails(Crashed, "exited with status 6", Exit(6)),
    ),
    (
        "leaves one of another session",
        "setsid sleep 1000 & echo $! >> $LEFT; sleep 0.1; exit 6",
        Fails(Crashed, "exited with status 6", Exit(6)),
    ),
    (
        "allocates without end",
        HOG,
        Fails(Crashed, "bytes of memory, and 134217728 are allowed", Signal(KILL)),
    ),
    ("forks without end", BOMB, Fails(Crashed, "wanted more than the 40 processes", Signal(KILL))),
];

/// A pool that does good jobs one after the other, and how long the slowest took.
struct Tame {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    driver: tokio::task::JoinHandle<Duration>,
}

impl Tame {
    fn begin(rig: &Rig) -> Tame {
        let (pool, mut reports) =
            Pool::start(config(each("cat")), &rig.spawner, &Clock::system(), &rig.shutdown)
                .expect("the pool starts");
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, count) = (Arc::clone(&over), Arc::clone(&done));
        let driver = rig.shutdown.spawn(async move {
            let clock = Clock::system();
            let mut slowest = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let began = clock.now().tick;
                assert_eq!(pool.give(vec![execution(job(1, "good"))]), []);
                let report = tokio::time::timeout(PATIENCE, reports.recv()).await;
                let Ok(Some(Report::Ended(_, outcome))) = report else { panic!("{report:?}") };
                assert_eq!(text(outcome), "good");
                slowest = slowest.max(clock.now().tick.since(began));
                count.fetch_add(1, Ordering::Relaxed);
            }
            slowest
        });
        Tame { over, done, driver }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        let slowest = self.driver.await.expect("good jobs are done");
        assert!(slowest < PACE, "a good job took {slowest:?} beside the beasts");
    }
}

/// Lets each beast loose in a pool of one slot, with a good job after it.
#[allow(clippy::print_stderr, reason = "what is skipped is said")]
async fn visit(mode: fn(Command) -> Mode, script: &str, beasts: &[Beast]) {
    let directory = tempfile::tempdir().expect("a directory");
    let notes = directory.path().join("left");
    let script = format!("export LEFT='{}'\n{script}", notes.display());
    let limits = Limits {
        memory_bytes_max: Some(128 << 20),
        processes_max: Some(40),
        core_bytes: Some(0),
        ..Limits::default()
    };
    let unbound = limits.check_processes_max().err();
    let mut rig = Rig::of(mode(Command { limits, ..Command::new(["sh", "-c", &script]) }));
    let tame = Tame::begin(&rig);
    for (number, (name, script, fate)) in (1..).zip(beasts) {
        if let Some(error) = unbound.as_ref().filter(|_| [BOMB, WILD_BOMB].contains(script)) {
            // It would take the machine with it.
            eprintln!("skipped: {name}: the kernel does not hold processes_max here: {error}");
            continue;
        }
        let before = tame.done();
        std::fs::remove_file(&notes).ok();
        let wait = match fate {
            Fails(TimedOut, ..) => Some(Duration::from_millis(500)),
            Fails(..) | Completes(_) => None,
        };
        let outcome = let_loose(&mut rig, job(number, format!("{name}\n")), wait).await;
        check(name, *fate, outcome);
        let notes = std::fs::read_to_string(&notes).unwrap_or_default();
        assert_eq!(notes.lines().count(), script.matches("$LEFT").count(), "{name} notes what it leaves");
        for pid in notes.lines() {
            gone(pid.parse().expect("a process id")).await;
        }
        assert_eq!(text(rig.run(job(1_000 + number, "good\n")).await), "good", "after the beast that {name}");
        until("good jobs are done beside the beasts", || tame.done() > before).await;
    }
    tame.end().await;
    rig.end().await;
}

/// Runs the beast's job. A time-out that comes before its first word, as it may on a busy machine, was too short: it is doubled.
async fn let_loose(rig: &mut Rig, beast: Assignment, mut wait: Option<Duration>) -> Outcome {
    loop {
        let outcome = rig.run(Assignment { timeout: wait, ..beast.clone() }).await;
        let is_too_early = match &outcome {
            Outcome::Failed { failure, .. } => {
                failure.kind == TimedOut && failure.process.as_ref().is_some_and(|it| it.stderr.is_empty())
            }
            Outcome::Completed { .. } | Outcome::Released { .. } | Outcome::Cancelled => false,
        };
        let (true, Some(short)) = (is_too_early, wait) else { return outcome };
        wait = Some(2 * short);
    }
}

fn check(name: &str, fate: Fate, outcome: Outcome) {
    match (fate, outcome) {
        (Completes(expected), Outcome::Completed { result, usage, .. }) => {
            assert_eq!(result, expected, "{name}");
            assert!(usage.expect("it was measured").rss_kib > 0, "{name}: {usage:?}");
        }
        (Fails(kind, words, end), Outcome::Failed { failure, .. }) => {
            assert_eq!(failure.kind, kind, "{name}: {}", failure.message);
            assert!(failure.message.contains(words), "{name}: {}", failure.message);
            let process = failure.process.expect("the process is told of");
            let (code, signal) = match end {
                Exit(code) => (Some(code), None),
                Signal(signal) => (None, Some(signal)),
                GoesOn => (None, None),
            };
            assert_eq!((process.exit_code, process.signal), (code, signal), "{name}");
            assert!(process.stderr.contains(ROAR), "{name}: {:?}", process.stderr);
            assert!(process.stderr.len() <= Failure::STDERR_BYTES_MAX, "{name}");
            assert!(process.usage.expect("it was measured").rss_kib > 0, "{name}");
        }
        (Completes(_) | Fails(..), outcome) => panic!("{name}: {outcome:?}"),
    }
}

/// The branches of a shell's `case`, one a beast.
fn cages(beasts: &[Beast]) -> String {
    beasts.iter().map(|(name, script, _)| format!("'{name}') echo {ROAR} >&2; {script} ;;\n")).collect()
}

#[tokio::test]
async fn a_zoo_with_a_process_a_job() {
    let script = format!("read -r word; case $word in {} good) printf good ;; esac", cages(EACH));
    visit(Mode::Each, &script, EACH).await;
}

#[tokio::test]
async fn a_zoo_with_long_lived_processes() {
    // The payload comes as JSON, so the end of its line is two characters.
    let body = format!(r#"case ${{payload%\\n}} in {} good) answer '"result":"good"' ;; esac"#, cages(SERVE));
    visit(|command| Mode::Serve(command, Recycle::default()), &worker(&body), SERVE).await;
}

#[tokio::test]
async fn other_pools_keep_their_pace_when_every_slot_of_one_is_stuck() {
    let stuck = Config {
        processes: NonZeroUsize::new(4).unwrap(),
        ..config(each("trap '' TERM; sleep 1000 & wait"))
    };
    let rig = Rig::new(stuck);
    for number in 0..8 {
        rig.give(job(number, ""));
    }
    until("all slots are taken", || rig.pool.waiting() == 4).await;
    let tame = Tame::begin(&rig);
    until("good jobs are done", || tame.done() >= 30).await;
    assert_eq!(rig.pool.waiting(), 4, "the stuck ones still are");
    tame.end().await;
    rig.end().await;
}
