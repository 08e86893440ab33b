//! The server under test: the real binary on a data directory. It comes and goes; its clients follow its address.

use crate::volume::Volume;
use rustix::process::Pid;
use rustix::process::Signal;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a process or a condition without a notification is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Where the server listens now; `None` while it does not.
pub(crate) type Address = watch::Receiver<Option<SocketAddr>>;

/// A server that can be started again and again.
pub(crate) struct Server {
    data: PathBuf,
    flags: Vec<String>,
    binary: PathBuf,
    /// What the binary is run under, such as strace.
    under: Vec<String>,
    /// Variables it is given besides.
    variables: Vec<(String, String)>,
    stderr: PathBuf,
    child: Option<Child>,
    address: Arc<watch::Sender<Option<SocketAddr>>>,
}

impl Server {
    /// A server on `data`, which keeps its log beside it in `stderr`. It does not run yet.
    pub(crate) fn new(data: &Path, stderr: &Path, flags: &[&str]) -> Server {
        Server {
            data: data.to_owned(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            binary: binary(),
            under: Vec::new(),
            variables: Vec::new(),
            stderr: stderr.to_owned(),
            child: None,
            address: Arc::new(watch::Sender::new(None)),
        }
    }

    /// A server whose data lies in this place, beside what it says.
    pub(crate) fn within(place: &Path, flags: &[&str]) -> Server {
        Server::new(&place.join("data"), &place.join("stderr"), flags)
    }

    /// A server whose data lies on this volume; what it says outlives the volume's power.
    pub(crate) fn on(volume: &Volume, flags: &[&str]) -> Server {
        Server::new(&volume.path().join("data"), &volume.beside().join("stderr"), flags)
    }

    /// From the next start on it runs under this command; empty: by itself.
    pub(crate) fn set_under(&mut self, under: Vec<String>) {
        self.under = under;
    }

    /// From the next start on it is this binary.
    pub(crate) fn set_binary(&mut self, binary: &Path) {
        binary.clone_into(&mut self.binary);
    }

    /// From the next start on it is given this variable too.
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn address(&self) -> Address {
        self.address.subscribe()
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it; its address follows when it answers.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let binary = self.binary.display().to_string();
        let words: Vec<&str> = self.under.iter().map(String::as_str).chain([binary.as_str()]).collect();
        let mut command = Command::new(words[0]);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GANGLINE_"))
        {
            command.env_remove(name);
        }
        let stderr = File::options().append(true).create(true).open(&self.stderr).expect("a file for stderr");
        command.args(&words[1..]).args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&self.data);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(&self.flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).process_group(0);
        let mut child = command.spawn().expect("the binary starts");
        let out = child.stdout.take().expect("piped");
        let address = Arc::clone(&self.address);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(out).lines().map_while(Result::ok);
            let said = lines.next().and_then(|line| line.strip_prefix("listening on ")?.parse().ok());
            address.send_modify(|address| *address = said.or(*address));
            // The rest keeps the pipe from filling. At its end nobody listens there any more.
            lines.for_each(drop);
            address
                .send_if_modified(|address| said.is_some() && *address == said && address.take().is_some());
        });
        self.child = Some(child);
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.listening().await;
    }

    /// Waits until it answers.
    pub(crate) async fn listening(&mut self) {
        let mut address = self.address();
        let listens = address.wait_for(Option::is_some);
        if timeout(PATIENCE, listens).await.is_err() {
            panic!("the server does not listen; it said: {}", self.said());
        }
    }

    /// Starts it and waits until it answers or has ended; whether it answers.
    pub(crate) async fn try_start(&mut self) -> bool {
        self.spawn();
        let listens = self.listening_or_ended().await.is_some();
        if !listens {
            self.kill();
        }
        listens
    }

    /// Waits until it answers or has ended; where it answers.
    pub(crate) async fn listening_or_ended(&mut self) -> Option<SocketAddr> {
        let mut address = self.address();
        let looked = until(PATIENCE, || {
            let listens = *address.borrow_and_update();
            (listens.is_some() || self.has_ended()).then_some(listens)
        });
        looked.await.expect("it listens or ends")
    }

    /// A new connection to it.
    pub(crate) async fn channel(&self) -> Channel {
        let address = self.address.borrow().expect("it listens");
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address is a URI");
        endpoint.connect().await.expect("it listens")
    }

    /// Kills it with its process group, and waits for its end.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It may have ended by itself.
        rustix::process::kill_process_group(pid(&child), Signal::KILL).ok();
        child.wait().expect("it is our child");
        self.address.send_replace(None);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        rustix::process::kill_process_group(pid(child), signal).expect("it runs");
    }

    /// Stops it where it is; returns when every thread of it stands still.
    pub(crate) async fn freeze(&self) {
        self.signal(Signal::STOP);
        let child = self.child.as_ref().expect("it runs");
        let tasks = PathBuf::from(format!("/proc/{}/task", child.id()));
        let stands = |task: PathBuf| {
            // A thread that has ended meanwhile stands still too.
            let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_none_or(|state| state.starts_with('T') || state.is_empty())
        };
        let still = || {
            let mut tasks = std::fs::read_dir(&tasks).expect("it runs");
            tasks.all(|task| stands(task.expect("it can be listed").path())).then_some(())
        };
        assert!(until(PATIENCE, still).await.is_some(), "it does not stand still");
    }

    /// Waits for its end, which it comes to by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let Some(status) = until(PATIENCE, || child.try_wait().expect("it is our child")).await else {
            self.child = Some(child);
            panic!("the server does not end; it said: {}", self.said());
        };
        self.address.send_replace(None);
        status
    }

    /// Tells it to stop, which it must do in good order.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert!(self.ended().await.success(), "a clean stop");
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().expect("it is our child").is_some()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Memory that is resident.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.expect("the kernel tells")
    }

    /// The end of what it said on stderr.
    pub(crate) fn said(&self) -> String {
        let said = std::fs::read(&self.stderr).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the server on {} said last ---\n{}\n---", self.data.display(), self.said());
        }
    }
}

/// The binary under test: the one that was built with the tests, or the one that `GANGLINE_BINARY` names.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("GANGLINE_BINARY").map_or(env!("CARGO_BIN_EXE_gangline").into(), PathBuf::from)
}

fn pid(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id")
}

/// Asks again and again, for so long, until `look` sees something.
pub(crate) async fn until<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let looking = async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    timeout(patience, looking).await.ok()
}
