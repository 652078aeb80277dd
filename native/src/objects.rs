//! objects/: one hard link to the inode of each settled file, named by a number.
//!
//! The link is ours, so `st_nlink` through the mount does not count it. Which inodes have one is
//! a table in memory, read from the directory at start; a stat and a look into the table are one
//! step, as are a change of the directory and of the table.
//!
//! Nor does `st_ctime` show that it was made: who compares a ctime (git's index, rsync, backups)
//! would take every settled file for a changed one. What it was before is kept in memory, so that
//! the next mount shows what the disk has.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use parking_lot::RwLock;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, linkat, openat, unlinkat};
use rustix::io::{Errno, Result};

use crate::attr::{Stat, Time};

pub struct Objects {
    dir: OwnedFd,
    /// Locked after the inode's lock, before nodes.
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    /// Links in objects/ by inode number. An inode with one cannot be reused.
    links: HashMap<u64, u32>,
    ctimes: HashMap<u64, OwnCtime>,
}

/// The ctime that a change of ours gave to an inode, and the one that it had. A change by anybody
/// else gives it another, which is shown.
struct OwnCtime {
    ours: Time,
    shown: Time,
}

impl Tables {
    fn hide(&self, stat: &mut Stat) {
        if let Some(ours) = self.links.get(&stat.ino) {
            stat.nlink = stat.nlink.saturating_sub(*ours);
        }
        if let Some(own) = self.ctimes.get(&stat.ino)
            && own.ours == stat.ctime
        {
            stat.shown_ctime = own.shown;
        }
    }

    /// Notes what a change of ours made of the ctime.
    fn moved(&mut self, mut before: Stat, after: &Stat) {
        self.hide(&mut before);
        let own = OwnCtime {
            ours: after.ctime,
            shown: before.shown_ctime,
        };
        self.ctimes.insert(after.ino, own);
    }
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
            tables: RwLock::new(Tables {
                links,
                ctimes: HashMap::new(),
            }),
        })
    }

    /// Takes a stat and removes our links from its count, and the time when we made them.
    pub fn hide(&self, stat: impl FnOnce() -> Result<Stat>) -> Result<Stat> {
        let tables = self.tables.read();
        let mut stat = stat()?;
        tables.hide(&mut stat);
        Ok(stat)
    }

    /// Links the file of a descriptor as objects/OID; fine if it is there already. Called under the
    /// inode's lock.
    pub fn link(&self, fd: BorrowedFd<'_>, ino: u64, oid: u64) -> Result<()> {
        let mut tables = self.tables.write();
        let before = Stat::of(fd)?;
        let source = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let name = oid.to_string();
        match linkat(CWD, source, &self.dir, &name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {
                *tables.links.entry(ino).or_insert(0) += 1;
                crate::fault::reached("keeper.object-linked");
                let after = Stat::of(fd)?;
                tables.moved(before, &after);
                Ok(())
            }
            Err(Errno::EXIST) if Stat::at(&self.dir, name.as_ref())?.ino == ino => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// The inode of objects/OID, if there is one.
    pub fn ino_of(&self, oid: u64) -> Result<Option<u64>> {
        match Stat::at(&self.dir, oid.to_string().as_ref()) {
            Ok(stat) => Ok(Some(stat.ino)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Removes objects/OID; fine if it is not there. Called under the inode's lock.
    pub fn unlink(&self, oid: u64) -> Result<()> {
        let mut tables = self.tables.write();
        let name = oid.to_string();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(&self.dir, &name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let before = Stat::of(&fd)?;
        let ino = before.ino;
        unlinkat(&self.dir, &name, AtFlags::empty())?;
        crate::fault::reached("keeper.object-unlinked");
        if let Some(count) = tables.links.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                tables.links.remove(&ino);
            }
        }
        let after = Stat::of(&fd)?;
        if after.nlink == 0 {
            tables.ctimes.remove(&ino);
        } else {
            tables.moved(before, &after);
        }
        Ok(())
    }

    /// The last name of a file went: nobody asks for its ctime but who has it open.
    pub fn gone(&self, ino: u64) {
        self.tables.write().ctimes.remove(&ino);
    }

    /// Makes the links and unlinks so far durable.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.dir)
    }
}
