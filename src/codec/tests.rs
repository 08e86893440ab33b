//! What the codec refuses, and that every event comes back as it was. [FMT-1]

use crate::codec::Error;
use crate::codec::PIECE_BYTES;
use crate::codec::Reader;
use crate::codec::Run;
use crate::codec::VERSION;
use crate::codec::Writer;
use crate::codec::decode;
use crate::codec::encode;
use crate::job::event::Event;
use crate::job::event::specimens::arbitrary;
use crate::job::event::specimens::specimens;
use proptest::prelude::*;
use std::io::Read;

#[test]
fn every_event_comes_back_as_it_was_and_no_part_of_it_passes_for_the_whole() {
    for event in specimens() {
        let bytes = encode(&event);
        assert_eq!(decode::<Event>(&bytes), Ok(event.clone()));
        for end in 0..bytes.len() {
            assert!(decode::<Event>(&bytes[..end]).is_err(), "{end} bytes of {event:?}");
        }
        let more = [&bytes[..], &[0]].concat();
        assert_eq!(decode::<Event>(&more), Err(Error::Malformed("1 bytes too many".to_owned())));
    }
}

#[test]
fn another_version_is_refused_by_its_number_before_anything_is_read() {
    let mut bytes = encode(&specimens()[0]);
    for version in [0, VERSION + 1, 255] {
        bytes[0] = version;
        assert_eq!(decode::<Event>(&bytes), Err(Error::Version(version)));
        assert_eq!(Run::open(&[version]).err(), Some(Error::Version(version)));
    }
    assert_eq!(decode::<Event>(&[]), Err(Error::Cut));
}

#[test]
fn a_damaged_length_is_refused_without_asking_for_the_memory() {
    let huge = [&[VERSION, 253], &(u64::MAX >> 4).to_le_bytes()[..]].concat();
    assert!(matches!(decode::<String>(&huge), Err(Error::Malformed(_) | Error::Cut)));
    assert!(matches!(decode::<Vec<u8>>(&huge), Err(Error::Malformed(_) | Error::Cut)));
    assert!(matches!(decode::<crate::job::spec::Payload>(&huge), Err(Error::Malformed(_) | Error::Cut)));
}

/// Small ones, one that ends a piece, and one that is larger than several.
#[test]
fn values_of_any_size_come_back_from_a_stream_with_the_bytes_they_are_stored_in() {
    let sizes = [0, 1, 300, PIECE_BYTES - 310, 7, 3 * PIECE_BYTES, 2];
    let values = sizes.map(|size| "x".repeat(size));
    let mut stored = Vec::new();
    let written = Writer::over(&mut stored, |out| {
        out.version()?;
        values.iter().try_for_each(|value| out.put(value))?;
        out.put_bytes(b"rest")
    });
    assert!(written.is_ok());
    let mut input = &stored[..];
    let mut reader = Reader::over(&mut input);
    assert_eq!(reader.version(), Ok(()));
    let mut copy = vec![VERSION];
    for value in &values {
        let (read, bytes) = reader.take_by(|run| run.take::<String>()).unwrap();
        assert_eq!(&read, value);
        copy.extend_from_slice(bytes);
    }
    let mut rest = String::new();
    reader.into_rest().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "rest");
    assert_eq!([&copy[..], b"rest"].concat(), stored);
}

#[test]
fn a_stream_that_ends_within_a_value_is_refused_and_so_is_another_version() {
    let stored = encode(&"x".repeat(2 * PIECE_BYTES));
    for end in [0, 1, 2, PIECE_BYTES, stored.len() - 1] {
        let mut input = &stored[..end];
        let mut reader = Reader::over(&mut input);
        let read = reader.version().and_then(|()| reader.take::<String>());
        assert_eq!(read, Err(Error::Cut), "{end} bytes");
    }
    assert_eq!(Reader::over(&mut &[VERSION + 1][..]).version(), Err(Error::Version(VERSION + 1)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_event_comes_back_as_it_was(event in arbitrary()) {
        prop_assert_eq!(decode::<Event>(&encode(&event)), Ok(event));
    }

    #[test]
    fn any_bytes_are_an_event_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        bytes[0] = VERSION;
        if let Ok(event) = decode::<Event>(&bytes) {
            prop_assert_eq!(decode::<Event>(&encode(&event)), Ok(event));
        }
    }
}
