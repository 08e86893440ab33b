//! A wire between a pool and its server that a test can hold still in either direction, and cut.

use gangline::shutdown::Shutdown;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

/// How the wire is.
#[derive(Clone, Copy, Default)]
struct State {
    /// Of the connection with this number, and of those before it.
    cut: usize,
    requests_held: bool,
    answers_held: bool,
}

pub(super) struct Wire {
    address: SocketAddr,
    state: watch::Sender<State>,
    connections: Arc<AtomicUsize>,
    held_bytes: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Way {
    Requests,
    Answers,
}

impl Wire {
    /// A wire to the server. It lives as long as the runtime of the test.
    pub(super) async fn to(server: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let (state, seen) = watch::channel(State::default());
        let connections = Arc::new(AtomicUsize::new(0));
        let held_bytes = Arc::new(AtomicUsize::new(0));
        let wire = Wire {
            address,
            state,
            connections: Arc::clone(&connections),
            held_bytes: Arc::clone(&held_bytes),
        };
        let tasks = Shutdown::new();
        tasks.clone().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                // A server that is away refuses; so does the wire.
                let Ok(far) = TcpStream::connect(server).await else { continue };
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                let bytes = Arc::clone(&held_bytes);
                tasks.spawn(carry(
                    from_near,
                    to_far,
                    Way::Requests,
                    number,
                    seen.clone(),
                    Arc::clone(&bytes),
                ));
                tasks.spawn(carry(from_far, to_near, Way::Answers, number, seen.clone(), bytes));
            }
        });
        wire
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on what the pool says does not arrive.
    pub(super) fn hold_requests(&self) {
        self.state.send_modify(|state| state.requests_held = true);
    }

    /// From now on what the server says does not arrive.
    pub(super) fn hold_answers(&self) {
        self.state.send_modify(|state| state.answers_held = true);
    }

    /// How much has been said in vain.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::SeqCst)
    }

    /// Cuts every connection; new ones are whole.
    pub(super) fn cut(&self) {
        let cut = self.connections.load(Ordering::SeqCst);
        self.state.send_replace(State { cut, ..State::default() });
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    number: usize,
    mut state: watch::Receiver<State>,
    held_bytes: Arc<AtomicUsize>,
) {
    let mut buffer = vec![0; 64 << 10];
    let mut cut = state.clone();
    loop {
        let count = tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(count @ 1..) => count,
                Ok(0) | Err(_) => return,
            },
            _ = cut.wait_for(|state| state.cut >= number) => return,
        };
        let held = |state: &State| match way {
            Way::Requests => state.requests_held,
            Way::Answers => state.answers_held,
        };
        if held(&state.borrow()) {
            held_bytes.fetch_add(count, Ordering::SeqCst);
        }
        // What is held when the wire is cut is lost.
        let Ok(state) = state.wait_for(|state| state.cut >= number || !held(state)).await.map(|state| *state)
        else {
            return;
        };
        if state.cut >= number || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
