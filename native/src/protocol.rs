//! The messages between keeper and daemon (docs/protocol.md).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::attr::Stamp;

pub const VERSION: u32 = 1;

/// Inode number and birth time: an inode number that was used again is another inode.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct InodeId {
    pub ino: u64,
    pub btime: u64,
}

impl InodeId {
    /// Puts the two fields into a message.
    pub fn put(self, message: &mut Map<String, Value>) {
        message.insert("ino".to_owned(), self.ino.to_string().into());
        message.insert("btime".to_owned(), self.btime.to_string().into());
    }

    pub fn json(self) -> Value {
        json!({ "ino": self.ino.to_string(), "btime": self.btime.to_string() })
    }
}

/// A number that may be a JSON number or, being 64 bits wide, a decimal string.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wide(pub u64);

impl<'de> Deserialize<'de> for Wide {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Self(number)),
            Either::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// A name or path: a string where its bytes are UTF-8, else `{"b64": "…"}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WireName(pub Vec<u8>);

impl<'de> Deserialize<'de> for WireName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Bytes { b64: String },
        }
        match Either::deserialize(deserializer)? {
            Either::Text(text) => Ok(Self(text.into_bytes())),
            Either::Bytes { b64 } => crate::base64::decode(&b64)
                .map(Self)
                .ok_or_else(|| serde::de::Error::custom("malformed base64")),
        }
    }
}

impl WireName {
    pub fn os(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

pub fn name_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "b64": crate::base64::encode(bytes) }),
    }
}

/// Why a file's name is final: what a `final` item carries as `by`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FinalBy {
    Name,
    Writer,
}

/// One item of a `changed` event.
#[derive(Clone, Debug)]
pub enum Item {
    Dirty(InodeId),
    Stamp {
        id: InodeId,
        old: Stamp,
        new: Stamp,
    },
    Final {
        id: InodeId,
        path: Vec<u8>,
        by: FinalBy,
    },
    Gone(InodeId),
}

impl Item {
    pub fn json(&self) -> Value {
        let mut item = Map::new();
        let (kind, id) = match self {
            Self::Dirty(id) => ("dirty", id),
            Self::Stamp { id, old, new } => {
                item.insert("old".to_owned(), old.json());
                item.insert("new".to_owned(), new.json());
                ("stamp", id)
            }
            Self::Final { id, path, by } => {
                item.insert("path".to_owned(), name_json(path));
                let by = if *by == FinalBy::Name {
                    "name"
                } else {
                    "writer"
                };
                item.insert("by".to_owned(), by.into());
                ("final", id)
            }
            Self::Gone(id) => ("gone", id),
        };
        item.insert("k".to_owned(), kind.into());
        id.put(&mut item);
        Value::Object(item)
    }
}

#[derive(Debug, Deserialize)]
pub struct WireError {
    #[serde(default)]
    pub errno: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct WireInodeId {
    ino: Wide,
    btime: Wide,
}

impl From<WireInodeId> for InodeId {
    fn from(id: WireInodeId) -> Self {
        Self {
            ino: id.ino.0,
            btime: id.btime.0,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub enum Notice {
    Inode {
        #[serde(flatten)]
        id: WireInodeId,
    },
    Complete {
        #[serde(flatten)]
        id: WireInodeId,
    },
    Entry {
        path: WireName,
        name: WireName,
    },
}

/// Everything that the daemon may say.
#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub enum FromDaemon {
    Ready,
    Failed {
        exit: i32,
        message: String,
    },
    Lease {
        id: u64,
        path: WireName,
        #[serde(flatten)]
        inode: WireInodeId,
    },
    Settled {
        id: u64,
        lease: u64,
        oid: Option<Wide>,
    },
    Unlease {
        lease: u64,
    },
    UnlinkObjects {
        id: u64,
        oids: Vec<Wide>,
    },
    Snapshot {
        id: u64,
        #[serde(default)]
        all: bool,
    },
    Committed {
        snapshot: u64,
        /// Directories with names that were left out: they stay marked as changed.
        #[serde(default)]
        again: Vec<WireInodeId>,
    },
    Notify(Notice),
    Stats {
        id: u64,
    },
    Unmount {
        id: u64,
        #[serde(default)]
        lazy: bool,
    },
    Done {
        dirty: u64,
    },
    Re {
        id: u64,
        #[serde(default)]
        ok: Option<Value>,
        #[serde(default)]
        err: Option<WireError>,
    },
}

/// What an operation that failed in the daemon gives to the program that waits for it. A local
/// disk answers EIO when bytes cannot be read and ENOSPC when they do not fit; the rest is for
/// requests about metadata.
pub fn errno_by_name(name: &str) -> Errno {
    match name {
        "ENODATA" => Errno::NODATA,
        "ENOENT" => Errno::NOENT,
        "ENOSPC" => Errno::NOSPC,
        "EDQUOT" => Errno::DQUOT,
        "EACCES" => Errno::ACCESS,
        "EROFS" => Errno::ROFS,
        "ECANCELED" => Errno::CANCELED,
        _ => Errno::IO,
    }
}

/// The names that our own answers use.
pub fn name_of_errno(errno: Errno) -> &'static str {
    match errno {
        Errno::AGAIN => "EAGAIN",
        Errno::STALE => "ESTALE",
        Errno::CANCELED => "ECANCELED",
        Errno::BUSY => "EBUSY",
        Errno::NOENT => "ENOENT",
        Errno::EXIST => "EEXIST",
        Errno::ACCESS => "EACCES",
        Errno::PERM => "EPERM",
        Errno::NOSPC => "ENOSPC",
        Errno::MLINK => "EMLINK",
        Errno::ROFS => "EROFS",
        _ => "EIO",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_daemons_messages() {
        let parse = |text: &str| serde_json::from_str::<FromDaemon>(text).expect(text);
        assert!(matches!(parse(r#"{"t":"ready"}"#), FromDaemon::Ready));
        let FromDaemon::Lease { id, path, inode } =
            parse(r#"{"t":"lease","id":3,"path":"a/b","ino":"18446744073709551615","btime":"7"}"#)
        else {
            panic!("lease");
        };
        assert_eq!(
            (id, path.0, InodeId::from(inode)),
            (
                3,
                b"a/b".to_vec(),
                InodeId {
                    ino: u64::MAX,
                    btime: 7
                }
            )
        );
        assert!(matches!(
            parse(r#"{"t":"settled","id":1,"lease":2,"oid":null}"#),
            FromDaemon::Settled { oid: None, .. }
        ));
        assert!(matches!(
            parse(r#"{"t":"notify","k":"entry","path":"","name":{"b64":"/w=="}}"#),
            FromDaemon::Notify(Notice::Entry { name: WireName(bytes), .. }) if bytes == [255]
        ));
        assert!(matches!(
            parse(r#"{"t":"notify","k":"complete","ino":"5","btime":"6"}"#),
            FromDaemon::Notify(Notice::Complete { .. })
        ));
        assert!(serde_json::from_str::<FromDaemon>(r#"{"t":"dance"}"#).is_err());
    }

    #[test]
    fn writes_names_that_are_no_utf8_as_base64() {
        assert_eq!(name_json("ü".as_bytes()), json!("ü"));
        assert_eq!(name_json(&[0xff, 0x00]), json!({ "b64": "/wA=" }));
    }
}
