//! A server that runs without a work tree: what it tells meanwhile, and that everything is there once it has one.

use crate::harness::Server;
use crate::harness::stdout;
use crate::harness::until;
use crate::verbs::ask;
use crate::verbs::complete;
use crate::verbs::finish;
use crate::verbs::submit;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use tonic::Code;
use tonic::Status;

async fn get(server: &Server, id: &str, wait_ms: u32) -> Result<v1::Job, Status> {
    let wait = prost_types::Duration {
        seconds: 0,
        nanos: i32::try_from(wait_ms * 1_000_000).expect("below a second"),
    };
    let request = v1::GetJobRequest {
        job_id: id.to_owned(),
        wait: (wait_ms > 0).then_some(wait),
        include_payload: true,
        ..v1::GetJobRequest::default()
    };
    let answer = JobServiceClient::new(server.channel().await).get_job(request).await?;
    Ok(answer.into_inner().job.expect("a job was asked for"))
}

/// Jobs that live are needed at once after a restart; of those that have finished nothing wrong is said. [LOG-3]
#[tokio::test]
async fn jobs_that_live_are_told_while_no_work_tree_can_be_had() {
    let mut server = Server::start(&[]);
    let finished = submit(&server, &["done", "--queue", "worked"]);
    finish(&server, "worked", complete("result")).await;
    let live = submit(&server, &["waits", "--queue", "idle"]);
    server.kill();
    // Where the tree should be there is a file, so that none can be made.
    let work = server.place().data().join("work");
    std::fs::remove_dir_all(&work).expect("it can be deleted at any time");
    std::fs::write(&work, "in the way").expect("the directory is ours");
    let server = server.again();

    for wait_ms in [0, 10] {
        let job = get(&server, &live, wait_ms).await.expect("the writer knows it");
        assert_eq!((job.state(), job.queue.as_str()), (v1::JobState::Waiting, "idle"));
        assert_eq!(job.spec.expect("the log has it").payload, "waits");
        let refused = get(&server, &finished, wait_ms).await.expect_err("nobody can tell");
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
    std::fs::remove_file(&work).expect("it is ours");
    until("the tree is built", || {
        let listed = ask(&server, &["ls", "--queue", "worked", "--ids"]);
        (stdout(&listed).trim_end() == finished).then_some(())
    });
    assert_eq!(get(&server, &finished, 0).await.expect("it is there").state(), v1::JobState::Succeeded);
}
