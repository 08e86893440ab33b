//! A page of a list: its filter, and the token that asks for the next one.
//!
//! A token is the last job's id and a checksum over it, the filter and the store: a token of another list, or of another
//! data directory, would skip jobs without a word, so it is refused.

use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::names;
use crate::grpc::convert::spec::LABELS_MAX;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::job::id::JobId;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::proto::v1;
use crate::service::list::Wanted;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use xxhash_rust::xxh3::Xxh3;

/// Begins what is hashed, so that a later form of the filter or the token has other checksums.
const VERSION: u8 = 1;

/// What makes the tokens of one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens(u64);

impl Tokens {
    fn of(request: &v1::ListJobsRequest, store: StoreId) -> Tokens {
        let mut states = request.states.clone();
        states.sort_unstable();
        states.dedup();
        let (queue, labels) = (request.queue.clone(), request.labels.clone());
        let filter = v1::ListJobsRequest { queue, states, labels, ..v1::ListJobsRequest::default() };
        let mut hash = Xxh3::new();
        hash.update(&[VERSION]);
        hash.update(&store.0);
        hash.update(&filter.encode_to_vec());
        Tokens(hash.digest())
    }

    /// The token that goes on after `last`.
    #[must_use]
    pub fn token(self, last: JobId) -> String {
        let mut bytes = last.to_bytes().to_vec();
        bytes.extend_from_slice(&self.checksum(last));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn parse(self, token: &str) -> Option<JobId> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (id, checksum) = bytes.split_first_chunk::<16>()?;
        let last = JobId::from_bytes(*id);
        (checksum == self.checksum(last)).then_some(last)
    }

    fn checksum(self, last: JobId) -> [u8; 8] {
        let mut hash = Xxh3::with_seed(self.0);
        hash.update(&last.to_bytes());
        hash.digest().to_le_bytes()
    }
}

/// What a `ListJobs` call wants, and the tokens of its pages.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_list_jobs(request: &v1::ListJobsRequest, store: StoreId) -> Result<(Wanted, Tokens), Refusal> {
    let mut checks = Checks::new();
    let tokens = Tokens::of(request, store);
    let queue = match request.queue.as_str() {
        "" => None,
        name => names::queue(name, At::Request.dot("queue"), &mut checks),
    };
    names::count(request.labels.len(), 0..=LABELS_MAX, "labels", &mut checks);
    let after = match request.page_token.as_str() {
        "" => JobId::MIN,
        token => tokens.parse(token).unwrap_or_else(|| {
            let text =
                "is not a token of this list: pass next_page_token with the same filter, or begin again";
            checks.note(Reason::InvalidPageToken, "page_token", text);
            JobId::MIN
        }),
    };
    let wanted = Wanted {
        queue,
        states: names::states(&request.states, &mut checks),
        labels: request
            .labels
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect(),
        after,
        limit: names::page_size(request.page_size, &mut checks),
        at_least: Sequence(request.at_least_sequence),
    };
    checks.pass((wanted, tokens))
}
