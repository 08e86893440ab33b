//! strace between the server and the kernel: the n-th call of a kind fails, or each takes long. It notes what it did.

use crate::server::PATIENCE;
use crate::server::until;
use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// What happens to calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Harm {
    /// The n-th of each thread fails with EIO.
    FailNth(u64),
    /// Each takes so many microseconds longer.
    DelayUs(u64),
}

/// Whether it can be used.
///
/// # Errors
/// Why not.
pub(crate) fn usable() -> Result<(), String> {
    let output = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-e", "trace=fdatasync", "true"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("strace: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The command under which a server's calls of this name are harmed, in all its threads and from its start.
pub(crate) fn harming(call: &str, harm: Harm, notes: &Path) -> Vec<String> {
    let command = ["strace", "-f", "--seccomp-bpf"].map(str::to_owned);
    command.into_iter().chain(options(call, harm, notes)).collect()
}

/// Begins to harm the calls of these threads, which run; their counting starts now. It ends when they have.
pub(crate) async fn attach(threads: &[String], call: &str, harm: Harm, notes: &Path) -> Child {
    let told = notes.with_extension("stderr");
    let mut command = Command::new("strace");
    command.args(options(call, harm, notes)).args(threads.iter().flat_map(|thread| ["-p", thread]));
    command.stdin(Stdio::null()).stderr(File::create(&told).expect("a file"));
    let child = command.spawn().expect("strace was there before");
    let attached = || {
        let told = std::fs::read_to_string(&told).ok()?;
        (told.matches("attached").count() >= threads.len()).then_some(())
    };
    assert!(until(PATIENCE, attached).await.is_some(), "strace does not attach");
    child
}

fn options(call: &str, harm: Harm, notes: &Path) -> Vec<String> {
    let harm = match harm {
        Harm::FailNth(n) => format!("error=EIO:when={n}"),
        Harm::DelayUs(micros) => format!("delay_enter={micros}"),
    };
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{harm}"));
    let notes = notes.display().to_string();
    ["-ttt", "-o", &notes, "-e", &trace, "-e", &inject, "-e", "signal=none"].map(str::to_owned).to_vec()
}

/// The calls that it has harmed so far, a line each: `TID SECONDS.MICROS call(…) = -1 EIO … (INJECTED)`.
pub(crate) fn harmed(notes: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(notes).unwrap_or_default();
    text.lines().filter(|line| line.contains("(INJECTED)")).map(str::to_owned).collect()
}
