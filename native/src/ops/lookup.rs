//! lookup, forget, getattr, readlink, statfs.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{Generation, ReplyAttr, ReplyData, ReplyEntry, ReplyStatfs};
use rustix::io::{Errno, Result};

use super::{errno, hydrate::when_listed};
use crate::attr::{BLOCK_SIZE, NEGATIVE, Stat};
use crate::core::Core;
use crate::logger::sent;
use crate::resolve::Place;

/// `NAME_MAX` of the file systems that a store can be on; clients compare with it.
const NAME_MAX: u32 = 255;

pub fn lookup(core: &Arc<Core>, parent: u64, name: OsString, reply: ReplyEntry) {
    when_listed(core, parent, move |core, listed| {
        if let Err(failed) = listed {
            return reply.error(errno(failed));
        }
        match core.find(parent, &name) {
            Ok(Some(stat)) => core.answer_entry(&stat, reply),
            Ok(None) => {
                let ttl = core.entry_ttl();
                reply.entry_with_ttls(&ttl, &ttl, &NEGATIVE, Generation(0));
            }
            Err(failed) => reply.error(errno(failed)),
        }
    });
}

impl Core {
    /// Looks a name up and counts it; `None`: there is no such name.
    pub fn find(&self, parent: u64, name: &OsStr) -> Result<Option<Stat>> {
        let dir = self.dir_fd(parent)?;
        let Some(stat) = self.look_up(&dir, parent, name)? else {
            return Ok(None);
        };
        if let Err(failed) = self.learn_stage_at(dir.as_fd(), name, &stat) {
            self.nodes.forget(stat.ino, 1);
            return Err(failed);
        }
        Ok(Some(stat))
    }

    /// Counts the lookup of a name that still leads to what was seen. The kernel checks a cached
    /// name again without the directory's lock (fs/fuse/dir.c, fuse_dentry_revalidate), so that
    /// the name may go meanwhile: noting it then would give a removed inode its name back, and take
    /// the descriptor away that keeps it reachable.
    fn look_up(&self, dir: &OwnedFd, parent: u64, name: &OsStr) -> Result<Option<Stat>> {
        let see = || match self.stat_at(dir, name) {
            Err(Errno::NOENT) => Ok(None),
            seen => seen.map(Some),
        };
        let moved = self.moved.load(Ordering::Acquire);
        let mut seen = see()?;
        let _moves = self.moves.lock();
        if self.moved.load(Ordering::Acquire) != moved {
            seen = see()?;
        }
        if let Some(stat) = &seen {
            self.nodes.looked_up(parent, name, stat);
        }
        Ok(seen)
    }

    /// Answers with an entry that was counted, and takes the count back if nobody heard it.
    pub fn answer_entry(&self, stat: &Stat, reply: ReplyEntry) {
        let (attr, ttl) = self.attr_of(stat.clone());
        let generation = self.generation(stat.id());
        let entry_ttl = self.entry_ttl();
        if !sent(|| reply.entry_with_ttls(&ttl, &entry_ttl, &attr, generation)) {
            self.nodes.forget(stat.ino, 1);
        }
    }

    pub fn answer_attr(&self, stat: Result<Stat>, reply: ReplyAttr) {
        match stat {
            Ok(stat) => {
                let (attr, ttl) = self.attr_of(stat);
                reply.attr(&ttl, &attr);
            }
            Err(failed) => reply.error(errno(failed)),
        }
    }
}

pub fn getattr(core: &Arc<Core>, ino: u64, handle: Option<u64>, reply: ReplyAttr) {
    let open = handle.and_then(|number| core.handles.file(number));
    let stat = match open {
        Some(handle) => core.stat_fd(&*handle.fd),
        None => core.stat_node(ino),
    };
    // The record has to be known before size, mode and mtime are told.
    let stat = stat.and_then(|stat| {
        if stat.is_file() || stat.is_dir() {
            core.stage_of(ino)?;
        }
        Ok(stat)
    });
    core.answer_attr(stat, reply);
}

pub fn readlink(core: &Arc<Core>, ino: u64, reply: ReplyData) {
    let target = core.with_place(ino, |place| match place {
        Place::Fd(fd) => rustix::fs::readlinkat(fd, "", Vec::new()),
        Place::At(dir, name) => rustix::fs::readlinkat(dir, name, Vec::new()),
    });
    match target {
        Ok(target) => reply.data(target.as_bytes()),
        Err(failed) => reply.error(errno(failed)),
    }
}

pub fn statfs(core: &Arc<Core>, reply: ReplyStatfs) {
    match rustix::fs::fstatvfs(&core.store) {
        Ok(stat) => reply.statfs(
            stat.f_blocks,
            stat.f_bfree,
            stat.f_bavail,
            stat.f_files,
            stat.f_ffree,
            BLOCK_SIZE,
            NAME_MAX,
            u32::try_from(stat.f_frsize).unwrap_or(BLOCK_SIZE),
        ),
        Err(failed) => reply.error(errno(failed)),
    }
}
