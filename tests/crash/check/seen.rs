//! What clients were told, against the log: acknowledged submits, leases, finishes and controls.

use crate::check::Findings;
use crate::check::lives::Lives;
use crate::history::History;
use crate::history::Resume;
use gangline::proto::v1;
use std::collections::HashMap;
use std::collections::HashSet;

/// Nothing acknowledged is lost, nothing repeated became a second job, and answers are in the order of the log.
pub(crate) fn submits(history: &History, lives: &Lives, findings: &mut Findings) {
    let mut newest: HashMap<&str, u64> = HashMap::new();
    for ack in &history.acks {
        let payload = &ack.payload;
        let Some(stored) = lives.of_payload.get(payload) else {
            findings.add("ACK-1", format!("{payload} was acknowledged and is lost"));
            continue;
        };
        if ack.job.as_ref().is_some_and(|job| job != stored) {
            findings.add("ID-1", format!("{payload} was acknowledged as {:?} and is {stored}", ack.job));
        }
        let submitted = lives.jobs.get(stored).map_or(0, |life| life.submitted);
        if submitted < ack.first_sequence {
            findings.add("ACK-1", format!("a reader from {} on misses {payload}", ack.first_sequence));
        }
        let Some(client) = &ack.ordered_by else { continue };
        let newest = newest.entry(client).or_default();
        if submitted < *newest {
            let what = format!("{payload} comes before a job that was acknowledged before it was sent");
            findings.add("LOG-1", what);
        }
        *newest = submitted.max(*newest);
    }
    for resume in &history.resumes {
        let Resume { producer, acknowledged, sent, last_ordinal } = resume;
        if last_ordinal < acknowledged || last_ordinal > sent {
            findings.add(
                "ACK-1",
                format!("a producer's acknowledged jobs are lost, or more are there: {producer} sent {sent}, {acknowledged} were \
                 acknowledged, {last_ordinal} are known"),
            );
        }
    }
}

/// A lease is the log's, and only the one that held the job ended it.
pub(crate) fn leases(history: &History, updates: &[v1::Update], lives: &Lives, findings: &mut Findings) {
    for lease in &history.leases {
        let started = at(updates, lease.token).is_some_and(|update| {
            update.kind() == v1::UpdateKind::Started
                && (&update.job_id, update.attempt, &update.worker_id)
                    == (&lease.job, lease.attempt, &lease.worker)
        });
        let payload = lives.jobs.get(&lease.job).map(|life| &life.payload);
        if !started || payload != Some(&lease.payload) {
            findings.add("ACK-1", format!("a lease was given that the log does not hold: {lease:?}"));
        }
    }
    let mut accepted = HashSet::new();
    let finishes = history.finishes.iter();
    for finish in finishes.filter(|finish| finish.answer == Some(v1::FinishOutcome::Accepted)) {
        let (token, job) = (finish.token, &finish.job);
        if !accepted.insert(token) {
            findings.add("LEASE-1", format!("the lease {token} of {job} finished it twice"));
        }
        match lives.ends.get(&token) {
            None => findings.add("ACK-1", format!("an accepted finish of {job} under lease {token} is lost")),
            Some(end) if !finish.ending.leads_to(*end) => {
                let what = format!(
                    "the lease {token} of {job} was gone ({end:?}), and {:?} was accepted",
                    finish.ending
                );
                findings.add("LEASE-1", what);
            }
            Some(_) => {}
        }
    }
}

/// An acknowledged cancel or retry is in the log where it was said to be.
pub(crate) fn controls(history: &History, updates: &[v1::Update], findings: &mut Findings) {
    for control in &history.controls {
        let there = at(updates, control.sequence)
            .is_some_and(|update| update.kind() == control.kind && update.job_id == control.job);
        if !there {
            findings.add("ACK-1", format!("an acknowledged call is lost: {control:?}"));
        }
    }
}

fn at(updates: &[v1::Update], sequence: u64) -> Option<&v1::Update> {
    updates.get(usize::try_from(sequence.checked_sub(1)?).ok()?)
}
