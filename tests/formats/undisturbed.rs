//! What a migration that nothing disturbs leads to, and what one that was cut off at some moment of it has to leave behind: the
//! old directory or the new one, from which the next migration comes to the same end.

use crate::contents;
use crate::contents::Contents;
use crate::steps;
use crate::steps::STEPS;
use gangline::job::id::Position;
use gangline::log;
use gangline::log::Log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::log::directory::migrate;
use gangline::log::directory::migrate::Left;
use gangline::log::directory::migrate::Moment;
use gangline::offline::DataDirectory;
use gangline::offline::Verified;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

/// One migration that was let alone.
pub(crate) struct Undisturbed {
    from: u32,
    to: u32,
    before: Contents,
    after: Contents,
    pub(crate) moments: Vec<Moment>,
    /// The first moment at which the new files count.
    pub(crate) switched: usize,
}

impl Undisturbed {
    /// Migrates a directory in `scratch`, which is gone afterwards.
    pub(crate) fn of(from: u32, to: u32, scratch: &Path) -> Undisturbed {
        let whole = scratch.join("whole");
        steps::directory(from, &whole);
        let before = Contents::of(&whole, from);
        let mut moments = Vec::new();
        let mut see = |moment: &Moment| moments.push(moment.clone());
        assert_eq!(migrate::migrate(&whole, &STEPS, Some(to), &mut see).expect("nothing is wrong"), to);
        let after = Contents::of(&whole, to);
        assert_eq!(after, before);
        assert!(moments.len() > 20, "{moments:?}");
        let switched = moments.iter().position(|moment| *moment == Moment::Switched).expect("it switched");
        std::fs::remove_dir_all(whole).expect("it is ours");
        Undisturbed { from, to, before, after, moments, switched }
    }

    /// Judges a directory whose migration was cut off at this moment, and migrates it again.
    pub(crate) fn judge(
        &self,
        number: usize,
        data: &Path,
        untouched: &BTreeMap<PathBuf, Vec<u8>>,
        scratch: &Path,
    ) {
        let Undisturbed { from, to, before, after, moments, switched } = self;
        let moment = &moments[number];
        let plan = migrate::plan(data, &STEPS, Some(*to)).expect("it can always be looked at");
        if number < *switched {
            assert_eq!(format_of(data), format!("format {from}"), "{moment:?}");
            for (file, bytes) in untouched {
                assert!(std::fs::read(file).is_ok_and(|found| found == *bytes), "{moment:?}: {file:?}");
            }
            check_old(data, *from, before, scratch);
            assert_eq!((plan.steps.len(), plan.left == Left::Moving), (1, false), "{moment:?}");
        } else {
            assert_eq!(format_of(data), format!("format {to}"), "{moment:?}");
            check_new(data, *to, before, scratch);
            let last = number + 1 == moments.len();
            assert_eq!((plan.steps.len(), plan.left == Left::Nothing), (0, last), "{moment:?}");
        }
        let format = migrate::migrate(data, &STEPS, Some(*to), &mut |_| {}).expect("it goes on");
        assert_eq!((format, &Contents::of(data, *to)), (*to, after), "{moment:?}");
        assert!(!data.join("migrating").exists(), "{moment:?}");
        assert_eq!(std::fs::read_to_string(data.join("format")).expect("it is there").lines().count(), 3);
    }
}

fn format_of(data: &Path) -> String {
    let text = std::fs::read_to_string(data.join("format")).expect("there always is a format file");
    text.lines().nth(1).expect("two lines").to_owned()
}

/// The old release opens the directory: of a format 1 that is this one.
fn check_old(data: &Path, from: u32, before: &Contents, scratch: &Path) {
    assert_eq!(&Contents::of(data, from), before);
    let copy = scratch.join("old");
    contents::copy(data, &copy);
    let opened = Directory::open(&copy, options());
    match (from, opened) {
        (1, Ok(opened)) => {
            assert_eq!(opened.log.head().position, Position(before.frames.len() as u64 + 33));
            assert!(!copy.join("migrating").exists(), "what is left over takes up space");
        }
        (0, Err(log::Error::OlderFormat { found: 0, known: 1, .. })) => {}
        (_, other) => panic!("{other:?}"),
    }
    std::fs::remove_dir_all(copy).expect("it is ours");
}

/// The new release opens the directory: of a format 1 that is this one.
fn check_new(data: &Path, to: u32, before: &Contents, scratch: &Path) {
    let copy = scratch.join("new");
    contents::copy(data, &copy);
    let untouched = contents::bytes(&copy);
    let opened = Directory::open(&copy, options());
    match (to, opened) {
        (1, Ok(opened)) => {
            drop(opened);
            assert!(!copy.join("migrating").exists());
            assert_eq!(&Contents::of(&copy, 1), before);
            let directory = DataDirectory::open(&copy).expect("its files are in place");
            let verified = Verified::of(&directory, &mut |fault| panic!("{fault}")).expect("it can be read");
            assert_eq!(verified.faults, 0);
        }
        (2, Err(log::Error::NewerFormat { found: 2, known: 1, .. })) => {
            assert!(contents::bytes(&copy) == untouched, "an older release must leave it alone");
        }
        (_, other) => panic!("{other:?}"),
    }
    std::fs::remove_dir_all(copy).expect("it is ours");
}

/// Nothing is prepared that nobody will use.
fn options() -> DirectoryOptions {
    DirectoryOptions { segment_bytes: 64 << 10, reserve_bytes: 0, ..DirectoryOptions::default() }
}
