//! What the tests of the faces run on: a real engine over a real directory, served on a port of its own.

use crate::clock::Clock;
use crate::engine::Engine;
use crate::engine::Handle;
use crate::engine::Keeping;
use crate::engine::Parts;
use crate::engine::command::Bye;
use crate::engine::command::Command;
use crate::engine::command::FinishRequest;
use crate::engine::command::Welcome;
use crate::engine::command::WorkerMessage;
use crate::engine::core;
use crate::engine::workers::Attach;
use crate::engine::workers::rig::attaching;
use crate::grpc;
use crate::grpc::Reflects;
use crate::grpc::convert::Sizes;
use crate::grpc::limits;
use crate::grpc::limits::Limits;
use crate::grpc::listener::Exposure;
use crate::grpc::listener::Listener;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::event::Failure;
use crate::job::id::JobId;
use crate::job::retry::Retryable;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::log::Archive;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryArchive;
use crate::log::directory::DirectoryOptions;
use crate::proto::v1::admin_service_client::AdminServiceClient;
use crate::proto::v1::job_service_client::JobServiceClient;
use crate::proto::v1::update_service_client::UpdateServiceClient;
use crate::service;
use crate::service::Service;
use crate::service::named::CursorLag;
use crate::service::workers::Hearing;
use crate::shutdown::Shutdown;
use crate::work;
use crate::work::Place;
use crate::work::WorkTree;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthReporter;
use tonic_health::server::HealthService;

/// How a server under test is set up.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Setup {
    pub(in crate::grpc) segment_bytes: u64,
    pub(in crate::grpc) ring_bytes: usize,
    pub(in crate::grpc) retention_bytes: u64,
    pub(in crate::grpc) heartbeat: Duration,
    pub(in crate::grpc) cursor_lag: CursorLag,
    pub(in crate::grpc) backup_stall: Duration,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            segment_bytes: 1 << 20,
            ring_bytes: 16 << 20,
            retention_bytes: 1 << 30,
            heartbeat: Duration::from_secs(30),
            cursor_lag: CursorLag::default(),
            backup_stall: Duration::from_secs(60),
        }
    }
}

/// A server that runs.
pub(in crate::grpc) struct Rig {
    engine: Engine,
    service: Service,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
    address: std::net::SocketAddr,
}

/// Starts a server over the directory at `path`.
pub(in crate::grpc) async fn start(path: &Path, setup: Setup) -> Rig {
    let path: PathBuf = path.to_owned();
    let Setup { heartbeat, cursor_lag, backup_stall, .. } = setup;
    let (engine, archive) = tokio::task::spawn_blocking(move || engine(&path, &setup)).await.unwrap();
    let shutdown = Shutdown::new();
    let archive = Some(archive);
    let settings =
        service::Settings { heartbeat, cursor_lag, archive, backup_stall, ..service::Settings::default() };
    let service = Service::new(engine.handle(), settings, shutdown.clone());
    let limits = Limits::default();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Exposure::LoopbackOnly).await.unwrap();
    let address = listener.address();
    let incoming = listener.incoming(&limits, Clock::system(), &shutdown);
    let health = HealthServer::new(HealthService::from_health_reporter(HealthReporter::new()));
    let routes = grpc::routes(&service, Sizes::default(), &limits, health, Reflects::No);
    let stopped = shutdown.token().clone();
    let served = shutdown.spawn(
        limits::server(&limits)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, async move { stopped.cancelled().await }),
    );
    Rig { engine, service, served, address }
}

fn engine(path: &Path, setup: &Setup) -> (Engine, DirectoryArchive) {
    let options = DirectoryOptions {
        segment_bytes: setup.segment_bytes,
        reserve_bytes: 0,
        ..DirectoryOptions::default()
    };
    let log = Directory::open(path, options).unwrap().log;
    let archive = log.archive();
    let store = archive.store_id();
    let place = Place { dir: path.join("work"), store, boot: work::boot_id().unwrap() };
    let parts = Parts {
        tree: WorkTree::new(place, work::Options::default()),
        options: core::Options { ring_bytes: setup.ring_bytes, ..core::Options::default() },
        keeping: Keeping {
            checkpoint_bytes: 64 << 10,
            retention_bytes: setup.retention_bytes,
            lag_budget_bytes: 0,
            ..Keeping::default()
        },
        clock: Clock::system(),
    };
    (Engine::start(log, parts).unwrap(), archive)
}

impl Rig {
    pub(in crate::grpc) fn service(&self) -> &Service {
        &self.service
    }

    pub(in crate::grpc) fn handle(&self) -> &Handle {
        self.service.engine()
    }

    /// The newest update.
    pub(in crate::grpc) fn head(&self) -> u64 {
        self.handle().view().seen().sequence.0
    }

    pub(in crate::grpc) fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    pub(in crate::grpc) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel())
    }

    pub(in crate::grpc) fn updates(&self) -> UpdateServiceClient<Channel> {
        UpdateServiceClient::new(self.channel())
    }

    pub(in crate::grpc) fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel())
    }

    /// Stops as the server does: streams end, then the engine.
    pub(in crate::grpc) async fn stop(self) {
        let Rig { engine, service, served, .. } = self;
        service.shutdown().begin();
        served.await.unwrap().unwrap();
        drop(service);
        tokio::task::spawn_blocking(|| engine.stop()).await.unwrap().unwrap();
    }

    /// Submits `count` jobs with payloads of `bytes`, in one frame.
    pub(in crate::grpc) async fn submit(&self, queue: &str, count: usize, bytes: usize) -> Vec<JobId> {
        let job = NewJob {
            queue: queue.parse().unwrap(),
            priority: 0,
            run_at: crate::clock::Timestamp(0),
            policy: None,
            extra: None,
            payload: Payload(vec![7; bytes].into()),
        };
        let batch = Batch { jobs: vec![job; count], origin: Origin::Anonymous };
        let submit = |reply| Command::Submit(batch, reply);
        let accepted = self.handle().call(count * (bytes + 100), submit).await.unwrap();
        let ids = |range: &crate::job::dedupe::Range| {
            let first = range.first;
            (0..range.jobs).map(move |step| first.plus(step))
        };
        accepted.ranges.iter().flat_map(ids).collect()
    }

    /// Fails the attempts of a queue, one after another, with these failures.
    pub(in crate::grpc) async fn fail(&self, queue: &str, failures: Vec<Failure>) {
        let (attach, mut output) = attaching(&format!("failing worker of {queue}"), &[queue], 1);
        let welcome = self.handle().call(0, |reply| Command::Attach(attach, reply)).await.unwrap();
        for failure in failures {
            let grant = loop {
                if let Some(grant) = output.recv().await.unwrap().grants.pop() {
                    break grant;
                }
            };
            let holder = Holder { id: grant.id, token: grant.token, hint: Some(grant.slot) };
            let finish = Finish::Fail { failure, retryable: Retryable::Yes };
            let finishes = vec![FinishRequest { holder, finish }];
            let message = WorkerMessage { finishes, free: 1, ..WorkerMessage::default() };
            self.handle().send(0, Command::Work(welcome.session, message)).await.unwrap();
        }
        while output.recv().await.unwrap().acks.is_empty() {}
        self.handle().send(0, Command::Detach(welcome.session, Bye::Said)).await.unwrap();
    }

    /// A worker of a queue that has just attached, with room for 64 jobs.
    pub(in crate::grpc) async fn worker(&self, queue: &str) -> (Welcome, Hearing) {
        let (attach, output) = attaching(&format!("worker of {queue}"), &[queue], 64);
        let attach = Attach { description: "of the test".into(), ..attach };
        (self.handle().call(0, |reply| Command::Attach(attach, reply)).await.unwrap(), output)
    }

    /// Runs `count` jobs of a queue to their end, with results of `bytes`.
    pub(in crate::grpc) async fn work(&self, queue: &str, count: usize, bytes: usize) {
        let (welcome, mut output) = self.worker(queue).await;
        let (mut taken, mut finished) = (0, 0);
        while finished < count {
            let output = output.recv().await.unwrap();
            finished += output.acks.len();
            taken += output.grants.len();
            let finish = Finish::Complete {
                result: Payload(vec![9; bytes].into()),
                content_type: "".into(),
                usage: None,
            };
            let finishes: Vec<_> = output
                .grants
                .iter()
                .map(|grant| FinishRequest {
                    holder: Holder { id: grant.id, token: grant.token, hint: Some(grant.slot) },
                    finish: finish.clone(),
                })
                .collect();
            let free = u32::try_from(finishes.len()).unwrap();
            let message = WorkerMessage { finishes, free, ..WorkerMessage::default() };
            self.handle().send(0, Command::Work(welcome.session, message)).await.unwrap();
        }
        assert_eq!(taken, count);
    }
}
