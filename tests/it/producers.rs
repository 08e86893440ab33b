//! Long runs of jobs and long readers, through restarts of the server.

mod sieve;

use crate::harness::PATIENCE;
use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::producers::sieve::Sieve;
use crate::verbs::ask;
use crate::verbs::shape;
use crate::verbs::submit;
use crate::verbs::told;
use gangline::client::Client;
use gangline::client::Error;
use gangline::client::Options;
use gangline::client::Submitter;
use gangline::proto::v1;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;
use std::time::Duration;
use tonic::Code;

fn job(number: u64) -> v1::JobSpec {
    v1::JobSpec { payload: number.to_string().into(), ..v1::JobSpec::default() }
}

/// Every payload that was submitted, in the order of the log.
async fn payloads(client: &Client) -> Vec<String> {
    let mut updates = client.updates(v1::GetUpdatesRequest {
        include_payload: true,
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    });
    let mut payloads = Vec::new();
    while let Some(batch) = updates.next().await.expect("it can be read") {
        for update in batch.updates {
            let payload = update.spec.expect("nothing but submitted").payload;
            payloads.push(String::from_utf8(payload.to_vec()).expect("a number"));
        }
    }
    payloads
}

/// The server is killed in the middle of a producer's stream and comes back on the same port: the producer goes on by
/// itself, and every job is there once, in order. [ID-1]
#[tokio::test]
async fn a_producer_outlives_its_server_and_nothing_is_doubled() {
    const JOBS: u64 = 3_000;
    let place = crate::harness::Place::new();
    let mut server = place.serve(&[]);
    let address = server.address().to_string();
    let client = Client::connect(&address, Options::default()).expect("an address");
    let mut submitter = client.submitter("producer").await.expect("it begins");
    let (mut pushed, mut killed) = (0, false);
    while submitter.last_ordinal() < JOBS {
        while pushed < JOBS && submitter.has_room() && submitter.unanswered() < 100 {
            pushed += 1;
            assert_eq!(submitter.push(job(pushed)), pushed);
        }
        submitter.accepted().await.expect("it goes on");
        if !killed && submitter.last_ordinal() > JOBS / 3 {
            killed = true;
            server.kill();
            // The later flag wins: the same port again.
            server = place.serve(&["--listen", &address]);
        }
    }
    assert!(killed);
    let expected: Vec<String> = (1..=JOBS).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&client).await, expected);
}

/// A client that gives up at the first broken link once it has had an answer, and soon takes a stream on which nothing moves
/// for dead.
fn hasty() -> Options {
    Options { patience: Duration::ZERO, progress: Duration::from_millis(200), ..Options::default() }
}

/// What is accepted next. A server on a busy machine may begin to answer later than so hasty a client waits for it: that is
/// told and gone on from. Anything else is no failure.
async fn accepted(submitter: &mut Submitter) {
    loop {
        match submitter.accepted().await {
            Ok(_) => return,
            Err(Error::Link { source, .. }) if source.code() == Code::DeadlineExceeded => {}
            Err(error) => panic!("it does not go on: {error:?}"),
        }
    }
}

/// The connection is alive, only what is sent on the stream does not arrive.
#[tokio::test]
async fn a_stream_on_which_nothing_moves_is_opened_anew() {
    let server = Server::start(&[]);
    let sieve = Sieve::to(server.address()).await;
    let client = Client::connect(&sieve.address(), hasty()).expect("an address");
    let mut submitter = client.submitter("producer").await.expect("it begins");
    for round in 1..=3 {
        for number in 1..=10 {
            submitter.push(job(10 * (round - 1) + number));
        }
        while submitter.unanswered() > 0 {
            let accepted = tokio::time::timeout(PATIENCE, accepted(&mut submitter)).await;
            accepted.expect("it does not wait for ever");
        }
        sieve.lose();
    }
    assert!(sieve.lost_frames() >= 2, "the second and the third ten were lost at first");
    let expected: Vec<String> = (1..=30).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&client).await, expected);
}

/// That nothing is accepted is no failure while the server says that it is there.
#[tokio::test]
async fn a_queue_that_stays_full_is_waited_for() {
    let server = Server::start(&[]);
    told(&server, &["queues", "set", "default", "--max-pending", "5"]);
    let client = Client::connect(&server.address().to_string(), hasty()).expect("an address");
    let mut submitter = client.submitter("producer").await.expect("it begins");
    for number in 1..=20 {
        submitter.push(job(number));
    }
    let waited = tokio::time::timeout(Duration::from_secs(2), async {
        while submitter.unanswered() > 0 {
            accepted(&mut submitter).await;
        }
    });
    assert!(waited.await.is_err(), "the queue is full");
    assert_eq!(submitter.last_ordinal(), 5);
    told(&server, &["queues", "set", "default", "--max-pending", "100"]);
    while submitter.unanswered() > 0 {
        let accepted = tokio::time::timeout(PATIENCE, accepted(&mut submitter)).await;
        accepted.expect("there is room");
    }
    let expected: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&client).await, expected);
}

/// Messages are as small as this server needs them, and a line that it cannot read is named.
#[test]
fn lines_go_to_a_server_that_reads_small_messages_only() {
    let small =
        ["--transport-request-bytes-max=400KiB", "--payload-bytes-max=256KiB", "--result-bytes-max=256KiB"];
    let server = Server::start(&small);
    let line = |bytes: usize| "x".repeat(bytes) + "\n";
    let input = server.place().write("input", &line(200_000).repeat(20));
    let arguments = ["submit", "--lines", "--file", &input.display().to_string()];
    assert_eq!(told(&server, &arguments).lines().count(), 20);
    let more = line(200_000).repeat(7) + &line(500_000) + &line(10);
    std::fs::write(&input, more).expect("it is ours");
    let refused = ask(&server, &arguments);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert_eq!(stdout(&refused).lines().count(), 7, "what stands before it is submitted");
    let why = stderr(&refused);
    for part in ["job 8 takes", "500053", "409600", "transport.request_bytes_max"] {
        assert!(why.contains(part), "{part} is not in {why}");
    }
    assert_eq!(told(&server, &["ls", "--ids"]).lines().count(), 27);
    std::fs::write(&input, line(500_000)).expect("it is ours");
    let refused = ask(&server, &["submit", "--file", arguments[3]]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("transport.request_bytes_max"), "{}", stderr(&refused));
}

#[tokio::test]
async fn a_reader_outlives_its_server_and_sees_every_update_once() {
    let place = crate::harness::Place::new();
    let mut server = place.serve(&[]);
    let address = server.address().to_string();
    let client = Client::connect(&address, Options::default()).expect("an address");
    let mut updates = client.updates(v1::GetUpdatesRequest::default());
    let mut seen = Vec::new();
    for round in 1..=3_u64 {
        client.submit(vec![job(round), job(round)], None).await.expect("submitted");
        while seen.len() < 2 * usize::try_from(round).expect("small") {
            let batch = updates.next().await.expect("it goes on").expect("it follows");
            seen.extend(batch.updates.iter().map(|update| update.sequence));
        }
        server.kill();
        server = place.serve(&["--listen", &address]);
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn lines_are_submitted_in_order_and_a_repeat_under_the_key_goes_on() {
    let server = Server::start(&[]);
    let input = server.place().write("input", "a\nb\nc\n");
    let file = input.display().to_string();
    let arguments = ["submit", "--lines", "--file", &file, "--key", "k"];
    let ids = told(&server, &arguments);
    assert_eq!(ids, told(&server, &["ls", "--ids"]), "the order of the lines is that of the ids");
    std::fs::write(&input, "a\nb\nc\nd\n").expect("it is ours");
    let more = ask(&server, &arguments);
    assert_eq!((more.status.code(), stdout(&more).lines().count()), (Some(0), 1), "{}", stderr(&more));
    assert!(stderr(&more).contains("lines 1 to 3 were submitted before"), "{}", stderr(&more));
    let same = ask(&server, &arguments);
    assert_eq!((same.status.code(), stdout(&same)), (Some(0), String::new()));
    assert_eq!(told(&server, &["ls", "--ids"]).lines().count(), 4);
}

#[test]
fn a_tail_shows_the_log_from_any_place_and_filters_it() {
    let server = Server::start(&[]);
    let id = submit(&server, &["hello", "--queue", "a"]);
    submit(&server, &["x", "--queue", "b"]);
    told(&server, &["cancel", &id, "--reason", "why not"]);
    insta::assert_json_snapshot!(shape(&server, &["tail", "--no-follow", "--json", "--payload", "--queue", "a"]), @r#"
    [
      {
        "job_id": "[job_id]",
        "kind": "submitted",
        "queue": "a",
        "sequence": 1,
        "spec": {
          "payload": "hello",
          "priority": 0
        },
        "time": "[time]"
      },
      {
        "job_id": "[job_id]",
        "kind": "cancelled",
        "queue": "a",
        "reason": "why not",
        "sequence": 3,
        "time": "[time]"
      }
    ]
    "#);
    let count =
        |arguments: &[&str]| told(&server, &[&["tail", "--no-follow"], arguments].concat()).lines().count();
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["--after", "2"]), 1);
    assert_eq!(count(&["--after", "end"]), 0);
    assert_eq!(count(&["--job", &id]), 2);
    assert_eq!(count(&["--kind", "submitted"]), 2);
    let future = ask(&server, &["tail", "--no-follow", "--after", "99"]);
    assert_eq!(future.status.code(), Some(4), "{}", stderr(&future));
}

#[test]
fn a_tail_with_a_cursor_goes_on_where_the_last_one_ended() {
    let server = Server::start(&[]);
    submit(&server, &["x"]);
    let tail = ["tail", "--no-follow", "--cursor", "mine"];
    assert_eq!(told(&server, &tail).lines().count(), 1);
    assert_eq!(told(&server, &tail), "");
    submit(&server, &["y"]);
    assert!(told(&server, &["cursors"]).lines().any(|line| line.starts_with("mine    1         1")));
    assert_eq!(told(&server, &tail).lines().count(), 1);
    told(&server, &["cursors", "delete", "mine"]);
    assert_eq!(ask(&server, &["cursors", "delete", "mine"]).status.code(), Some(3));
}

/// What a following tail shows comes at once, and a closed pipe ends it quietly.
#[test]
fn a_following_tail_shows_what_comes_and_ends_with_its_reader() {
    let server = Server::start(&[]);
    let mut tail = gangline(&["tail", "--json", "--server", &server.address().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(tail.stdout.take().expect("piped"));
    let mut line = String::new();
    for number in 1..=3 {
        submit(&server, &["x"]);
        line.clear();
        out.read_line(&mut line).expect("an update comes");
        assert!(line.starts_with(&format!("{{\"sequence\":{number},\"kind\":\"submitted\"")), "{line}");
    }
    drop(out);
    submit(&server, &["x"]);
    let ended = tail.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), stderr(&ended)), (Some(0), String::new()));
}
