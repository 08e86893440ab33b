use crate::clock::Timestamp;
use crate::engine::index::Index;
use crate::job::apply::At;
use crate::job::apply::Change;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::spec::Payload;
use crate::job::state::State;
use crate::job::table::Slot;

const NOW: Timestamp = Timestamp(1_000);

struct Waiting {
    state: State,
    index: Index,
}

impl Waiting {
    /// One queue, no jobs.
    fn new() -> Waiting {
        let mut waiting = Waiting { state: State::default(), index: Index::default() };
        waiting.apply(&Event::QueueMade { queue: QueueNo(0), name: "q".parse().unwrap() });
        waiting
    }

    fn apply(&mut self, event: &Event) -> Change {
        let at = At { pointer: Pointer { position: Position(1), index: 0 }, time: NOW };
        self.state.apply(event, at, None).unwrap()
    }

    fn enter(&mut self, priority: i8, due: u64) -> Slot {
        let submitted = Submitted {
            id: self.state.last_id().plus(1),
            queue: QueueNo(0),
            priority,
            due: Timestamp(due),
            policy: None,
            extra: None,
            payload: Payload::default(),
        };
        let Change::Live(slot) = self.apply(&Event::Submitted(submitted)) else { panic!("it is live") };
        self.index.enter(&self.state, slot, NOW);
        slot
    }

    fn leave(&mut self, slot: Slot) {
        self.index.leave(&self.state, slot);
        let id = self.state.jobs().at(slot).id;
        self.apply(&Event::Cancelled { id, queue: QueueNo(0), attempt: 0, reason: "".into() });
    }

    /// Ids of the ready jobs in the order they would be claimed; nothing is left.
    fn drain(&mut self) -> Vec<JobId> {
        let mut ids = Vec::new();
        while let Some(slot) = self.index.first_ready(QueueNo(0)) {
            ids.push(self.state.jobs().at(slot).id);
            self.leave(slot);
        }
        assert!(self.index.ready_queues().is_empty());
        ids
    }
}

fn ids(numbers: &[u128]) -> Vec<JobId> {
    numbers.iter().map(|number| JobId::from_u128(*number)).collect()
}

#[test]
fn higher_priority_first_and_then_the_order_of_becoming_ready() {
    let mut waiting = Waiting::new();
    for (priority, due) in [(0, 0), (5, 1_500), (-3, 0), (5, 0), (0, 900), (5, 1_200)] {
        waiting.enter(priority, due);
    }
    assert_eq!(waiting.index.next_timer(), Some(Timestamp(1_200)));
    let touched = waiting.index.promote(&waiting.state, Timestamp(2_000), 10);
    assert_eq!(touched, [QueueNo(0); 2]);
    assert_eq!(waiting.index.next_timer(), None);
    assert_eq!(waiting.drain(), ids(&[4, 6, 2, 1, 5, 3]));
}

#[test]
fn jobs_may_leave_from_anywhere_in_a_lane() {
    for gone in 0..5 {
        let mut waiting = Waiting::new();
        let slots: Vec<Slot> = (0..5).map(|_| waiting.enter(0, 0)).collect();
        waiting.leave(slots[gone]);
        // The freed slot is used again, behind all others.
        assert_eq!(waiting.enter(0, 0), slots[gone]);
        let mut expected: Vec<u128> = (1..=6).collect();
        expected.remove(gone);
        assert_eq!(waiting.drain(), ids(&expected), "{gone}");
    }
}

#[test]
fn promotion_is_bounded_and_a_scheduled_job_may_leave_before_and_after_it() {
    let mut waiting = Waiting::new();
    let slots: Vec<Slot> = (0..5).map(|step| waiting.enter(0, 1_100 + step)).collect();
    waiting.leave(slots[1]);
    assert_eq!(waiting.index.promote(&waiting.state, Timestamp(1_103), 2).len(), 2);
    assert_eq!(waiting.index.promote(&waiting.state, Timestamp(1_103), 2).len(), 1);
    assert!(waiting.index.promote(&waiting.state, Timestamp(1_103), 2).is_empty());
    waiting.leave(slots[2]);
    assert_eq!(waiting.index.waiting(&waiting.state, QueueNo(0), 10), [slots[0], slots[3], slots[4]]);
    assert_eq!(waiting.drain(), ids(&[1, 4]));
    assert_eq!(waiting.index.next_timer(), Some(Timestamp(1_104)));
}

#[test]
fn a_rebuilt_index_gives_jobs_in_the_order_they_became_due() {
    let mut waiting = Waiting::new();
    for due in [0, 900, 800, 1_500] {
        waiting.enter(0, due);
    }
    waiting.index = Index::of(&waiting.state, NOW);
    assert_eq!(waiting.drain(), ids(&[1, 3, 2]));
    assert_eq!(waiting.index.next_timer(), Some(Timestamp(1_500)));
}
