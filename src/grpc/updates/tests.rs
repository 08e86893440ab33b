use crate::grpc::rig::Rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::grpc::status::reason_of;
use crate::proto::GetUpdatesResponse;
use crate::proto::v1;
use crate::proto::v1::get_updates_request::After;
use std::time::Duration;
use tonic::Status;
use tonic::Streaming;
use tonic_types::StatusExt;

mod reading;
mod resuming;

/// A hang is a failure.
const DEADLINE: Duration = Duration::from_secs(20);

async fn open(rig: &Rig, request: v1::GetUpdatesRequest) -> Result<Streaming<GetUpdatesResponse>, Status> {
    let mut client = rig.updates().max_decoding_message_size(16 << 20);
    Ok(client.get_updates(request).await?.into_inner())
}

async fn next(stream: &mut Streaming<GetUpdatesResponse>) -> Result<Option<GetUpdatesResponse>, Status> {
    tokio::time::timeout(DEADLINE, stream.message()).await.expect("the stream says something in time")
}

/// Everything from the request's start to the head as of the call.
async fn read_all(rig: &Rig, request: v1::GetUpdatesRequest) -> Result<Vec<v1::Update>, Status> {
    let follow = v1::FollowMode::StopAtHead.into();
    let mut stream = open(rig, v1::GetUpdatesRequest { follow, ..request }).await?;
    let mut updates = Vec::new();
    let mut cursor = 0;
    while let Some(response) = next(&mut stream).await? {
        assert!(response.batch.len() <= 2 << 20, "{} bytes in one batch", response.batch.len());
        updates.extend(response.updates().unwrap());
        assert!(response.cursor_sequence >= cursor);
        cursor = response.cursor_sequence;
    }
    assert_eq!(cursor, rig.head());
    Ok(updates)
}

/// Updates of a stream until it has told of `until`.
async fn read_until(stream: &mut Streaming<GetUpdatesResponse>, until: u64) -> Vec<v1::Update> {
    let mut updates = Vec::new();
    loop {
        let response = next(stream).await.unwrap().expect("a following stream does not end");
        updates.extend(response.updates().unwrap());
        if response.cursor_sequence >= until {
            return updates;
        }
    }
}

fn after(sequence: u64) -> v1::GetUpdatesRequest {
    let cursor = v1::Cursor { store_id: String::new(), sequence };
    v1::GetUpdatesRequest { after: Some(After::Cursor(cursor)), ..v1::GetUpdatesRequest::default() }
}

fn sequences(updates: &[v1::Update]) -> Vec<u64> {
    updates.iter().map(|update| update.sequence).collect()
}

fn fact(status: &Status, name: &str) -> String {
    status.get_details_error_info().unwrap().metadata[name].clone()
}

fn reason(status: &Status) -> Reason {
    reason_of(status).unwrap()
}

/// A server whose readers find next to nothing in memory.
fn forgetful() -> Setup {
    Setup { segment_bytes: 64 << 10, ring_bytes: 4 << 10, ..Setup::default() }
}
