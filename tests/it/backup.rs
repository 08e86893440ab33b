//! `gangline backup` and `gangline restore` on real servers: under load, killed half-way, damaged, on a full disk.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::harness::tree;
use crate::harness::until;
use crate::verbs::complete;
use crate::verbs::finish;
use crate::verbs::submit;
use crate::verbs::told;
use crate::volume::Disk;
use gangline::cli::exit::Exit;
use gangline::grpc::status::Reason;
use gangline::grpc::status::reason_of;
use gangline::proto::v1;
use gangline::proto::v1::admin_service_client::AdminServiceClient;
use serde_json::Value;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use tonic::transport::Channel;

/// Many segments.
const SMALL: [&str; 4] = [
    "--segment-bytes=256KiB",
    "--transport-request-bytes-max=192KiB",
    "--payload-bytes-max=64KiB",
    "--result-bytes-max=64KiB",
];

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn beside(place: &Place, name: &str) -> PathBuf {
    place.data().with_file_name(name)
}

/// What a command that must succeed says of itself.
fn summary(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(output), stderr(output));
    serde_json::from_str(stdout(output).lines().last().expect("a line")).expect("an object")
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().expect("a number")
}

fn back_up(place: &Place, out: &Path) -> Value {
    summary(&run(&["backup", "--data", &text(&place.data()), &text(out), "--json"]))
}

/// Serves what is restored from `backup`, in a place of its own.
fn restored(backup: &Path) -> (Server, Value) {
    let place = Place::new();
    let summary = summary(&run(&["restore", &text(backup), &text(&place.data()), "--json"]));
    (place.serve(&SMALL), summary)
}

fn waiting(server: &Server) -> Vec<String> {
    told(server, &["ls", "--state", "waiting", "--ids"]).lines().map(str::to_owned).collect()
}

fn fill(server: &Server, jobs: u32) {
    let payload = "p".repeat(20_000);
    for _ in 0..jobs {
        submit(server, &[&payload]);
    }
}

/// On the machine of a running server: everything acknowledged before is there, named cursors too, and what a reader has of
/// the lost future is refused.
#[tokio::test]
async fn a_running_server_is_backed_up_from_its_files_and_restored_as_another_store() {
    let server = Server::start(&SMALL);
    let out = beside(server.place(), "out");
    let done = submit(&server, &["first", "--queue", "q"]);
    finish(&server, "q", complete("its result")).await;
    fill(&server, 40);
    told(&server, &["cursors", "commit", "reader", "3"]);
    let before = waiting(&server);
    let first = back_up(server.place(), &out);
    assert!(number(&first, "bytes_linked") > 0 && number(&first, "sequence") >= 43, "{first}");
    submit(&server, &["lost with the machine"]);

    let (again, summary) = restored(&out);
    assert_eq!(waiting(&again), before);
    assert_eq!(told(&again, &["get", &done, "--result"]), "its result");
    assert!(told(&again, &["cursors"]).contains("reader"));
    assert_eq!(summary["old_store_id"], first["store_id"]);
    let store = told(&again, &["info", "--json"]);
    assert!(store.contains(summary["store_id"].as_str().expect("an id")), "{store}");
    let cursor = v1::Cursor {
        store_id: first["store_id"].as_str().expect("an id").to_owned(),
        sequence: number(&first, "sequence"),
    };
    let request = v1::CommitCursorRequest { name: "old".to_owned(), cursor: Some(cursor) };
    let status = again.updates().await.commit_cursor(request).await.expect_err("it is of the old store");
    assert_eq!(reason_of(&status), Some(Reason::CursorOfOtherStore), "{status}");
}

#[test]
fn a_server_refuses_a_backup_and_says_what_to_do() {
    let server = Server::start(&[]);
    submit(&server, &["x"]);
    let out = beside(server.place(), "out");
    back_up(server.place(), &out);
    let refused = run(&["serve", "--data", &text(&out), "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), code(Exit::UNUSABLE), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(&format!("gangline restore {} DIR", out.display())));
    // Everything that only looks at a data directory looks at a backup, too.
    for verb in ["verify", "inspect stats", "export"] {
        let words: Vec<&str> = verb.split(' ').collect();
        let looked = run(&[&words[..], &[&text(&out)]].concat());
        assert_eq!(looked.status.code(), Some(0), "{verb}: {}", stderr(&looked));
    }
}

#[test]
fn a_damaged_backup_is_refused_and_the_fault_named() {
    let server = Server::start(&SMALL);
    fill(&server, 30);
    let (out, to) = (beside(server.place(), "out"), beside(server.place(), "restored"));
    back_up(server.place(), &out);
    let segment = out.join("log/0000000002.seg");
    // The file is the server's, too.
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[100_000] ^= 1;
    std::fs::remove_file(&segment).expect("it is ours");
    std::fs::write(&segment, bytes).expect("it is ours");
    let refused = run(&["restore", &text(&out), &text(&to)]);
    assert_eq!(refused.status.code(), code(Exit::DAMAGED), "{}", stderr(&refused));
    assert!(stdout(&refused).contains("log/0000000002.seg at byte"), "{}", stdout(&refused));
    assert!(stderr(&refused).contains("gangline salvage"), "{}", stderr(&refused));
    assert!(!to.exists() && !to.with_extension("restoring").exists());
}

#[test]
fn a_restore_up_to_an_update_leaves_out_what_came_later() {
    let server = Server::start(&[]);
    let first = submit(&server, &["first"]);
    let second = submit(&server, &["second"]);
    let out = beside(server.place(), "out");
    let summary = back_up(server.place(), &out);
    assert_eq!(number(&summary, "sequence"), 2);
    let place = Place::new();
    let data = text(&place.data());
    let beyond = run(&["restore", &text(&out), &data, "--until", "3"]);
    assert_eq!(beyond.status.code(), code(Exit::UNUSABLE), "{}", stderr(&beyond));
    assert!(stderr(&beyond).contains("ends with update 2"), "{}", stderr(&beyond));
    let restored = run(&["restore", &text(&out), &data, "--until", "1"]);
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    let again = place.serve(&[]);
    assert_eq!(waiting(&again), [first]);
    assert_eq!(
        gangline(&["get", &second, "--server", &again.address().to_string()])
            .output()
            .expect("it runs")
            .status
            .code(),
        code(Exit::NOT_FOUND)
    );
}

/// Fills the server with so many jobs of 2,000 bytes, by a process that is told to stop by dropping it.
struct Load(Child);

impl Load {
    fn begin(server: &Server, jobs: usize) -> Load {
        let lines = server.place().write("load", &format!("{}\n", "l".repeat(2_000)).repeat(jobs));
        let mut command = gangline(&["submit", "--lines", "--file", &text(&lines)]);
        command.args(["--server", &server.address().to_string()]).stdout(Stdio::null());
        Load(command.spawn().expect("the binary starts"))
    }

    fn wait(mut self) {
        assert!(self.0.wait().expect("it is our child").success());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn head(server: &Server) -> u64 {
    let info: Value = serde_json::from_str(&told(server, &["info", "--json"])).expect("an object");
    number(&info, "head_sequence")
}

fn over_the_api(server: &Server, out: &Path) -> Command {
    gangline(&["backup", "--server", &server.address().to_string(), &text(out), "--json"])
}

/// A backup over the API while jobs pour in: each time everything that was acknowledged before, nothing twice, and only what
/// is new is sent.
#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_and_the_next_one_only_adds() {
    let server = Server::start(&SMALL);
    let (online, beside_it) = (beside(server.place(), "online"), beside(server.place(), "files"));
    let load = Load::begin(&server, 10_000);
    until("some have arrived", || (head(&server) > 2_000).then_some(()));
    let mut last = 0;
    for _ in 0..3 {
        let before = head(&server);
        for taken in [
            summary(&over_the_api(&server, &online).output().expect("it runs")),
            back_up(server.place(), &beside_it),
        ] {
            assert!(number(&taken, "sequence") >= before, "{taken} {before}");
        }
        for out in [&online, &beside_it] {
            let verified = run(&["verify", &text(out)]);
            assert_eq!(verified.status.code(), Some(0), "{}{}", stdout(&verified), stderr(&verified));
        }
        last = last.max(before);
    }
    load.wait();
    let whole = summary(&over_the_api(&server, &online).output().expect("it runs"));
    assert_eq!(number(&whole, "sequence"), head(&server));
    let one = submit(&server, &["one more"]);
    let added = summary(&over_the_api(&server, &online).output().expect("it runs"));
    assert!(number(&added, "bytes_copied") < 2_000, "{added}");
    assert!(number(&added, "bytes_kept") > 20_000_000, "{added}");

    let (again, restored) = restored(&online);
    assert_eq!(restored["live_jobs"], 10_001);
    assert_eq!(told(&again, &["get", &one, "--payload"]), "one more");
    let (_, restored) = self::restored(&beside_it);
    assert!(number(&restored, "sequence") >= last);
}

/// Runs a backup over the API until it has received some files and not all; `None` if it was too quick.
fn half(server: &Server, out: &Path) -> Option<Child> {
    let mut command = over_the_api(server, out);
    let mut backup = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let third = out.join("incoming/log/0000000003.seg");
    until("it has received something or is done", || {
        (third.exists() || backup.try_wait().expect("it is our child").is_some()).then_some(())
    });
    backup.try_wait().expect("it is our child").is_none().then_some(backup)
}

/// Killed half-way: the client, then the server. What arrived is kept, the same command completes it.
#[test]
fn a_backup_whose_client_or_server_is_killed_half_way_is_completed_by_the_same_command() {
    let mut server = Server::start(&SMALL);
    Load::begin(&server, 8_000).wait();
    let sequence = head(&server);
    let place = |number: u32| beside(server.place(), &format!("out-{number}"));
    let mut halves = (0..20).filter_map(|number| Some((place(number), half(&server, &place(number))?)));
    let (out, mut client) = halves.next().expect("one of twenty backups is caught");
    client.kill().expect("it is our child");
    client.wait().expect("it is our child");
    let refused = run(&["restore", &text(&out), &text(&beside(server.place(), "none"))]);
    // It may have been killed just when it was done.
    if refused.status.code() != Some(0) {
        assert_eq!(refused.status.code(), code(Exit::UNUSABLE), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("not finished"), "{}", stderr(&refused));
    }
    let taken = summary(&over_the_api(&server, &out).output().expect("it runs"));
    assert!(number(&taken, "bytes_kept") > 500_000, "what had arrived is not sent again: {taken}");

    let (out, client) = halves.next().expect("another one is caught");
    drop(halves);
    server.kill();
    let ended = client.wait_with_output().expect("it is our child");
    if ended.status.code() != Some(0) {
        assert_eq!(ended.status.code(), code(Exit::UNAVAILABLE), "{}", stderr(&ended));
        assert!(stderr(&ended).contains("the same command goes on"), "{}", stderr(&ended));
    }
    let server = server.again();
    let taken = summary(&over_the_api(&server, &out).output().expect("it runs"));
    assert!(number(&taken, "sequence") >= sequence && number(&taken, "bytes_kept") > 500_000, "{taken}");
    let (_again, restored) = restored(&out);
    assert_eq!(restored["live_jobs"], 8_000);
}

/// What is sealed is taken once: what breaks in the backup later shows when it is asked for, and is named.
#[test]
fn what_broke_in_a_backup_since_is_found_when_the_next_one_is_told_to_verify() {
    let server = Server::start(&SMALL);
    fill(&server, 40);
    let out = beside(server.place(), "out");
    let (data, place) = (text(&server.place().data()), text(&out));
    let backup = |more: &[&str]| run(&[&["backup", "--data", &data, &place, "--copy"], more].concat());
    let first = backup(&["--verify"]);
    assert_eq!(first.status.code(), Some(0), "{}{}", stdout(&first), stderr(&first));
    assert!(stdout(&first).contains("\nverified; "), "{}", stdout(&first));

    let segment = out.join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[100_000] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    assert_eq!(backup(&[]).status.code(), Some(0), "it is not read again");
    let found = backup(&["--verify"]);
    assert_eq!(found.status.code(), code(Exit::DAMAGED), "{}", stdout(&found));
    assert!(stdout(&found).contains("0000000001.seg"), "{}", stdout(&found));
    assert!(stderr(&found).contains("back up into a new directory"), "{}", stderr(&found));
    let found = backup(&["--verify", "--json"]);
    let last: Value =
        serde_json::from_str(stdout(&found).lines().last().expect("a line")).expect("an object");
    assert_eq!(last["faults"], 1, "{last}");
}

/// It would no longer be what its manifest says.
#[test]
fn a_backup_is_not_migrated_and_the_next_command_is_named() {
    let server = Server::start(&[]);
    submit(&server, &["x"]);
    let out = beside(server.place(), "out");
    back_up(server.place(), &out);
    let bytes =
        || tree(&out).into_iter().map(|path| (path.clone(), std::fs::read(path).ok())).collect::<Vec<_>>();
    let before = bytes();
    for arguments in [["migrate", &text(&out), "--check"].as_slice(), &["migrate", &text(&out)]] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), code(Exit::UNUSABLE), "{}", stderr(&refused));
        let command = format!("`gangline restore {} DIR`", out.display());
        assert!(stderr(&refused).contains(&command), "{}", stderr(&refused));
    }
    assert!(bytes() == before, "it was touched");
}

/// The one says what to remove, the other that somebody is at it: both name what they were given.
#[test]
fn what_is_in_the_way_of_a_backup_or_restore_is_named() {
    let server = Server::start(&[]);
    submit(&server, &["x"]);
    let (out, new) = (beside(server.place(), "out"), beside(server.place(), "new"));
    back_up(server.place(), &out);
    let left = beside(server.place(), "new.restoring");
    std::fs::create_dir(&left).expect("it is ours");
    let refused = run(&["restore", &text(&out), &text(&new)]);
    assert_eq!(refused.status.code(), code(Exit::UNUSABLE), "{}", stderr(&refused));
    let command = format!("`rm -r {}`", left.display());
    assert!(stderr(&refused).contains(&command) && left.exists(), "{}", stderr(&refused));
    std::fs::remove_dir(&left).expect("it is ours");

    let lock = std::fs::File::open(out.join("lock")).expect("a backup has one");
    lock.lock().expect("nobody else is at it");
    let data = text(&server.place().data());
    for arguments in
        [["backup", "--data", &data, &text(&out)].as_slice(), &["restore", &text(&out), &text(&new)]]
    {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), code(Exit::IN_USE), "{}", stderr(&refused));
        let said = stderr(&refused);
        assert!(said.contains(&text(&out)) && said.contains("wait until that process has ended"), "{said}");
        assert!(!said.contains("--data"), "{said}");
    }
    drop(lock);
    summary(&run(&["restore", &text(&out), &text(&new), "--json"]));
}

/// A reader of a backup that is slow, or two: log that retention would let go of stays for it, and a third is refused.
#[tokio::test(flavor = "multi_thread")]
async fn retention_takes_nothing_away_from_a_backup_and_there_are_at_most_two() {
    let flags = ["--retention-bytes=512KiB", "--checkpoint-bytes=64KiB"];
    let server = Server::start(&[&SMALL[..], &flags[..]].concat());
    Load::begin(&server, 800).wait();
    // What is on its way to a slow reader must not be all there is.
    let endpoint = Channel::from_shared(format!("http://{}", server.address())).expect("a URI");
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.expect("it listens");
    let mut admin = AdminServiceClient::new(channel);
    let begin = |response: v1::GetBackupResponse| match response.piece {
        Some(v1::get_backup_response::Piece::Begin(begin)) => begin,
        other => panic!("{other:?}"),
    };
    let request = v1::GetBackupRequest::default;
    let mut first = admin.get_backup(request()).await.expect("it begins").into_inner();
    let announced = begin(first.message().await.expect("a message").expect("a piece"));
    let second = admin.get_backup(request()).await.expect("it begins").into_inner();
    let refused = admin.get_backup(request()).await.expect_err("two are enough");
    assert_eq!(reason_of(&refused), Some(Reason::Busy), "{refused}");
    let floor = || {
        let info: Value = serde_json::from_str(&told(&server, &["info", "--json"])).expect("an object");
        number(&info, "floor_sequence")
    };
    let before = floor();
    Load::begin(&server, 800).wait();
    let log = |name: &str| server.stderr().matches(name).count();
    let checkpoints = log("checkpoint made");
    until("retention looks again", || {
        Load::begin(&server, 200).wait();
        (log("checkpoint made") >= checkpoints + 2 || floor() > before).then_some(())
    });
    assert_eq!(floor(), before, "nothing is let go of");
    let mut bytes = 0;
    while let Some(response) = first.message().await.expect("every file is there") {
        if let Some(v1::get_backup_response::Piece::Chunk(chunk)) = response.piece {
            bytes += chunk.len() as u64;
        }
    }
    assert_eq!(bytes, announced.bytes);
    drop((first, second));
    until("old log goes again", || {
        Load::begin(&server, 200).wait();
        (floor() > before).then_some(())
    });
}

/// A disk that gets full half-way is told, what was there is as it was, and with more space the same command goes on.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_full_disk_under_a_backup_is_told_and_gone_on_from() {
    let server = Server::start(&SMALL);
    Load::begin(&server, 1_000).wait();
    let disk = match Disk::of(beside(server.place(), "disk"), "3m") {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!(
                "SKIPPED a_full_disk_under_a_backup_is_told_and_gone_on_from: no disk can be filled here: {why}"
            );
            return;
        }
    };
    let out = disk.path().join("out");
    let first = summary(&over_the_api(&server, &out).output().expect("it runs"));
    Load::begin(&server, 2_000).wait();
    let online = || over_the_api(&server, &out).output().expect("it runs");
    let files = || run(&["backup", "--data", &text(&server.place().data()), &text(&out)]);
    for full in [online(), files()] {
        assert_eq!(full.status.code(), code(Exit::DISK), "{}{}", stdout(&full), stderr(&full));
        assert!(stderr(&full).contains("free space on the disk"), "{}", stderr(&full));
        let verified = run(&["verify", &text(&out), "--json"]);
        assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
        let verified: Value = serde_json::from_str(stdout(&verified).trim()).expect("an object");
        assert_eq!(verified["last_sequence"], first["sequence"], "it is what it was");
    }
    disk.grow("48m");
    let taken = summary(&online());
    assert_eq!(number(&taken, "sequence"), head(&server));
    let (_again, restored) = restored(&out);
    assert_eq!(restored["live_jobs"], 3_000);
}
