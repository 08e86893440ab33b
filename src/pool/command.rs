//! The command of a pool: which program, with which arguments, environment and working directory. Never a shell.

use crate::pool::Assignment;
use crate::pool::Error;
use crate::pool::limits::Limits;
use crate::pool::spawner::BYTES_MAX;
use crate::pool::spawner::Order;
use rustix::fs::Access;
use rustix::fs::access;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::Output;
use std::process::Stdio;

/// Variables that workers inherit without being named; `LC_*` too.
pub const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER"];

/// Room in a message for the variables of a job, beside the command.
const JOB_BYTES_MAX: usize = 8 << 10;

/// What a pool runs. The operator names it; no job can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments. A program without a slash is looked up in the server's PATH, once.
    pub argv: Vec<OsString>,
    /// Further variables that workers inherit from the server, by name.
    pub inherit: Vec<OsString>,
    /// Variables that workers get, whatever the server's say.
    pub set: Vec<(OsString, OsString)>,
    /// Where workers run; the server's own directory if `None`.
    pub directory: Option<PathBuf>,
    /// What each process may use.
    pub limits: Limits,
}

impl Command {
    /// The command `argv` with the default environment and no limits.
    #[must_use]
    pub fn new<T: Into<OsString>>(argv: impl IntoIterator<Item = T>) -> Command {
        Command { argv: argv.into_iter().map(Into::into).collect(), ..Command::default() }
    }

    /// Checks the command as far as that is possible without running it.
    pub(crate) fn resolve(&self) -> Result<Order, Error> {
        let (name, arguments) = self.argv.split_first().ok_or(Error::NoCommand)?;
        if let Some(directory) = self.directory.as_ref().filter(|directory| !directory.is_dir()) {
            return Err(Error::NoDirectory(directory.clone()));
        }
        let program = self.find(name)?;
        let order = Order {
            program: program.into_os_string().into_vec(),
            name: name.as_bytes().to_vec(),
            arguments: arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
            environment: self.environment(),
            directory: self.directory.as_ref().map(|directory| directory.as_os_str().as_bytes().to_vec()),
            limits: self.limits,
        };
        let bytes = crate::codec::encode(&order).len();
        let bytes_max = BYTES_MAX - JOB_BYTES_MAX;
        if bytes > bytes_max { Err(Error::LongCommand { bytes, bytes_max }) } else { Ok(order) }
    }

    /// Runs the command to its end, outside of any pool but in the environment of its workers, and returns what it said.
    ///
    /// # Errors
    /// A command that is not there or cannot be started.
    pub fn ask(&self) -> Result<Output, Error> {
        let order = self.resolve()?;
        let name = OsString::from_vec(order.name);
        let mut command = process::Command::new(OsString::from_vec(order.program));
        command.arg0(name).args(order.arguments.into_iter().map(OsString::from_vec)).env_clear();
        let variables = order.environment.into_iter();
        command.envs(variables.map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value))));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).output().map_err(|error| Error::Refused(error.to_string()))
    }

    /// The absolute path of the program.
    fn find(&self, name: &OsStr) -> Result<PathBuf, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let here = std::env::current_dir().map_err(Error::Directory)?;
        let base = self.directory.as_ref().map_or_else(|| here.clone(), |directory| here.join(directory));
        let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
            vec![base.join(name)]
        } else {
            std::env::split_paths(&path).map(|directory| here.join(directory).join(name)).collect()
        };
        candidates.into_iter().find(|candidate| is_program(candidate)).ok_or_else(|| Error::NoSuchCommand {
            command: name.to_string_lossy().into_owned(),
            path: path.to_string_lossy().into_owned(),
        })
    }

    /// The scrubbed environment: the allow-list, then what the operator set.
    fn environment(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let allowed = |name: &OsStr| {
            INHERITED.iter().any(|inherited| name == *inherited)
                || name.as_bytes().starts_with(b"LC_")
                || self.inherit.iter().any(|inherited| inherited == name)
        };
        let inherited = std::env::vars_os().filter(|(name, _)| allowed(name));
        let all: BTreeMap<OsString, OsString> = inherited.chain(self.set.iter().cloned()).collect();
        all.into_iter().map(|(name, value)| (name.into_vec(), value.into_vec())).collect()
    }
}

/// The command as it is run for one job.
pub(crate) fn order_for(order: &Order, job: &Assignment) -> Order {
    let mut order = order.clone();
    let mut set = |name: &str, value: &str| {
        // A variable cannot hold NUL; a trace context that does is not one.
        if !value.is_empty() && !value.contains('\0') && value.len() <= JOB_BYTES_MAX / 4 {
            order.environment.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
    };
    set("GANGLINE_JOB_ID", &job.id.to_string());
    set("GANGLINE_ATTEMPT", &job.attempt.to_string());
    set("GANGLINE_QUEUE", job.queue.as_str());
    set("TRACEPARENT", &job.traceparent);
    order
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use crate::pool::Error;
    use crate::pool::command::Command;
    use std::path::PathBuf;

    #[test]
    fn a_command_is_found_in_path_or_named_in_the_error() {
        let order = Command::new(["sh", "-c", "true"]).resolve().expect("every system has sh");
        assert!(order.program.starts_with(b"/") && order.program.ends_with(b"/sh"));
        assert_eq!(order.name, b"sh");
        let error = Command::new(["no-such-program"]).resolve().expect_err("there is none");
        let path = std::env::var("PATH").expect("tests run with a PATH");
        assert!(
            error.to_string().contains("no-such-program") && error.to_string().contains(&path),
            "{error}"
        );
        assert!(matches!(Command::new(["/etc/passwd"]).resolve(), Err(Error::NoSuchCommand { .. })));
        assert!(matches!(Command::new::<&str>([]).resolve(), Err(Error::NoCommand)));
        let lost = Command { directory: Some(PathBuf::from("/no/such/place")), ..Command::new(["sh"]) };
        assert!(matches!(lost.resolve(), Err(Error::NoDirectory(_))));
        let long = Command::new(["sh".to_owned(), "x".repeat(200_000)]);
        assert!(matches!(long.resolve(), Err(Error::LongCommand { .. })));
    }

    #[test]
    fn only_named_variables_pass() {
        let command = Command {
            inherit: vec!["CARGO_PKG_NAME".into()],
            set: vec![("LANG".into(), "xx".into()), ("NEW".into(), "1".into())],
            ..Command::new(["sh"])
        };
        let environment = command.resolve().expect("every system has sh").environment;
        let get =
            |name: &str| environment.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, v)| v.as_slice());
        assert_eq!(get("CARGO_PKG_NAME"), Some(&b"gangline"[..]));
        assert_eq!(get("CARGO_PKG_VERSION"), None);
        assert_eq!((get("LANG"), get("NEW")), (Some(&b"xx"[..]), Some(&b"1"[..])));
    }
}
