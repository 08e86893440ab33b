//! HTTP/2 by hand: a peer that does what no client library would.

use crate::grpc::listener::connection::PREFACE;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

/// A hang is a failure: nothing here takes longer.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
pub(crate) const REFUSED_STREAM: u32 = 7;

pub(crate) struct Received {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The big-endian number at `at`.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.body[at..at + 4].try_into().unwrap())
    }

    /// The (identifier, value) pairs of a SETTINGS frame.
    pub(crate) fn settings(&self) -> Vec<(u16, u32)> {
        let pair = |six: &[u8]| {
            (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes(six[2..6].try_into().unwrap()))
        };
        self.body.chunks_exact(6).map(pair).collect()
    }
}

pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn connect(to: SocketAddr) -> Wire {
        Wire::connect_from("127.0.0.1", to).await
    }

    /// Connects from another loopback address, which is another peer.
    pub(crate) async fn connect_from(from: &str, to: SocketAddr) -> Wire {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        Wire(socket.connect(to).await.unwrap())
    }

    /// Connects and sends the preface and empty SETTINGS.
    pub(crate) async fn open(to: SocketAddr) -> Wire {
        let mut wire = Wire::connect(to).await;
        wire.hello().await;
        wire
    }

    pub(crate) async fn hello(&mut self) {
        self.send(PREFACE).await;
        self.frame(SETTINGS, 0, 0, &[]).await;
    }

    /// Says hello; false if the server closes the connection instead of answering.
    pub(crate) async fn try_hello(&mut self) -> bool {
        let sent = self.0.write_all(PREFACE).await.is_ok() && self.try_frame(SETTINGS, 0, 0, &[]).await;
        sent && self.read().await.is_some()
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn frame(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) {
        let sent = self.try_frame(kind, flags, stream, body).await;
        assert!(sent, "the server closed the connection");
    }

    /// Sends a frame; false if the server has closed the connection.
    pub(crate) async fn try_frame(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) -> bool {
        self.0.write_all(&frame(kind, flags, stream, body)).await.is_ok()
    }

    /// Begins a gRPC call whose request never ends: HEADERS with END_HEADERS, fields as literals without Huffman code.
    pub(crate) async fn call(&mut self, stream: u32, path: &str) {
        self.frame(HEADERS, 4, stream, &call(path)).await;
    }

    /// The next frame, or `None` when the server has closed the connection.
    pub(crate) async fn read(&mut self) -> Option<Received> {
        tokio::time::timeout(DEADLINE, self.read_frame())
            .await
            .expect("the server neither answered nor closed")
    }

    async fn read_frame(&mut self) -> Option<Received> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut body = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Received { kind: head[3], stream: u32::from_be_bytes(head[5..9].try_into().unwrap()), body })
    }

    /// Reads until a frame is of this kind and is about this stream.
    pub(crate) async fn read_until(&mut self, kind: u8, stream: u32) -> Received {
        loop {
            let received = self.read().await.expect("the server closed the connection");
            if received.kind == kind && received.stream == stream {
                return received;
            }
        }
    }

    /// Waits until the server closes the connection, whatever it sends before.
    pub(crate) async fn closed(&mut self) {
        while self.read().await.is_some() {}
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// The header block of a gRPC call.
pub(crate) fn call(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}
