//! The placeholder's record: the binary xattr `user.mc` (docs/store.md).

use std::fmt;

/// The xattr's name; hidden from and refused through the mount.
pub const RECORD_XATTR: &str = "user.mc";

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 32;
/// Larger than any record: three CIDs of at most a few dozen bytes.
pub const MAX_RECORD_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordKind {
    /// A file whose bytes, some or all, are still remote.
    File,
    /// A directory that is not listed yet.
    Directory,
}

/// What a placeholder pretends to be. The CIDs are carried as bytes: only the daemon reads them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlaceholderRecord {
    pub kind: RecordKind,
    /// Permission bits (07777).
    pub mode: u32,
    pub size: u64,
    pub mtime_sec: i64,
    pub mtime_nsec: u32,
    pub cid: Vec<u8>,
    pub meta_cid: Vec<u8>,
    pub commit_cid: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedRecord(&'static str);

impl fmt::Display for MalformedRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "malformed placeholder record: {}", self.0)
    }
}

impl PlaceholderRecord {
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        let Some((header, cids)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(MalformedRecord("too short"));
        };
        if header[0] != VERSION {
            return Err(MalformedRecord("unknown version"));
        }
        let kind = match header[1] {
            1 => RecordKind::File,
            2 => RecordKind::Directory,
            _ => return Err(MalformedRecord("unknown kind")),
        };
        let length = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let (cid_length, meta_length, commit_length) = (length(2), length(4), length(6));
        if cid_length == 0 || cids.len() != cid_length + meta_length + commit_length {
            return Err(MalformedRecord("lengths of the CIDs"));
        }
        let mode = u32::from_le_bytes(field(header, 8));
        let mtime_nsec = u32::from_le_bytes(field(header, 28));
        if mode > 0o7777 {
            return Err(MalformedRecord("mode"));
        }
        if mtime_nsec >= 1_000_000_000 {
            return Err(MalformedRecord("nanoseconds"));
        }
        let size = u64::from_le_bytes(field(header, 12));
        if i64::try_from(size).is_err() {
            return Err(MalformedRecord("size"));
        }
        let (cid, rest) = cids.split_at(cid_length);
        let (meta_cid, commit_cid) = rest.split_at(meta_length);
        Ok(Self {
            kind,
            mode,
            size,
            mtime_sec: i64::from_le_bytes(field(header, 20)),
            mtime_nsec,
            cid: cid.to_vec(),
            meta_cid: meta_cid.to_vec(),
            commit_cid: commit_cid.to_vec(),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.cid.len() + self.meta_cid.len());
        bytes.push(VERSION);
        bytes.push(match self.kind {
            RecordKind::File => 1,
            RecordKind::Directory => 2,
        });
        for cid in [&self.cid, &self.meta_cid, &self.commit_cid] {
            // A decoded CID came out of a u16 length, so it fits one again.
            bytes.extend_from_slice(&(cid.len() as u16).to_le_bytes());
        }
        bytes.extend_from_slice(&self.mode.to_le_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.mtime_sec.to_le_bytes());
        bytes.extend_from_slice(&self.mtime_nsec.to_le_bytes());
        for cid in [&self.cid, &self.meta_cid, &self.commit_cid] {
            bytes.extend_from_slice(cid);
        }
        bytes
    }

    /// Nanoseconds since 1970; the product of an i64 and 10^9 needs 128 bits.
    pub fn mtime_ns(&self) -> i128 {
        i128::from(self.mtime_sec) * 1_000_000_000 + i128::from(self.mtime_nsec)
    }
}

/// `N` bytes at `at`; the header's length was checked, so the range exists.
fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&header[at..at + N]);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PlaceholderRecord {
        PlaceholderRecord {
            kind: RecordKind::File,
            mode: 0o640,
            size: 5_000_000_000,
            mtime_sec: -5,
            mtime_nsec: 123_456_789,
            cid: vec![1; 36],
            meta_cid: Vec::new(),
            commit_cid: vec![3; 36],
        }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        for kind in [RecordKind::File, RecordKind::Directory] {
            let record = PlaceholderRecord { kind, ..sample() };
            let bytes = record.encode();
            assert_eq!(bytes.len(), 32 + 36 + 36);
            assert_eq!(PlaceholderRecord::decode(&bytes), Ok(record));
        }
    }

    #[test]
    fn has_the_layout_of_the_documentation() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..8], &[1, 1, 36, 0, 0, 0, 36, 0]);
        assert_eq!(&bytes[8..12], &0o640u32.to_le_bytes());
        assert_eq!(&bytes[12..20], &5_000_000_000u64.to_le_bytes());
        assert_eq!(&bytes[20..28], &(-5i64).to_le_bytes());
        assert_eq!(&bytes[28..32], &123_456_789u32.to_le_bytes());
    }

    #[test]
    fn refuses_anything_else() {
        let good = sample().encode();
        let change = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            PlaceholderRecord::decode(&bytes)
        };
        assert!(PlaceholderRecord::decode(&good[..31]).is_err());
        assert!(PlaceholderRecord::decode(&good[..good.len() - 1]).is_err());
        assert!(change(0, 2).is_err());
        assert!(change(1, 3).is_err());
        assert!(change(2, 35).is_err());
        assert!(change(11, 1).is_err());
        assert!(change(19, 0x80).is_err());
        assert!(change(31, 0xff).is_err());
    }

    #[test]
    fn counts_nanoseconds_before_1970() {
        assert_eq!(sample().mtime_ns(), -5_000_000_000 + 123_456_789);
    }
}
