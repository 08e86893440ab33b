//! What the disk and the wire allow: a plain append-only file with the same bytes and one sync per 1,000 jobs, one sync
//! of an overwrite, one echo on a stream of the same server.

use crate::cli::bench::figures::Figures;
use crate::cli::bench::figures::percentile;
use crate::cli::bench::setup::Bench;
use std::fs::File;
use std::io::Write;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::ServerReflectionResponse;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

const JOBS_A_SYNC: u64 = 1_000;
/// Bytes of a job besides payload and result: ids, lengths and headers of its three updates.
const OVERHEAD_BYTES: usize = 71;
const PROBES: usize = 500;

pub(in crate::cli::bench) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let jobs = bench.arguments.jobs;
    let chunk = vec![0x5a; (2 * bench.arguments.payload + OVERHEAD_BYTES) * usize::try_from(JOBS_A_SYNC)?];
    let mut file = File::create(bench.dir().join("plain"))?;
    let before = bench.clock.now().tick;
    for _ in 0..jobs.div_ceil(JOBS_A_SYNC) {
        file.write_all(&chunk)?;
        file.sync_data()?;
    }
    let took = bench.clock.now().tick.since(before).as_secs_f64();
    let mut disk = bench.disk()?;
    let mut echo = Echo::open(bench).await?;
    let (mut syncs, mut echoes) = (Vec::with_capacity(PROBES), Vec::with_capacity(PROBES));
    for _ in 0..PROBES {
        syncs.push(disk.sync()?);
        echoes.push(echo.once(bench).await?);
    }
    Ok(Figures {
        jobs: Some(jobs),
        jobs_per_s: Some(jobs.div_ceil(JOBS_A_SYNC) as f64 * JOBS_A_SYNC as f64 / took),
        sync_p50_ms: percentile(&syncs, 50),
        sync_p99_ms: percentile(&syncs, 99),
        echo_p50_ms: percentile(&echoes, 50),
        ..bench.figures("limit")
    })
}

/// A stream of the server on which every message is answered at once: reflection.
#[derive(Debug)]
pub(in crate::cli::bench) struct Echo {
    requests: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
}

impl Echo {
    pub(in crate::cli::bench) async fn open(bench: &Bench) -> anyhow::Result<Echo> {
        let (requests, outgoing) = mpsc::channel(1);
        requests.send(question()).await?;
        let mut client: ServerReflectionClient<Channel> = ServerReflectionClient::new(bench.connect().await?);
        let mut answers = client.server_reflection_info(ReceiverStream::new(outgoing)).await?.into_inner();
        answers.message().await?;
        Ok(Echo { requests, answers })
    }

    pub(in crate::cli::bench) async fn once(&mut self, bench: &Bench) -> anyhow::Result<Duration> {
        let before = bench.clock.now().tick;
        self.requests.send(question()).await?;
        self.answers.message().await?;
        Ok(bench.clock.now().tick.since(before))
    }
}

fn question() -> ServerReflectionRequest {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    ServerReflectionRequest { host: String::new(), message_request }
}
