//! A server that has run out of file descriptors goes on when there are some again. Alone in its process, because the
//! limit is the process's.

use gangline::clock::Clock;
use gangline::grpc::limits::Limits;
use gangline::grpc::listener::Exposure;
use gangline::grpc::listener::Listener;
use gangline::shutdown::Shutdown;
use rustix::process::Resource;
use rustix::process::Rlimit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_stream::StreamExt;

#[tokio::test]
async fn accepting_goes_on_after_the_descriptors_had_run_out() {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(address, Exposure::LoopbackOnly).await.unwrap();
    let address = listener.address();
    let shutdown = Shutdown::new();
    let mut incoming = listener.incoming(&Limits::default(), Clock::system(), &shutdown);

    let before = rustix::process::getrlimit(Resource::Nofile);
    let lowest_free = std::fs::File::open("/dev/null").unwrap().as_raw_fd();
    // Room for the client's end of the connection, none for the server's.
    let tight = Rlimit { current: Some(u64::try_from(lowest_free).unwrap() + 1), ..before };
    rustix::process::setrlimit(Resource::Nofile, tight).unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), incoming.next()).await;
    assert!(early.is_err(), "the limit must keep the server from accepting");

    rustix::process::setrlimit(Resource::Nofile, before).unwrap();
    let accepted = tokio::time::timeout(Duration::from_secs(10), incoming.next()).await;
    assert!(accepted.expect("accepting goes on").is_some());
}
