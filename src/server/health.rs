//! What health checks are told.
//!
//! | asked for | NOT_SERVING when |
//! |---|---|
//! | "" (the whole server) and every service by its name | the server stops, or the log failed [ACK-2] |
//! | `gangline.submits` | submits are refused: as above, or the disk is full, or the server is read-only |
//!
//! A full disk leaves everything else SERVING: reads, finishes, cancels and cursors go on, and a balancer that took
//! the server out would take those away too.

use crate::engine::view::Health;
use crate::engine::view::View;
use crate::shutdown::Shutdown;
use std::sync::Arc;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The name under which health checks ask whether submits are accepted.
pub const SUBMITS: &str = "gangline.submits";

/// The names that follow the whole server: every service of the API.
const SERVICES: [&str; 7] = [
    "",
    "gangline.v1.JobService",
    "gangline.v1.UpdateService",
    "gangline.v1.WorkerService",
    "gangline.v1.QueueService",
    "gangline.v1.AdminService",
    "com.groundsfam.dosomething.v1.DoSomethingService",
];

/// Tells health checks what `health` means for them.
pub(crate) async fn tell(reporter: &HealthReporter, health: Health) {
    let (server, submits) = match health {
        Health::Serving => (ServingStatus::Serving, ServingStatus::Serving),
        Health::DiskFull | Health::ReadOnly => (ServingStatus::Serving, ServingStatus::NotServing),
        Health::Draining | Health::Poisoned => (ServingStatus::NotServing, ServingStatus::NotServing),
    };
    for service in SERVICES {
        reporter.set_service_status(service, server).await;
    }
    reporter.set_service_status(SUBMITS, submits).await;
}

/// Ends the streams of those who watch, after they were told: they would hold the stop up for ever.
pub(crate) async fn end(mut reporter: HealthReporter) {
    for service in SERVICES.into_iter().chain([SUBMITS]) {
        reporter.clear_service_status(service).await;
    }
}

/// Keeps telling until the shutdown begins: by then it has said NOT_SERVING, and that stays.
pub(crate) fn follow(reporter: HealthReporter, view: &Arc<View>, shutdown: &Shutdown) {
    let mut health = view.follow_health();
    let token = shutdown.token().clone();
    shutdown.spawn(async move {
        let follow = async {
            loop {
                let newest = *health.borrow_and_update();
                if newest == Health::DiskFull {
                    tracing::warn!("the disk is full, or space for the log cannot be prepared: submits are refused until it is there");
                }
                tell(&reporter, newest).await;
                if health.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = token.cancelled() => {}
        }
    });
}
