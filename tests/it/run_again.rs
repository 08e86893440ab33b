//! `gangline run --data`: whatever ended the first run, the second goes on where it was.

use crate::harness::PATIENCE;
use crate::harness::Place;
use crate::harness::gangline;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::harness::until;
use crate::run::run;
use crate::run::sorted;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

/// How often each line, of eight bytes, was executed: the command appends what it is given to the ledger.
fn executions(place: &Place) -> BTreeMap<String, usize> {
    let ledger = std::fs::read(place.data().with_file_name("ledger")).unwrap_or_default();
    let mut executions = BTreeMap::new();
    for line in ledger.chunks(8) {
        *executions.entry(String::from_utf8_lossy(line).into_owned()).or_default() += 1;
    }
    executions
}

fn lines(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("line{number:04}")).collect()
}

/// `--data DATA -- tee -a LEDGER`
fn ledger_command(place: &Place) -> Vec<String> {
    let ledger = place.data().with_file_name("ledger");
    let (data, ledger) = (place.data().display().to_string(), ledger.display().to_string());
    ["--data", &data, "--", "tee", "-a", &ledger].map(str::to_owned).to_vec()
}

fn start(place: &Place) -> Command {
    let mut command = gangline(&["run"]);
    command.args(ledger_command(place)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn again(place: &Place, input: &[String], further: &[&str]) -> std::process::Output {
    let command = ledger_command(place);
    let arguments: Vec<&str> = further.iter().copied().chain(command.iter().map(String::as_str)).collect();
    run((input.join("\n") + "\n").as_bytes(), &arguments)
}

#[test]
fn after_kill_9_it_goes_on_and_nothing_that_finished_is_executed_again() {
    let place = Place::new();
    let input = lines(0..300);
    let mut first = start(&place).spawn().expect("the binary starts");
    let mut stdin = first.stdin.take().expect("piped");
    stdin.write_all((input.join("\n") + "\n").as_bytes()).expect("it reads");
    let out = BufReader::new(first.stdout.take().expect("piped"));
    let finished: Vec<String> = out.lines().take(40).map(|line| line.expect("text")).collect();
    signal(&first, Signal::KILL);
    first.wait().expect("it is our child");

    let second = again(&place, &input, &[]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    assert_eq!(sorted(&second), input, "the output is complete");
    let executions = executions(&place);
    for line in &finished {
        assert_eq!(executions[line], 1, "{line} had finished before the kill");
    }
    assert!(executions.values().all(|&times| times <= 2), "{executions:?}");

    let third = again(&place, &input, &["--keep-order"]);
    assert_eq!(stdout(&third), input.join("\n") + "\n", "all from the log, and in order");
    assert_eq!(self::executions(&place), executions, "a finished run executes nothing");
}

#[test]
fn ctrl_c_stops_it_and_says_how_to_go_on() {
    let place = Place::new();
    let mut first = start(&place).spawn().expect("the binary starts");
    let mut stdin = first.stdin.take().expect("piped");
    stdin.write_all((lines(0..3).join("\n") + "\n").as_bytes()).expect("it reads");
    let mut out = BufReader::new(first.stdout.take().expect("piped"));
    for _ in 0..3 {
        out.read_line(&mut String::new()).expect("a result");
    }
    signal(&first, Signal::INT);
    let first = first.wait_with_output().expect("it ends");
    assert_eq!(first.status.code(), Some(130), "{}", stderr(&first));
    assert!(stderr(&first).contains("run the same command again to go on"), "{}", stderr(&first));

    let second = again(&place, &lines(0..5), &[]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    assert_eq!(sorted(&second), lines(0..5));
    assert!(executions(&place).values().all(|&times| times == 1), "{:?}", executions(&place));
}

/// Ctrl-C also ends what is running at that moment, soon, and leaves no process behind.
#[test]
fn ctrl_c_ends_the_running_command() {
    let place = Place::new();
    let unique = format!("600.{}", std::process::id());
    let mut child = gangline(&["run", "--data", &place.data().display().to_string(), "--", "sleep", &unique])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("piped").write_all(b"a\n").expect("it reads");
    until("the command runs", || sleeps(&unique).then_some(()));
    signal(&child, Signal::INT);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    until("the command has ended", || (!sleeps(&unique)).then_some(()));
    assert!(PATIENCE.as_secs() < 600, "the sleep did not end by itself");
}

/// Whether a process `sleep UNIQUE` is there.
fn sleeps(unique: &str) -> bool {
    let wanted = format!("sleep\0{unique}\0");
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted");
    processes.filter_map(Result::ok).any(|process| {
        std::fs::read(process.path().join("cmdline")).is_ok_and(|found| found == wanted.as_bytes())
    })
}

#[test]
fn another_input_is_refused_by_line_and_nothing_is_executed() {
    let place = Place::new();
    let input = lines(0..5);
    assert_eq!(again(&place, &input, &[]).status.code(), Some(0));
    let before = executions(&place);

    let mut changed = input.clone();
    changed[2] = "line9999".to_owned();
    changed.push("line0005".to_owned());
    let refused = again(&place, &changed, &[]);
    assert_eq!(refused.status.code(), Some(4));
    let said = stderr(&refused);
    assert!(said.contains(r#"line 3 of the input is "line9999", but was "line0002""#), "{said}");

    let refused = again(&place, &input[..4], &[]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(stderr(&refused).contains("ends after line 4"), "{}", stderr(&refused));
    assert_eq!(stdout(&refused), "", "no result of a run that is refused");
    assert_eq!(executions(&place), before);

    let grown = again(&place, &lines(0..7), &[]);
    assert_eq!(sorted(&grown), lines(0..7), "{}", stderr(&grown));
    assert!(executions(&place).values().all(|&times| times == 1), "{:?}", executions(&place));
}

#[test]
fn dead_lines_stay_dead_until_they_are_retried() {
    let place = Place::new();
    let data = place.data().display().to_string();
    let failed = run(b"a\nb\n", &["--data", &data, "--", "false"]);
    assert_eq!(failed.status.code(), Some(1));
    let still = run(b"a\nb\n", &["--data", &data, "--", "cat"]);
    assert_eq!((still.status.code(), stdout(&still)), (Some(1), String::new()), "{}", stderr(&still));
    let retried = run(b"a\nb\n", &["--data", &data, "--retry-dead", "--keep-order", "--", "cat"]);
    assert_eq!(
        (retried.status.code(), stdout(&retried)),
        (Some(0), "a\nb\n".to_owned()),
        "{}",
        stderr(&retried)
    );
    let seen = run(b"a\nb\n", &["--data", &data, "--keep-order", "--", "false"]);
    assert_eq!((seen.status.code(), stdout(&seen)), (Some(0), "a\nb\n".to_owned()), "{}", stderr(&seen));
}
