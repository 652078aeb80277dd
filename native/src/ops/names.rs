//! Operations that make and remove names: mknod, mkdir, symlink, link, unlink, rmdir.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{ReplyEmpty, ReplyEntry, Request};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Uid, chmodat, chownat, linkat, mkdirat, mknodat, symlinkat,
    unlinkat,
};
use rustix::io::{Errno, Result};

use super::{errno, hydrate::when_listed};
use crate::attr::Stat;
use crate::core::Core;
use crate::leases::proc_path;
use crate::resolve::open_beneath;

/// Who asks: what is made belongs to them.
#[derive(Clone, Copy)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
}

impl Caller {
    pub fn of(request: &Request) -> Self {
        Self {
            uid: request.uid(),
            gid: request.gid(),
        }
    }
}

const PIN: rustix::fs::OFlags = rustix::fs::OFlags::PATH
    .union(rustix::fs::OFlags::NOFOLLOW)
    .union(rustix::fs::OFlags::CLOEXEC);

/// What to make under a new name.
pub enum New {
    Node { mode: u32 },
    Directory { mode: u32 },
    Link { target: OsString },
}

pub fn make(
    core: &Arc<Core>,
    parent: u64,
    name: OsString,
    new: New,
    caller: Caller,
    reply: ReplyEntry,
) {
    when_listed(core, parent, move |core, listed| {
        match listed.and_then(|()| make_now(core, parent, &name, &new, caller)) {
            Ok(stat) => core.answer_entry(&stat, reply),
            Err(failed) => reply.error(errno(failed)),
        }
    });
}

fn make_now(core: &Core, parent: u64, name: &OsStr, new: &New, caller: Caller) -> Result<Stat> {
    let _namespace = core.namespace.read();
    let dir = core.dir_fd(parent)?;
    let mode = match new {
        New::Node { mode } => {
            let kind = match mode & libc::S_IFMT {
                0 | libc::S_IFREG => FileType::RegularFile,
                libc::S_IFIFO => FileType::Fifo,
                libc::S_IFSOCK => FileType::Socket,
                // A model cache has no use for devices, and the mount is nodev.
                _ => return Err(Errno::PERM),
            };
            mknodat(&*dir, name, kind, permissions(*mode), 0)?;
            Some(*mode)
        }
        New::Directory { mode } => {
            mkdirat(&*dir, name, permissions(*mode))?;
            Some(*mode)
        }
        New::Link { target } => {
            symlinkat(target, &*dir, name)?;
            None
        }
    };
    if let Err(failed) = core.hand_over(&dir, name, caller, mode) {
        let flags = if matches!(new, New::Directory { .. }) {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        // It was made a moment ago and nobody was told of it.
        let _ = unlinkat(&*dir, name, flags);
        return Err(failed);
    }
    core.mark(parent, false);
    let stat = core.find(parent, name)?.ok_or(Errno::NOENT)?;
    if stat.is_file() {
        let _inode = core.lock_inode(stat.ino);
        core.make_fresh(stat.id());
    }
    if stat.is_dir() {
        core.mark(stat.ino, false);
    }
    Ok(stat)
}

pub fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

impl Core {
    /// Gives what was just made to the caller. In a set-group-ID directory the group is the
    /// directory's, which the file system saw to.
    pub fn hand_over(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        caller: Caller,
        mode: Option<u32>,
    ) -> Result<()> {
        let stat = Stat::at(dir, name)?;
        let uid = (stat.uid != caller.uid).then(|| Uid::from_raw(caller.uid));
        let inherits = || Stat::of(dir).map(|dir| dir.mode & libc::S_ISGID != 0);
        let gid = if stat.gid != caller.gid && !inherits()? {
            Some(Gid::from_raw(caller.gid))
        } else {
            None
        };
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        match chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => {}
            // An ordinary user who lets others in (allow_other) cannot give files away.
            Err(Errno::PERM) if !rustix::process::geteuid().is_root() => return Ok(()),
            Err(failed) => return Err(failed),
        }
        // A change of the owner took the set-ID bits away.
        match mode {
            Some(mode) if mode & (libc::S_ISUID | libc::S_ISGID) != 0 => {
                chmodat(dir, name, permissions(mode), AtFlags::empty())
            }
            _ => Ok(()),
        }
    }
}

pub fn link(core: &Arc<Core>, ino: u64, parent: u64, name: OsString, reply: ReplyEntry) {
    when_listed(core, parent, move |core, listed| {
        match listed.and_then(|()| link_now(core, ino, parent, &name)) {
            Ok(stat) => core.answer_entry(&stat, reply),
            Err(failed) => reply.error(errno(failed)),
        }
    });
}

fn link_now(core: &Core, ino: u64, parent: u64, name: &OsStr) -> Result<Stat> {
    let _namespace = core.namespace.read();
    let dir = core.dir_fd(parent)?;
    let pin = core.pin(ino)?;
    let _inode = core.lock_inode(ino);
    let before = core.stat_fd(&*pin)?;
    if before.nlink == 0 {
        // Only our own link is left: for programs the file is gone (linkat(2), ENOENT).
        return Err(Errno::NOENT);
    }
    let source = proc_path(pin.as_fd());
    linkat(CWD, source, &*dir, name, AtFlags::SYMLINK_FOLLOW)?;
    core.nodes.add_name(parent, name, before.id());
    core.mark(parent, false);
    let stat = core.find(parent, name)?.ok_or(Errno::NOENT)?;
    core.renew_stamp(&before, &stat);
    if stat.is_file() {
        core.tell_named(stat.id(), parent, name);
    }
    Ok(stat)
}

pub fn unlink(core: &Arc<Core>, parent: u64, name: OsString, reply: ReplyEmpty) {
    when_listed(core, parent, move |core, listed| {
        answer_empty(
            listed.and_then(|()| remove_now(core, parent, &name, false)),
            reply,
        );
    });
}

pub fn rmdir(core: &Arc<Core>, parent: u64, name: OsString, reply: ReplyEmpty) {
    when_listed(core, parent, move |core, listed| {
        let target = listed.and_then(|()| {
            let dir = core.dir_fd(parent)?;
            core.stat_at(&*dir, &name)
        });
        let target = match target {
            Ok(target) if target.is_dir() => target.ino,
            Ok(_) => return reply.error(errno(Errno::NOTDIR)),
            Err(failed) => return reply.error(errno(failed)),
        };
        // What is not listed looks empty on disk, but is not.
        when_listed(core, target, move |core, listed| {
            answer_empty(
                listed.and_then(|()| remove_now(core, parent, &name, true)),
                reply,
            );
        });
    });
}

pub fn answer_empty(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(failed) => reply.error(errno(failed)),
    }
}

fn remove_now(core: &Core, parent: u64, name: &OsStr, directory: bool) -> Result<()> {
    let _namespace = core.namespace.read();
    let dir = core.dir_fd(parent)?;
    loop {
        let seen = core.stat_at(&*dir, name)?;
        let _inode = core.lock_inode(seen.ino);
        let _moves = core.moves.lock();
        let before = core.stat_at(&*dir, name)?;
        if before.ino != seen.ino {
            continue;
        }
        if before.is_dir() != directory {
            return Err(if directory {
                Errno::NOTDIR
            } else {
                Errno::ISDIR
            });
        }
        let loss = core.prepare_loss(&dir, parent, name, &before)?;
        let flags = if directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        core.moved.fetch_add(1, Ordering::AcqRel);
        unlinkat(&*dir, name, flags)?;
        core.mark(parent, false);
        core.lose(loss);
        return Ok(());
    }
}

/// A name that is about to lead to its inode no more.
pub(super) struct Loss {
    parent: u64,
    name: OsString,
    before: Stat,
    pin: Option<OwnedFd>,
    last_known: bool,
}

impl Core {
    pub(super) fn prepare_loss(
        &self,
        dir: &OwnedFd,
        parent: u64,
        name: &OsStr,
        before: &Stat,
    ) -> Result<Loss> {
        let last_known = self.nodes.is_last_name(before.ino, parent, name);
        let has_other_names = before.is_file() && before.nlink > 1;
        let pin = if last_known || has_other_names {
            match open_beneath(dir.as_fd(), name, PIN) {
                Ok(pin) => Some(pin),
                // A removed directory that is still somebody's working directory is then not
                // found any more; better than a tree in which nothing can be removed.
                Err(Errno::MFILE | Errno::NFILE) if before.is_dir() => None,
                Err(failed) => return Err(failed),
            }
        } else {
            None
        };
        Ok(Loss {
            parent,
            name: name.to_owned(),
            before: before.clone(),
            pin,
            last_known,
        })
    }

    /// Called with `moves` held, after the name went.
    pub(super) fn lose(&self, loss: Loss) {
        let before = loss.before;
        let gone = before.is_dir() || before.nlink <= 1;
        if !gone
            && let Some(pin) = &loss.pin
            && let Ok(after) = self.stat_fd(pin)
        {
            self.renew_stamp(&before, &after);
        }
        if loss.last_known
            && let Some(pin) = loss.pin
        {
            self.nodes.pin(before.ino, pin);
        }
        self.nodes.remove_name(before.ino, loss.parent, &loss.name);
        if before.is_dir() {
            self.dir_fds.remove(before.ino);
            for _ in 0..self.changes.unmark(before.ino) {
                self.nodes.release(before.ino);
            }
        }
        if gone && (before.is_dir() || before.is_file()) {
            self.gone(before.id());
        }
    }
}
