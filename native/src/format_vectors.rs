//! The formats that this program shares with the daemon, by the vectors that both are tested with.

use serde_json::Value;

use crate::dirty_log;
use crate::extents;
use crate::record::{PlaceholderRecord, RecordKind};

const VECTORS: &str = include_str!("../../test/vectors/store-formats.json");

fn vectors(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(VECTORS).expect("JSON");
    let rows = all[name].as_array().expect("a list").clone();
    assert!(!rows.is_empty(), "{name}");
    rows
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} of {row}"))
}

fn number<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a number")
}

fn bytes(row: &Value) -> Vec<u8> {
    let hex = text(row, "hex").as_bytes();
    let digits = hex
        .chunks(2)
        .map(|two| std::str::from_utf8(two).expect("ASCII"));
    digits
        .map(|two| u8::from_str_radix(two, 16).expect("hexadecimal"))
        .collect()
}

/// The bytes of a CID in lower-case base 32 (multibase `b`); none of null.
fn cid(value: &Value) -> Vec<u8> {
    let Some(text) = value.as_str() else {
        return Vec::new();
    };
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for character in text.strip_prefix('b').expect("base 32").bytes() {
        let digit = match character {
            b'a'..=b'z' => character - b'a',
            b'2'..=b'7' => character - b'2' + 26,
            other => panic!("{other} in a CID"),
        };
        bits = bits << 5 | u32::from(digit);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

#[test]
fn records_are_read_and_written_as_the_vectors_say() {
    for row in vectors("records") {
        let nanoseconds: i128 = number(text(&row, "mtimeNs"));
        let record = PlaceholderRecord {
            kind: match text(&row, "kind") {
                "file" => RecordKind::File,
                _ => RecordKind::Directory,
            },
            mode: row["mode"].as_u64().expect("mode") as u32,
            size: number(text(&row, "sizeBytes")),
            mtime_sec: nanoseconds.div_euclid(1_000_000_000) as i64,
            mtime_nsec: nanoseconds.rem_euclid(1_000_000_000) as u32,
            cid: cid(&row["cid"]),
            meta_cid: cid(&row["metaCid"]),
            commit_cid: cid(&row["commitCid"]),
        };
        assert_eq!(record.encode(), bytes(&row), "{row}");
        assert_eq!(PlaceholderRecord::decode(&bytes(&row)), Ok(record), "{row}");
    }
}

#[test]
fn what_is_no_record_is_refused() {
    for row in vectors("refusedRecords") {
        assert!(PlaceholderRecord::decode(&bytes(&row)).is_err(), "{row}");
    }
}

#[test]
fn extent_maps_are_read_as_the_vectors_say() {
    for row in vectors("extentMaps") {
        let present = row["present"].as_array().expect("a list");
        let end = |range: &Value, at: usize| number(range[at].as_str().expect("a number"));
        let ranges: Vec<(u64, u64)> = present
            .iter()
            .map(|one| (end(one, 0), end(one, 1)))
            .collect();
        let size = number(text(&row, "sizeBytes"));
        assert_eq!(extents::decode_map(&bytes(&row), size), Ok(ranges), "{row}");
    }
}

#[test]
fn dirty_logs_are_read_as_the_vectors_say() {
    for row in vectors("dirtyLogs") {
        let mut found: Vec<(u64, u64)> = dirty_log::parse(text(&row, "text").as_bytes())
            .into_iter()
            .collect();
        found.sort_unstable();
        let noted = row["noted"].as_array().expect("a list");
        let value = |id: &Value, at: usize| number(id[at].as_str().expect("a number"));
        let expected: Vec<(u64, u64)> = noted
            .iter()
            .map(|id| (value(id, 0), value(id, 1)))
            .collect();
        assert_eq!(found, expected, "{row}");
    }
}
