//! A backup of a running server over the API.

use crate::cli::backup::bar::Bar;
use crate::client::Client;
use crate::client::Pieces;
use crate::grpc::convert::backup::FILES_MAX;
use crate::log::Error;
use crate::log::directory::backup::Announced;
use crate::log::directory::backup::Backup;
use crate::log::directory::backup::Last;
use crate::log::directory::backup::Receiving;
use crate::log::directory::capture::Part;
use crate::offline::backup::Progress;
use crate::offline::backup::Taken;
use crate::service::backup::Piece;
use anyhow::Context;
use std::path::Path;

/// Said with whatever breaks it off.
const UNFINISHED: &str = "the backup is not finished; the same command goes on with what has arrived";

/// Said if what has arrived is not what a log holds.
const DAMAGED: &str = "what the server sent is damaged, and what was backed up before stays as it was: \
                       `gangline verify` on the server's data directory tells more";

/// Backs up the server of `client` into `out`.
///
/// # Errors
/// What the client, the backup, or the disk says.
pub(super) async fn take(client: &Client, out: &Path, bar: &Bar) -> anyhow::Result<Taken> {
    // Nothing is made at `out` if nobody answers.
    client.info().await?;
    let backup = Backup::open(out)?;
    let mut held = backup.held()?;
    // The rest is sent again.
    held.truncate(FILES_MAX);
    let mut pieces = client.backup(&held).await?;
    let Some(Piece::Begin(announced, whole)) = pieces.next().await.context(UNFINISHED)? else {
        return Err(odd(out, "it does not begin with what it is of").into());
    };
    backup.begin(&announced)?;
    let mut arriving =
        Arriving { backup, held, parts: Vec::new(), announced, progress: Progress { done: 0, whole } };
    arriving.all(&mut pieces, bar).await.context(UNFINISHED)?;
    let Arriving { backup, parts, announced, progress, .. } = arriving;
    let manifest = match backup.finish(&announced, &parts) {
        Err(error @ Error::Damaged { .. }) => return Err(error).context(DAMAGED),
        other => other?,
    };
    let all: u64 = parts.iter().map(|part| part.bytes).sum();
    let bytes_kept = all.saturating_sub(progress.done);
    Ok(Taken { manifest, bytes_copied: progress.done, bytes_linked: 0, bytes_kept })
}

/// What has arrived so far.
struct Arriving {
    backup: Backup,
    /// What was there before.
    held: Vec<Part>,
    parts: Vec<Part>,
    announced: Announced,
    progress: Progress,
}

/// A file whose bytes are coming.
struct Open {
    receiving: Receiving,
    bytes_left: u64,
}

impl Arriving {
    async fn all(&mut self, pieces: &mut Pieces, bar: &Bar) -> anyhow::Result<()> {
        let mut open: Option<Open> = None;
        while let Some(piece) = pieces.next().await? {
            bar.show(self.progress);
            match (piece, open.take()) {
                (Piece::File(part, from), None) => {
                    open = self.begin(part, from)?;
                    self.parts.push(part);
                }
                (Piece::Bytes(bytes), Some(mut file)) => {
                    file.receiving.take(&bytes)?;
                    self.progress.done += bytes.len() as u64;
                    file.bytes_left = file.bytes_left.saturating_sub(bytes.len() as u64);
                    if file.bytes_left == 0 {
                        file.receiving.finish()?;
                    } else {
                        open = Some(file);
                    }
                }
                (Piece::End, None) => return Ok(()),
                (Piece::Begin(..) | Piece::File(..) | Piece::Bytes(_) | Piece::End, _) => {
                    return Err(odd(self.backup.root(), "its pieces are out of order").into());
                }
            }
        }
        Err(odd(self.backup.root(), "it ends before its end").into())
    }

    /// Begins a file, unless it is there already.
    fn begin(&self, part: Part, from: u64) -> Result<Option<Open>, Error> {
        let wanted = self.backup.wants(&part, &self.held)?;
        if wanted.unwrap_or(part.bytes) != from {
            return Err(odd(self.backup.root(), "a file is not sent from where it was asked for"));
        }
        if from == part.bytes {
            return Ok(None);
        }
        // Only the last segment holds less than its whole file.
        let last = if part.bytes < part.file_bytes { Last::Yes } else { Last::No };
        let receiving = self.backup.receive(&part, from, last)?;
        Ok(Some(Open { receiving, bytes_left: part.bytes - from }))
    }
}

fn odd(out: &Path, what: &str) -> Error {
    let reason = format!("what the server sends is no backup: {what}");
    Error::NoBackup { place: out.display().to_string(), reason }
}
