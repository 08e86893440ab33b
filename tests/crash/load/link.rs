//! A client's way to the server: wherever it listens now, and again after it has been away.

use crate::history::Saw;
use crate::history::recorder::Doubtful;
use crate::history::recorder::Recorder;
use crate::server::Address;
use gangline::grpc::status::Effect;
use gangline::grpc::status::Reason;
use gangline::grpc::status::reason_of;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::Status;
use tonic::transport::Channel;

/// Pause before a server that does not answer, or refuses, is asked again.
const PAUSE: Duration = Duration::from_millis(5);
/// A server that does not begin to answer is given up after this time.
const CALL_MAX: Duration = Duration::from_secs(20);

/// What a failed call means for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing happened. The same call may be made again.
    Refused,
    /// It may have happened: repeat it with the same key, ordinal or token.
    Unknown,
}

/// A connection that is made anew when it broke.
#[derive(Clone)]
pub(crate) struct Link {
    address: Address,
    stop: CancellationToken,
    recorder: Recorder,
    /// As of the newest connection.
    cuts: u64,
}

impl Link {
    pub(crate) fn new(address: Address, stop: CancellationToken, recorder: Recorder) -> Link {
        Link { address, stop, recorder, cuts: 0 }
    }

    /// Whether the client is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Records what came over the newest connection, if it counts.
    pub(crate) fn receive(&self, seen: &[Saw]) -> Result<(), Doubtful> {
        self.recorder.receive(self.cuts, seen)
    }

    /// Records why a call failed; says what that means.
    pub(crate) fn failed(&self, call: &'static str, status: &Status) -> Failure {
        assert!(status.code() != Code::InvalidArgument, "the client itself is wrong: {status:?}");
        let reason = reason_of(status);
        if let Some(reason) = reason {
            self.recorder.note(&Saw::Failed(call.to_owned(), reason.text().to_owned()));
        }
        match reason.map(Reason::effect) {
            Some(Effect::Nothing) => Failure::Refused,
            Some(Effect::Unknown) | None => Failure::Unknown,
        }
    }

    /// A new connection to wherever the server is now; `None`: the client is to end.
    pub(crate) async fn connect(&mut self) -> Option<Channel> {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            channel = self.reach() => Some(channel),
        }
    }

    /// The same, whether the client is to end or not: what it has begun it still settles.
    pub(crate) async fn reach(&mut self) -> Channel {
        loop {
            let address =
                *self.address.wait_for(Option::is_some).await.expect("the server outlives its clients");
            let address = address.expect("it was waited for");
            self.cuts = self.recorder.cuts();
            let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address is a URI");
            if let Ok(channel) = endpoint.timeout(CALL_MAX).connect().await {
                return channel;
            }
            pause().await;
        }
    }
}

/// Lets others run before something is tried again.
pub(crate) async fn pause() {
    tokio::time::sleep(PAUSE).await;
}
