//! The load: submitters, producers, workers, readers and an operator, who all go on through whatever happens to the
//! server and record what they see.

pub(crate) mod link;
mod operate;
mod produce;
mod read;
mod submit;
pub(crate) mod work;

use crate::check;
use crate::check::Final;
use crate::history::Saw;
use crate::history::file::Account;
use crate::history::file::Kept;
use crate::history::line;
use crate::history::recorder::Recorder;
use crate::history::recorder::Tally;
use crate::load::link::Link;
use crate::load::link::pause;
use crate::load::operate::Operator;
use crate::load::produce::Producer;
use crate::load::read::Habit;
use crate::load::read::Reader;
use crate::load::submit::Submitter;
use crate::load::work::Worker;
use crate::server::Address;
use crate::server::PATIENCE;
use crate::server::until;
use gangline::engine::chance::Chance;
use gangline::grpc::status::Reason;
use gangline::grpc::status::reason_of;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use gangline::proto::v1::update_service_client::UpdateServiceClient;
use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

/// Submits wait while so many jobs live, so that the workers keep up.
const LIVE_MAX: i64 = 600;
/// Jobs that are read one by one at the end.
const GETS: usize = 300;

/// Clients at work.
pub(crate) struct Load {
    pub(crate) recorder: Recorder,
    address: Address,
    seed: u64,
    submitting: Group,
    working: Group,
    reading: Group,
    /// How long the jobs have to come to rest when the faults are over.
    pub(crate) patience: Duration,
    kept: Kept,
}

/// Clients that end together.
struct Group {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Group {
    fn new() -> Group {
        Group { stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    fn link(&self, address: &Address, recorder: &Recorder) -> Link {
        Link::new(address.clone(), self.stop.clone(), recorder.clone())
    }

    fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Tells them to stop, and waits until they have settled what they began.
    async fn end(&mut self, who: &str) {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap_or_else(|error| panic!("{who}: {error}"));
            }
        };
        assert!(timeout(PATIENCE, all).await.is_ok(), "{who} do not end");
    }

    /// Fails if one of them has failed.
    fn look(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            ended.expect("a client panicked");
        }
    }
}

impl Load {
    /// Puts everyone to work for a part of the campaign.
    pub(crate) fn start(part: &str, address: &Address, seed: u64) -> Load {
        let kept = Kept::new(part, seed);
        let recorder = Recorder::new(kept.path());
        let mut chance = Chance::from_seed(seed);
        let mut forked = move || Chance::from_seed(chance.next_u64());
        let (mut submitting, mut working, mut reading) = (Group::new(), Group::new(), Group::new());
        for name in ["s1", "s2"] {
            let (link, recorder, chance) = (submitting.link(address, &recorder), recorder.clone(), forked());
            let queues = vec!["a", "b"];
            submitting.run(Submitter { name: name.to_owned(), queues, link, recorder, chance }.run());
        }
        for (name, queue) in [("p1", "a"), ("p2", "b")] {
            let (link, recorder, chance) = (submitting.link(address, &recorder), recorder.clone(), forked());
            let (name, made, accepted) = (name.to_owned(), Vec::new(), 0);
            submitting.run(Producer { name, queue, link, recorder, chance, made, accepted }.run());
        }
        for (name, queues) in [("w1", &["a", "b"][..]), ("w2", &["a"]), ("w3", &["b", "a"])] {
            working.run(
                Worker::new(name, queues, working.link(address, &recorder), recorder.clone(), forked()).run(),
            );
        }
        let (to_mend, mending) = mpsc::unbounded_channel();
        let operator = Operator { link: working.link(address, &recorder), to_mend: mending };
        working.run(operator.run());
        let habits =
            [("r1", Habit::Steady, None), ("r2", Habit::Restless, None), ("r3", Habit::Restless, Some("b"))];
        for (name, habit, queue) in habits {
            let reader = Reader {
                name: name.to_owned(),
                habit,
                queue: queue.map(str::to_owned),
                link: reading.link(address, &recorder),
                recorder: recorder.clone(),
                chance: forked(),
                to_mend: to_mend.clone(),
                mended_later: HashSet::new(),
            };
            reading.run(reader.run());
        }
        Load {
            recorder,
            address: address.clone(),
            seed,
            submitting,
            working,
            reading,
            patience: PATIENCE,
            kept,
        }
    }

    /// Fails if a client has failed.
    pub(crate) fn look(&mut self) {
        for group in [&mut self.submitting, &mut self.working, &mut self.reading] {
            group.look();
        }
    }

    /// Waits until so many more submits are acknowledged.
    pub(crate) async fn more(&mut self, acks: usize) {
        let wanted = self.acks() + acks;
        let there = until(PATIENCE, || (self.acks() >= wanted).then_some(()));
        assert!(there.await.is_some(), "submits go on");
        self.look();
    }

    fn acks(&self) -> usize {
        self.recorder.look(|sum| sum.acks)
    }

    /// No more submits; what was begun is settled.
    pub(crate) async fn stop_submitting(&mut self) {
        self.submitting.end("submitters").await;
    }

    /// The faults are over: ends the load, waits until every job has, and asks the service for everything. What is to be
    /// judged is then read from the file.
    pub(crate) async fn settle(mut self) -> Account {
        self.stop_submitting().await;
        let mut tally = self.recorder.tally();
        let quiet = async {
            loop {
                let head = self.head().await;
                let at_rest = |tally: &Tally| tally.sequence >= head && tally.live == 0 && tally.to_mend == 0;
                let rested = *tally.wait_for(at_rest).await.expect("the recorder lives");
                if self.head().await == rested.sequence {
                    return;
                }
            }
        };
        if timeout(self.patience, quiet).await.is_err() {
            let tally = *tally.borrow();
            self.look();
            let why = format!("the jobs do not all end: {tally:?}, the head is {}", self.head().await);
            self.recorder.note(&Saw::Unsettled(why));
        }
        self.working.end("workers").await;
        let last = read_back(self.reading.link(&self.address, &self.recorder).reach().await).await;
        self.catch_up(&last).await;
        self.reading.end("readers").await;
        self.write_down(last);
        self.kept.read()
    }

    /// The faults, which are told in these words, are over: fails unless every promise was kept.
    pub(crate) async fn assert_kept(self, faults: &str) -> Account {
        let seed = self.seed;
        let account = self.settle().await;
        report(faults, &account);
        check::assert_kept(&account, seed);
        account
    }

    /// The server does not start any more: what is to be judged is what was seen so far.
    pub(crate) fn abandon(self, said: &str) -> Account {
        self.recorder.note(&Saw::Refused(said.to_owned()));
        self.recorder.flush();
        self.kept.read()
    }

    /// What the service said at the end goes into the file too.
    fn write_down(&self, last: Final) {
        let Final { updates, listed, got } = last;
        updates.iter().for_each(|update| self.recorder.note(&Saw::Update(line::text(update))));
        listed.iter().for_each(|job| self.recorder.note(&Saw::Listed(line::text(job))));
        for job in got {
            self.recorder.note(&Saw::Got(job.map(|job| line::text(&job))));
        }
        self.recorder.note(&Saw::End);
        self.recorder.flush();
    }

    /// Every reader reaches the end of what is for it.
    async fn catch_up(&self, last: &Final) {
        let newest = |queue: Option<&String>| {
            let mut mine =
                last.updates.iter().filter(|update| queue.is_none_or(|queue| *queue == update.queue));
            mine.next_back().map_or(0, |update| update.sequence)
        };
        let is_there = || {
            self.recorder.look(|sum| {
                let all = sum.readers.iter().all(|(queue, seen)| *seen >= newest(queue.as_ref()));
                all.then_some(())
            })
        };
        // If one does not, the checker says where it stands.
        until(self.patience / 4, is_there).await;
    }

    async fn head(&self) -> u64 {
        let mut link = self.reading.link(&self.address, &self.recorder);
        loop {
            let mut client = UpdateServiceClient::new(link.reach().await);
            let request = v1::GetUpdatesRequest {
                after: Some(v1::get_updates_request::After::End(v1::LogEnd::Head.into())),
                follow: v1::FollowMode::StopAtHead.into(),
                ..v1::GetUpdatesRequest::default()
            };
            if let Ok(answer) = client.get_updates(request).await
                && let Ok(Some(first)) = answer.into_inner().message().await
            {
                return first.head_sequence;
            }
            pause().await;
        }
    }
}

/// Prints what a part of the campaign was about.
fn report(faults: &str, account: &Account) {
    let Account { history, last, .. } = account;
    let accepted =
        history.finishes.iter().filter(|finish| finish.answer == Some(v1::FinishOutcome::Accepted));
    let seen: usize = history.readings.iter().map(|reading| reading.seen.len()).sum();
    let reconnects: u64 = history.readings.iter().map(|reading| reading.reconnects).sum();
    eprintln!(
        "{faults}: {} acknowledged submits, {} accepted finishes, {} updates in the log; {seen} updates read over \
         {reconnects} reconnects",
        history.acks.len(),
        accepted.count(),
        last.updates.len()
    );
}

/// Everything that the service has.
pub(crate) async fn read_back(channel: Channel) -> Final {
    let mut client = UpdateServiceClient::new(channel.clone());
    let request = v1::GetUpdatesRequest {
        include_payload: true,
        include_result: true,
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    };
    let mut updates = Vec::new();
    let mut stream = client.get_updates(request).await.expect("the whole log is there").into_inner();
    while let Some(response) = stream.message().await.expect("the whole log can be read") {
        updates.extend(response.updates().expect("the batch is one"));
    }
    let mut client = JobServiceClient::new(channel);
    let listed = list(&mut client).await;
    let step = (listed.len() / GETS).max(1);
    let mut got = Vec::new();
    for job in listed.iter().step_by(step) {
        got.push(get(&mut client, &job.id).await);
    }
    Final { updates, listed, got }
}

/// Whether one more job may be made: waits while too many live. `false`: no more at all.
pub(crate) async fn room(recorder: &Recorder, stop: &CancellationToken) -> bool {
    let mut tally = recorder.tally();
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        _ = tally.wait_for(|tally| tally.live < LIVE_MAX) => true,
    }
}

/// Every job; a tree that is being rebuilt is waited for.
pub(crate) async fn list(client: &mut JobServiceClient<Channel>) -> Vec<v1::Job> {
    let mut jobs = Vec::new();
    let mut request = v1::ListJobsRequest { page_size: 1_000, ..v1::ListJobsRequest::default() };
    let listing = async {
        loop {
            match client.list_jobs(request.clone()).await {
                Ok(page) => {
                    let page = page.into_inner();
                    jobs.extend(page.jobs);
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        return;
                    }
                }
                Err(status) if is_rebuilding(&status) => pause().await,
                Err(status) => panic!("jobs cannot be listed: {status:?}"),
            }
        }
    };
    timeout(PATIENCE, listing).await.expect("jobs can be listed again in time");
    jobs
}

/// One job with payload and result; a tree that is being rebuilt is waited for.
pub(crate) async fn get(client: &mut JobServiceClient<Channel>, id: &str) -> Result<v1::Job, String> {
    let request = v1::GetJobRequest {
        job_id: id.to_owned(),
        include_payload: true,
        include_result: true,
        ..v1::GetJobRequest::default()
    };
    let getting = async {
        loop {
            match client.get_job(request.clone()).await {
                Ok(answer) => {
                    return answer.into_inner().job.ok_or_else(|| format!("{id}: no job in the answer"));
                }
                Err(status) if is_rebuilding(&status) => pause().await,
                Err(status) => return Err(format!("{id}: {status:?}")),
            }
        }
    };
    timeout(PATIENCE, getting).await.unwrap_or_else(|_elapsed| Err(format!("{id}: not in time")))
}

fn is_rebuilding(status: &Status) -> bool {
    reason_of(status) == Some(Reason::WorkTreeRebuilding)
}
