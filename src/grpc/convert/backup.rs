//! Backups: files and pieces of them, from the server and for it, and as a client understands them.

use crate::clock::Timestamp;
use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::time;
use crate::grpc::status::Refusal;
use crate::job::id::Epoch;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Head;
use crate::log::directory::backup::Announced;
use crate::log::directory::capture::Mark;
use crate::log::directory::capture::Part;
use crate::log::directory::capture::PartKind;
use crate::log::frame::Hash;
use crate::proto::v1;
use crate::proto::v1::get_backup_response::Piece as Message;
use crate::service::backup::Piece;
use bytes::Bytes;

/// The most files that a caller may name: one request with as many has 3 MiB.
pub const FILES_MAX: usize = 65_536;

/// The files that a caller of `GetBackup` has already.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_get_backup(request: v1::GetBackupRequest) -> Result<Vec<Part>, Refusal> {
    let mut checks = Checks::new();
    if request.held.len() > FILES_MAX {
        checks.field("held", format_args!("names more than {FILES_MAX} files"));
    }
    let mut parts = Vec::new();
    for (file, number) in request.held.iter().take(FILES_MAX).zip(0..) {
        match to_part(file) {
            Ok(part) => parts.push(part),
            Err((field, what)) => checks.field(At::Element("held", number).dot(field), what),
        }
    }
    checks.pass(parts)
}

/// A file that a message names; otherwise the field that is wrong, and what is.
pub fn to_part(file: &v1::BackupFile) -> Result<Part, (&'static str, &'static str)> {
    let kind = match file.kind() {
        v1::BackupFileKind::Carry => PartKind::Carry,
        v1::BackupFileKind::Checkpoint => PartKind::Checkpoint,
        v1::BackupFileKind::Segment => PartKind::Segment,
        v1::BackupFileKind::Unspecified => return Err(("kind", "is not a kind of file")),
    };
    let mark = file.mark.as_ref().try_into().map_err(|_| ("mark", "does not have 16 bytes"))?;
    if file.bytes > file.file_bytes {
        return Err(("bytes", "is more than the file has"));
    }
    let v1::BackupFile { number, file_bytes, bytes, .. } = *file;
    Ok(Part { kind, number, file_bytes, bytes, mark: Mark(mark) })
}

/// A file as messages name it.
#[must_use]
pub fn from_part(part: &Part) -> v1::BackupFile {
    let kind = match part.kind {
        PartKind::Carry => v1::BackupFileKind::Carry,
        PartKind::Checkpoint => v1::BackupFileKind::Checkpoint,
        PartKind::Segment => v1::BackupFileKind::Segment,
    };
    v1::BackupFile {
        kind: kind.into(),
        number: part.number,
        mark: Bytes::copy_from_slice(&part.mark.0),
        file_bytes: part.file_bytes,
        bytes: part.bytes,
    }
}

/// A piece as it is sent.
#[must_use]
pub fn to_response(piece: Piece) -> v1::GetBackupResponse {
    let message = match piece {
        Piece::Begin(announced, bytes) => Message::Begin(to_begin(&announced, bytes)),
        Piece::File(part, from) => {
            Message::File(v1::BackupFileBegin { file: Some(from_part(&part)), sent_from: from })
        }
        Piece::Bytes(bytes) => Message::Chunk(bytes),
        Piece::End => Message::End(v1::BackupEnd {}),
    };
    v1::GetBackupResponse { piece: Some(message) }
}

/// A piece as a client receives it; `None` if it is none.
#[must_use]
pub fn to_piece(response: v1::GetBackupResponse) -> Option<Piece> {
    match response.piece? {
        Message::Begin(begin) => {
            let bytes = begin.bytes;
            Some(Piece::Begin(to_announced(begin)?, bytes))
        }
        Message::File(begin) => Some(Piece::File(to_part(&begin.file?).ok()?, begin.sent_from)),
        Message::Chunk(bytes) => Some(Piece::Bytes(bytes)),
        Message::End(v1::BackupEnd {}) => Some(Piece::End),
    }
}

fn to_begin(announced: &Announced, bytes: u64) -> v1::BackupBegin {
    let Announced { format, store, head, time } = announced;
    v1::BackupBegin {
        store_id: store.to_string(),
        format: *format,
        position: head.position.0,
        sequence: head.sequence.0,
        epoch: head.epoch.0,
        hash: Bytes::copy_from_slice(&head.hash.0),
        time: Some(time::to_timestamp(*time)),
        bytes,
    }
}

fn to_announced(begin: v1::BackupBegin) -> Option<Announced> {
    let store = StoreId(begin.store_id.parse::<uuid::Uuid>().ok()?.into_bytes());
    let head = Head {
        position: Position(begin.position),
        hash: Hash(begin.hash.as_ref().try_into().ok()?),
        epoch: Epoch(begin.epoch),
        sequence: Sequence(begin.sequence),
    };
    let time = begin.time?;
    let millis = u64::try_from(time.seconds).ok()?.checked_mul(1_000)?;
    let time = Timestamp(millis.checked_add(u64::try_from(time.nanos).ok()? / 1_000_000)?);
    Some(Announced { format: begin.format, store, head, time })
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::grpc::convert::backup::from_get_backup;
    use crate::grpc::convert::backup::from_part;
    use crate::grpc::convert::backup::to_part;
    use crate::grpc::convert::backup::to_piece;
    use crate::grpc::convert::backup::to_response;
    use crate::job::id::Epoch;
    use crate::job::id::Position;
    use crate::job::id::Sequence;
    use crate::job::id::StoreId;
    use crate::log::Head;
    use crate::log::directory::backup::Announced;
    use crate::log::directory::capture::Mark;
    use crate::log::directory::capture::Part;
    use crate::log::directory::capture::PartKind;
    use crate::log::frame::Hash;
    use crate::proto::v1;
    use crate::service::backup::Piece;
    use bytes::Bytes;

    fn part(kind: PartKind) -> Part {
        Part { kind, number: 7, file_bytes: 100, bytes: 90, mark: Mark([5; 16]) }
    }

    #[test]
    fn every_piece_comes_out_as_it_went_in() {
        let (position, sequence, epoch) = (Position(1), Sequence(2), Epoch(3));
        let head = Head { position, hash: Hash([4; 16]), epoch, sequence };
        let time = Timestamp(1_755_129_600_123);
        let announced = Announced { format: 1, store: StoreId([6; 16]), head, time };
        let kinds = [PartKind::Carry, PartKind::Checkpoint, PartKind::Segment];
        let mut pieces = vec![Piece::Begin(announced, 9), Piece::Bytes(Bytes::from("x")), Piece::End];
        pieces.extend(kinds.map(|kind| Piece::File(part(kind), 80)));
        for piece in pieces {
            assert_eq!(to_piece(to_response(piece.clone())), Some(piece));
        }
        assert_eq!(to_piece(v1::GetBackupResponse::default()), None);
    }

    #[test]
    fn what_a_caller_says_it_has_is_checked() {
        let good = from_part(&part(PartKind::Segment));
        assert_eq!(to_part(&good), Ok(part(PartKind::Segment)));
        let bad = [
            (v1::BackupFile { kind: 0, ..good.clone() }, "held[1].kind"),
            (v1::BackupFile { mark: Bytes::new(), ..good.clone() }, "held[1].mark"),
            (v1::BackupFile { bytes: 101, ..good.clone() }, "held[1].bytes"),
        ];
        for (file, field) in bad {
            let refusal = from_get_backup(v1::GetBackupRequest { held: vec![good.clone(), file] });
            assert_eq!(refusal.unwrap_err().violations()[0].field, field);
        }
    }
}
