//! Commit's critical section: all changed directories, listed at one moment.
//!
//! Everything is read with `namespace` held exclusively and kept in memory; it is sent afterwards.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, Result};

use crate::attr::Stat;
use crate::changes::Marks;
use crate::core::Core;
use crate::leases::proc_path;
use crate::listing::{Entry, Extra, Listing};
use crate::nodes::Stage;
use crate::ops::dir::read_dir_names;
use crate::ops::hydrate::printable;
use crate::protocol::InodeId;
use crate::record::{MAX_RECORD_BYTES, PlaceholderRecord, RECORD_XATTR};

/// How often a name is looked at that changes each time.
const MAX_LOOKS: u32 = 100;

/// A snapshot that was taken and is not sent yet.
pub struct Snapshot {
    pub number: u64,
    listings: Vec<Listing>,
}

/// Takes the snapshot. An error leaves the marks pending: they are in the next one.
pub fn take(core: &Core, all: bool) -> Result<Snapshot> {
    let _namespace = core.namespace.write();
    mark_possibly_changed(core);
    let (taken, doubles) = core.changes.take();
    for ino in doubles {
        core.nodes.release(ino);
    }
    let mut walk = Walk {
        core,
        marks: &taken.marks,
        unnamed: core.dirty.unclaimed().into_iter().collect(),
        listings: BTreeMap::new(),
    };
    if all || taken.all {
        walk.everything()?;
        walk.drop_vanished();
    } else {
        walk.changed()?;
    }
    crate::fault::reached("keeper.listed");
    Ok(Snapshot {
        number: taken.snapshot,
        listings: walk.listings.into_values().collect(),
    })
}

/// Files that may be written without our seeing it (mapped, passed through) can differ from one
/// snapshot to the next without any mark.
fn mark_possibly_changed(core: &Core) {
    for id in core.dirty.ids() {
        for (directory, _) in core.nodes.names(id.ino) {
            core.mark(directory, false);
        }
    }
}

struct Walk<'a> {
    core: &'a Core,
    marks: &'a Marks,
    /// Dirty inodes of an earlier run: their nodes are made when they are found.
    unnamed: HashSet<InodeId>,
    /// By path, of which a directory's own is before those beneath it.
    listings: BTreeMap<Vec<u8>, Listing>,
}

impl Walk<'_> {
    /// The marked directories and, so that the daemon can build on them, all above them.
    fn changed(&mut self) -> Result<()> {
        let mut wanted: Vec<u64> = self.marks.keys().copied().collect();
        let mut seen = HashSet::new();
        while let Some(ino) = wanted.pop() {
            // Without a path it was removed; so was everything in it.
            let Some(path) = self.core.nodes.path(ino) else {
                continue;
            };
            if !seen.insert(ino) {
                continue;
            }
            wanted.extend(
                self.core
                    .nodes
                    .names(ino)
                    .into_iter()
                    .map(|(parent, _)| parent),
            );
            let fd = match self.core.dir_fd(ino) {
                Ok(fd) => fd,
                // Removed past the mount, and its number is perhaps a file's now.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                // An ordinary user closed a directory above it: it stays changed until it is open.
                Err(Errno::ACCESS) => {
                    log::warn!("snapshot {}: {}", printable(&path), Errno::ACCESS);
                    let explicit = self.marks.get(&ino).copied().unwrap_or(false);
                    self.core.mark(ino, explicit);
                    continue;
                }
                Err(failed) => return Err(failed),
            };
            self.list(fd.as_fd(), path)?;
        }
        Ok(())
    }

    fn everything(&mut self) -> Result<()> {
        let mut open = vec![(self.core.root.ino, Vec::new())];
        while let Some((ino, path)) = open.pop() {
            let below = {
                let fd = match self.core.dir_fds.get(ino) {
                    Some(fd) => fd,
                    None => match self.open_path(&path) {
                        Ok(fd) => std::sync::Arc::new(fd),
                        // Removed past the mount since its parent was listed.
                        Err(Errno::NOENT | Errno::NOTDIR) => continue,
                        Err(failed) => return Err(failed),
                    },
                };
                self.list(fd.as_fd(), path.clone())?
            };
            for (ino, name) in below {
                let mut path = path.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name.as_bytes());
                open.push((ino, path));
            }
        }
        Ok(())
    }

    /// Opens a path of any length, a few components at a time.
    fn open_path(&self, path: &[u8]) -> Result<std::os::fd::OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = openat(&*self.core.tree, ".", flags, Mode::empty())?;
        for component in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            at = openat(&at, component, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(at)
    }

    /// Lists one directory; returns the directories in it. One that is not listed yet occurs only
    /// as an entry of its parent.
    fn list(&mut self, dir: BorrowedFd<'_>, path: Vec<u8>) -> Result<Vec<(u64, OsString)>> {
        let stat = self.core.stat_fd(dir)?;
        if read_record(&format!("/proc/self/fd/{}", dir.as_raw_fd()))?.is_some() {
            return Ok(Vec::new());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Not as `.`, which would need the right to search it.
        let readable = match openat(CWD, proc_path(dir), flags, Mode::empty()) {
            Ok(readable) => readable,
            Err(Errno::ACCESS) => return Ok(closed(&path)),
            Err(failed) => return Err(failed),
        };
        let mut entries = Vec::new();
        let mut below = Vec::new();
        for name in read_dir_names(readable.as_fd())? {
            match self.steady_entry(dir, &name.name) {
                Ok(entry) => {
                    self.find_unnamed(&stat, &path, &entry);
                    if entry.stat.is_dir() {
                        below.push((entry.stat.ino, entry.name.clone()));
                    }
                    entries.push(entry);
                }
                // It was removed past the mount.
                Err(Errno::NOENT) => {}
                Err(Errno::ACCESS) => return Ok(closed(&path)),
                Err(failed) => {
                    let name = printable(name.name.as_bytes());
                    log::error!("snapshot {}/{name}: {failed}", printable(&path));
                    return Err(failed);
                }
            }
        }
        entries.sort_unstable_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
        let explicit = self.marks.get(&stat.ino).copied().unwrap_or(false);
        let listing = Listing {
            path: path.clone(),
            stat,
            explicit,
            entries,
        };
        self.listings.insert(sort_key(&path), listing);
        Ok(below)
    }

    /// Looks again at what became something else, past the mount, between two looks: its type is
    /// no longer what the first one saw (readlink(2) of what is no link: EINVAL).
    fn steady_entry(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<Entry> {
        let mut looks = 1;
        loop {
            match self.entry(dir, name) {
                Err(Errno::INVAL) if looks < MAX_LOOKS => looks += 1,
                other => return other,
            }
        }
    }

    fn entry(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<Entry> {
        let mut stat = self.core.stat_at(dir, name)?;
        let mut extra = Extra::None;
        if stat.mode & libc::S_IFMT == libc::S_IFLNK {
            let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
            extra = Extra::Target(target.into_bytes());
        } else if (stat.is_file() || stat.is_dir())
            && !matches!(self.core.nodes.stage(stat.ino), Stage::Complete)
        {
            let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
            path.extend_from_slice(name.as_bytes());
            if let Some(bytes) = read_record(&OsString::from_vec(path))? {
                if let Ok(record) = PlaceholderRecord::decode(&bytes) {
                    stat.overlay(&record);
                }
                extra = Extra::Record(bytes);
            }
        }
        Ok(Entry {
            name: name.to_owned(),
            stat,
            extra,
        })
    }

    /// A dirty file of an earlier run gets its node, so that later snapshots know its directory.
    fn find_unnamed(&mut self, dir: &Stat, path: &[u8], entry: &Entry) {
        let id = entry.stat.id();
        if !self.unnamed.contains(&id) {
            return;
        }
        if self.hold_path(dir, path) {
            self.core.nodes.hold_at(dir.ino, &entry.name, id);
            self.core.nodes.release(dir.ino);
            self.unnamed.remove(&id);
            if !self.core.dirty.claim(id) {
                self.core.nodes.release(id.ino);
            }
        }
    }

    /// Puts a directory and all above it into the table and holds it.
    fn hold_path(&self, dir: &Stat, path: &[u8]) -> bool {
        if path.is_empty() {
            return self.core.nodes.hold(dir.ino);
        }
        let mut parent = self.core.root.ino;
        let Ok(mut at) = self.open_path(b"") else {
            return false;
        };
        self.core.nodes.hold(parent);
        for component in path.split(|byte| *byte == b'/') {
            let name = OsStr::from_bytes(component);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let next = openat(&at, name, flags, Mode::empty())
                .and_then(|fd| Stat::of(&fd).map(|stat| (fd, stat)));
            let Ok((fd, stat)) = next else {
                self.core.nodes.release(parent);
                return false;
            };
            self.core.nodes.hold_at(parent, name, stat.id());
            self.core.nodes.release(parent);
            parent = stat.ino;
            at = fd;
        }
        true
    }

    /// What the dirty log names and no directory holds is gone.
    fn drop_vanished(&self) {
        for id in &self.unnamed {
            if !self.core.handles.is_open(id.ino) {
                self.core.make_clean(*id);
            }
        }
    }
}

/// An ordinary user's directory without u+r or u+x: its entry stays what it was.
fn closed(path: &[u8]) -> Vec<(u64, OsString)> {
    log::warn!("snapshot {}: it cannot be listed (EACCES)", printable(path));
    Vec::new()
}

/// `/` sorts before every other byte, so that a directory's subtree follows it directly.
fn sort_key(path: &[u8]) -> Vec<u8> {
    path.iter()
        .map(|byte| if *byte == b'/' { 0 } else { *byte })
        .collect()
}

fn read_record<P: rustix::path::Arg + Copy>(path: P) -> Result<Option<Vec<u8>>> {
    let mut bytes = [0; MAX_RECORD_BYTES];
    match rustix::fs::getxattr(path, RECORD_XATTR, &mut bytes[..]) {
        Ok(length) => Ok(Some(bytes[..length].to_vec())),
        // EACCES: an ordinary user's file without u+r, which a placeholder always has.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS) => Ok(None),
        Err(failed) => Err(failed),
    }
}

impl Snapshot {
    /// The `part` events, parents first.
    pub fn send(self, request: u64, mut send: impl FnMut(Vec<u8>)) {
        for listing in self.listings {
            listing.send(request, &mut send);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_parents_before_what_is_beneath_them() {
        let mut paths = [
            b"a-b".to_vec(),
            b"a/c".to_vec(),
            b"".to_vec(),
            b"a".to_vec(),
        ];
        paths.sort_by_key(|path| sort_key(path));
        assert_eq!(
            paths,
            [
                b"".to_vec(),
                b"a".to_vec(),
                b"a/c".to_vec(),
                b"a-b".to_vec()
            ]
        );
    }
}
