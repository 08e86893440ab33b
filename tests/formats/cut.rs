//! The power goes at any moment of a migration: what the file system still has is the old directory or the new one, and the next
//! migration finishes or begins again. It needs root, a loop device and python3. [FMT-1]

use crate::contents;
use crate::steps;
use crate::steps::STEPS;
use crate::undisturbed::Undisturbed;
use crate::volume;
use crate::volume::Volume;
use gangline::log::directory::migrate;
use gangline::log::directory::migrate::Moment;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;
use std::path::Path;

#[test]
fn a_power_cut_at_any_moment_of_a_migration_leaves_the_old_directory_or_the_new_one() {
    let volume = match Volume::ext4(256 << 20) {
        Ok(volume) => volume,
        Err(why) => return eprintln!("SKIPPED: no power can be cut here: {why}"),
    };
    let place = tempfile::tempdir().expect("a temporary directory");
    let data = volume.path().join("data");
    let mut cuts = 0;
    for (from, to) in [(0, 1), (1, steps::TESTED)] {
        let undisturbed = Undisturbed::of(from, to, place.path());
        let mut files = 0;
        for (number, moment) in undisturbed.moments.iter().enumerate() {
            // To a power cut an open, empty file is the same as none, and the files after the second like the second.
            files += usize::from(matches!(moment, Moment::Wrote(_)));
            let is_new = match moment {
                Moment::Opened(_) => false,
                Moment::Wrote(_) => files <= 2,
                Moment::Cleared
                | Moment::Began { .. }
                | Moment::Complete
                | Moment::Switched
                | Moment::Removed(_)
                | Moment::Moved(_)
                | Moment::Finished(_) => true,
            };
            if !is_new {
                continue;
            }
            steps::directory(from, &data);
            volume::run("sync", &["-f", &data.display().to_string()]).expect("it is mounted");
            let untouched = contents::bytes(&data);
            cut_at(number, to, &volume, &data);
            undisturbed.judge(number, &data, &untouched, place.path());
            std::fs::remove_dir_all(&data).expect("it is ours");
            cuts += 1;
        }
    }
    eprintln!("{cuts} power cuts, over the moments of two migrations");
}

/// Migrates, and cuts the power at this moment; whoever migrates is gone with it.
fn cut_at(moment: usize, to: u32, volume: &Volume, data: &Path) {
    let (mut cut, mut seen) = (Some(volume.prepare_cut()), 0);
    let mut see = |_: &Moment| {
        if seen == moment {
            cut.take().expect("it is cut once").now();
            resume_unwind(Box::new(Gone));
        }
        seen += 1;
    };
    let migrate = || migrate::migrate(data, &STEPS, Some(to), &mut see);
    let ended = catch_unwind(AssertUnwindSafe(migrate));
    assert!(ended.is_err_and(|gone| gone.is::<Gone>()), "there are fewer moments");
    volume.remount().expect("nobody uses it any more");
}

/// What the migration ends with when the power goes.
struct Gone;
