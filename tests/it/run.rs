//! `gangline run`: a line in, a result out; and everything that can be wrong with either.

use crate::harness::Place;
use crate::harness::gangline;
use crate::harness::stderr;
use crate::harness::stdout;
use serde_json::Value;
use std::io::Write;
use std::process::Output;
use std::process::Stdio;

/// Runs `gangline run` on this input.
pub(crate) fn run(input: &[u8], arguments: &[&str]) -> Output {
    let mut child = gangline(&["run"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A run that refuses does not read its input.
    let writer = std::thread::spawn(move || stdin.write_all(&input).ok());
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("writing does not panic");
    output
}

/// The lines of stdout, sorted: results come as they finish.
pub(crate) fn sorted(output: &Output) -> Vec<String> {
    let mut lines: Vec<String> = stdout(output).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn json(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

#[test]
fn every_line_gives_its_result() {
    let numbers: Vec<String> = (1_000_000_000_000_u64..=1_000_000_000_020).map(|n| n.to_string()).collect();
    let output = run(numbers.join("\n").as_bytes(), &["--", "factor"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let factored: Vec<String> =
        sorted(&output).iter().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(factored, numbers);
    assert_eq!(stderr(&output), "", "nothing to say where nobody looks");
}

#[test]
fn results_come_in_the_order_of_the_lines_if_asked() {
    let command = ["--keep-order", "-j3", "--", "sh", "-c", "read x; sleep $x; echo $x"];
    let output = run(b"0.3\n0\n0.1\n", &command);
    assert_eq!(stdout(&output), "0.3\n0\n0.1\n", "{}", stderr(&output));
}

/// Equal lines are different jobs, an empty line is one, and a result without a line end gets one.
#[test]
fn equal_and_empty_lines_are_jobs_of_their_own() {
    let output = run(b"same\nsame\n\nsame", &["--keep-order", "--json", "--", "cat"]);
    let mut objects = json(&output);
    let ids: std::collections::BTreeSet<String> = objects
        .iter_mut()
        .map(|object| object["id"].take().as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(ids.len(), 4);
    insta::assert_json_snapshot!(objects[1..3], @r#"
    [
      {
        "attempts": 1,
        "id": null,
        "input": "same",
        "line": 2,
        "result": "same",
        "state": "succeeded"
      },
      {
        "attempts": 1,
        "id": null,
        "input": "",
        "line": 3,
        "result": "",
        "state": "succeeded"
      }
    ]
    "#);
    assert_eq!(stdout(&run(b"a\nb", &["--keep-order", "--", "cat"])), "a\nb\n");
}

#[test]
fn an_empty_input_is_done_at_once() {
    let output = run(b"", &["--", "cat"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()), "{}", stderr(&output));
}

#[test]
fn a_line_that_fails_for_good_is_named_and_the_others_are_done() {
    let output = run(b"1000\nx\n1001\n", &["--keep-order", "--", "factor"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "1000: 2 2 2 5 5 5\n1001: 7 11 13\n");
    let said = stderr(&output);
    assert!(said.contains("line 2 (x): failed"), "{said}");
    assert!(said.contains("1 of 3 lines failed for good"), "{said}");
}

#[test]
fn a_dead_line_as_json_tells_how_it_failed() {
    let output = run(b"7\n", &["--json", "--", "false"]);
    assert_eq!(output.status.code(), Some(1));
    let mut objects = json(&output);
    objects[0]["id"].take();
    insta::assert_json_snapshot!(objects, @r#"
    [
      {
        "attempts": 1,
        "error": {
          "exit_code": 1,
          "kind": "failed",
          "message": "exit status 1"
        },
        "id": null,
        "input": "7",
        "line": 1,
        "state": "dead"
      }
    ]
    "#);
}

#[test]
fn a_line_may_be_as_long_as_a_payload_and_a_longer_one_is_named() {
    let longest = vec![b'x'; 1 << 20];
    let output = run(&longest, &["--", "wc", "-c"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), "1048576\n".to_owned()),
        "{}",
        stderr(&output)
    );
    let output = run(&[b"a\n", &longest[..], b"x"].concat(), &["--", "wc", "-c"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("line 2 of the input has more than 1048576 bytes"),
        "{}",
        stderr(&output)
    );
}

/// As `gangline run … | head -1` does it.
#[test]
fn a_reader_that_has_enough_ends_the_run_without_an_error() {
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let place = Place::new();
    let input = place.write("input", &lines);
    let mut child = gangline(&["run"])
        .arg(&input)
        .args(["--", "cat"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut first = String::new();
    std::io::BufRead::read_line(&mut out, &mut first).expect("a line comes");
    drop(out);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn what_is_wrong_is_told_before_anything_is_made() {
    let place = Place::new();
    let data = place.data().display().to_string();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--", "no-such-program-anywhere"], 2, "was not found"),
        (&["--data", &data, "no-such-file", "--", "cat"], 3, "cannot read no-such-file"),
        (&["--data", &data], 2, "<COMMAND>"),
        (&["--processes", "0", "--", "cat"], 2, "--processes"),
        (&["--timeout", "soon", "--", "cat"], 2, "write it like 90s"),
        (&["--retry-dead", "--", "cat"], 2, "--data"),
    ];
    for (arguments, code, wanted) in cases {
        let output = run(b"a\n", arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(wanted), "{arguments:?}: {}", stderr(&output));
    }
    assert!(!place.data().exists());
}

#[test]
fn a_serve_worker_gets_its_lines_too() {
    let worker = "import json,sys\n\
                  for line in iter(sys.stdin.readline, ''):\n    \
                  job = json.loads(line)\n    \
                  print(json.dumps({'id': job['id'], 'result': job['payload'].upper()}), flush=True)\n";
    let output = run(b"a\nb\n", &["--keep-order", "--serve", "--", "python3", "-c", worker]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), "A\nB\n".to_owned()),
        "{}",
        stderr(&output)
    );
}
