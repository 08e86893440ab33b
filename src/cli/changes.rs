//! What `cancel`, `retry` and `delete` share: many ids, a call for each 10,000, and what became of each job.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::remote::IDS_MAX;
use crate::cli::show::names;
use crate::cli::show::table::Table;
use crate::client;
use crate::job::id::JobId;
use crate::proto::v1;
use serde::Serialize;

/// One job of a call, as JSON has it.
#[derive(Debug, Serialize)]
struct ResultJson<'a> {
    job_id: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    sequence: u64,
}

/// How the results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A table.
    Table,
    /// One JSON object a line.
    Json,
}

impl From<bool> for Form {
    fn from(json: bool) -> Form {
        if json { Form::Json } else { Form::Table }
    }
}

/// Makes the calls and prints what became of each job. The exit code tells of the worst: not found, then wrong state.
///
/// # Errors
/// The first call that failed; what the calls before it did is printed.
pub(crate) async fn each(
    ids: &[JobId],
    form: Form,
    call: impl AsyncFn(&[JobId]) -> Result<Vec<v1::JobResult>, client::Error>,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::OK;
    for ids in ids.chunks(IDS_MAX) {
        let results = call(ids).await?;
        for result in &results {
            exit = match (result.outcome(), exit) {
                (v1::JobOutcome::NotFound, _) | (_, Exit::NOT_FOUND) => Exit::NOT_FOUND,
                (v1::JobOutcome::WrongState | v1::JobOutcome::Unspecified, _) => Exit::CONFLICT,
                (v1::JobOutcome::Done, exit) => exit,
            };
        }
        if print(&results, form)? == Reader::Gone {
            break;
        }
    }
    Ok(exit)
}

fn print(results: &[v1::JobResult], form: Form) -> anyhow::Result<Reader> {
    let state = |result: &v1::JobResult| {
        (result.state() != v1::JobState::Unspecified).then(|| names::state(result.state()))
    };
    match form {
        Form::Json => output::json(results.iter().map(|result| ResultJson {
            job_id: &result.job_id,
            outcome: names::outcome(result.outcome()),
            state: state(result),
            sequence: result.sequence,
        })),
        Form::Table => {
            let mut table = Table::new(["ID", "OUTCOME", "STATE"]);
            for result in results {
                let outcome = names::outcome(result.outcome()).to_owned();
                table.row([result.job_id.clone(), outcome, state(result).unwrap_or("-").to_owned()]);
            }
            Ok(output::lines(table.lines())?)
        }
    }
}
