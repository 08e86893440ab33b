//! The lines between a slot and its `serve` process: one JSON object each. `docs/workers.md` is the contract.

use crate::job::event::Progress;
use crate::job::retry::Retryable;
use crate::pool::Assignment;
use crate::pool::outcome::keep_start;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::LazyLock;

static JSON: LazyLock<Arc<str>> = LazyLock::new(|| "application/json".into());
static TEXT: LazyLock<Arc<str>> = LazyLock::new(|| "text/plain; charset=utf-8".into());
static BYTES: LazyLock<Arc<str>> = LazyLock::new(|| "application/octet-stream".into());

/// How much of a bad line is shown.
const SHOWN_BYTES_MAX: usize = 200;

#[derive(Serialize)]
struct Job<'a> {
    id: String,
    attempt: u32,
    queue: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    traceparent: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
}

/// Appends the line that gives `job` to a process.
pub(crate) fn write(job: &Assignment, out: &mut BytesMut) {
    let text = std::str::from_utf8(&job.payload).ok();
    let line = Job {
        id: job.id.to_string(),
        attempt: job.attempt,
        queue: job.queue.as_str(),
        payload: text,
        payload_base64: text.is_none().then(|| STANDARD.encode(&job.payload)),
        content_type: &job.content_type,
        traceparent: &job.traceparent,
        labels: job.labels.iter().map(|(name, value)| (&**name, &**value)).collect(),
    };
    serde_json::to_writer(out.writer(), &line).expect("strings and numbers serialize, and memory takes them");
    out.put_u8(b'\n');
}

/// What a process answers about the job `id`.
#[derive(Debug, PartialEq)]
pub(crate) struct Line<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) answer: Answer,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Completed { result: Bytes, content_type: Arc<str> },
    Failed { message: String, retry: Retryable },
    Progress(Progress),
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    /// `null` is a result too.
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    result_base64: Option<String>,
    content_type: Option<Arc<str>>,
    error: Option<String>,
    retry: Option<bool>,
    progress: Option<f64>,
    message: Option<String>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one line, or says what is wrong with it, to go on from "the worker process …".
pub(crate) fn parse(line: &[u8]) -> Result<Line<'_>, String> {
    let bad = |what: &str| {
        let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES_MAX)]);
        format!(
            "wrote a line that is not an answer ({what}): {shown:?}; stdout is for answers only, logs go to stderr"
        )
    };
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|error| bad(&error.to_string()))?;
    let Fields { id, result, result_base64, content_type, error, retry, progress, message } = fields;
    let answer = match (result, result_base64, error, progress) {
        (Some(result), None, None, None) => {
            let (result, default) = json_result(result).map_err(|error| bad(&error.to_string()))?;
            Answer::Completed { result, content_type: content_type.unwrap_or(default) }
        }
        (None, Some(result), None, None) => {
            let result = STANDARD.decode(result).map_err(|error| bad(&format!("result_base64: {error}")))?;
            let content_type = content_type.unwrap_or_else(|| Arc::clone(&BYTES));
            Answer::Completed { result: result.into(), content_type }
        }
        (None, None, Some(message), None) => {
            let retry = if retry == Some(false) { Retryable::No } else { Retryable::Yes };
            Answer::Failed { message, retry }
        }
        (None, None, None, Some(share)) if !(0.0..=1.0).contains(&share) => {
            return Err(bad("progress is not between 0 and 1"));
        }
        (None, None, None, progress) if progress.is_some() || message.is_some() => {
            Answer::Progress(progress_of(progress, &message.unwrap_or_default()))
        }
        (_, _, _, _) => return Err(bad("it needs exactly one of result, result_base64, error, progress")),
    };
    Ok(Line { id, answer })
}

/// How far a job is, with `share` between 0 and 1.
pub(crate) fn progress_of(share: Option<f64>, message: &str) -> Progress {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10,000")]
    let done = share.map(|share| (share.clamp(0.0, 1.0) * 10_000.0).round() as u16);
    Progress { done, message: keep_start(message, Progress::MESSAGE_BYTES_MAX).into() }
}

/// A string is taken as text; anything else stays JSON, exactly as it was written.
fn json_result(result: &RawValue) -> Result<(Bytes, Arc<str>), serde_json::Error> {
    if result.get().starts_with('"') {
        let text: String = serde_json::from_str(result.get())?;
        Ok((text.into(), Arc::clone(&TEXT)))
    } else {
        Ok((Bytes::copy_from_slice(result.get().as_bytes()), Arc::clone(&JSON)))
    }
}

#[cfg(test)]
mod tests {
    use crate::job::id::JobId;
    use crate::job::retry::Retryable;
    use crate::pool::Assignment;
    use crate::pool::serve::line::Answer;
    use crate::pool::serve::line::parse;
    use crate::pool::serve::line::progress_of;
    use crate::pool::serve::line::write;
    use bytes::Bytes;
    use bytes::BytesMut;

    fn job(payload: &'static [u8]) -> Assignment {
        Assignment {
            id: JobId::from_u128(7),
            attempt: 2,
            queue: "mail".parse().unwrap(),
            payload: Bytes::from_static(payload),
            content_type: "".into(),
            traceparent: "".into(),
            labels: Vec::new(),
            timeout: None,
        }
    }

    fn line(payload: &'static [u8]) -> String {
        written(&job(payload))
    }

    fn written(job: &Assignment) -> String {
        let mut out = BytesMut::new();
        write(job, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_job_is_one_line_whatever_its_payload() {
        let head = r#"{"id":"00000000-0000-0000-0000-000000000007","attempt":2,"queue":"mail","#;
        assert_eq!(line(b"a\n\"b\""), format!("{head}\"payload\":\"a\\n\\\"b\\\"\"}}\n"));
        assert_eq!(line(b"\xff\n"), format!("{head}\"payload_base64\":\"/wo=\"}}\n"));
    }

    #[test]
    fn labels_are_an_object() {
        let labels = vec![("dog".into(), "Togo".into()), ("a".into(), "\"".into())];
        let line = written(&Assignment { labels, ..job(b"x") });
        assert!(
            line.ends_with("\"payload\":\"x\",\"labels\":{\"a\":\"\\\"\",\"dog\":\"Togo\"}}\n"),
            "{line}"
        );
    }

    #[test]
    fn results_are_text_json_or_bytes() {
        let cases: [(&str, &[u8], &str); 6] = [
            (r#"{"id":"a","result":"x\ny"}"#, b"x\ny", "text/plain; charset=utf-8"),
            (
                r#"{"id":"a","result":{"n": 10000000000000000000001}}"#,
                br#"{"n": 10000000000000000000001}"#,
                "application/json",
            ),
            (r#"{"result":null,"id":"a"}"#, b"null", "application/json"),
            (r#"{"id":"a","result_base64":"/wo="}"#, b"\xff\n", "application/octet-stream"),
            (r#"{"id":"a","result":"<p>","content_type":"text/html"}"#, b"<p>", "text/html"),
            (r#"{"id":"a","result":1,"later":"unknown keys are ignored"}"#, b"1", "application/json"),
        ];
        for (text, bytes, media) in cases {
            let parsed = parse(text.as_bytes()).unwrap();
            let expected =
                Answer::Completed { result: Bytes::from_static(bytes), content_type: media.into() };
            assert_eq!((parsed.id.as_ref(), parsed.answer), ("a", expected), "{text}");
        }
    }

    #[test]
    fn errors_and_progress() {
        let answer = |text: &str| parse(text.as_bytes()).unwrap().answer;
        let failed = |retry| Answer::Failed { message: "no".to_owned(), retry };
        assert_eq!(answer(r#"{"id":"a","error":"no"}"#), failed(Retryable::Yes));
        assert_eq!(answer(r#"{"id":"a","error":"no","retry":false}"#), failed(Retryable::No));
        let progress = progress_of(Some(0.4), "half");
        assert_eq!(progress.done, Some(4_000));
        assert_eq!(answer(r#"{"id":"a","progress":0.4,"message":"half"}"#), Answer::Progress(progress));
        assert_eq!(answer(r#"{"id":"a","message":"x"}"#), Answer::Progress(progress_of(None, "x")));
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        let cases: [&[u8]; 10] = [
            b"hello",
            b"",
            b"{}",
            b"[]",
            br#"{"id":"a"}"#,
            br#"{"result":1}"#,
            br#"{"id":"a","result":1,"error":"x"}"#,
            br#"{"id":"a","progress":1.5}"#,
            br#"{"id":"a","result_base64":"!"}"#,
            b"{\"id\":\"a\",\"result\":\"\xff\"}",
        ];
        for bad in cases {
            let error = parse(bad).expect_err(&String::from_utf8_lossy(bad));
            assert!(error.contains("is not an answer"), "{error}");
        }
    }
}
