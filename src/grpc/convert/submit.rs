//! A submit: the jobs of one call or one message of a producer, and what makes a repeat recognizable. [ID-1]

use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::Sizes;
use crate::grpc::convert::names;
use crate::grpc::convert::spec::Specs;
use crate::grpc::status::Refusal;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::dedupe::Range;
use crate::job::spec::NewJob;
use crate::proto::v1;
use prost::Message;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// The batch of a `SubmitJobs` call.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_submit_jobs(request: v1::SubmitJobsRequest, sizes: &Sizes) -> Result<Batch, Refusal> {
    let mut checks = Checks::new();
    let key = names::words(&request.key, names::KEY_BYTES_MAX, At::Request.dot("key"), &mut checks);
    let origin = match key {
        Some(key) if !key.is_empty() => Origin::Key { key, fingerprint: fingerprint(&request.jobs) },
        Some(_) | None => Origin::Anonymous,
    };
    let jobs = jobs(request.jobs, "jobs", sizes, &mut checks);
    checks.pass(Batch { jobs, origin })
}

/// The batch of one message of the producer's stream.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_submit_job_batch(
    batch: v1::SubmitJobBatch,
    producer: &Arc<str>,
    sizes: &Sizes,
) -> Result<Batch, Refusal> {
    let mut checks = Checks::new();
    if batch.first_ordinal == 0 {
        checks.field("batch.first_ordinal", "is 0; ordinals begin with 1");
    }
    let origin = Origin::Producer { producer: Arc::clone(producer), ordinal: batch.first_ordinal };
    let jobs = jobs(batch.jobs, "batch.jobs", sizes, &mut checks);
    checks.pass(Batch { jobs, origin })
}

/// The name of the producer that begins a stream.
///
/// # Errors
/// The refusal of a name that is not allowed.
pub fn from_submit_start(start: &v1::SubmitStart) -> Result<Arc<str>, Refusal> {
    let mut checks = Checks::new();
    let name = names::name(&start.producer_id, At::Field("start").dot("producer_id"), &mut checks);
    checks.pass(name.unwrap_or_default())
}

fn jobs(specs: Vec<v1::JobSpec>, field: &'static str, sizes: &Sizes, checks: &mut Checks) -> Vec<NewJob> {
    if !names::count(specs.len(), 1..=sizes.jobs_max, field, checks) {
        return Vec::new();
    }
    let bytes = specs.iter().map(|spec| spec.payload.len()).sum();
    let mut converter = Specs::new(sizes, checks).expecting(bytes);
    let convert = |(index, spec)| converter.job(spec, At::Element(field, index));
    specs.into_iter().enumerate().filter_map(convert).collect()
}

/// Equal for equal jobs, in every release: it is kept with the key. Labels are sorted, so that their order does not count.
fn fingerprint(jobs: &[v1::JobSpec]) -> u64 {
    let mut hash = Xxh3::new();
    let mut bytes = Vec::new();
    for job in jobs {
        bytes.clear();
        job.encode_length_delimited(&mut bytes).expect("a Vec takes every write");
        hash.update(&bytes);
    }
    hash.digest()
}

/// Accepted jobs as the API sends them.
#[must_use]
pub fn to_accepted_range(range: &Range) -> v1::AcceptedRange {
    v1::AcceptedRange {
        first_ordinal: range.ordinal,
        count: range.jobs,
        first_job_id: range.first.to_string(),
        first_sequence: range.first_sequence.0,
    }
}

/// The answer to a `SubmitJobs` call.
#[must_use]
pub fn to_submit_jobs_response(ranges: &[Range], repeated: u64) -> v1::SubmitJobsResponse {
    let ids = |range: &Range| {
        let first = range.first;
        (0..range.jobs).map(move |step| first.plus(step).to_string())
    };
    v1::SubmitJobsResponse {
        job_ids: ranges.iter().flat_map(ids).collect(),
        first_sequence: ranges.first().map_or(0, |range| range.first_sequence.0),
        repeat: repeated > 0,
    }
}
