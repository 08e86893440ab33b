//! What the life of a job refuses, in the words of the API.

use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::job::decide::Refused;
use std::time::Duration;

/// When a full queue is worth another try: jobs leave it all the time.
const FULL_QUEUE_DELAY: Duration = Duration::from_secs(1);
/// When a full table is worth another try: it empties as jobs end or their window does.
const FULL_TABLE_DELAY: Duration = Duration::from_secs(10);

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        let refusal = Refusal::new(reason(&refused), &refused);
        match refused {
            Refused::QueueFull { waiting, max_pending, .. } => refusal
                .retry_after(FULL_QUEUE_DELAY)
                .fact("waiting", waiting)
                .fact("max_pending", max_pending),
            Refused::ServiceFull { .. } | Refused::DedupeFull { .. } => refusal.retry_after(FULL_TABLE_DELAY),
            Refused::KeyReused { first } => refusal.fact("first_job_id", first),
            Refused::OrdinalGap { expected, .. } => refusal.fact("expected_ordinal", expected),
            Refused::CursorAhead { newest, .. } => refusal.fact("head_sequence", newest),
            Refused::NotLive(_)
            | Refused::NotRunning(_)
            | Refused::StaleLease { .. }
            | Refused::Ended(_)
            | Refused::NotDead(_)
            | Refused::NotEnded(_)
            | Refused::QueuesFull { .. }
            | Refused::NoQueue(_)
            | Refused::CursorsFull(_)
            | Refused::NoCursor(_) => refusal,
        }
    }
}

fn reason(refused: &Refused) -> Reason {
    match refused {
        Refused::NotLive(_) => Reason::JobNotFound,
        Refused::NotRunning(_) => Reason::NotRunning,
        Refused::StaleLease { .. } => Reason::StaleLease,
        Refused::Ended(_) | Refused::NotDead(_) | Refused::NotEnded(_) => Reason::WrongState,
        Refused::QueueFull { .. } => Reason::QueueFull,
        Refused::ServiceFull { .. } => Reason::ServiceFull,
        Refused::QueuesFull { .. } => Reason::QueuesFull,
        Refused::DedupeFull { .. } => Reason::DedupeFull,
        Refused::KeyReused { .. } => Reason::KeyReused,
        Refused::OrdinalGap { .. } => Reason::OrdinalGap,
        Refused::NoQueue(_) => Reason::QueueNotFound,
        Refused::CursorsFull(_) => Reason::CursorsFull,
        Refused::NoCursor(_) => Reason::CursorNotFound,
        Refused::CursorAhead { .. } => Reason::CursorFromFuture,
    }
}
