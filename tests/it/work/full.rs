//! The server's disk is full: what a pool has finished is told again until there is space. [ACK-2]

use crate::harness::Place;
use crate::harness::until;
use crate::verbs::submit;
use crate::volume::Disk;
use crate::work::crew::Crew;
use crate::work::crew::ended;
use crate::work::crew::gone;
use crate::work::crew::kinds;
use crate::work::crew::pid_in;
use gangline::client::Client;
use gangline::client::Options;
use gangline::grpc::status::Reason;
use gangline::proto::v1;
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

/// Jobs whose results have no room together in what a server prepares of its log.
const JOBS: usize = 8;
const RESULT_BYTES: usize = 400_000;
const FLAGS: [&str; 5] = [
    "--segment-bytes=1MiB",
    "--reserve-bytes=1MiB",
    "--transport-request-bytes-max=512KiB",
    "--payload-bytes-max=448KiB",
    "--result-bytes-max=448KiB",
];

/// Fills the disk until submits are refused.
async fn fill_up(disk: &Disk, address: &str) {
    let options = Options { patience: Duration::ZERO, first_patience: Duration::ZERO, ..Options::default() };
    let client = Client::connect(address, options).expect("an address");
    loop {
        disk.fill();
        let payload = vec![b'x'; RESULT_BYTES].into();
        let spec = v1::JobSpec { queue: "other".to_owned(), payload, ..v1::JobSpec::default() };
        if let Err(error) = client.submit(vec![spec], None).await {
            assert_eq!(error.reason(), Some(Reason::DiskFull), "{error}");
            return;
        }
    }
}

fn script(note: &Path, go: &Path) -> String {
    let (note, go) = (note.display(), go.display());
    format!(
        "read n; echo $$ > {note}.$n; until test -e {go}; do sleep 0.02; done; head -c {RESULT_BYTES} /dev/zero"
    )
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
async fn results_wait_for_space_on_a_full_disk() {
    let (disks, place) = (Place::new(), Place::new());
    let disk = match Disk::of(disks.data(), "48m") {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("SKIPPED results_wait_for_space_on_a_full_disk: no disk can be filled here: {why}");
            return;
        }
    };
    let data = format!("--data={}", disk.path().join("data").display());
    let mut server = Place::new().serve(&[&FLAGS[..], &[&data]].concat());
    let (note, go) = (place.data(), place.data().with_extension("go"));
    let processes = format!("-j{JOBS}");
    let mut crew = Crew::start(&server, &[&processes, "--each", "--", "sh", "-c", &script(&note, &go)]);
    let ids: Vec<String> = (0..JOBS).map(|number| submit(&server, &[&format!("{number}\n")])).collect();
    let children: Vec<u32> =
        (0..JOBS).map(|number| pid_in(&note.with_extension(number.to_string()))).collect();
    fill_up(&disk, &server.address().to_string()).await;
    std::fs::write(&go, "").expect("the directory is ours");
    children.into_iter().for_each(gone);
    until("a result finds no room", || crew.stderr().contains("disk is full").then_some(()));
    std::fs::remove_file(disk.ballast()).expect("it is ours");
    for id in &ids {
        assert_eq!(ended(&server, id)["result_bytes"], RESULT_BYTES, "{}", crew.stderr());
        assert_eq!(kinds(&server, id), ["submitted", "started", "succeeded"]);
    }
    crew.signal(Signal::TERM);
    assert!(crew.wait().success(), "{}", crew.stderr());
    server.kill();
}
