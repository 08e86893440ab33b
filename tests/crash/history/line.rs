//! One line of a history: what somebody saw, as it is written and what it adds to what is known.

use crate::check::Final;
use crate::history::Ack;
use crate::history::Controlled;
use crate::history::Finished;
use crate::history::History;
use crate::history::Leased;
use crate::history::Reading;
use crate::history::Resume;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gangline::proto::v1;
use prost::Message;
use serde::Deserialize;
use serde::Serialize;

/// What a client saw, or what the service said at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Saw {
    /// Payloads of jobs that are submitted next.
    Asked(Vec<String>),
    Acked(Vec<Ack>),
    Resumed(Resume),
    Leased(Vec<Leased>),
    /// A finish that is sent next. The lines of this kind are counted from 0 on.
    Finishing(Finished),
    /// How finishes were answered, by their count, as numbers of [`v1::FinishOutcome`].
    Answered(Vec<(usize, i32)>),
    Controlled(Vec<Controlled>),
    /// A reader begins, of this queue or of all. The lines of this kind are counted from 0 on.
    Reader(String, Option<String>),
    /// Sequences and digests that a reader saw, by its count.
    Read(usize, Vec<(u64, u64)>),
    /// A reader lost or left its stream.
    Reconnects(usize),
    /// A call failed, for this reason.
    Failed(String, String),
    /// The power begins to be cut, or is back.
    PowerChanges,
    /// The faults are over and the jobs do not come to rest.
    Unsettled(String),
    /// The server does not start on its own data any more.
    Refused(String),
    /// At the end: an update of the log, with payload and result. It and what follows is protobuf in base64.
    Update(String),
    /// At the end: a job as listed.
    Listed(String),
    /// At the end: a job as it was got.
    Got(Result<String, String>),
    /// Nothing more comes.
    End,
}

/// A message as it stands on a line.
pub(crate) fn text(message: &impl Message) -> String {
    STANDARD.encode(message.encode_to_vec())
}

fn message<T: Message + Default>(text: &str) -> Result<T, String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    T::decode(bytes.as_slice()).map_err(|error| error.to_string())
}

impl Saw {
    /// Adds the line to what is known.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn add_to(self, history: &mut History, last: &mut Final) -> Result<(), String> {
        match self {
            Saw::Asked(payloads) => history.asked.extend(payloads),
            Saw::Acked(acks) => history.acks.extend(acks),
            Saw::Resumed(resume) => history.resumes.push(resume),
            Saw::Leased(leases) => history.leases.extend(leases),
            Saw::Finishing(finish) => history.finishes.push(finish),
            Saw::Answered(answers) => {
                for (index, outcome) in answers {
                    let finish = history.finishes.get_mut(index).ok_or("an answer to no finish")?;
                    let outcome = v1::FinishOutcome::try_from(outcome).map_err(|error| error.to_string())?;
                    finish.answer = Some(outcome);
                }
            }
            Saw::Controlled(controls) => history.controls.extend(controls),
            Saw::Reader(reader, queue) => {
                history.readings.push(Reading { reader, queue, ..Reading::default() });
            }
            Saw::Read(index, seen) => reading(history, index)?.seen.extend(seen),
            Saw::Reconnects(index) => reading(history, index)?.reconnects += 1,
            Saw::Failed(call, reason) => history.failures.push((call, reason)),
            Saw::Unsettled(why) => history.unsettled.push(why),
            Saw::Refused(said) => history.refused.push(said),
            Saw::Update(text) => last.updates.push(message(&text)?),
            Saw::Listed(text) => last.listed.push(message(&text)?),
            Saw::Got(Ok(text)) => last.got.push(Ok(message(&text)?)),
            Saw::Got(Err(error)) => last.got.push(Err(error)),
            Saw::PowerChanges | Saw::End => {}
        }
        Ok(())
    }
}

fn reading(history: &mut History, index: usize) -> Result<&mut Reading, String> {
    history.readings.get_mut(index).ok_or_else(|| "no such reader".to_owned())
}

/// An enum of the API as its number.
pub(crate) mod number {
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error;

    pub(crate) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Into<i32>,
        S: Serializer,
    {
        serializer.serialize_i32((*value).into())
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: TryFrom<i32>,
        D: Deserializer<'de>,
    {
        let number = i32::deserialize(deserializer)?;
        T::try_from(number).map_err(|_unknown| D::Error::custom("a number that the API does not know"))
    }
}
