//! An error for the program's own log: a reader of one line has to see that it was the disk, and not only what was tried.

/// The error and all its causes, in one line.
#[must_use]
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use crate::log::Error;
    use crate::log::causes::in_one_line;

    #[test]
    fn the_last_cause_is_told_too() {
        let source = std::io::Error::from_raw_os_error(5);
        let error = Error::Io { action: "syncing", place: "/data/log".to_owned(), source };
        assert_eq!(in_one_line(&error), "syncing /data/log: Input/output error (os error 5)");
    }
}
