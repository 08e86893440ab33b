//! The rules of the house that a compiler does not check: which module may name which, one word per thing, small files,
//! one file per wall, and every promise kept and proven where the architecture page says.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

/// What each module may name besides itself, from the ground up. `main.rs` and `lib.rs` are outside.
const MAY_NAME: [(&str, &[&str]); 16] = [
    ("clock", &[]),
    ("shutdown", &[]),
    ("proto", &[]),
    // The vocabulary and its stored form know each other, and nothing else.
    ("codec", &["job"]),
    ("job", &["clock", "codec"]),
    ("log", &["job", "clock", "codec"]),
    ("work", &["job", "clock", "codec", "log"]),
    ("engine", &["job", "clock", "codec", "log", "work"]),
    ("offline", &["job", "clock", "codec", "log", "work", "engine"]),
    ("service", &["job", "clock", "log", "work", "engine", "shutdown"]),
    ("grpc", &["job", "clock", "log", "work", "engine", "service", "shutdown", "proto"]),
    ("client", &["job", "clock", "log", "work", "engine", "service", "shutdown", "proto", "grpc"]),
    (
        "pool",
        &["job", "clock", "codec", "log", "work", "engine", "service", "shutdown", "proto", "grpc", "client"],
    ),
    ("config", &["job", "log", "work", "engine", "service", "grpc", "pool", "clock"]),
    (
        "server",
        &[
            "offline", "job", "log", "work", "engine", "service", "grpc", "pool", "clock", "shutdown",
            "config", "proto",
        ],
    ),
    (
        "cli",
        &[
            "job", "log", "work", "engine", "offline", "service", "grpc", "client", "pool", "clock",
            "shutdown", "config", "server", "proto", "codec",
        ],
    ),
];

/// Modules that any other may name: they name no other themselves.
const FOR_ALL: [&str; 2] = ["metrics", "seeded"];

/// Words that say nothing, or that are a second word for something that has one.
const FORBIDDEN: [&str; 13] = [
    "super::",
    "TODO",
    "FIXME",
    "todo!(",
    "unimplemented!(",
    "enqueue",
    "dequeue",
    "requeue",
    "dead_letter",
    "dead letter",
    "nack(",
    "visibility timeout",
    "#[ignore",
];

/// File names that say nothing.
const NAMELESS: [&str; 8] = ["util", "utils", "common", "types", "helpers", "imp", "misc", "mod"];

/// Lines of a file at most.
const LINES_MAX: usize = 600;
/// The median is to stay under this.
const MEDIAN_MAX: usize = 150;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module right below the crate that the file belongs to.
    fn module(&self) -> String {
        let below = self.path.strip_prefix("src").expect("it is below src");
        let first = below.iter().next().expect("it has a name").to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Whether the whole file is a test.
    fn is_test(&self) -> bool {
        let path = self.path.to_string_lossy();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        path.starts_with("tests")
            || ["/tests/", "/simulation/"].iter().any(|folder| path.contains(folder))
            || ["tests.rs", "model_test.rs", "suite.rs", "simulation.rs", "rig.rs", "specimens.rs"]
                .contains(&name.as_ref())
    }

    /// Its text without and with its tests, if it holds both.
    fn code_and_tests(&self) -> (&str, &str) {
        if self.is_test() {
            return ("", &self.text);
        }
        let begin = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text.split_at(begin)
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(Path::new(folder), &mut found);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "tests run in the root of the package");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are text");
            found.push(Source { path, text });
        }
    }
}

fn report(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

/// The modules that a line names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn a_module_names_only_those_below_it() {
    let may: BTreeMap<&str, &[&str]> = MAY_NAME.into_iter().collect();
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let module = source.module();
        if ["main", "lib"].contains(&module.as_str()) || FOR_ALL.contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = may.get(module.as_str()) else {
            wrong.push(format!("{module} is not in the table of layers: add it to tests/tidy.rs"));
            continue;
        };
        // Tests may reach down further than code does, never up.
        for (number, line) in source.code_and_tests().0.lines().enumerate() {
            for other in named(line) {
                if other != module && !allowed.contains(&other) && !FOR_ALL.contains(&other) {
                    wrong.push(format!("{}:{}: {module} names {other}", source.path.display(), number + 1));
                }
            }
        }
    }
    report("modules that name one above them", &wrong);
}

#[test]
fn no_word_is_forbidden_and_no_name_says_nothing() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        if source.path == Path::new("tests/tidy.rs") {
            continue;
        }
        let path = source.path.display();
        let name = source.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if NAMELESS.contains(&name.as_str()) {
            wrong.push(format!("{path}: the name says nothing"));
        }
        if !source.text.starts_with("//!") && !source.is_test() && !path.to_string().ends_with("lib.rs") {
            wrong.push(format!("{path}: it does not begin with //! and what it is"));
        }
        for (number, line) in source.text.lines().enumerate() {
            for word in FORBIDDEN.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    report("forbidden words", &wrong);
}

#[test]
fn files_are_small() {
    let sources = sources(&["src", "tests", "benches"]);
    let mut lines: Vec<(usize, String)> = sources
        .iter()
        .map(|source| (source.text.lines().count(), source.path.display().to_string()))
        .collect();
    lines.sort();
    let median = lines[lines.len() / 2].0;
    let (largest, name) = lines.last().expect("there are files");
    println!("{} files, median {median} lines, largest {largest} ({name})", lines.len());
    let over = lines.iter().filter(|(count, _)| *count > LINES_MAX);
    report(
        "files that are too long",
        &over.map(|(count, name)| format!("{name}: {count} lines")).collect::<Vec<_>>(),
    );
    assert!(median <= MEDIAN_MAX, "the median file has {median} lines");
}

/// What only one file may name, so that it can be replaced there: code, not words in comments.
#[test]
fn walls_have_one_door() {
    let walls = [
        ("sled::", "src/work/tree.rs"),
        ("bincode::", "src/codec.rs"),
        ("SystemTime::now(", "src/clock.rs"),
        ("Instant::now", "src/clock.rs"),
        ("tokio::spawn(", "src/shutdown.rs"),
        ("println!(", "build.rs"),
    ];
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        for (number, line) in source.code_and_tests().0.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (name, door) in walls {
                if code.contains(name) && source.path != Path::new(door) {
                    wrong.push(format!("{}:{}: {name} belongs in {door}", source.path.display(), number + 1));
                }
            }
        }
    }
    report("names outside their one file", &wrong);
}

/// The tags that stand at the beginning of a line of the promises' list.
fn promises() -> Vec<String> {
    let page = std::fs::read_to_string("ARCHITECTURE.md").expect("the architecture page");
    page.lines().filter_map(|line| Some(line.strip_prefix("| [")?.split_once(']')?.0.to_owned())).collect()
}

#[test]
fn every_promise_stands_in_code_and_in_a_test() {
    let (sources, promises) = (sources(&["src", "tests"]), promises());
    assert!(promises.len() >= 16, "the promises are listed: {promises:?}");
    let mut wrong = Vec::new();
    for promise in &promises {
        let tag = format!("[{promise}]");
        if !sources.iter().any(|source| source.code_and_tests().0.contains(&tag)) {
            wrong.push(format!("{tag} stands in no code"));
        }
        if !sources.iter().any(|source| source.code_and_tests().1.contains(&tag)) {
            wrong.push(format!("{tag} stands in no test"));
        }
    }
    report("promises", &wrong);
}

/// A tag that the page does not list promises something nobody wrote down.
#[test]
fn no_code_keeps_a_promise_that_is_not_listed() {
    let promises = promises();
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        for (number, line) in source.text.lines().enumerate() {
            for tag in line.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(tag, _)| tag) {
                let shaped = tag.split_once('-').is_some_and(|(word, count)| {
                    word.len() >= 2
                        && word.chars().all(|c| c.is_ascii_uppercase())
                        && count.parse::<u8>().is_ok()
                });
                if shaped && !promises.iter().any(|promise| promise == tag) {
                    wrong.push(format!("{}:{}: [{tag}]", source.path.display(), number + 1));
                }
            }
        }
    }
    report("tags that ARCHITECTURE.md does not list", &wrong);
}

/// Paths in the architecture page lead somewhere.
#[test]
fn the_architecture_page_names_files_that_exist() {
    let page = std::fs::read_to_string("ARCHITECTURE.md").expect("the architecture page");
    let named = page.split('`').skip(1).step_by(2);
    let paths = named.filter(|name| {
        let folders = ["src/", "tests/", "docs/", "migrations/", "proto/", "scripts/", "benches/"];
        folders.iter().any(|folder| name.starts_with(folder)) && !name.contains(['*', ' ', '{'])
    });
    let missing: Vec<String> = paths.filter(|path| !Path::new(path).exists()).map(str::to_owned).collect();
    report("paths that lead nowhere", &missing);
}

/// Each fault and promise of the guarantees page names a test that is there: a name in backquotes, ` in `, and its file.
#[test]
fn the_guarantees_page_names_tests_that_exist() {
    let page = std::fs::read_to_string("docs/guarantees.md").expect("the guarantees page");
    let mut wrong = Vec::new();
    let mut found = 0;
    for (before, after) in page.match_indices("` in [").map(|(at, _)| page.split_at(at)) {
        found += 1;
        let name = before.rsplit('`').next().unwrap_or_default();
        let path =
            after.split_once("](../").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(path, _)| path);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if !text.contains(&format!("fn {name}(")) {
            wrong.push(format!("{name} is not in {path}"));
        }
    }
    assert!(found >= 20, "{found} tests are named");
    report("tests that the guarantees page names and nobody wrote", &wrong);
    let promises = promises();
    let unnamed = promises.iter().filter(|promise| !page.contains(promise.as_str()));
    let elsewhere = ["JOB-2", "MEM-1", "DIR-1", "FMT-1"];
    let unnamed: Vec<String> =
        unnamed.filter(|promise| !elsewhere.contains(&promise.as_str())).cloned().collect();
    report("promises that the guarantees page leaves out", &unnamed);
}
