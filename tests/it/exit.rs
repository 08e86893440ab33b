//! The documentation's table of exit codes is the one in code.

use crate::harness::run;
use gangline::cli::exit::Exit;

#[test]
fn the_documented_exit_codes_are_the_ones_in_code() {
    let page = include_str!("../../docs/cli.md");
    let documented: Vec<(u8, &str)> = page
        .lines()
        .filter_map(|line| {
            let (code, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
            Some((code.parse().ok()?, rest.split(" | ").next()?))
        })
        .collect();
    let known: Vec<(u8, &str)> = Exit::ALL.iter().map(|(exit, name)| (exit.code(), *name)).collect();
    assert_eq!(documented, known);
}

#[test]
fn wrong_arguments_are_usage_and_help_is_not() {
    let code = |arguments: &[&str]| run(arguments).status.code();
    assert_eq!(code(&["serve", "--no-such-flag"]), Some(2));
    assert_eq!(code(&["no-such-command"]), Some(2));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["serve", "--help"]), Some(0));
    assert_eq!(code(&["--version"]), Some(0));
}
