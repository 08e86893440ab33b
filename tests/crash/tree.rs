//! The work tree is disposable: deleted while the server is stopped or while it runs, reads come back by themselves. [LOG-3]

use crate::kills;
use crate::load::Load;
use crate::server::Server;
use crate::tier;

/// Acknowledged submits between one deletion and the next.
const ACKS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_work_tree_comes_back_by_itself() {
    let seed = tier::seed("tree");
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::within(place.path(), &kills::FLAGS);
    let mut load = Load::start("tree", &server.address(), seed);
    server.start().await;
    for round in 0..3 {
        load.more(ACKS).await;
        delete(&server);
        load.more(ACKS).await;
        if round < 2 {
            server.kill();
            if round == 0 {
                delete(&server);
            }
            server.start().await;
        }
    }
    load.assert_kept("the work tree deleted 3 times under a running server, once while it was stopped").await;
}

fn delete(server: &Server) {
    let work = server.data().join("work");
    // The server may make a file while it is deleted.
    while work.exists() {
        std::fs::remove_dir_all(&work).ok();
    }
}
