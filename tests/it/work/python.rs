//! `--python MODULE`: the tasks of a Python module, on another machine and inside the server.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::run;
use crate::harness::stderr;
use crate::verbs::told;
use crate::work::crew::Crew;
use gangline::cli::exit::Exit;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
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

/// With the interpreter and the package that are there: no queue is named, the module knows them.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_tasks_of_a_module_are_worked_on_from_anywhere() {
    let version =
        Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]).status();
    if !version.is_ok_and(|status| status.success()) {
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
    let file = "[[pools]]\nname = \"shop.tasks\"\nqueues = [\"q\"]\nmode = \"each\"\ncommand = [\"cat\"]\n";
    let file = place.write("gangline.toml", file).display().to_string();
    let twice = ["serve", "--data", &data, "--config", &file, "--python", "shop.tasks", "--queue", "q"];
    let refused =
        gangline(&twice).env("GANGLINE_PYTHON", &python).stdout(Stdio::null()).output().expect("it runs");
    assert_eq!(refused.status.code(), usage);
    assert!(stderr(&refused).contains("rename it"), "{}", stderr(&refused));
}
