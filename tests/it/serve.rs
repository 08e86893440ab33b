//! Starting: what it prints, what it makes, what it refuses.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::tree;
use gangline::cli::exit::Exit;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// [DIR-1]
#[tokio::test]
async fn a_second_server_is_refused_at_once_and_told_who_holds_the_directory() {
    let server = Server::start(&[]);
    let refused = server.place().refused(&[]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::IN_USE.code())));
    let said = stderr(&refused);
    assert!(said.contains(&format!("in use by process {} on ", server.pid())), "{said}");
    assert!(said.contains("to do: stop that process"), "{said}");
    server.health().await.check(HealthCheckRequest::default()).await.expect("the first one goes on");
}

#[tokio::test]
async fn every_service_is_healthy_and_an_unknown_one_is_not_found() {
    let server = Server::start(&[]);
    let mut health = server.health().await;
    for service in ["", "gangline.v1.JobService", "gangline.v1.UpdateService", "gangline.submits"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.expect("it is known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest { service: "gangline.v1.Jobs".to_owned() };
    assert_eq!(health.check(unknown).await.expect_err("there is none").code(), tonic::Code::NotFound);
}

async fn reflected(server: &Server) -> Result<Vec<String>, tonic::Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(server.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
    match answers.message().await?.expect("an answer").message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn reflection_lists_every_service_unless_it_is_turned_off() {
    let services = reflected(&Server::start(&[])).await.expect("it reflects on a loopback address");
    for wanted in ["gangline.v1.JobService", "gangline.v1.WorkerService", "grpc.health.v1.Health"] {
        assert!(services.iter().any(|service| service == wanted), "{services:?}");
    }
    let status = reflected(&Server::start(&["--reflection", "never"])).await.expect_err("it does not");
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}

#[test]
fn everything_it_makes_is_for_its_user_only() {
    let server = Server::start(&[]);
    for path in tree(&server.place().data()) {
        // Below `work` files have the modes that the umask says; the directory above keeps others out.
        if path.ancestors().skip(1).any(|above| above.ends_with("work")) {
            continue;
        }
        // A file that was just renamed or removed is not there to be looked at.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o777, wanted, "{}", path.display());
    }
}

/// [FMT-1]
#[test]
fn a_newer_format_is_refused_by_name_and_left_untouched() {
    let place = Place::new();
    assert!(place.serve(&[]).terminate().success());
    let format = place.data().join("format");
    let text = std::fs::read_to_string(&format).expect("it is there");
    std::fs::write(&format, text.replace("format 1", "format 7")).expect("it is ours");
    let state = || -> Vec<(std::path::PathBuf, Option<Vec<u8>>, SystemTime)> {
        let files = tree(&place.data()).into_iter();
        let look = |path: std::path::PathBuf| {
            let modified = std::fs::metadata(&path).expect("it is there").modified().expect("a time");
            (path.clone(), std::fs::read(path).ok(), modified)
        };
        files.map(look).collect()
    };
    let before = state();
    let refused = place.refused(&[]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::UNUSABLE.code())));
    let said = stderr(&refused);
    assert!(said.contains("format 7") && said.contains("use a newer release"), "{said}");
    assert!(state() == before, "the directory was touched");
}

#[test]
fn an_address_in_use_or_open_to_others_is_refused_with_what_to_do() {
    let server = Server::start(&[]);
    let address = server.address().to_string();
    let other = Place::new();
    let refused = other.refused(&[&format!("--listen={address}")]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::CONFLICT.code())));
    let said = stderr(&refused);
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("--listen"), "{said}");

    let nowhere = Place::new();
    let refused = nowhere.refused(&["--listen=0.0.0.0:0"]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::USAGE.code())));
    assert!(stderr(&refused).contains("--allow-remote"), "{}", stderr(&refused));
    assert!(!nowhere.data().exists(), "nothing is made before the arguments are checked");
    let allowed = Server::start(&["--listen=0.0.0.0:0", "--allow-remote"]);
    assert!(allowed.address().ip().is_unspecified());
}

#[test]
fn a_place_that_holds_other_things_is_refused() {
    let place = Place::new();
    let file = place.write("thesis.tex", "words");
    let data = file.parent().expect("it has one").display().to_string();
    let refused = place.refused(&[&format!("--data={data}")]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::UNUSABLE.code())));
    assert!(stderr(&refused).contains("thesis.tex"), "{}", stderr(&refused));
}

/// A flipped bit in what was synced is damage: it refuses, names the file and what to do, and changes nothing.
#[test]
fn a_damaged_log_is_refused_with_the_next_command() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    assert!(server.terminate().success());
    let segment = place.data().join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("the first segment");
    // In the first frame, for which the frame of the clean stop vouches.
    bytes[4_096 + 50] ^= 0x10;
    std::fs::write(&segment, &bytes).expect("it is ours");
    let refused = place.refused(&[]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::DAMAGED.code())), "{}", stderr(&refused));
    let said = stderr(&refused);
    for wanted in ["0000000001.seg", "gangline verify", "gangline salvage"] {
        assert!(said.contains(wanted), "{said}");
    }
    assert!(std::fs::read(&segment).expect("it is there") == bytes);
}

/// The commands that are named can be pasted, whatever the path, of `serve` and of `run`.
#[test]
fn the_commands_that_a_refusal_names_are_whole_and_quoted() {
    let place = Place::new();
    assert!(place.serve(&[]).terminate().success());
    let odd = place.data().with_file_name("Bob's data; rm");
    std::fs::rename(place.data(), &odd).expect("it is ours");
    let segment = odd.join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("the first segment");
    bytes[4_096 + 50] ^= 0x10;
    std::fs::write(&segment, &bytes).expect("it is ours");
    let data = odd.display().to_string();
    for arguments in [["serve", "--data", &data].as_slice(), &["run", "--data", &data, "--", "cat"]] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(i32::from(Exit::DAMAGED.code())), "{}", stderr(&refused));
        let quoted = |path: &str| format!("'{}'", path.replace('\'', r"'\''"));
        let (directory, saved) = (quoted(&data), quoted(&format!("{data}-salvaged")));
        let said = stderr(&refused);
        assert!(said.contains(&format!("`gangline verify {directory}` shows")), "{said}");
        assert!(said.contains(&format!("`gangline salvage {directory} {saved}` copies")), "{said}");
    }
}
