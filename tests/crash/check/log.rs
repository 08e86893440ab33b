//! The log as such: gap-free, one content for each sequence, and each reader saw each update once, in order.

use crate::check::Final;
use crate::check::Findings;
use crate::history::History;
use crate::history::Reading;
use crate::history::digest;
use gangline::proto::v1;

pub(crate) fn check(history: &History, last: &Final, findings: &mut Findings) {
    for (expected, update) in (1..).zip(&last.updates) {
        if update.sequence != expected {
            findings
                .add("LOG-1", format!("sequence {expected} is missing: {} stands there", update.sequence));
            break;
        }
    }
    for (before, after) in last.updates.iter().zip(last.updates.iter().skip(1)) {
        if millis(before) > millis(after) {
            findings.add("LOG-1", format!("log time goes back at sequence {}", after.sequence));
        }
    }
    let digests: Vec<(u64, u64, &str)> =
        last.updates.iter().map(|update| (update.sequence, digest(update), update.queue.as_str())).collect();
    for reading in &history.readings {
        read(reading, &digests, findings);
    }
}

fn millis(update: &v1::Update) -> i64 {
    update.time.as_ref().map_or(0, |time| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000)
}

fn read(reading: &Reading, digests: &[(u64, u64, &str)], findings: &mut Findings) {
    let wanted =
        digests.iter().filter(|(_, _, queue)| reading.queue.as_deref().is_none_or(|only| only == *queue));
    let wanted: Vec<(u64, u64)> = wanted.map(|(sequence, digest, _)| (*sequence, *digest)).collect();
    let reader = &reading.reader;
    for (index, (sequence, digest)) in reading.seen.iter().enumerate() {
        let Some((expected, content)) = wanted.get(index) else {
            let what = format!("{reader} saw update {sequence}, which the log does not hold afterwards");
            return findings.add("LOG-1", what);
        };
        if sequence != expected {
            let what = format!("{reader} saw update {sequence} where {expected} is next");
            return findings.add("LOG-2", what);
        }
        if digest != content {
            let what = format!("{reader} saw another update {sequence} than the log holds afterwards");
            return findings.add("LOG-1", what);
        }
    }
    if let Some((next, _)) = wanted.get(reading.seen.len()) {
        findings.add("LOG-2", format!("{reader} never saw update {next}"));
    }
}
