//! "Did you mean": the known key that is most like an unknown one.

/// Below this likeness (Jaro-Winkler, 0 to 1) a suggestion would be a guess.
const ALIKE: f64 = 0.82;

/// The one of `known` that is most like `written`, if any is.
pub(crate) fn nearest(written: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    let rated = known.into_iter().map(|key| (strsim::jaro_winkler(written, &key), key));
    let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(alike, _)| *alike >= ALIKE).map(|(_, key)| key)
}

/// The end of a sentence that says what was probably meant; empty if nothing is alike.
pub(crate) fn suggestion(written: &str, known: impl IntoIterator<Item = String>) -> String {
    nearest(written, known).map_or_else(String::new, |key| format!("; did you mean {key}?"))
}
