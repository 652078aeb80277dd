//! chmod, chown, utimes, truncate.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{ReplyAttr, TimeOrNow};
use rustix::fs::{
    AtFlags, CWD, Gid, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, XattrFlags, chmod,
    chownat, utimensat,
};
use rustix::io::{Errno, Result};

use super::names::permissions;
use super::truncate::when_truncated;
use crate::attr::{Stat, Time, time_from_fuser};
use crate::core::Core;
use crate::handles::FileHandle;
use crate::leases::proc_path;
use crate::nodes::Stage;
use crate::record::{PlaceholderRecord, RECORD_XATTR};

/// What a SETATTR asks for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<TimeOrNow>,
    pub mtime: Option<TimeOrNow>,
    pub handle: Option<u64>,
    /// The user id of whoever asks.
    pub caller: u32,
}

impl Wish {
    fn is_empty(&self) -> bool {
        self.size.is_none() && !self.sets_attributes()
    }

    fn sets_attributes(&self) -> bool {
        self.mode.is_some()
            || self.uid.is_some()
            || self.gid.is_some()
            || self.atime.is_some()
            || self.mtime.is_some()
    }

    /// With what the kernel leaves to us: a change of the owner, a truncation by who is not root and
    /// a request for nothing (all that is left of a write to a file with set-ID bits, and of a chown
    /// to nobody else) drop them. Where we are an ordinary user and the file is another's, the file
    /// system drops them as it is written or truncated.
    fn with_dropped_set_ids(mut self, core: &Core, before: &Stat) -> Self {
        let drops = self.uid.is_some()
            || self.gid.is_some()
            || self.is_empty()
            || self.size.is_some() && self.caller != 0;
        let user = rustix::process::geteuid();
        if core.drops_set_ids.load(Ordering::Acquire)
            && drops
            && (user.is_root() || user.as_raw() == before.uid)
            && self.mode.is_none()
            && before.is_file()
        {
            let mut shown = before.clone();
            core.overlay(&mut shown);
            let mode = shown.mode_without_set_ids();
            self.mode = (mode != shown.mode).then_some(mode);
        }
        self
    }
}

pub fn setattr(core: &Arc<Core>, ino: u64, wish: Wish, reply: ReplyAttr) {
    if let Some(size) = wish.size {
        // A placeholder becomes an ordinary file first; an ordinary file goes on at once.
        return when_truncated(core, ino, size, move |core, ready| {
            let stat = ready.and_then(|()| set_now(core, ino, wish));
            core.answer_attr(stat, reply);
        });
    }
    core.answer_attr(set_now(core, ino, wish), reply);
}

fn set_now(core: &Core, ino: u64, wish: Wish) -> Result<Stat> {
    let handle = wish.handle.and_then(|number| core.handles.file(number));
    let _namespace = core.namespace.read();
    let pin = core.pin(ino)?;
    let _inode = core.lock_inode(ino);
    let before = core.stat_fd(&*pin)?;
    if before.is_file() || before.is_dir() {
        core.stage_of(ino)?;
    }
    let wish = &wish.with_dropped_set_ids(core, &before);
    if wish.is_empty() {
        return Ok(before);
    }
    if let Some(size) = wish.size {
        truncate(core, &before, handle.as_deref(), &pin, size)?;
    }
    if before.is_dir() {
        core.mark(ino, wish.sets_attributes());
    }
    core.mark_parents(&before);
    set_owner(&pin, wish)?;
    if !core.edit_record(ino, &pin, wish)? {
        set_mode(&pin, &before, wish)?;
        set_times(&pin, wish.atime, wish.mtime)?;
    } else {
        set_times(&pin, wish.atime, None)?;
    }
    let after = core.stat_fd(&*pin)?;
    core.renew_stamp(&before, &after);
    Ok(after)
}

fn truncate(
    core: &Core,
    before: &Stat,
    handle: Option<&FileHandle>,
    pin: &OwnedFd,
    size: u64,
) -> Result<()> {
    if !before.is_file() {
        return Err(if before.is_dir() {
            Errno::ISDIR
        } else {
            Errno::INVAL
        });
    }
    if matches!(core.nodes.stage(before.ino), Stage::Placeholder { .. }) {
        // It was made one again between the two looks, which only an eviction can.
        return Err(Errno::AGAIN);
    }
    core.make_dirty(before)?;
    match handle {
        Some(handle) if handle.writable => rustix::fs::ftruncate(&*handle.fd, size),
        _ => {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let path = proc_path(pin.as_fd());
            let fd = rustix::fs::openat(CWD, path, flags, rustix::fs::Mode::empty())?;
            rustix::fs::ftruncate(&fd, size)
        }
    }
}

fn set_owner(pin: &OwnedFd, wish: &Wish) -> Result<()> {
    if wish.uid.is_none() && wish.gid.is_none() {
        return Ok(());
    }
    let uid = wish.uid.map(Uid::from_raw);
    let gid = wish.gid.map(Gid::from_raw);
    chownat(pin, "", uid, gid, AtFlags::EMPTY_PATH)
}

fn set_mode(pin: &OwnedFd, before: &Stat, wish: &Wish) -> Result<()> {
    match wish.mode {
        None => Ok(()),
        Some(_) if before.mode & libc::S_IFMT == libc::S_IFLNK => Err(Errno::OPNOTSUPP),
        Some(mode) => chmod(proc_path(pin.as_fd()), permissions(mode)),
    }
}

fn set_times(pin: &OwnedFd, atime: Option<TimeOrNow>, mtime: Option<TimeOrNow>) -> Result<()> {
    if atime.is_none() && mtime.is_none() {
        return Ok(());
    }
    let times = Timestamps {
        last_access: timespec(atime),
        last_modification: timespec(mtime),
    };
    // Following the magic link ends at the pinned inode itself, a symbolic link included.
    utimensat(CWD, proc_path(pin.as_fd()), &times, AtFlags::empty())
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    let special = |nsec| Timespec {
        tv_sec: 0,
        tv_nsec: nsec,
    };
    match time {
        None => special(UTIME_OMIT),
        Some(TimeOrNow::Now) => special(UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let time = time_from_fuser(time);
            Timespec {
                tv_sec: time.sec,
                tv_nsec: time.nsec.into(),
            }
        }
    }
}

/// Sets a file's mtime to the record's; its atime stays.
pub fn set_mtime(path: &str, record: &PlaceholderRecord) -> Result<()> {
    let times = Timestamps {
        last_access: timespec(None),
        last_modification: Timespec {
            tv_sec: record.mtime_sec,
            tv_nsec: record.mtime_nsec.into(),
        },
    };
    utimensat(CWD, path, &times, AtFlags::empty())
}

impl Core {
    /// Mode and mtime of a placeholder are the record's: it is replaced as a whole. False if the
    /// inode is no placeholder (any more).
    fn edit_record(&self, ino: u64, pin: &OwnedFd, wish: &Wish) -> Result<bool> {
        let Stage::Placeholder { record, .. } = self.nodes.stage(ino) else {
            return Ok(false);
        };
        if wish.mode.is_none() && wish.mtime.is_none() {
            return Ok(true);
        }
        let mut record = (*record).clone();
        if let Some(mode) = wish.mode {
            record.mode = mode & 0o7777;
        }
        if let Some(mtime) = wish.mtime {
            let time = now_or(mtime);
            record.mtime_sec = time.sec;
            record.mtime_nsec = time.nsec;
        }
        let path = proc_path(pin.as_fd());
        // REPLACE: what the daemon completed meanwhile must not become a placeholder again.
        match rustix::fs::setxattr(path, RECORD_XATTR, &record.encode(), XattrFlags::REPLACE) {
            Ok(()) => {
                let edited = true;
                let record = Arc::new(record);
                self.nodes
                    .set_stage(ino, Stage::Placeholder { record, edited });
                Ok(true)
            }
            Err(Errno::NODATA) => {
                self.nodes.set_stage(ino, Stage::Complete);
                Ok(false)
            }
            Err(failed) => Err(failed),
        }
    }
}

fn now_or(time: TimeOrNow) -> Time {
    match time {
        TimeOrNow::SpecificTime(time) => time_from_fuser(time),
        TimeOrNow::Now => {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
            Time {
                sec: now.tv_sec,
                nsec: u32::try_from(now.tv_nsec).unwrap_or(0),
            }
        }
    }
}
