//! A way to the server on which connections live and single streams do not: what it lets fall is lost without a word.

use gangline::shutdown::Shutdown;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;

/// What every HTTP/2 client sends first, and the head of every frame after it.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;

#[derive(Default)]
struct State {
    /// The newest stream.
    newest: AtomicU32,
    /// What is sent on this stream and the ones before it is lost.
    lost: AtomicU32,
    lost_frames: AtomicUsize,
}

/// Every call through it goes over one connection, as long as the client makes only one.
pub(super) struct Sieve {
    address: SocketAddr,
    state: Arc<State>,
}

impl Sieve {
    /// A way to the server. It lives as long as the runtime of the test.
    pub(super) async fn to(server: SocketAddr) -> Sieve {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let tasks = Shutdown::new();
        tasks.clone().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(server).await.expect("the server listens");
                let ((from_near, to_near), (mut from_far, to_far)) = (near.into_split(), far.into_split());
                tasks.spawn(sift(from_near, to_far, Arc::clone(&shared)));
                tasks.spawn(async move {
                    let mut to_near = to_near;
                    drop(tokio::io::copy(&mut from_far, &mut to_near).await);
                });
            }
        });
        Sieve { address, state }
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on nothing that is sent on the streams there are arrives; new ones are whole.
    pub(super) fn lose(&self) {
        self.state.lost.store(self.state.newest.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub(super) fn lost_frames(&self) -> usize {
        self.state.lost_frames.load(Ordering::SeqCst)
    }
}

/// Carries frames to the server, but for those that are lost.
async fn sift(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>) -> Option<()> {
    let mut preface = [0; PREFACE_BYTES];
    from.read_exact(&mut preface).await.ok()?;
    to.write_all(&preface).await.ok()?;
    loop {
        let mut frame = vec![0; HEAD_BYTES];
        from.read_exact(&mut frame).await.ok()?;
        let body = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
        let (kind, stream) =
            (frame[3], u32::from_be_bytes(frame[5..HEAD_BYTES].try_into().expect("four bytes")));
        frame.resize(HEAD_BYTES + body, 0);
        from.read_exact(&mut frame[HEAD_BYTES..]).await.ok()?;
        state.newest.fetch_max(stream, Ordering::SeqCst);
        if kind == DATA && stream <= state.lost.load(Ordering::SeqCst) {
            state.lost_frames.fetch_add(1, Ordering::SeqCst);
        } else {
            to.write_all(&frame).await.ok()?;
        }
    }
}
