//! Requests about the update log and named cursors.

use crate::engine::retention;
use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::names;
use crate::grpc::convert::time;
use crate::grpc::convert::update::Parts;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::proto::v1;
use crate::proto::v1::get_updates_request::After;
use crate::service::cursors::Cursor;
use crate::service::cursors::CursorPage;
use crate::service::cursors::CursorsAfter;
use crate::service::tail::Filter;
use crate::service::tail::Follow;
use crate::service::tail::Kind;
use crate::service::tail::Start;
use std::sync::Arc;

/// The most queues of a filter.
const QUEUES_MAX: usize = 1_000;
/// The most jobs of a filter.
const JOBS_MAX: usize = 10_000;

/// What a reader asks for.
#[derive(Debug)]
pub struct Wanted {
    /// Where to begin.
    pub start: Start,
    /// What happens at the head.
    pub follow: Follow,
    /// Which updates.
    pub filter: Filter,
    /// Which large parts of them.
    pub parts: Parts,
}

/// What a `GetUpdates` call asks for.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_get_updates(request: v1::GetUpdatesRequest) -> Result<Wanted, Refusal> {
    let mut checks = Checks::new();
    let queues = names::queues(&request.queues, QUEUES_MAX, "queues", &mut checks);
    let jobs = names::job_ids(&request.job_ids, 0..=JOBS_MAX, "job_ids", &mut checks);
    let kinds = names::kinds(&request.kinds, &mut checks);
    let filter = Filter::new(queues, jobs, kinds.into_iter().filter_map(from_kind).collect());
    let parts = Parts { payload: request.include_payload, result: request.include_result };
    let start = start(request.after, &mut checks);
    let follow = match v1::FollowMode::try_from(request.follow) {
        Ok(v1::FollowMode::Unspecified | v1::FollowMode::Follow) => Follow::Follow,
        Ok(v1::FollowMode::StopAtHead) => Follow::StopAtHead,
        Err(_) => {
            checks.field("follow", format_args!("{} is not a mode", request.follow));
            Follow::StopAtHead
        }
    };
    checks.pass(Wanted { start, follow, filter, parts })
}

fn start(after: Option<After>, checks: &mut Checks) -> Start {
    match after {
        None => Start::Floor,
        Some(After::Cursor(cursor)) => {
            let Cursor { store, sequence } = from_cursor(&cursor, checks);
            Start::After { store, sequence }
        }
        Some(After::NamedCursor(name)) => {
            let name = names::name(&name, At::Request.dot("named_cursor"), checks);
            name.map_or(Start::Floor, Start::Named)
        }
        Some(After::End(end)) => match v1::LogEnd::try_from(end) {
            Ok(v1::LogEnd::Unspecified | v1::LogEnd::Floor) => Start::Floor,
            Ok(v1::LogEnd::Head) => Start::Head,
            Err(_) => {
                checks.field("end", format_args!("{end} is not an end of the log"));
                Start::Floor
            }
        },
    }
}

fn from_cursor(cursor: &v1::Cursor, checks: &mut Checks) -> Cursor {
    let path = At::Field("cursor").dot("store_id");
    let store =
        if cursor.store_id.is_empty() { None } else { names::store_id(&cursor.store_id, path, checks) };
    Cursor { store, sequence: Sequence(cursor.sequence) }
}

fn from_kind(kind: v1::UpdateKind) -> Option<Kind> {
    match kind {
        v1::UpdateKind::Unspecified => None,
        v1::UpdateKind::Submitted => Some(Kind::Submitted),
        v1::UpdateKind::Started => Some(Kind::Started),
        v1::UpdateKind::Progress => Some(Kind::Progress),
        v1::UpdateKind::Retrying => Some(Kind::Retrying),
        v1::UpdateKind::Released => Some(Kind::Released),
        v1::UpdateKind::Succeeded => Some(Kind::Succeeded),
        v1::UpdateKind::Dead => Some(Kind::Dead),
        v1::UpdateKind::Cancelled => Some(Kind::Cancelled),
        v1::UpdateKind::Expired => Some(Kind::Expired),
        v1::UpdateKind::Retried => Some(Kind::Retried),
        v1::UpdateKind::Deleted => Some(Kind::Deleted),
    }
}

/// The name and the place of a `CommitCursor` call.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_commit_cursor(request: v1::CommitCursorRequest) -> Result<(Arc<str>, Cursor), Refusal> {
    let mut checks = Checks::new();
    let name = names::name(&request.name, At::Request.dot("name"), &mut checks);
    let cursor = match &request.cursor {
        Some(cursor) => from_cursor(cursor, &mut checks),
        None => {
            checks.field("cursor", "must be given");
            Cursor { store: None, sequence: Sequence(0) }
        }
    };
    checks.pass((name.unwrap_or_default(), cursor))
}

/// The name of a `DeleteCursor` call.
///
/// # Errors
/// The refusal of a name that is not allowed.
pub fn from_delete_cursor(request: &v1::DeleteCursorRequest) -> Result<Arc<str>, Refusal> {
    let mut checks = Checks::new();
    let name = names::name(&request.name, At::Request.dot("name"), &mut checks);
    checks.pass(name.unwrap_or_default())
}

/// Which page a `ListCursors` call asks for. A page token is the last name of the page before.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_list_cursors(request: &v1::ListCursorsRequest) -> Result<CursorsAfter, Refusal> {
    let mut checks = Checks::new();
    let limit = names::page_size(request.page_size, &mut checks);
    let after = request.page_token.as_str();
    if after.len() > names::NAME_BYTES_MAX {
        checks.note(Reason::InvalidPageToken, "page_token", "is not one that this call gave");
    }
    checks.pass(CursorsAfter { name: after.into(), limit })
}

/// A page of cursors as the API sends it.
#[must_use]
pub fn to_list_cursors(page: &CursorPage, store: StoreId) -> v1::ListCursorsResponse {
    let store = store.to_string();
    let cursors = page.cursors.iter().map(|(name, cursor)| v1::NamedCursor {
        name: name.as_ref().to_owned(),
        cursor: Some(v1::Cursor { store_id: store.clone(), sequence: cursor.sequence.0 }),
        committed_at: Some(time::to_timestamp(cursor.committed)),
        lost: retention::is_lost(cursor.sequence, page.floor),
    });
    v1::ListCursorsResponse {
        cursors: cursors.collect(),
        next_page_token: page.next.as_deref().unwrap_or_default().to_owned(),
        head_sequence: page.head.0,
        floor_sequence: page.floor.sequence.min(page.head.plus(1)).0,
    }
}
