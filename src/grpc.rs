//! The gRPC edge: the listener, its limits, and the one place each that knows statuses and conversions.

pub mod admin;
pub mod convert;
pub mod deadline;
pub mod jobs;
pub mod limits;
pub mod listener;
pub mod pulled;
pub mod queues;
#[cfg(test)]
mod rig;
pub mod seed;
pub mod status;
pub mod updates;
pub mod workers;

use crate::grpc::admin::Admin;
use crate::grpc::convert::Sizes;
use crate::grpc::jobs::Jobs;
use crate::grpc::limits::Limited;
use crate::grpc::limits::Limits;
use crate::grpc::queues::Queues;
use crate::grpc::seed::Seed;
use crate::grpc::updates::Updates;
use crate::grpc::workers::Workers;
use crate::proto::DESCRIPTORS;
use crate::proto::dosomething::do_something_service_server::DoSomethingServiceServer;
use crate::proto::v1::admin_service_server::AdminServiceServer;
use crate::proto::v1::job_service_server::JobServiceServer;
use crate::proto::v1::queue_service_server::QueueServiceServer;
use crate::proto::v1::update_service_server::UpdateServiceServer;
use crate::proto::v1::worker_service_server::WorkerServiceServer;
use crate::service::Service;
use tonic::service::Routes;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;

/// Whether the reflection service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflects {
    /// It does.
    Yes,
    /// It is not there.
    No,
}

/// Every service, each under the limits of the transport.
///
/// # Panics
/// If the descriptors that were compiled in are not what they were.
pub fn routes<H: Health>(
    service: &Service,
    sizes: Sizes,
    limits: &Limits,
    health: HealthServer<H>,
    reflects: Reflects,
) -> Routes {
    let mut routes = Routes::builder();
    routes.add_service(health.limited(limits));
    routes.add_service(JobServiceServer::new(Jobs::new(service.clone(), sizes, limits)).limited(limits));
    routes.add_service(UpdateServiceServer::new(Updates::new(service.clone())).limited(limits));
    routes.add_service(QueueServiceServer::new(Queues::new(service.clone())).limited(limits));
    routes.add_service(DoSomethingServiceServer::new(Seed::new(service.clone(), sizes)).limited(limits));
    routes.add_service(AdminServiceServer::new(Admin::new(service.clone())).limited(limits));
    routes
        .add_service(WorkerServiceServer::new(Workers::new(service.clone(), sizes, limits)).limited(limits));
    match reflects {
        Reflects::Yes => {
            let descriptors = || {
                Builder::configure()
                    .register_encoded_file_descriptor_set(DESCRIPTORS)
                    .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            };
            let valid = "the compiled descriptors are valid";
            routes.add_service(descriptors().build_v1().expect(valid).limited(limits));
            routes.add_service(descriptors().build_v1alpha().expect(valid).limited(limits));
        }
        Reflects::No => {}
    }
    routes.routes()
}
