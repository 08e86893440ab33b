//! A path as a shell takes it for one word, for messages that name the next command.

/// The path, quoted if a shell would take it apart or for an option.
#[must_use]
pub fn word(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    if !path.is_empty() && path.chars().all(plain) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use crate::log::shell::word;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(word("/var/lib/gangline-2"), "/var/lib/gangline-2");
        assert_eq!(word("my data"), "'my data'");
        assert_eq!(word("it's;rm"), r"'it'\''s;rm'");
        assert_eq!(word("-data"), "./-data");
        assert_eq!(word("~"), "'~'");
        assert_eq!(word(""), "''");
    }
}
