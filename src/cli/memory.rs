//! What the allocator keeps after a burst. glibc raises its own thresholds as large blocks come and go, and then keeps up
//! to 100 MiB per million jobs that nothing uses; with fixed thresholds blocks of a frame or of a thousand jobs go back
//! to the system when they are freed. A million pending jobs: ARCHITECTURE.md says what was measured, and how. [MEM-1]
//!
//! glibc reads them when a program starts, so the server starts itself once more, as the same process. A value that is set
//! already is respected; other C libraries do not look at them.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Blocks above this size are given back each by itself; dynamic unless set.
const MMAP_THRESHOLD: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "163840");
/// Free space above this at the end of the heap is given back.
const TRIM_THRESHOLD: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "16777216");

/// Makes the thresholds hold for this process. Does not return if it has to start over for it.
pub(crate) fn bound() {
    if std::env::var_os(MMAP_THRESHOLD.0).is_some() {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    let error = again.args(arguments).envs([MMAP_THRESHOLD, TRIM_THRESHOLD]).exec();
    // Memory is then what glibc makes of it; everything else works.
    tracing::warn!(%error, "the allocator keeps more memory than it needs: the server could not start over to tell it");
}
