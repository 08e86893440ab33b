//! The seam between a pool's claim loop and where its leases come from: this process's own service (`local.rs`) or a server
//! somewhere else (`remote.rs`).

use crate::engine::command::WorkerMessage;
use crate::job::decide::finish::Holder;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::pool::Assignment;
use std::collections::HashSet;
use std::future::Future;

/// Where leases come from and finishes go.
pub(in crate::pool) trait Source: Send {
    /// Why it ended for good.
    type Error: Send;

    /// Waits for the next thing. It may be dropped at any time, and nothing is lost.
    fn hear(&mut self) -> impl Future<Output = Result<Heard, Self::Error>> + Send;

    /// Tells what became of leases and how many more are taken. Not called between [`Heard::Away`] and the next
    /// [`News::joined`].
    fn tell(&mut self, message: WorkerMessage) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// After [`Heard::Away`]: comes back for these leases, and for no others.
    fn come_back(&mut self, held: Vec<Holder>);

    /// Takes no more leases; those that are held may still be finished. Repeated in each new session.
    fn stop_leases(&mut self);

    /// Says good-bye, which releases what is still held, and waits a moment until it was heard.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What a pool hears.
#[derive(Debug)]
pub(in crate::pool) enum Heard {
    /// News of leases.
    News(News),
    /// The session is over; a new one begins when the source was told to come back.
    Away,
}

/// What is new, in the order in which it is dealt with.
#[derive(Debug, Default)]
pub(in crate::pool) struct News {
    /// A session began: of the leases that it was told of these are still held, and no more leases are on their way.
    pub(in crate::pool) joined: Option<HashSet<LeaseToken>>,
    /// What became of finishes.
    pub(in crate::pool) acks: Vec<(LeaseToken, Answer)>,
    /// New leases.
    pub(in crate::pool) leases: Vec<(Holder, Assignment)>,
    /// New leases that cannot be worked on, and why.
    pub(in crate::pool) unusable: Vec<(Holder, &'static str)>,
    /// Leases that are void.
    pub(in crate::pool) cancels: Vec<(JobId, LeaseToken)>,
}

/// What became of a finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Answer {
    /// It is decided, or came too late.
    Settled,
    /// The disk is full: it is to be told again later. [ACK-2]
    Later,
    /// It was not valid, for this reason; the lease is still held.
    Invalid(String),
}
