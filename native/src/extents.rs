//! Which bytes of a placeholder can be read: the extent map that the daemon writes, and what its
//! answers said since.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::{Errno, Result};

use crate::protocol::InodeId;

pub const EXTENT_BYTES: u64 = 1024 * 1024;
const MAGIC: &[u8; 4] = b"mcx1";
const HEADER_BYTES: usize = 16;

/// Disjoint, merged ranges of bytes: start to end.
#[derive(Debug, Default)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        while let Some((&other, &other_end)) = self.0.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            self.0.remove(&other);
            start = start.min(other);
            end = end.max(other_end);
        }
        self.0.insert(start, end);
    }

    pub fn covers(&self, start: u64, end: u64) -> bool {
        if start >= end {
            return true;
        }
        let before = self.0.range(..=start).next_back();
        before.is_some_and(|(_, &other_end)| other_end >= end)
    }
}

/// An open placeholder: shared by all its handles, from the first open to the last release.
pub struct Filling {
    pub id: InodeId,
    size: AtomicU64,
    complete: AtomicBool,
    /// A leaf in the lock order.
    present: Mutex<Ranges>,
    /// The range that failed last at its deadline, and when. A leaf in the lock order.
    failed: Mutex<Option<(Instant, u64, u64)>>,
}

/// The kernel reads a page again, at once, when its read-ahead failed (mm/filemap.c,
/// filemap_read_folio): a program must not wait for two deadlines.
const FAILURE_STANDS: Duration = Duration::from_millis(100);

impl Filling {
    pub fn new(id: InodeId, size: u64) -> Self {
        Self {
            id,
            size: AtomicU64::new(size),
            complete: AtomicBool::new(false),
            present: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    pub fn note_failure(&self, start: u64, end: u64) {
        *self.failed.lock() = Some((Instant::now(), start, end));
    }

    /// Whether these bytes failed a moment ago.
    pub fn just_failed(&self, start: u64, end: u64) -> bool {
        self.failed.lock().is_some_and(|(when, from, to)| {
            from < end && start < to && when.elapsed() < FAILURE_STANDS
        })
    }

    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// No placeholder any more: whatever is in the file is the file.
    pub fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    pub fn add(&self, start: u64, end: u64) {
        self.present.lock().add(start, end);
    }

    /// Whether the bytes can be read: by what is known, else by the map on disk.
    pub fn covers(&self, extents: BorrowedFd<'_>, start: u64, end: u64) -> bool {
        if self.is_complete() || self.present.lock().covers(start, end) {
            return true;
        }
        let map = match read_map(extents, self.id, self.size()) {
            Ok(map) => map,
            Err(error) => {
                log::warn!("extent map {}: {error}", map_name(self.id));
                return false;
            }
        };
        let mut present = self.present.lock();
        for (start, end) in map {
            present.add(start, end);
        }
        present.covers(start, end)
    }
}

pub fn map_name(id: InodeId) -> String {
    format!("{}-{}", id.ino, id.btime)
}

/// Removes the map, durably: after this nothing of the inode counts as present.
pub fn remove_map(extents: BorrowedFd<'_>, id: InodeId) -> Result<()> {
    match unlinkat(extents, map_name(id), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => rustix::fs::fsync(extents),
        Err(errno) => Err(errno),
    }
}

/// The present ranges. A missing map means none; one of another file size or layout is an error.
fn read_map(
    extents: BorrowedFd<'_>,
    id: InodeId,
    size: u64,
) -> std::result::Result<Vec<(u64, u64)>, String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match openat(extents, map_name(id), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.to_string()),
    };
    let extent_count = size.div_ceil(EXTENT_BYTES);
    let expected = HEADER_BYTES + (extent_count as usize).div_ceil(8);
    let mut bytes = vec![0; expected];
    let mut filled = 0;
    while filled < expected {
        match rustix::io::pread(file.as_fd(), &mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(errno) => return Err(errno.to_string()),
        }
    }
    if filled == 0 {
        // Created, but nothing is noted yet.
        return Ok(Vec::new());
    }
    decode_map(&bytes[..filled], size).map_err(str::to_owned)
}

pub fn decode_map(bytes: &[u8], size: u64) -> std::result::Result<Vec<(u64, u64)>, &'static str> {
    let Some((header, bits)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err("too short");
    };
    let mut extent_bytes = [0; 4];
    extent_bytes.copy_from_slice(&header[4..8]);
    let mut extent_count = [0; 8];
    extent_count.copy_from_slice(&header[8..16]);
    if &header[..4] != MAGIC || u64::from(u32::from_le_bytes(extent_bytes)) != EXTENT_BYTES {
        return Err("unknown format");
    }
    if u64::from_le_bytes(extent_count) != size.div_ceil(EXTENT_BYTES) {
        return Err("of a file of another size");
    }
    let mut ranges = Vec::new();
    for (index, byte) in bits.iter().enumerate() {
        for bit in 0..8 {
            if byte >> bit & 1 == 1 {
                let start = (index as u64 * 8 + bit) * EXTENT_BYTES;
                if start < size {
                    ranges.push((start, (start + EXTENT_BYTES).min(size)));
                }
            }
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = EXTENT_BYTES;

    #[test]
    fn merges_ranges_that_touch() {
        let mut ranges = Ranges::default();
        ranges.add(10, 20);
        ranges.add(30, 40);
        assert!(!ranges.covers(10, 40));
        ranges.add(20, 30);
        assert!(ranges.covers(10, 40));
        assert_eq!(ranges.0.len(), 1);
        ranges.add(0, 100);
        ranges.add(5, 6);
        assert_eq!(ranges.0, BTreeMap::from([(0, 100)]));
        assert!(ranges.covers(100, 100));
        assert!(!ranges.covers(99, 101));
    }

    fn map(count: u64, bits: &[u8]) -> Vec<u8> {
        let mut bytes = b"mcx1".to_vec();
        bytes.extend_from_slice(&(MIB as u32).to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(bits);
        bytes
    }

    #[test]
    fn reads_the_map_and_cuts_the_last_extent() {
        let size = 9 * MIB + 5;
        let ranges = decode_map(&map(10, &[0b0000_0101, 0b0000_0010]), size).expect("valid");
        assert_eq!(ranges, vec![(0, MIB), (2 * MIB, 3 * MIB), (9 * MIB, size)]);
    }

    #[test]
    fn refuses_maps_of_other_files() {
        assert!(decode_map(&map(10, &[0xff, 0xff]), 5 * MIB).is_err());
        assert!(decode_map(b"mcx1", 5).is_err());
        let mut other = map(1, &[1]);
        other[3] = b'2';
        assert!(decode_map(&other, 5).is_err());
    }

    #[test]
    fn finds_the_map_of_its_inode() {
        let path = std::env::temp_dir().join(format!("keeper-extents-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temp dir");
        let dir = std::fs::File::open(&path).expect("open");
        let id = InodeId { ino: 7, btime: 9 };
        let filling = Filling::new(id, 2 * MIB);
        assert!(!filling.covers(dir.as_fd(), 0, 1));
        std::fs::write(path.join("7-9"), map(2, &[1])).expect("write");
        assert!(filling.covers(dir.as_fd(), 0, MIB));
        assert!(!filling.covers(dir.as_fd(), MIB - 1, MIB + 1));
        filling.add(MIB, 2 * MIB);
        assert!(filling.covers(dir.as_fd(), 0, 2 * MIB));
        remove_map(dir.as_fd(), id).expect("remove");
        assert!(!path.join("7-9").exists());
        std::fs::remove_dir_all(path).expect("clean up");
    }
}
