//! open and release: the mode of an inode, the dirty log, placeholders.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fuser::{BackingId, FileHandle as Fh, FopenFlags, ReplyCreate, ReplyEmpty, ReplyOpen};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, Result};

use super::errno;
use super::hydrate::when_complete;
use super::names::permissions;
use super::truncate::when_truncated;
use crate::attr::Stat;
use crate::core::Core;
use crate::counters::Counters;
use crate::extents::Filling;
use crate::handles::{FileHandle, OpenMode, Opening};
use crate::leases::proc_path;
use crate::logger::sent;
use crate::nodes::Stage;
use crate::resolve::read_stage_of;

/// A placeholder can become one file or the other while we wait for it; more often is a bug.
const MAX_ROUNDS: u32 = 4;

/// Who waits for an open file: OPEN, or CREATE with the entry that was counted for it.
pub enum Opener {
    Open(ReplyOpen),
    /// Of a file that had the name already.
    Create(ReplyCreate, Stat),
    /// Of a file that this request made.
    Made(ReplyCreate, Stat),
}

impl Opener {
    pub(super) fn error(self, core: &Core, failed: Errno) {
        match self {
            Self::Open(reply) => reply.error(errno(failed)),
            Self::Create(reply, stat) | Self::Made(reply, stat) => {
                core.nodes.forget(stat.ino, 1);
                reply.error(errno(failed));
            }
        }
    }

    /// An existing file that a CREATE opened may have been truncated or completed by it.
    fn refreshed(self, core: &Core) -> Self {
        match self {
            Self::Create(reply, stat) => {
                let now = core.stat_node(stat.ino).unwrap_or(stat);
                Self::Create(reply, now)
            }
            Self::Open(_) | Self::Made(..) => self,
        }
    }

    fn register(&self, fd: &OwnedFd) -> std::io::Result<BackingId> {
        match self {
            Self::Open(reply) => reply.open_backing(fd),
            Self::Create(reply, _) | Self::Made(reply, _) => reply.open_backing(fd),
        }
    }

    /// False if nobody heard the answer: then neither RELEASE nor FORGET will follow.
    fn answer(self, core: &Core, handle: u64, mode: &OpenMode, flags: FopenFlags) -> bool {
        match self {
            Self::Open(reply) => match mode {
                OpenMode::Cached => sent(|| reply.opened(Fh(handle), flags)),
                OpenMode::Passthrough(id) => {
                    sent(|| reply.opened_passthrough(Fh(handle), flags, id))
                }
            },
            Self::Made(reply, stat) => answer_created(
                core,
                reply,
                (stat, Some(core.entry_ttl())),
                (handle, mode, flags),
            ),
            Self::Create(reply, stat) => {
                answer_created(core, reply, (stat, None), (handle, mode, flags))
            }
        }
    }
}

/// CREATE's answer has one time to live for the name and the attributes, unless fuser gets another.
/// What was made a moment ago can have both for long: it is empty, and whatever gives it content
/// (a write, passed through or not, a truncation, an allocation) makes the kernel ask again, and be
/// told then that attributes of a dirty file do not last.
fn answer_created(
    core: &Core,
    reply: ReplyCreate,
    (stat, ttl): (Stat, Option<Duration>),
    (handle, mode, flags): (u64, &OpenMode, FopenFlags),
) -> bool {
    let (ino, generation) = (stat.ino, core.generation(stat.id()));
    let (attr, attr_ttl) = core.attr_of(stat);
    let (fh, ttl) = (Fh(handle), ttl.unwrap_or(attr_ttl));
    let heard = match mode {
        OpenMode::Cached => sent(|| reply.created(&ttl, &attr, generation, fh, flags)),
        OpenMode::Passthrough(id) => {
            sent(|| reply.created_passthrough(&ttl, &attr, generation, fh, flags, id))
        }
    };
    if !heard {
        core.nodes.forget(ino, 1);
    }
    heard
}

/// Opens the file of a node; a placeholder is completed first for a writer, emptied for O_TRUNC.
pub fn open(core: &Arc<Core>, ino: u64, asked: Asked, opener: Opener) {
    open_round(core, ino, asked, opener, 0);
}

/// How a file is to be opened, and by whom.
#[derive(Clone, Copy)]
pub struct Asked {
    pub flags: i32,
    pub uid: u32,
}

fn open_round(core: &Arc<Core>, ino: u64, asked: Asked, opener: Opener, round: u32) {
    let flags = asked.flags;
    let stage = match core.stage_of(ino) {
        Ok(stage) => stage,
        Err(failed) => return opener.error(core, failed),
    };
    let placeholder = matches!(stage, Stage::Placeholder { .. });
    let again = move |core: &Arc<Core>, opener: Opener, result: Result<()>| match result {
        Ok(()) => open_round(core, ino, asked, opener, round + 1),
        Err(failed) => opener.error(core, failed),
    };
    if round == MAX_ROUNDS {
        log::error!("open inode {ino}: it is still a placeholder after {round} attempts");
        opener.error(core, Errno::IO);
    } else if placeholder && flags & libc::O_TRUNC != 0 {
        when_truncated(core, ino, 0, move |core, result| {
            again(core, opener, result)
        });
    } else if placeholder && is_writer(flags) {
        when_complete(core, ino, move |core, result| again(core, opener, result));
    } else {
        match open_now(core, ino, asked, &opener) {
            Ok(Some(opened)) => opened.answer(core, opener.refreshed(core)),
            // Its xattr says what the table did not know.
            Ok(None) => open_round(core, ino, asked, opener, round + 1),
            Err(failed) => opener.error(core, failed),
        }
    }
}

pub(super) fn is_writer(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// The flags that our own descriptor keeps. O_APPEND: the kernel says where it writes; O_DIRECT:
/// requests come with any alignment; the rest was dealt with when the name was resolved.
pub(super) fn backing_flags(flags: i32) -> OFlags {
    let kept = libc::O_ACCMODE | libc::O_SYNC | libc::O_DSYNC;
    OFlags::from_bits_retain((flags & kept) as u32)
}

/// What a write does to the mode, where the kernel leaves that to us.
pub(super) fn drop_set_ids(fd: &OwnedFd, stat: &Stat) -> Result<()> {
    let mode = stat.mode_without_set_ids();
    if mode == stat.mode {
        return Ok(());
    }
    rustix::fs::fchmod(fd, permissions(mode))
}

pub(super) struct Opened {
    number: u64,
    mode: OpenMode,
    flags: FopenFlags,
}

impl Opened {
    pub(super) fn answer(self, core: &Core, opener: Opener) {
        if matches!(self.mode, OpenMode::Passthrough(_)) {
            Counters::add(&core.counters.passthrough_opens);
        }
        if !opener.answer(core, self.number, &self.mode, self.flags) {
            // Interrupted: the kernel has no such file, and will not release it.
            core.close(self.number);
        }
    }
}

/// `None`: it is a placeholder after all, and has to be dealt with first.
fn open_now(
    core: &Core,
    ino: u64,
    Asked { flags, uid }: Asked,
    opener: &Opener,
) -> Result<Option<Opened>> {
    let _namespace = core.namespace.read();
    let _inode = core.lock_inode(ino);
    let truncate = flags & libc::O_TRUNC != 0;
    let writer = is_writer(flags);
    let stat = core.stat_node(ino)?;
    if !stat.is_file() {
        return Err(if stat.is_dir() {
            Errno::ISDIR
        } else {
            Errno::INVAL
        });
    }
    if writer || truncate {
        if matches!(core.stage_of(ino)?, Stage::Placeholder { .. }) {
            return Ok(None);
        }
        // Also before our own open: it must not wait for a lease of ours.
        core.make_dirty(&stat)?;
    }
    let fd = core.open_node(ino, backing_flags(flags))?;
    let mut stat = stat;
    if truncate {
        let writable = if writer {
            None
        } else {
            Some(core.open_node(ino, OFlags::WRONLY)?)
        };
        let writable = writable.as_ref().unwrap_or(&fd);
        rustix::fs::ftruncate(writable, 0)?;
        if uid != 0 {
            // The kernel leaves the truncation of O_TRUNC to us, and with it the mode. For an
            // ordinary user the file system has done it, also where the file is another's.
            drop_set_ids(writable, &core.stat_fd(writable)?)?;
        }
        let before = std::mem::replace(&mut stat, core.stat_fd(writable)?);
        // The kernel cuts its own pages.
        core.nodes.pages_moved(&before, &stat);
    }
    core.opened(fd, &stat, writer, opener)
}

impl Core {
    /// Counts an open file. Called under the inode's lock.
    pub(super) fn opened(
        &self,
        fd: OwnedFd,
        stat: &Stat,
        writer: bool,
        opener: &Opener,
    ) -> Result<Option<Opened>> {
        let ino = stat.ino;
        let opening = match self.handles.opened(ino) {
            Some(opened) => opened,
            None => {
                let first = self.first_open(&fd, stat, opener)?;
                if first.filling.is_some() && writer {
                    return Ok(None);
                }
                self.nodes.set_pages(ino, stat.stamp());
                first
            }
        };
        self.handles.count(ino, writer, &opening);
        let Opening {
            mode,
            filling,
            keeps_pages,
        } = opening;
        let mut flags = FopenFlags::empty();
        // Never together with passthrough (EIO).
        if keeps_pages && matches!(mode, OpenMode::Cached) {
            flags |= FopenFlags::FOPEN_KEEP_CACHE;
        }
        if !writer {
            // close() of a reader has no error to tell.
            flags |= FopenFlags::FOPEN_NOFLUSH;
        }
        let number = self.handles.add_file(FileHandle {
            id: stat.id(),
            fd: Arc::new(fd),
            writable: writer,
            filling,
        });
        Ok(Some(Opened {
            number,
            mode,
            flags,
        }))
    }

    /// Decides the mode of an inode: a placeholder is cached until its last RELEASE, also when it
    /// becomes complete meanwhile. The xattr of the open file itself is what counts.
    ///
    /// Pages that were cached before stay if the file is still what they were read from. Those from
    /// before a passthrough writer are stale: with passthrough in force only a placeholder, which
    /// never had one, keeps them.
    fn first_open(&self, fd: &OwnedFd, stat: &Stat, opener: &Opener) -> Result<Opening> {
        let passes = self.passthrough_active.load(Ordering::Acquire);
        let cached = |filling: Option<Arc<Filling>>| Opening {
            mode: OpenMode::Cached,
            keeps_pages: filling.is_some()
                || !passes && self.nodes.pages_are(stat.ino, stat.stamp()),
            filling,
        };
        let stage = read_stage_of(fd)?;
        if let Stage::Placeholder { record, .. } = stage {
            if !matches!(self.nodes.stage(stat.ino), Stage::Placeholder { .. }) {
                let edited = false;
                self.nodes.set_stage(
                    stat.ino,
                    Stage::Placeholder {
                        record: record.clone(),
                        edited,
                    },
                );
            }
            let filling = Filling::new(stat.id(), record.size);
            return Ok(cached(Some(Arc::new(filling))));
        }
        self.nodes.set_stage(stat.ino, Stage::Complete);
        if !passes {
            return Ok(cached(None));
        }
        // Registered read-only: the kernel opens the path again with the opener's flags.
        let readable = openat(
            CWD,
            proc_path(fd.as_fd()),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        match opener.register(&readable) {
            Ok(id) => Ok(Opening {
                mode: OpenMode::Passthrough(Arc::new(id)),
                ..cached(None)
            }),
            Err(error) => {
                log::warn!("inode {}: opened without passthrough: {error}", stat.ino);
                Ok(cached(None))
            }
        }
    }

    /// Takes back an open file: RELEASE, or an answer that nobody heard.
    pub fn close(&self, number: u64) {
        let Some(handle) = self.handles.take_file(number) else {
            return;
        };
        let (id, writable) = (handle.id, handle.writable);
        let _namespace = self.namespace.read();
        let inode = self.lock_inode(id.ino);
        let stat = self.stat_fd(&*handle.fd).ok();
        // Closed before anybody is told that the last writer went: a lease is possible then.
        drop(handle);
        let left = self.handles.uncount(id.ino, writable);
        if left.last_of_written
            && let Some(stat) = &stat
        {
            self.nodes.set_pages(id.ino, stat.stamp());
        }
        if writable
            && let Some(stat) = &stat
            && stat.nlink == 0
        {
            // It can never be settled, and its node is held for nothing.
            self.make_clean(id);
        }
        drop(inode);
        if let Some(stat) = stat
            && left.last_writer
            && stat.nlink > 0
        {
            self.mark_parents(&stat);
            self.tell_written(id);
        }
    }
}

pub fn release(core: &Arc<Core>, number: u64, reply: ReplyEmpty) {
    core.close(number);
    reply.ok();
}
