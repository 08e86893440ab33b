//! The figures of a campaign: each part adds a line to the file that `GANGLINE_FIGURES` names, and the last step of
//! `scripts/campaign` adds them up.

use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// What one part counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Figures {
    part: String,
    seed: u64,
    counts: BTreeMap<String, u64>,
}

/// Adds a line, if there is a file for it. A part that fails does not come so far.
pub(crate) fn note(part: &str, seed: u64, counts: &[(&str, u64)]) {
    let Some(path) = std::env::var_os("GANGLINE_FIGURES") else { return };
    let counts = counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    let line =
        serde_json::to_string(&Figures { part: part.to_owned(), seed, counts }).expect("it can be written");
    let file = std::fs::File::options().append(true).create(true).open(path);
    writeln!(file.expect("a file for figures"), "{line}").expect("there is space");
}

/// The line that sums up, and a table of the parts with their seeds.
fn summary(lines: &str) -> String {
    let parts = lines.lines().map(|line| serde_json::from_str(line).expect("a line of figures"));
    let parts: Vec<Figures> = parts.collect();
    let sum = |what: &str| parts.iter().filter_map(|part| part.counts.get(what)).sum::<u64>();
    // A part that lost something has failed and left no line.
    let mut text = format!(
        "{} acknowledged jobs, {} kills, {} power cuts, 0 lost\n\n| part | seed | counted |\n|---|---|---|\n",
        sum("acknowledged"),
        sum("kills"),
        sum("cuts")
    );
    for Figures { part, seed, counts } in &parts {
        let counts: Vec<String> =
            counts.iter().map(|(what, count)| format!("{count} {}", what.replace('_', " "))).collect();
        text += &format!("| {part} | {seed} | {} |\n", counts.join(", "));
    }
    text
}

/// Prints the summary of the file that `GANGLINE_FIGURES` names, or of an example.
#[test]
fn the_figures_of_a_campaign_add_up() {
    let lines = "{\"part\":\"kills\",\"seed\":1,\"counts\":{\"acknowledged\":5,\"kills\":3}}\n\
        {\"part\":\"cuts\",\"seed\":2,\"counts\":{\"acknowledged\":7,\"cuts\":2}}\n";
    let summed = summary(lines);
    assert!(summed.starts_with("12 acknowledged jobs, 3 kills, 2 power cuts, 0 lost\n"), "{summed}");
    assert!(summed.contains("| cuts | 2 | 7 acknowledged, 2 cuts |"), "{summed}");
    if let Some(path) = std::env::var_os("GANGLINE_FIGURES") {
        println!("{}", summary(&std::fs::read_to_string(Path::new(&path)).expect("the figures are there")));
    }
}
