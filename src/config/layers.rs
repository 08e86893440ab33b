//! The layers: defaults, file, variables, flags. The later one wins, and where each value came from is kept.

use crate::config::Config;
use crate::config::Error;
use crate::config::SETTINGS;
use crate::config::Setting;
use crate::config::check;
use crate::config::file;
use crate::config::pool;
use crate::config::suggest;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Variables with our prefix that are not settings: the file's name, what clients use, and what workers get.
const OTHER_VARIABLES: [&str; 6] = [
    "GANGLINE_CONFIG",
    "GANGLINE_SERVER",
    "GANGLINE_JOB_ID",
    "GANGLINE_ATTEMPT",
    "GANGLINE_QUEUE",
    "GANGLINE_SPAWNER",
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(file, line) => write!(f, "{}:{line}", file.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// What the layers are read from. The environment is an argument, so that tests have their own.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file, if one is named by a flag or by `GANGLINE_CONFIG`.
    pub file: Option<PathBuf>,
    /// All environment variables.
    pub variables: Vec<(OsString, OsString)>,
    /// Values of flags, by the key of the setting.
    pub flags: Vec<(&'static str, String)>,
}

/// A configuration, and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

impl Loaded {
    /// Where the value of `setting` came from.
    #[must_use]
    pub fn origin(&self, setting: &Setting) -> Origin {
        self.origins.get(setting.key).cloned().unwrap_or(Origin::Default)
    }
}

impl Config {
    /// Reads all layers and checks that the values go together.
    ///
    /// # Errors
    /// [`Error`]: the first thing that is wrong.
    pub fn load(sources: Sources) -> Result<Loaded, Error> {
        let mut loaded = Loaded { config: Config::default(), origins: BTreeMap::new() };
        let mut pools = Vec::new();
        if let Some(path) = sources.file {
            let contents = file::read(&path)?;
            for entry in contents.entries {
                let origin = Origin::File(path.clone(), entry.line);
                match find(&entry.key) {
                    Some(setting) => loaded.set(setting, &entry.value, origin)?,
                    None => return Err(unknown(origin, entry.key)),
                }
            }
            pools = contents
                .pools
                .into_iter()
                .map(|table| (Origin::File(path.clone(), table.line), table))
                .collect();
        }
        for (name, value) in sources.variables {
            loaded.set_variable(&name, &value)?;
        }
        for (key, value) in sources.flags {
            let setting = find(key).expect("flags are made from the table of settings");
            loaded.set(setting, &value, Origin::Flag(format!("--{}", setting.flag())))?;
        }
        for (origin, table) in pools {
            let pool = pool::parse(table.table, &origin, &loaded.config)?;
            loaded.config.pools.push(pool);
        }
        check::check(&loaded.config)?;
        Ok(loaded)
    }
}

impl Loaded {
    fn set(&mut self, setting: &'static Setting, value: &str, origin: Origin) -> Result<(), Error> {
        (setting.set)(&mut self.config, value).map_err(|reason| Error::Value {
            origin: origin.clone(),
            key: setting.key.to_owned(),
            value: value.to_owned(),
            reason,
        })?;
        self.origins.insert(setting.key, origin);
        Ok(())
    }

    /// Takes a variable if it is a setting. One that is almost a setting is a mistake; one that is not like any may be
    /// somebody else's (a service called "gangline" makes Kubernetes set `GANGLINE_PORT` and others).
    fn set_variable(&mut self, name: &OsString, value: &OsString) -> Result<(), Error> {
        let Some(name) = name.to_str().filter(|name| name.starts_with("GANGLINE_")) else { return Ok(()) };
        let origin = Origin::Variable(name.to_owned());
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == name) {
            return self.set(setting, &value.to_string_lossy(), origin);
        }
        let nearest = suggest::nearest(name, SETTINGS.iter().map(Setting::variable));
        match nearest {
            Some(meant) if !OTHER_VARIABLES.contains(&name) && strsim::levenshtein(name, &meant) <= 2 => {
                let suggestion = format!("; did you mean {meant}?");
                Err(Error::Unknown { origin, key: name.to_owned(), suggestion })
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn unknown(origin: Origin, key: String) -> Error {
    let known = SETTINGS.iter().map(|setting| setting.key.to_owned()).chain(["pools".to_owned()]);
    let suggestion = suggest::suggestion(&key, known);
    Error::Unknown { origin, key, suggestion }
}
