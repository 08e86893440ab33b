use crate::engine::command;
use crate::grpc::status::Effect;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::grpc::status::Violation;
use crate::grpc::status::reason_of;
use crate::job::decide::Refused;
use crate::job::id::Sequence;
use crate::service;
use std::time::Duration;
use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt;

/// The public table must say what the code does, for every reason and in the same order.
#[test]
fn the_table_in_the_docs_agrees_with_the_reasons() {
    let page = include_str!("../../../docs/errors.md");
    let told: Vec<[String; 3]> = page.lines().filter(|line| line.starts_with("| `")).map(cells).collect();
    let known: Vec<[String; 3]> = Reason::ALL.iter().map(|&reason| row(reason)).collect();
    assert_eq!(told, known);
}

fn cells(line: &str) -> [String; 3] {
    let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`').to_owned());
    [cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap()]
}

fn row(reason: Reason) -> [String; 3] {
    let effect = match reason.effect() {
        Effect::Nothing => "nothing happened",
        Effect::Unknown => "unknown",
    };
    [reason.text().to_owned(), screaming(&format!("{:?}", reason.code())), effect.to_owned()]
}

/// `InvalidArgument` as the specification writes it, `INVALID_ARGUMENT`.
fn screaming(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[test]
fn a_reason_survives_the_way_to_the_client() {
    for &reason in Reason::ALL {
        let status = Status::from(Refusal::new(reason, "because"));
        assert_eq!((status.code(), status.message()), (reason.code(), "because"));
        assert_eq!(reason_of(&status), Some(reason));
    }
    assert_eq!(reason_of(&Status::internal("of another origin")), None);
}

#[test]
fn details_carry_the_delay_the_facts_and_the_fields() {
    let full = Refused::QueueFull { queue: "mail".parse().unwrap(), waiting: 12, max_pending: 10 };
    let status = Status::from(Refusal::from(full));
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    assert_eq!(status.get_details_error_info().unwrap().metadata["max_pending"], "10");

    let floor = service::Error::BelowFloor { wanted: Sequence(3), floor: Sequence(9) };
    let status = Status::from(floor);
    assert_eq!((status.code(), reason_of(&status)), (Code::OutOfRange, Some(Reason::CursorBelowFloor)));
    assert_eq!(status.get_details_error_info().unwrap().metadata["floor_sequence"], "9");
    let stopping = Status::from(service::Error::from(command::Error::ShuttingDown));
    assert_eq!(reason_of(&stopping), Some(Reason::ShuttingDown));

    let violation = |reason, field: &str| Violation { reason, field: field.into(), text: "no".into() };
    let invalid =
        vec![violation(Reason::InvalidQueueName, "jobs[3].queue"), violation(Reason::InvalidField, "key")];
    let refusal = Refusal::invalid(invalid);
    assert_eq!((refusal.reason(), refusal.to_string()), (Reason::InvalidField, "jobs[3].queue: no".into()));
    let fields = Status::from(refusal).get_details_bad_request().unwrap().field_violations;
    assert_eq!(fields.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["jobs[3].queue", "key"]);
}
