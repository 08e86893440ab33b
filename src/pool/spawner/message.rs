//! What the server and its spawner say to each other: one message a datagram of a sequenced-packet socket.
//! Both ends are the same binary, so the format needs no compatibility.

use crate::codec;
use crate::pool::limits::Limits;
use crate::pool::limits::Over;
use rustix::cmsg_space;
use rustix::fd::AsFd;
use rustix::fd::BorrowedFd;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::ReturnFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::recvmsg;
use rustix::net::sendmsg;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;

/// The longest message. A command with its environment must fit in it.
pub(crate) const BYTES_MAX: usize = 128 << 10;

/// Standard input, output and error of a process to spawn.
pub(crate) const PIPES: usize = 3;

/// What the server asks of the spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start a process in a group of its own; its three pipes come with the message.
    Spawn { ticket: u64, order: Box<Order>, turn: Turn },
    /// Forget a process that is next and was not started.
    Recall { ticket: u64 },
    /// Send a signal to the whole group, if it is still there.
    Signal { ticket: u64, signal: GroupSignal },
}

/// A process to start. Nothing is inherited but what stands here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Absolute path: a search in PATH would cost a fork instead of a `posix_spawn`.
    pub(crate) program: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) directory: Option<Vec<u8>>,
    pub(crate) limits: Limits,
}

/// When a process is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Turn {
    /// Now; one that still runs is killed.
    Now,
    /// When the one that runs has ended.
    Next,
}

/// The two signals of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GroupSignal {
    /// SIGTERM: please end.
    Term,
    /// SIGKILL: end.
    Kill,
}

/// What the spawner tells the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// The spawner is there, as this process.
    Hello { pid: u32 },
    /// There is no spawner: the warden could not start it.
    Broken { error: String },
    /// A process was started, or could not be.
    Started(Start),
    /// It was not started, and will not be, because the server took it back.
    Recalled { ticket: u64 },
    /// The process has ended and has been reaped, and all that it left has been killed. Then the next one was started: one
    /// message for both, because each wakes the server.
    Exited { ticket: u64, exit: Exit, next: Option<Start> },
}

/// How the start of a process went.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) ticket: u64,
    /// Its process id, or why there is none.
    pub(crate) pid: Result<u32, String>,
}

/// How a process ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) cpu_ms: u64,
    pub(crate) rss_kib: u64,
    /// The limit that it was killed for.
    pub(crate) over: Option<Over>,
}

/// Sends one message. With [`SendFlags::DONTWAIT`] a full socket is [`Errno::AGAIN`].
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    pipes: &[OwnedFd],
    flags: SendFlags,
) -> Result<(), Errno> {
    let bytes = codec::encode(message);
    let borrowed: Vec<BorrowedFd<'_>> = pipes.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(PIPES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(Errno::MSGSIZE);
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags | SendFlags::NOSIGNAL).map(|_sent| ())
}

/// One received datagram.
pub(crate) enum Received<T> {
    /// A message with its pipes.
    Message(T, Vec<OwnedFd>),
    /// The other end is gone.
    End,
}

/// Receives one message into `buffer`, which holds [`BYTES_MAX`] bytes. An empty socket is [`Errno::AGAIN`].
pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<Received<T>, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(PIPES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut pipes = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            pipes.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(Received::End);
    }
    let cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    match codec::decode(&buffer[..received.bytes]) {
        Ok(message) if !cut => Ok(Received::Message(message, pipes)),
        Ok(_) | Err(_) => Err(Errno::BADMSG),
    }
}
