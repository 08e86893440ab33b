//! A reader of the update log that resumes at its own cursor after each broken stream.

use crate::history::Saw;
use crate::history::digest;
use crate::history::recorder::Recorder;
use crate::load::link::Link;
use crate::load::link::pause;
use crate::plan;
use crate::plan::Plan;
use gangline::engine::chance::Chance;
use gangline::proto::v1;
use gangline::proto::v1::get_updates_request::After;
use gangline::proto::v1::update_service_client::UpdateServiceClient;
use std::collections::HashSet;
use tokio::sync::mpsc;
use tonic::Status;

/// How a reader behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Holds its stream, counts what lives, and tells the operator of dead jobs that are to be retried.
    Steady,
    /// Drops its stream every few messages.
    Restless,
}

pub(crate) struct Reader {
    pub(crate) name: String,
    pub(crate) habit: Habit,
    pub(crate) queue: Option<String>,
    pub(crate) link: Link,
    pub(crate) recorder: Recorder,
    pub(crate) chance: Chance,
    pub(crate) to_mend: mpsc::UnboundedSender<String>,
    /// Jobs that an operator retries when they die.
    pub(crate) mended_later: HashSet<String>,
}

impl Reader {
    /// Reads until it is told to stop.
    pub(crate) async fn run(mut self) {
        let index = self.recorder.reader(&self.name, self.queue.clone());
        let mut cursor = v1::Cursor::default();
        while let Some(channel) = self.link.connect().await {
            let mut client = UpdateServiceClient::new(channel);
            if let Err(status) = self.follow(&mut client, &mut cursor, index).await {
                self.link.failed("read", &status);
                pause().await;
            }
            self.recorder.note(&Saw::Reconnects(index));
        }
    }

    async fn follow(
        &mut self,
        client: &mut UpdateServiceClient<tonic::transport::Channel>,
        cursor: &mut v1::Cursor,
        index: usize,
    ) -> Result<(), Status> {
        let request = v1::GetUpdatesRequest {
            after: Some(After::Cursor(cursor.clone())),
            queues: self.queue.iter().cloned().collect(),
            include_payload: true,
            include_result: true,
            ..v1::GetUpdatesRequest::default()
        };
        let stop = self.link.stop().clone();
        let mut left = match self.habit {
            Habit::Steady => u32::MAX,
            Habit::Restless => 1 + self.chance.next_u32() % 40,
        };
        let mut stream = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            answer = client.get_updates(request) => answer?.into_inner(),
        };
        while left > 0 {
            let response = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                response = stream.message() => response?,
            };
            let Some(response) = response else { return Ok(()) };
            let updates = response.updates().expect("the batch is one");
            let seen: Vec<(u64, u64)> =
                updates.iter().map(|update| (update.sequence, digest(update))).collect();
            let received = self.link.receive(&[Saw::Read(index, seen)]);
            received.map_err(|_doubtful| Status::cancelled("the power is being cut"))?;
            if !response.store_id.is_empty() {
                cursor.store_id = response.store_id;
            }
            cursor.sequence = response.cursor_sequence;
            if self.habit == Habit::Steady {
                self.count(&updates, cursor.sequence);
            }
            left -= 1;
        }
        Ok(())
    }

    fn count(&mut self, updates: &[v1::Update], sequence: u64) {
        let (mut live, mut to_mend) = (0, 0);
        for update in updates {
            match update.kind() {
                v1::UpdateKind::Submitted => {
                    live += 1;
                    let payload = update.spec.as_ref().map(|spec| spec.payload.to_vec()).unwrap_or_default();
                    if plan::parse(&String::from_utf8_lossy(&payload)) == Some(Plan::Mend) {
                        self.mended_later.insert(update.job_id.clone());
                    }
                }
                v1::UpdateKind::Retried => {
                    live += 1;
                    to_mend -= 1;
                }
                v1::UpdateKind::Dead => {
                    live -= 1;
                    if self.mended_later.remove(&update.job_id) {
                        to_mend += 1;
                        // The operator may have been told to stop; then nothing is left to mend.
                        self.to_mend.send(update.job_id.clone()).ok();
                    }
                }
                v1::UpdateKind::Succeeded | v1::UpdateKind::Cancelled | v1::UpdateKind::Expired => live -= 1,
                v1::UpdateKind::Unspecified
                | v1::UpdateKind::Started
                | v1::UpdateKind::Progress
                | v1::UpdateKind::Retrying
                | v1::UpdateKind::Released
                | v1::UpdateKind::Deleted => {}
            }
        }
        self.recorder.count(|tally| {
            tally.sequence = sequence;
            tally.live += live;
            tally.to_mend += to_mend;
        });
    }
}
