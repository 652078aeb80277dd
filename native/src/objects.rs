//! objects/: one hard link to the inode of each settled file, named by a number.
//!
//! The link is ours, so `st_nlink` through the mount does not count it. Which inodes have one is
//! a table in memory, read from the directory at start; a stat and a look into the table are one
//! step, as are a change of the directory and of the table.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use parking_lot::RwLock;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, linkat, openat, unlinkat};
use rustix::io::{Errno, Result};

use crate::attr::Stat;

pub struct Objects {
    dir: OwnedFd,
    /// Links in objects/ by inode number. An inode with one cannot be reused. Locked after the
    /// inode's lock, before nodes.
    links: RwLock<HashMap<u64, u32>>,
}

impl Objects {
    pub fn open(store: BorrowedFd<'_>) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(store, "objects", flags, Mode::empty())?;
        let mut links = HashMap::new();
        let mut buffer = [MaybeUninit::uninit(); 64 * 1024];
        let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if entry.file_name().to_bytes().iter().all(u8::is_ascii_digit) {
                *links.entry(entry.ino()).or_insert(0) += 1;
            }
        }
        Ok(Self {
            dir,
            links: RwLock::new(links),
        })
    }

    /// Takes a stat and removes our links from its count.
    pub fn hide(&self, stat: impl FnOnce() -> Result<Stat>) -> Result<Stat> {
        let links = self.links.read();
        let mut stat = stat()?;
        if let Some(ours) = links.get(&stat.ino) {
            stat.nlink = stat.nlink.saturating_sub(*ours);
        }
        Ok(stat)
    }

    /// Links the file of a descriptor as objects/OID; fine if it is there already.
    pub fn link(&self, fd: BorrowedFd<'_>, ino: u64, oid: u64) -> Result<()> {
        let mut links = self.links.write();
        let source = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let name = oid.to_string();
        match linkat(CWD, source, &self.dir, &name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {
                *links.entry(ino).or_insert(0) += 1;
                Ok(())
            }
            Err(Errno::EXIST) if Stat::at(&self.dir, name.as_ref())?.ino == ino => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Removes objects/OID; fine if it is not there.
    pub fn unlink(&self, oid: u64) -> Result<()> {
        let mut links = self.links.write();
        let name = oid.to_string();
        let ino = match Stat::at(&self.dir, name.as_ref()) {
            Ok(stat) => stat.ino,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        unlinkat(&self.dir, &name, AtFlags::empty())?;
        if let Some(count) = links.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                links.remove(&ino);
            }
        }
        Ok(())
    }

    /// Makes the links and unlinks so far durable.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.dir)
    }
}
