//! What a filter asks of a stored event, read without building the event: payloads, results and texts are passed over where
//! they lie. For the three kinds that nearly all of a log consists of; any other is decoded whole.

use crate::codec;
use crate::codec::Run;
use crate::job::event::Event;
use crate::job::event::stored::STARTED;
use crate::job::event::stored::SUBMITTED;
use crate::job::event::stored::SUCCEEDED;
use crate::job::event::stored::take_head;
use crate::job::event::stored::take_usage;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::spec::Extra;
use crate::job::spec::Policy;

/// An event, or as much of it as a filter asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Glimpse {
    /// [`Event::Submitted`].
    Submitted(JobId, QueueNo),
    /// [`Event::Started`].
    Started(JobId, QueueNo),
    /// [`Event::Succeeded`].
    Succeeded(JobId, QueueNo),
    /// Any other, whole.
    Other(Event),
}

impl Glimpse {
    /// The next event of `run`.
    ///
    /// # Errors
    /// As for decoding it.
    pub fn take(run: &mut Run<'_>) -> Result<Glimpse, codec::Error> {
        Ok(match run.variant() {
            Some(SUBMITTED) => {
                let (id, queue) = take_head(run)?;
                let (_priority, _due) = (run.byte()?, run.integer::<u64>()?);
                run.option(Run::take::<Policy>)?;
                run.option(Run::take::<Extra>)?;
                let _payload = run.bytes()?;
                Glimpse::Submitted(id, queue)
            }
            Some(STARTED) => {
                let (id, queue) = take_head(run)?;
                let (_attempt, _worker) = (run.integer::<u32>()?, run.text()?);
                Glimpse::Started(id, queue)
            }
            Some(SUCCEEDED) => {
                let (id, queue) = take_head(run)?;
                let (_attempt, _result, _content_type) = (run.integer::<u32>()?, run.bytes()?, run.text()?);
                let _usage = take_usage(run)?;
                Glimpse::Succeeded(id, queue)
            }
            Some(_) | None => Glimpse::Other(run.take()?),
        })
    }

    /// The job and queue that it is about, if it is an update.
    #[must_use]
    pub fn job(&self) -> Option<(JobId, QueueNo)> {
        match self {
            Glimpse::Submitted(id, queue) | Glimpse::Started(id, queue) | Glimpse::Succeeded(id, queue) => {
                Some((*id, *queue))
            }
            Glimpse::Other(event) => event.job(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::codec;
    use crate::job::event::Event;
    use crate::job::event::glimpse::Glimpse;
    use crate::job::event::specimens;

    #[test]
    fn a_glimpse_of_any_event_ends_where_the_event_ends_and_tells_its_kind_job_and_queue() {
        let mut bytes = Vec::new();
        codec::begin(&mut bytes);
        let events = specimens::specimens();
        events.iter().for_each(|event| codec::put(event, &mut bytes));
        let mut run = codec::Run::open(&bytes).unwrap();
        let mut short = 0;
        for event in &events {
            let glimpse = Glimpse::take(&mut run).unwrap();
            assert_eq!(glimpse.job(), event.job(), "{event:?}");
            short += 1;
            match (&glimpse, event) {
                (Glimpse::Submitted(..), Event::Submitted(_))
                | (Glimpse::Started(..), Event::Started { .. })
                | (Glimpse::Succeeded(..), Event::Succeeded { .. }) => {}
                (Glimpse::Other(whole), event) => {
                    assert_eq!(whole, event);
                    short -= 1;
                }
                (glimpse, event) => panic!("{glimpse:?} of {event:?}"),
            }
        }
        assert!(run.is_empty());
        assert!(short >= 3, "the common kinds are among the specimens");
    }

    #[test]
    fn a_glimpse_of_bytes_that_are_no_event_is_an_error() {
        for bytes in [&[codec::VERSION, 0, 1, 2][..], &[codec::VERSION, 5], &[codec::VERSION, 200]] {
            assert!(Glimpse::take(&mut codec::Run::open(bytes).unwrap()).is_err(), "{bytes:?}");
        }
    }
}
