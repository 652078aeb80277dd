//! A directory of a snapshot, and how it travels to the daemon (`part` of docs/protocol.md).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use crate::attr::Stat;
use crate::protocol::name_json;

/// Bytes of entries in one `part`, after which it is closed. One entry more (a name of 255 and a
/// target of 4,095 bytes, six times that in JSON at the most) is far below the longest frame.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// One name of a directory.
pub struct Entry {
    pub name: OsString,
    pub stat: Stat,
    pub extra: Extra,
}

/// What is told of an entry besides its attributes.
pub enum Extra {
    None,
    Target(Vec<u8>),
    /// The xattr as it is on disk; the daemon says what is wrong with a malformed one.
    Record(Vec<u8>),
}

/// A directory as it was at the moment of the snapshot.
pub struct Listing {
    pub path: Vec<u8>,
    pub stat: Stat,
    /// Its mode or times were set by a program since the last snapshot.
    pub explicit: bool,
    pub entries: Vec<Entry>,
}

impl Listing {
    /// The `part` events of this directory.
    pub fn send(&self, request: u64, send: &mut impl FnMut(Vec<u8>)) {
        let mut entries = self.entries.iter().peekable();
        loop {
            let mut json = Vec::new();
            let mut bytes = 0;
            while bytes < PART_BYTES
                && let Some(entry) = entries.next()
            {
                let entry = entry_json(entry).to_string();
                bytes += entry.len() + 1;
                json.push(entry);
            }
            let more = entries.peek().is_some();
            send(self.part(request, &json, more));
            if !more {
                break;
            }
        }
    }

    /// One `part` with these entries, each of which is JSON already.
    fn part(&self, request: u64, entries: &[String], more: bool) -> Vec<u8> {
        let head = json!({
            "t": "part",
            "id": request,
            "path": name_json(&self.path),
            "ino": self.stat.ino.to_string(),
            "btime": self.stat.btime.to_string(),
            "mode": self.stat.mode & 0o7777,
            "mtime": self.stat.mtime.ns().to_string(),
            "explicit": self.explicit,
            "more": more,
        });
        let mut part = head.to_string();
        part.pop();
        part.push_str(",\"entries\":[");
        part.push_str(&entries.join(","));
        part.push_str("]}");
        part.into_bytes()
    }
}

fn entry_json(entry: &Entry) -> Value {
    let stat = &entry.stat;
    let kind = match stat.mode & libc::S_IFMT {
        libc::S_IFREG => "f",
        libc::S_IFDIR => "d",
        libc::S_IFLNK => "l",
        _ => "o",
    };
    let extra = match &entry.extra {
        Extra::None => Value::Null,
        Extra::Target(target) => name_json(target),
        Extra::Record(bytes) => crate::base64::encode(bytes).into(),
    };
    json!([
        name_json(entry.name.as_bytes()),
        kind,
        stat.ino.to_string(),
        stat.btime.to_string(),
        stat.mode & 0o7777,
        stat.size.to_string(),
        stat.mtime.ns().to_string(),
        stat.ctime.ns().to_string(),
        extra,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_a_part_long_before_the_frame_is_full() {
        let stat = Stat::of(std::fs::File::open("/").expect("root")).expect("stat");
        let mut link = stat.clone();
        link.mode = libc::S_IFLNK | 0o777;
        let entries = (0..1000)
            .map(|number| Entry {
                name: OsString::from(format!("link{number}")),
                stat: link.clone(),
                extra: Extra::Target(vec![1; 4095]),
            })
            .collect();
        let listing = Listing {
            path: b"d".to_vec(),
            stat,
            explicit: false,
            entries,
        };
        let mut parts: Vec<Value> = Vec::new();
        listing.send(7, &mut |part: Vec<u8>| {
            assert!(part.len() < 2 * PART_BYTES);
            parts.push(serde_json::from_slice(&part).expect("JSON"));
        });
        let names: Vec<&Value> = parts
            .iter()
            .flat_map(|part| part["entries"].as_array().expect("entries"))
            .map(|entry| &entry[0])
            .collect();
        assert_eq!(names.len(), 1000);
        assert_eq!(names[999], "link999");
        let (last, before) = parts.split_last().expect("parts");
        assert!(before.len() > 1 && before.iter().all(|part| part["more"] == true));
        assert!(last["more"] == false && last["id"] == 7 && last["path"] == "d");
    }
}
