//! A connection that has sent the HTTP/2 preface: tonic reads the preface again, then what follows it.

use crate::grpc::listener::places::Place;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tonic::transport::server::Connected;
use tonic::transport::server::TcpConnectInfo;

/// What every HTTP/2 client sends first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One accepted connection and its place; closing it gives the place back.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What of the preface the server has not read again.
    preface: &'static [u8],
    _place: Place,
}

/// How a handshake ended.
pub(crate) enum Handshake {
    Done(Connection),
    /// The peer went away by itself, as port checks do.
    Left,
    Refused(&'static str),
}

impl Connection {
    /// Reads the preface, not a byte more, within `deadline`.
    ///
    /// The preface is a constant, so it is dropped here and read again from the constant: peeking at a part of it would
    /// have to ask again and again, because what was peeked stays readable.
    pub(crate) async fn shake(mut stream: TcpStream, place: Place, deadline: Duration) -> Handshake {
        match tokio::time::timeout(deadline, read_preface(&mut stream)).await {
            Ok(Ok(Preface::Whole)) => Handshake::Done(Connection { stream, preface: PREFACE, _place: place }),
            Ok(Ok(Preface::Other)) => Handshake::Refused("it does not speak HTTP/2"),
            Ok(Ok(Preface::Ended) | Err(_)) => Handshake::Left,
            Err(_elapsed) => Handshake::Refused("it did not begin to speak HTTP/2 in time"),
        }
    }
}

enum Preface {
    Whole,
    Other,
    Ended,
}

async fn read_preface(stream: &mut TcpStream) -> io::Result<Preface> {
    let mut wanted: &[u8] = PREFACE;
    let mut buffer = [0; PREFACE.len()];
    while !wanted.is_empty() {
        let count = stream.read(&mut buffer[..wanted.len()]).await?;
        if count == 0 {
            return Ok(Preface::Ended);
        }
        match wanted.strip_prefix(&buffer[..count]) {
            Some(rest) => wanted = rest,
            None => return Ok(Preface::Other),
        }
    }
    Ok(Preface::Whole)
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.preface.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, later) = self.preface.split_at(self.preface.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.preface = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}
