//! `--python MODULE`: the tasks of a Python module, on another machine and inside the server.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::run;
use crate::harness::stderr;
use crate::verbs::told;
use crate::work::crew::Crew;
use gangline::cli::exit::Exit;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

const TASKS: &str = "\
import gangline

@gangline.task(queue='shout')
def shout(word):
    return word.upper()

@gangline.task(queue='count')
def count(word):
    return len(word)
";

/// The package of this repository, and the module in this place.
fn path_to(place: &Place) -> String {
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/python/src");
    let module = place.write("shop_tasks.py", TASKS);
    format!("{package}:{}", module.parent().expect("it has one").display())
}

fn has_python() -> bool {
    let look = "import sys; sys.exit(sys.version_info < (3, 9))";
    Command::new("python3").args(["-c", look]).status().is_ok_and(|status| status.success())
}

/// With the interpreter and the package that are there: no queue is named, the module knows them.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_tasks_of_a_module_are_worked_on_from_anywhere() {
    if !has_python() {
        eprintln!(
            "SKIPPED the_tasks_of_a_module_are_worked_on_from_anywhere: there is no Python 3.9 or later"
        );
        return;
    }
    let place = Place::new();
    let path = path_to(&place);
    let command = || {
        let mut command = gangline(&[]);
        command.env("PYTHONPATH", &path).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    let inside = Place::new().serve_by(command(), &["--python", "shop_tasks", "-j1"]);
    let outside = Server::start(&[]);
    let mut work = command();
    work.args(["work", "--server", &outside.address().to_string(), "-j1", "--python", "shop_tasks"]);
    let crew = Crew::of(work);
    crew.ready_again(1);
    assert!(crew.stderr().contains("1 slots for count, shout at "), "{}", crew.stderr());
    for server in [&inside, &outside] {
        let ask =
            |queue| told(server, &["submit", "-q", queue, "--content-type", "text/plain", "--wait", "gee"]);
        assert_eq!((ask("shout"), ask("count")), ("GEE".to_owned(), "3".to_owned()));
    }
}

/// Lines for a task: the only one of the module, or the one that is named, as text or as JSON.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn lines_are_run_by_a_task_of_a_module() {
    if !has_python() {
        eprintln!("SKIPPED lines_are_run_by_a_task_of_a_module: there is no Python 3.9 or later");
        return;
    }
    let place = Place::new();
    let path = path_to(&place);
    place.write(
        "one_task.py",
        "import gangline\n@gangline.task(queue='twice')\ndef twice(what):\n    return what * 2\n",
    );
    let lines = |arguments: &[&str]| {
        let mut command = gangline(&["run", "-j1", "--keep-order"]);
        command.args(arguments).env("PYTHONPATH", &path).env("PYTHONDONTWRITEBYTECODE", "1");
        told_of(command, "21\n4\n")
    };
    let printed = |arguments: &[&str]| {
        let ran = lines(arguments);
        assert!(ran.status.success(), "{arguments:?}: {}", stderr(&ran));
        String::from_utf8(ran.stdout).expect("it is text")
    };
    assert_eq!(printed(&["--python", "one_task"]), "2121\n44\n");
    assert_eq!(printed(&["--python", "one_task", "--content-type", "application/json"]), "42\n8\n");
    assert_eq!(printed(&["--python", "shop_tasks", "--task", "count"]), "2\n1\n");
    let refusals: [(&[&str], &str); 4] = [
        (
            &["--python", "shop_tasks"],
            "has 2 tasks: say with --task which gets the lines, one of: count, shout",
        ),
        (&["--python", "shop_tasks", "--task", "x"], "no task for queue \"x\", only for count, shout"),
        (&["--python", "no_such"], "there is no module no_such"),
        (&["--task", "count", "--", "cat"], "cannot be used with"),
    ];
    for (arguments, said) in refusals {
        let refused = lines(arguments);
        assert_eq!(refused.status.code(), Some(i32::from(Exit::USAGE.code())), "{arguments:?}");
        assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
    }
}

/// What the command said, given this input.
fn told_of(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // Of a refusal it reads nothing.
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).ok();
    child.wait_with_output().expect("it runs")
}

/// A script that stands in for the interpreter and says what it was asked.
fn stand_in(place: &Place) -> PathBuf {
    let script = "#!/bin/sh\ntest \"$3\" = --queues && { echo \"$*: no tasks\" >&2; exit 2; }\n\
                  while read -r line; do id=${line#*id\\\":\\\"}; id=${id%%\\\"*}\n\
                  echo \"{\\\"id\\\":\\\"$id\\\",\\\"result\\\":\\\"$* $PYTHONPATH\\\"}\"; done\n";
    let python = place.write("python", script);
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    python
}

#[test]
fn the_python_that_is_named_is_run_with_the_module() {
    let place = Place::new();
    let python = stand_in(&place);
    let mut serve = gangline(&[]);
    serve.env("GANGLINE_PYTHON", &python).env("PYTHONPATH", "here");
    let server = place.serve_by(serve, &["--python", "shop.tasks", "--queue", "inside", "-j1"]);
    let mut work = gangline(&["work", "--queue", "outside", "-j1", "--python", "shop.tasks"]);
    work.env("GANGLINE_PYTHON", &python).env("GANGLINE_SERVER", server.address().to_string());
    work.env("PYTHONPATH", "here");
    let _crew = Crew::of(work);
    for queue in ["inside", "outside"] {
        let asked = told(&server, &["submit", "--queue", queue, "--wait", "x"]);
        assert_eq!(asked, "-m gangline.worker shop.tasks here", "{queue}");
    }
}

#[test]
fn a_module_or_python_that_is_no_good_is_told_before_anything_starts() {
    let usage = Some(i32::from(Exit::USAGE.code()));
    let place = Place::new();
    let python = stand_in(&place);
    let data = place.data().display().to_string();
    let cases: [&[&str]; 2] =
        [&["work", "--python", "shop.tasks"], &["serve", "--data", &data, "--python", "shop.tasks"]];
    for arguments in cases {
        let with =
            |python: &str| gangline(arguments).env("GANGLINE_PYTHON", python).output().expect("it runs");
        let refused = with("/no/python");
        assert_eq!(refused.status.code(), usage, "{arguments:?}");
        assert!(stderr(&refused).contains("/no/python"), "{}", stderr(&refused));
        let refused = with(&python.display().to_string());
        assert_eq!(refused.status.code(), usage, "{arguments:?}");
        assert!(stderr(&refused).contains("--queues shop.tasks: no tasks"), "{}", stderr(&refused));
    }
    assert_eq!(
        run(&["serve", "--data", &data, "--queue", "x"]).status.code(),
        usage,
        "a queue of which pool?"
    );
    assert!(!place.data().exists());
    let other = place.write("other", "#!/bin/sh\necho \"No module named 'gangline'\" >&2; exit 1\n");
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let refused = gangline(cases[0]).env("GANGLINE_PYTHON", &other).output().expect("it runs");
    assert!(
        stderr(&refused).contains("or name the Python that has it in GANGLINE_PYTHON"),
        "{}",
        stderr(&refused)
    );
    let file = "[[pools]]\nname = \"shop.tasks\"\nqueues = [\"q\"]\nmode = \"each\"\ncommand = [\"cat\"]\n";
    let file = place.write("gangline.toml", file).display().to_string();
    let twice = ["serve", "--data", &data, "--config", &file, "--python", "shop.tasks", "--queue", "q"];
    let refused =
        gangline(&twice).env("GANGLINE_PYTHON", &python).stdout(Stdio::null()).output().expect("it runs");
    assert_eq!(refused.status.code(), usage);
    assert!(stderr(&refused).contains("rename it"), "{}", stderr(&refused));
}
