//! Extended attributes: `user.*` as they are on disk, but for the placeholder's record, which is
//! hidden, and `user.modelcache.cid`, which is computed.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{ReplyEmpty, ReplyXattr};
use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};
use serde_json::Value;

use super::errno;
use super::hydrate::ask_cid;
use super::names::answer_empty;
use crate::core::Core;
use crate::leases::proc_path;
use crate::record::RECORD_XATTR;

/// Not listed, read-only: the CID of a settled file or directory.
const CID_XATTR: &str = "user.modelcache.cid";
/// The largest value and list that Linux passes on (limits.h, XATTR_SIZE_MAX, XATTR_LIST_MAX).
const XATTR_MAX_BYTES: usize = 65_536;

fn is_record(name: &OsStr) -> bool {
    name == RECORD_XATTR
}

/// The name spaces that are passed on. Access control lists would need the kernel's help
/// (FUSE_POSIX_ACL), and security.* and trusted.* belong to the backing file system.
fn check_name(name: &OsStr) -> Result<()> {
    if name.as_bytes().starts_with(b"user.") {
        Ok(())
    } else {
        Err(Errno::OPNOTSUPP)
    }
}

pub fn getxattr(core: &Arc<Core>, ino: u64, name: OsString, size: u32, reply: ReplyXattr) {
    if name == CID_XATTR {
        return get_cid(core, ino, size, reply);
    }
    let value = check_name(&name).and_then(|()| {
        if is_record(&name) {
            return Err(Errno::NODATA);
        }
        let pin = core.pin(ino)?;
        let mut value = vec![0; XATTR_MAX_BYTES];
        let length = rustix::fs::getxattr(proc_path(pin.as_fd()), &*name, &mut value[..])?;
        value.truncate(length);
        Ok(value)
    });
    answer(value, size, reply);
}

fn get_cid(core: &Arc<Core>, ino: u64, size: u32, reply: ReplyXattr) {
    // The reply is wanted by both ways to fail, of which one is taken.
    let reply = Arc::new(parking_lot::Mutex::new(Some(reply)));
    let waiting = reply.clone();
    let asked = ask_cid(core, ino, move |result| {
        let value = match result {
            Ok(ok) => match ok.get("cid").and_then(Value::as_str) {
                Some(cid) => Ok(cid.as_bytes().to_vec()),
                None => Err(Errno::IO),
            },
            Err(failure) => Err(failure.errno),
        };
        if let Some(reply) = waiting.lock().take() {
            answer(value, size, reply);
        }
    });
    if let Err(failed) = asked
        && let Some(reply) = reply.lock().take()
    {
        reply.error(errno(failed));
    }
}

fn answer(value: Result<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(errno(Errno::RANGE)),
        Ok(value) => reply.data(&value),
        Err(failed) => reply.error(errno(failed)),
    }
}

pub fn listxattr(core: &Arc<Core>, ino: u64, size: u32, reply: ReplyXattr) {
    let names = core.pin(ino).and_then(|pin| {
        let mut names = vec![0u8; XATTR_MAX_BYTES];
        match rustix::fs::listxattr(proc_path(pin.as_fd()), &mut names[..]) {
            Ok(length) => {
                names.truncate(length);
                Ok(visible_names(&names))
            }
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            Err(failed) => Err(failed),
        }
    });
    answer(names, size, reply);
}

fn visible_names(names: &[u8]) -> Vec<u8> {
    names
        .split_inclusive(|byte| *byte == 0)
        .filter(|name| {
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            let name = OsStr::from_bytes(name);
            check_name(name).is_ok() && !is_record(name)
        })
        .flatten()
        .copied()
        .collect()
}

pub fn setxattr(
    core: &Arc<Core>,
    ino: u64,
    name: &OsStr,
    value: &[u8],
    flags: i32,
    reply: ReplyEmpty,
) {
    let flags = XattrFlags::from_bits_retain(flags as u32);
    let result = change(core, ino, name, |path| {
        rustix::fs::setxattr(path, name, value, flags)
    });
    answer_empty(result, reply);
}

pub fn removexattr(core: &Arc<Core>, ino: u64, name: &OsStr, reply: ReplyEmpty) {
    let result = change(core, ino, name, |path| rustix::fs::removexattr(path, name));
    answer_empty(result, reply);
}

fn change(
    core: &Core,
    ino: u64,
    name: &OsStr,
    change: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    check_name(name)?;
    if is_record(name) || name == CID_XATTR {
        return Err(Errno::PERM);
    }
    let _namespace = core.namespace.read();
    let pin = core.pin(ino)?;
    let _inode = core.lock_inode(ino);
    let before = core.stat_fd(&*pin)?;
    change(&proc_path(pin.as_fd()))?;
    core.renew_stamp(&before, &core.stat_fd(&*pin)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_neither_the_record_nor_other_name_spaces() {
        let names = b"user.a\0user.mc\0security.selinux\0user.mc2\0";
        assert_eq!(visible_names(names), b"user.a\0user.mc2\0");
    }
}
