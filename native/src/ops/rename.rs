//! rename(2) and renameat2(2): two names change at once.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{RenameFlags as FuseRenameFlags, ReplyEmpty};
use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::{Errno, Result};

use super::errno;
use super::hydrate::when_listed;
use super::names::answer_empty;
use crate::attr::Stat;
use crate::core::Core;

/// Both ends of a rename.
pub struct Rename {
    pub parent: u64,
    pub name: OsString,
    pub new_parent: u64,
    pub new_name: OsString,
    pub flags: FuseRenameFlags,
}

pub fn rename(core: &Arc<Core>, rename: Rename, reply: ReplyEmpty) {
    let known = FuseRenameFlags::RENAME_NOREPLACE | FuseRenameFlags::RENAME_EXCHANGE;
    if !known.contains(rename.flags) || rename.flags == known {
        return reply.error(errno(Errno::INVAL));
    }
    when_listed(core, rename.parent, move |core, listed| {
        if let Err(failed) = listed {
            return reply.error(errno(failed));
        }
        when_listed(core, rename.new_parent, move |core, listed| {
            if let Err(failed) = listed {
                return reply.error(errno(failed));
            }
            rename_listed(core, rename, reply);
        });
    });
}

fn rename_listed(core: &Arc<Core>, rename: Rename, reply: ReplyEmpty) {
    let target = core
        .dir_fd(rename.new_parent)
        .and_then(|dir| core.stat_at(&*dir, &rename.new_name));
    match target {
        // A directory is replaced only if it is empty, which only its listing can tell.
        Ok(stat) if stat.is_dir() && rename.flags.is_empty() => {
            when_listed(core, stat.ino, move |core, listed| {
                answer_empty(listed.and_then(|()| rename_now(core, &rename)), reply);
            });
        }
        Ok(_) | Err(Errno::NOENT) => answer_empty(rename_now(core, &rename), reply),
        Err(failed) => reply.error(errno(failed)),
    }
}

fn rename_now(core: &Core, rename: &Rename) -> Result<()> {
    let _namespace = core.namespace.read();
    let from = core.dir_fd(rename.parent)?;
    let to = core.dir_fd(rename.new_parent)?;
    loop {
        let look = || -> Result<(Stat, Option<Stat>)> {
            let source = core.stat_at(&*from, &rename.name)?;
            match core.stat_at(&*to, &rename.new_name) {
                Ok(target) => Ok((source, Some(target))),
                Err(Errno::NOENT) => Ok((source, None)),
                Err(failed) => Err(failed),
            }
        };
        let (source, target) = look()?;
        let target_ino = target.as_ref().map(|stat| stat.ino);
        let _inodes = core.lock_inodes(source.ino, target_ino);
        let _moves = core.moves.lock();
        let (again, target) = look()?;
        if again.ino != source.ino || target.as_ref().map(|stat| stat.ino) != target_ino {
            continue;
        }
        return rename_locked(core, rename, (&from, &to), (again, target));
    }
}

fn rename_locked(
    core: &Core,
    rename: &Rename,
    (from, to): (&OwnedFd, &OwnedFd),
    (source, target): (Stat, Option<Stat>),
) -> Result<()> {
    let exchange = rename.flags.contains(FuseRenameFlags::RENAME_EXCHANGE);
    let flags = RenameFlags::from_bits_retain(rename.flags.bits());
    let same = target
        .as_ref()
        .is_some_and(|target| target.ino == source.ino);
    let loss = match &target {
        Some(target) if !exchange && !same => {
            Some(core.prepare_loss(to, rename.new_parent, &rename.new_name, target)?)
        }
        _ => None,
    };
    core.moved.fetch_add(1, Ordering::AcqRel);
    renameat_with(from, &rename.name, to, &rename.new_name, flags)?;
    crate::fault::reached("keeper.renamed");
    if same {
        // Two names of one file: rename(2) does nothing.
        return Ok(());
    }
    let old = (rename.parent, rename.name.as_os_str());
    let new = (rename.new_parent, rename.new_name.as_os_str());
    if let Some(loss) = loss {
        core.lose(loss);
    }
    core.nodes.moved(source.ino, old, new);
    core.mark(rename.parent, false);
    core.mark(rename.new_parent, false);
    core.renamed(to, new, &source);
    if exchange && let Some(target) = target {
        core.nodes.moved(target.ino, new, old);
        core.renamed(from, old, &target);
    }
    Ok(())
}

impl Core {
    /// What a rename does to the inode itself: a new ctime, and perhaps a final name.
    fn renamed(&self, dir: &OwnedFd, (parent, name): (u64, &OsStr), before: &Stat) {
        if before.is_dir() {
            self.mark(before.ino, false);
        }
        if before.is_file() {
            if let Ok(after) = self.stat_at(dir, name) {
                self.renew_stamp(before, &after);
            }
            self.tell_named(before.id(), parent, name);
        }
    }
}
