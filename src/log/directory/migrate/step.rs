//! One step between two formats, and where it writes. The steps themselves are in `migrations/`, each beside the frozen
//! structures that it reads.

use crate::log;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use crate::log::directory::migrate::Error;
use crate::log::directory::migrate::Moment;
use crate::log::directory::migrate::See;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;

/// How much is collected before it is written.
const BUFFER_BYTES: usize = 256 * 1024;

/// One step, from a format to the next.
///
/// # Contract
/// - It reads the old files with structures that were frozen with their format, never with those of today, and changes none.
/// - It writes all that they hold: every whole frame, also those that nothing vouches for, because an answer may rest on
///   them; every checkpoint, because the log before it may be gone; the carry file. Frames keep their positions and
///   sequences, and the directory keeps its store id.
/// - A torn end is left out, as a start of the old release would cut it. Damage is refused with [`Error::Unreadable`]: it is
///   not for a migration to decide what is lost.
pub trait Step: Sync {
    /// The format that it reads; it writes the next one.
    fn from(&self) -> u32;

    /// What changes, in a few words for those who run it.
    fn what(&self) -> &str;

    /// At most how many bytes it writes if log and checkpoints take `old_bytes`.
    fn bytes_max(&self, old_bytes: u64) -> u64;

    /// Writes what the data directory at `old` holds.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if `old` is not what its format says; those of [`New::put`].
    fn write(&self, old: &Path, new: &mut New<'_>) -> Result<(), Error>;
}

/// The new files of a step.
pub struct New<'a> {
    pub(crate) root: &'a Path,
    pub(crate) see: See<'a>,
}

impl New<'_> {
    /// Writes the file `name`, such as `log/0000000001.seg`, durable when this returns.
    ///
    /// # Errors
    /// An input/output error.
    pub fn put(
        &mut self,
        name: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), log::Error> {
        let path = self.root.join(name);
        let unfinished = Unfinished::create(&path)?;
        (self.see)(&Moment::Opened(path.clone()));
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &unfinished.file);
        write(&mut out).and_then(|()| out.flush()).map_err(io("writing", &path))?;
        drop(out);
        unfinished.publish()?;
        (self.see)(&Moment::Wrote(path));
        Ok(())
    }
}
