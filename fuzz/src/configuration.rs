//! Configuration files: any text is refused with words, or gives a configuration that is the same when it is written out
//! setting by setting and read again.

use crate::input::scratch;
use gangline::config::Config;
use gangline::config::SETTINGS;
use gangline::config::Sources;

/// Reads the text as a file.
pub fn run(bytes: &[u8]) {
    let place = scratch();
    let file = place.path().join("gangline.toml");
    std::fs::write(&file, bytes).expect("there is room");
    let loaded = match Config::load(Sources { file: Some(file), ..Sources::default() }) {
        Ok(loaded) => loaded,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let shown =
        |config: &Config| SETTINGS.iter().map(|setting| setting.show(config)).collect::<Vec<String>>();
    let before = shown(&loaded.config);
    let flags = SETTINGS.iter().map(|setting| (setting.key, setting.show(&loaded.config))).collect();
    let again = Config::load(Sources { flags, ..Sources::default() });
    let again = again.unwrap_or_else(|error| panic!("what is shown is refused: {error}"));
    assert_eq!(shown(&again.config), before);
}
