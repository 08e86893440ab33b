//! A log that cannot be written any more.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::run;
use crate::harness::stdout;
use crate::harness::until;
use crate::verbs::submit;
use gangline::cli::exit::Exit;
use gangline::grpc::status::Reason;
use gangline::grpc::status::reason_of;
use gangline::proto::v1::CommitCursorRequest;
use gangline::proto::v1::Cursor;
use gangline::proto::v1::ListCursorsRequest;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::prlimit;
use serde_json::Value;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

/// Waits until the server has nothing left to write of its own accord, which could meet the fault before its caller does: its files are made, and the frame that vouches for
/// the last update, which follows it a moment later, is in the log.
fn await_rest(server: &Server) {
    server.await_files();
    let data = server.place().data().display().to_string();
    until("the last update is vouched for", || {
        let frames = run(&["inspect", "frames", "--json", &data]);
        let summary: Value = serde_json::from_str(stdout(&frames).lines().last()?).expect("a JSON object");
        (summary["updates"] == 1 && summary["unvouched_updates"] == 0).then_some(())
    });
}

/// Callers are told that they cannot know, health checks that it is over, and the process ends with its own code; the
/// next start has everything that was acknowledged. [ACK-2]
#[tokio::test]
async fn a_failed_write_is_never_acknowledged_and_ends_the_server_with_its_own_code() {
    let place = Place::new();
    let mut server = place.serve_ignoring_file_size_signals(&[]);
    let mut updates = server.updates().await;
    let commit = |name: &str| CommitCursorRequest { name: name.to_owned(), cursor: Some(Cursor::default()) };
    updates.commit_cursor(commit("before")).await.expect("the disk works");
    submit(&server, &["x"]);
    await_rest(&server);
    let mut health = server.health().await;
    let mut told = health.watch(HealthCheckRequest::default()).await.expect("it is known").into_inner();
    let status = told.message().await.expect("it serves").expect("a status").status();
    assert_eq!(status, ServingStatus::Serving);

    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(1_024), maximum: Some(1_024) };
    prlimit(pid, Resource::Fsize, limit).expect("it is our process");
    let status = updates.commit_cursor(commit("after")).await.expect_err("it cannot be on disk");
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
    assert_eq!(reason_of(&status), Some(Reason::OutcomeUnknown), "{status}");
    let status = told.message().await.expect("there is time to tell").expect("a status").status();
    assert_eq!(status, ServingStatus::NotServing);
    assert_eq!(server.wait().code(), Some(i32::from(Exit::DISK.code())));

    let server = place.serve(&[]);
    let cursors = server.updates().await.list_cursors(ListCursorsRequest::default()).await;
    let names: Vec<String> =
        cursors.expect("it reads").into_inner().cursors.into_iter().map(|c| c.name).collect();
    assert!(names.contains(&"before".to_owned()), "{names:?}");
}
