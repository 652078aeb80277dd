//! create: a new file, open for whoever made it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fuser::ReplyCreate;
use rustix::fs::{OFlags, openat};
use rustix::io::{Errno, Result};

use super::errno;
use super::hydrate::when_listed;
use super::names::{Caller, permissions};
use super::open::{Asked, Opener, backing_flags, is_writer, open};
use crate::attr::Stat;
use crate::core::Core;
use crate::nodes::Stage;

pub struct Create {
    pub parent: u64,
    pub name: OsString,
    pub mode: u32,
    pub flags: i32,
    pub caller: Caller,
}

pub fn create(core: &Arc<Core>, create: Create, reply: ReplyCreate) {
    when_listed(core, create.parent, move |core, listed| {
        if let Err(failed) = listed {
            return reply.error(errno(failed));
        }
        match create_new(core, &create) {
            Ok((fd, stat)) => {
                let opener = Opener::Made(reply, stat.clone());
                let writer = is_writer(create.flags);
                let inode = core.lock_inode(stat.ino);
                let opened = core.opened(fd, &stat, writer, &opener);
                drop(inode);
                match opened {
                    Ok(Some(opened)) => opened.answer(core, opener),
                    Ok(None) => opener.error(core, Errno::IO),
                    Err(failed) => opener.error(core, failed),
                }
            }
            Err(Errno::EXIST) if create.flags & libc::O_EXCL == 0 => {
                open_existing(core, &create, reply);
            }
            Err(failed) => reply.error(errno(failed)),
        }
    });
}

fn create_new(core: &Core, create: &Create) -> Result<(OwnedFd, Stat)> {
    let _namespace = core.namespace.read();
    let dir = core.dir_fd(create.parent)?;
    let flags = backing_flags(create.flags)
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC;
    let fd = openat(&*dir, &create.name, flags, permissions(create.mode))?;
    crate::fault::reached("keeper.created");
    if let Err(failed) = core.hand_over(&dir, &create.name, create.caller, Some(create.mode)) {
        // It was made a moment ago and nobody was told of it.
        let _ = rustix::fs::unlinkat(&*dir, &create.name, rustix::fs::AtFlags::empty());
        return Err(failed);
    }
    core.mark(create.parent, false);
    let stat = core.stat_fd(&fd)?;
    core.nodes.looked_up(create.parent, &create.name, &stat);
    core.nodes.set_stage(stat.ino, Stage::Complete);
    let _inode = core.lock_inode(stat.ino);
    core.make_fresh(stat.id());
    Ok((fd, stat))
}

/// The name came into being since the kernel looked: open(2) without O_EXCL opens it.
fn open_existing(core: &Arc<Core>, create: &Create, reply: ReplyCreate) {
    match core.find(create.parent, &create.name) {
        Ok(Some(stat)) if stat.is_file() => {
            let asked = Asked {
                flags: create.flags,
                uid: create.caller.uid,
            };
            open(core, stat.ino, asked, Opener::Create(reply, stat));
        }
        Ok(Some(stat)) => {
            core.nodes.forget(stat.ino, 1);
            // ESTALE makes the kernel resolve the path again (fs/namei.c, do_filp_open): it then
            // follows the link, or refuses the directory.
            reply.error(errno(Errno::STALE));
        }
        Ok(None) => reply.error(errno(Errno::STALE)),
        Err(failed) => reply.error(errno(failed)),
    }
}
