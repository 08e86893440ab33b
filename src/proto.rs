//! The generated gRPC messages, clients and servers, and the one message that is written by hand. Only the edges
//! (`grpc`, `client`) name it.

use bytes::Bytes;

/// `package gangline.v1`.
#[allow(
    missing_docs,
    non_camel_case_types,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "generated"
)]
pub mod v1 {
    pub use crate::proto::GetUpdatesResponse;

    tonic::include_proto!("gangline.v1");
}

/// `package com.groundsfam.dosomething.v1`: the service that this one replaces.
#[allow(
    missing_docs,
    non_camel_case_types,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "generated"
)]
pub mod dosomething {
    tonic::include_proto!("com.groundsfam.dosomething.v1");
}

/// Every descriptor, for reflection: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `gangline.v1.GetUpdatesResponse` with its batch left encoded.
///
/// An embedded message and a run of bytes have the same wire format. So the server encodes the updates of a frame
/// once and clones the bytes for each reader, and other clients see plain protobuf. Joining the bytes of several
/// encoded batches gives the bytes of one batch that holds all their updates.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetUpdatesResponse {
    /// An encoded [`v1::UpdateBatch`]; empty in a heartbeat.
    #[prost(bytes = "bytes", tag = "1")]
    pub batch: Bytes,
    /// The newest update of the log.
    #[prost(uint64, tag = "2")]
    pub head_sequence: u64,
    /// How far the reader has got, also past updates that the filter dropped.
    #[prost(uint64, tag = "3")]
    pub cursor_sequence: u64,
    /// Which store the cursor belongs to; set in the first response only.
    #[prost(string, tag = "4")]
    pub store_id: String,
}

impl GetUpdatesResponse {
    /// The updates.
    ///
    /// # Errors
    /// If the bytes are not an encoded [`v1::UpdateBatch`].
    pub fn updates(&self) -> Result<Vec<v1::Update>, prost::DecodeError> {
        <v1::UpdateBatch as prost::Message>::decode(self.batch.clone()).map(|batch| batch.updates)
    }
}

#[cfg(test)]
mod tests {
    use crate::proto::DESCRIPTORS;
    use crate::proto::GetUpdatesResponse;
    use crate::proto::v1::Update;
    use crate::proto::v1::UpdateBatch;
    use bytes::Bytes;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    fn batch(sequences: &[u64]) -> UpdateBatch {
        let update = |&sequence| Update { sequence, job_id: format!("job {sequence}"), ..Update::default() };
        UpdateBatch { updates: sequences.iter().map(update).collect() }
    }

    #[test]
    fn batches_join_by_joining_their_bytes() {
        let joined = [batch(&[1, 2]).encode_to_vec(), batch(&[5]).encode_to_vec()].concat();
        let response = GetUpdatesResponse { batch: Bytes::from(joined), ..GetUpdatesResponse::default() };
        let received = GetUpdatesResponse::decode(response.encode_to_vec().as_slice()).unwrap();
        assert_eq!(received.updates().unwrap(), batch(&[1, 2, 5]).updates);
    }

    /// The hand-written message must be what the proto file says to every other client.
    #[test]
    fn the_hand_written_message_has_the_fields_of_the_proto_file() {
        let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let message = set
            .file
            .iter()
            .filter(|file| file.package() == "gangline.v1")
            .flat_map(|file| &file.message_type)
            .find(|message| message.name() == "GetUpdatesResponse")
            .unwrap();
        let fields: Vec<_> =
            message.field.iter().map(|f| (f.number(), f.name(), f.r#type().as_str_name())).collect();
        assert_eq!(
            fields,
            [
                (1, "batch", "TYPE_MESSAGE"),
                (2, "head_sequence", "TYPE_UINT64"),
                (3, "cursor_sequence", "TYPE_UINT64"),
                (4, "store_id", "TYPE_STRING"),
            ]
        );
        assert_eq!(message.field[0].type_name(), ".gangline.v1.UpdateBatch");
    }
}
