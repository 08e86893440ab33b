//! A server under test: the real binary on a port of its own and a directory of its own. It is killed when the test
//! ends, and what it said on stderr is printed if the test failed.

use gangline::clock::Clock;
use gangline::proto::v1::update_service_client::UpdateServiceClient;
use gangline::proto::v1::worker_service_client::WorkerServiceClient;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use std::io::BufRead;
use std::io::BufReader;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStderr;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;

/// Longer than anything here takes on a busy machine; a test that needs it hangs and so fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A place for a data directory, removed when the last holder is gone.
#[derive(Clone)]
pub(crate) struct Place(Arc<TempDir>);

impl Place {
    pub(crate) fn new() -> Place {
        Place(Arc::new(tempfile::tempdir().expect("a temporary directory")))
    }

    /// The data directory; it does not exist before a server has started on it.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// A file beside the data directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("the directory is ours");
        path
    }

    /// Starts a server here and waits until it answers.
    pub(crate) fn serve(&self, flags: &[&str]) -> Server {
        Server::try_start(self, gangline(&[]), flags).unwrap_or_else(|output| panic!("no server: {output:?}"))
    }

    /// Starts a server here by a command of its own, such as one with other variables.
    pub(crate) fn serve_by(&self, command: Command, flags: &[&str]) -> Server {
        Server::try_start(self, command, flags).unwrap_or_else(|output| panic!("no server: {output:?}"))
    }

    /// Starts a server here to which a limit on the size of files is an error, not a deadly signal.
    pub(crate) fn serve_ignoring_file_size_signals(&self, flags: &[&str]) -> Server {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_gangline")]);
        Server::try_start(self, shell, flags).unwrap_or_else(|output| panic!("no server: {output:?}"))
    }

    /// Starts a server here that is expected to refuse; how it ended.
    pub(crate) fn refused(&self, flags: &[&str]) -> Output {
        match Server::try_start(self, gangline(&[]), flags) {
            Ok(_) => panic!("the server started"),
            Err(output) => output,
        }
    }
}

/// A running server.
pub(crate) struct Server {
    place: Place,
    flags: Vec<String>,
    child: Child,
    address: SocketAddr,
    stderr: Heard,
}

/// What a process says on stderr, as it comes.
pub(crate) struct Heard {
    text: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Heard {
    pub(crate) fn from(stderr: ChildStderr) -> Heard {
        let text = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&text);
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut told = told.lock().expect("no holder panics");
                told.push_str(&line);
                told.push('\n');
            }
        });
        Heard { text, reading }
    }

    pub(crate) fn so_far(&self) -> String {
        self.text.lock().expect("no holder panics").clone()
    }

    /// Waits until the last word of a process that has ended is heard, which may be later than its end.
    pub(crate) fn await_last_word(&self) {
        until("its last word is heard", || self.reading.is_finished().then_some(()));
    }
}

impl Server {
    /// A server in a place of its own.
    pub(crate) fn start(flags: &[&str]) -> Server {
        Place::new().serve(flags)
    }

    fn try_start(place: &Place, mut command: Command, flags: &[&str]) -> Result<Server, Output> {
        let mut child = command
            .args(["serve", "--listen", &format!("{}:0", own_address()), "--data"])
            .arg(place.data())
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (first, heard) = mpsc::channel();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let stderr = Heard::from(err);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // The test reads only the first line; the rest keeps the pipe from filling.
                first.send(line).ok();
            }
        });
        let line = match heard.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = child.wait().expect("it is our child");
                stderr.await_last_word();
                return Err(Output { status, stdout: Vec::new(), stderr: stderr.so_far().into_bytes() });
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().expect("it is our child");
                panic!("the server neither listens nor ends: {}", stderr.so_far());
            }
        };
        let address = line.strip_prefix("listening on ").expect("the first line says where it listens");
        let address = address.parse().expect("an address");
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Ok(Server { place: place.clone(), flags, child, address, stderr })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What it has said on stderr so far; once it has ended, all of it.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until it has made the files that it makes ahead, in small steps; the reserve is the last of them.
    pub(crate) fn await_files(&self) {
        until("the reserve is there", || self.place.data().join("reserve").exists().then_some(()));
    }

    /// A new connection.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).expect("an address is a URI");
        endpoint.connect().await.expect("the server listens")
    }

    /// A client of the service on a new connection; so for each service.
    pub(crate) async fn updates(&self) -> UpdateServiceClient<Channel> {
        UpdateServiceClient::new(self.channel().await)
    }

    pub(crate) async fn workers(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel().await)
    }

    pub(crate) async fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel().await)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = until("the server ends", || self.child.try_wait().expect("it is our child"));
        self.stderr.await_last_word();
        status
    }

    /// SIGTERM, and the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// kill -9, and the end.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Another server on the same directory, with the same flags, after this one has ended.
    pub(crate) fn again(&mut self) -> Server {
        assert!(self.child.try_wait().expect("it is our child").is_some(), "end it first");
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.place.serve(&flags)
    }
}

impl Drop for Server {
    #[allow(clippy::print_stderr, reason = "a failed test shows what its server said")]
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- stderr of the server {} ---\n{}---", self.pid(), self.stderr());
        }
    }
}

/// A loopback address that only this process listens at. A server that starts again on the port it had finds it free: at an
/// address of all, a server of another test could have got that port in the meantime.
fn own_address() -> Ipv4Addr {
    // Process ids have 22 bits.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high, middle, low)
}

/// The binary with these arguments and an environment without our variables.
pub(crate) fn gangline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangline"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GANGLINE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    gangline(arguments).output().expect("the binary starts")
}

/// Asks again and again until `look` sees something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::system();
    let deadline = clock.now().tick.after(PATIENCE);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(clock.now().tick < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every file and directory below `path`. What a server removes meanwhile may be missing.
pub(crate) fn tree(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if let Ok(entries) = std::fs::read_dir(path) {
        for entry in entries {
            found.extend(tree(&entry.expect("it can be listed").path()));
        }
    }
    found
}

/// The standard error of an output, as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The standard output of an output, as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
