//! Configuration as the operator meets it: errors with what to do, and every value with where it came from.

use crate::harness::Place;
use crate::harness::gangline;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use gangline::cli::exit::Exit;
use gangline::config::SETTINGS;

const USAGE: Option<i32> = Some(Exit::USAGE.code() as i32);

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_what_was_meant() {
    let place = Place::new();
    let file = place.write("gangline.toml", "threads = 2\n[transport]\nconections = 5\n");
    let refused = run(&["config", "check", "--config", &file.display().to_string()]);
    assert_eq!(refused.status.code(), USAGE);
    let said = stderr(&refused);
    assert!(said.contains("gangline.toml:3: there is no setting transport.conections"), "{said}");
    assert!(said.contains("did you mean transport.connections?"), "{said}");
}

#[test]
fn a_misspelt_variable_is_refused_and_a_foreign_one_is_not() {
    let refused = gangline(&["config", "check"]).env("GANGLINE_LISTN", "x").output().expect("it runs");
    assert_eq!(refused.status.code(), USAGE);
    assert!(stderr(&refused).contains("did you mean GANGLINE_LISTEN?"), "{}", stderr(&refused));
    // As Kubernetes sets them for a service called gangline.
    let foreign = [("GANGLINE_PORT", "tcp://10.0.0.1:4264"), ("GANGLINE_SERVICE_HOST", "10.0.0.1")];
    let fine = gangline(&["config", "check"]).envs(foreign).output().expect("it runs");
    assert!(fine.status.success(), "{}", stderr(&fine));
}

#[test]
fn values_that_do_not_go_together_are_refused_before_anything_is_made() {
    let place = Place::new();
    let cases = [
        (&["--payload-bytes-max=4MiB"][..], "over transport.response_bytes_max"),
        (&["--segment-bytes=1MiB"], "half a frame"),
        (&["--segment-bytes=100000"], "multiple of 4096"),
        (&["--reconnect-grace=1m"], "lease_period"),
        (&["--transport-connections-per-peer=5000"], "transport.connections"),
        (&["--transport-stream-window-bytes=4MiB"], "transport.connection_window_bytes"),
        (&["--batch-jobs-max=10001"], "1 to 10000"),
        (&["--threads=0"], "1 to 256"),
        (&["--log-filter=info,=?"], "log.filter"),
        (&["--lease-period=soon"], "such as \"30s\""),
        (&["--retention-bytes=-1"], "such as \"64MiB\""),
    ];
    for (flags, wanted) in cases {
        let refused = place.refused(flags);
        assert_eq!(refused.status.code(), USAGE, "{flags:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(wanted), "{flags:?}: {}", stderr(&refused));
    }
    assert!(!place.data().exists());
}

#[test]
fn later_layers_win_and_show_says_which() {
    let place = Place::new();
    let file = place.write("gangline.toml", "lease_period = \"20s\"\nheartbeat = \"9s\"\nthreads = 3\n");
    let shown = gangline(&["config", "show", "--origin", "--threads=5"])
        .arg("--config")
        .arg(&file)
        .env("GANGLINE_HEARTBEAT", "7s")
        .output()
        .expect("it runs");
    assert!(shown.status.success(), "{}", stderr(&shown));
    let shown = stdout(&shown);
    let file = file.display();
    for wanted in [
        format!("lease_period = \"20s\"  # {file}:1"),
        "heartbeat = \"7s\"  # GANGLINE_HEARTBEAT".to_owned(),
        "threads = \"5\"  # --threads".to_owned(),
        "listen = \"127.0.0.1:4264\"  # default".to_owned(),
    ] {
        assert!(shown.lines().any(|line| line == wanted), "{wanted} is not in\n{shown}");
    }
}

/// What is shown is a configuration file that says the same.
#[test]
fn what_is_shown_can_be_read_back() {
    let place = Place::new();
    let shown = stdout(&run(&["config", "show", "--ring-bytes=3MiB", "--log-format=json"]));
    let file = place.write("shown.toml", &shown);
    let again = run(&["config", "show", "--config", &file.display().to_string()]);
    assert_eq!(stdout(&again), shown);
    assert_eq!(shown.lines().count(), SETTINGS.len());
}

#[test]
fn pools_are_checked_too() {
    let place = Place::new();
    let cases = [
        ("[[pools]]\nqueues = [\"q\"]\nmode = \"each\"\ncomand = [\"true\"]\n", "did you mean command?"),
        ("[[pools]]\nqueues = []\nmode = \"each\"\ncommand = [\"true\"]\n", "at least one queue"),
        ("[[pools]]\nqueues = [\"q\"]\nmode = \"shell\"\ncommand = [\"true\"]\n", "each (a process a job)"),
        (
            "[[pools]]\nqueues = [\"q\"]\nmode = \"each\"\ncommand = [\"true\"]\nrecycle_jobs = 5\n",
            "never recycled",
        ),
        (
            "[[pools]]\nqueues = [\"q\"]\nmode = \"each\"\ncommand = [\"true\"]\naddress_space = \"lots\"\n",
            "64MiB",
        ),
        (
            "[[pools]]\nqueues = [\"q\"]\nmode = \"each\"\ncommand = [\"true\"]\nmemory_bytes_max = \"much\"\n",
            "pools.memory_bytes_max",
        ),
        (
            "[[pools]]\nqueues = [\"q\"]\nmode = \"each\"\ncommand = [\"true\"]\nprocesses_max = -1\n",
            "processes_max",
        ),
        ("[[pools]]\nqueues = [\"q\"]\nmode = \"each\"\n", "command"),
        ("[[pools]]\nqueues = [\"q\"]\nmode = \"each\"\ncommand = [\"no-such-program\"]\n", "PATH"),
    ];
    for (text, wanted) in cases {
        let file = place.write("gangline.toml", text);
        let refused = run(&["config", "check", "--config", &file.display().to_string()]);
        assert_eq!(refused.status.code(), USAGE, "{text}");
        assert!(stderr(&refused).contains(wanted), "{text}: {}", stderr(&refused));
    }
}
