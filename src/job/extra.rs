//! What few jobs have, kept beside the table: a job without any of it takes no space for it. [MEM-1]

use crate::clock::Timestamp;
use crate::job::chunks::Chunks;
use crate::job::dedupe::KeySlot;
use crate::job::id::Pointer;
use crate::job::intern::Ref;
use crate::job::spec::Policy;

/// What a job has only if it was submitted with a policy or under a key, or has something rare.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::job) struct Extra {
    /// Its policy, without the expiry; `None` is the default.
    pub(in crate::job) policy: Option<Ref<Policy>>,
    /// The key it was submitted under, while it has not ended.
    pub(in crate::job) key: Option<KeySlot>,
    rare: Option<Box<Rare>>,
}

/// What a job has only if it expires, has failed, or was given a new life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// It expires if it has not started by then; 0 is never.
    pub expires: Timestamp,
    /// Where the events of its failed attempts are.
    pub failures: Vec<Pointer>,
    /// Attempts of this generation that failed. [RETRY-1]
    pub failed: u16,
    /// Attempts of this generation that crashed. [RETRY-1]
    pub crashed: u16,
    /// Attempts of this generation that timed out, where time-outs have a budget of their own. [RETRY-1]
    pub timed_out: u16,
    /// Attempts of this generation that were lost. [RETRY-1]
    pub lost: u16,
    /// How often an operator gave it a new life.
    pub generation: u16,
}

static NOTHING_RARE: Rare = Rare {
    expires: Timestamp(0),
    failures: Vec::new(),
    failed: 0,
    crashed: 0,
    timed_out: 0,
    lost: 0,
    generation: 0,
};

static NOTHING: Extra = Extra { policy: None, key: None, rare: None };

impl Extra {
    /// What is rare of it.
    pub(in crate::job) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING_RARE)
    }

    /// Changes what is rare of it; nothing rare takes no memory.
    pub(in crate::job) fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().map_or_else(Rare::default, |rare| *rare);
        change(&mut rare);
        self.rare = (rare != NOTHING_RARE).then(|| Box::new(rare));
    }
}

/// The extras of all live jobs that have any.
#[derive(Debug, Default)]
pub(in crate::job) struct Extras {
    places: Chunks<Extra>,
}

impl Extras {
    /// What the job with this reference has.
    pub(in crate::job) fn get(&self, held: Option<Ref<Extra>>) -> &Extra {
        held.map_or(&NOTHING, |held| &self.places[held.place()])
    }

    /// Changes what the job with this reference has; gives the reference it has from now on.
    pub(in crate::job) fn change(
        &mut self,
        held: Option<Ref<Extra>>,
        change: impl FnOnce(&mut Extra),
    ) -> Option<Ref<Extra>> {
        let mut extra = self.take(held);
        change(&mut extra);
        (extra != NOTHING).then(|| Ref::at(self.places.insert(extra)))
    }

    /// Takes out what the job with this reference has.
    pub(in crate::job) fn take(&mut self, held: Option<Ref<Extra>>) -> Extra {
        held.map_or_else(Extra::default, |held| self.places.replace(held.place(), Extra::default()))
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::job::extra::Extra;
    use crate::job::extra::Extras;

    #[test]
    fn a_job_that_has_a_policy_or_a_key_takes_16_bytes_for_it() {
        assert_eq!(size_of::<Extra>(), 16);
    }

    #[test]
    fn what_is_changed_is_kept_and_what_is_nothing_gives_its_place_to_the_next() {
        let mut extras = Extras::default();
        let expires = |at| move |extra: &mut Extra| extra.change_rare(|rare| rare.expires = Timestamp(at));
        let first = extras.change(None, expires(1));
        let second = extras.change(None, expires(2));
        assert_eq!(extras.change(None, |_| {}), None, "nothing takes no place");
        let first = extras.change(first, |extra| extra.change_rare(|rare| rare.failed = 3));
        assert_eq!((extras.get(first).rare().expires, extras.get(first).rare().failed), (Timestamp(1), 3));
        assert_eq!(extras.get(second).rare().expires, Timestamp(2));
        assert_eq!(extras.get(None).rare().expires, Timestamp(0));
        assert_eq!(extras.change(second, expires(0)), None, "nothing is left of it");
        let third = extras.change(None, expires(9));
        assert_eq!(third, second, "its place is used again");
        assert_eq!(extras.take(first).rare().failed, 3);
        assert_eq!(extras.places.len(), 2);
    }
}
