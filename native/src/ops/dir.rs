//! Reading directories: sorted bytewise, and stable however the directory changes meanwhile.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{
    FileHandle as Fh, FileType, FopenFlags, INodeNo, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyOpen,
};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, Result};

use super::{errno, hydrate::when_listed, names::answer_empty};
use crate::attr::Stat;
use crate::core::Core;
use crate::handles::{DirHandle, DirName};
use crate::leases::proc_path;
use crate::logger::sent;

pub fn opendir(core: &Arc<Core>, ino: u64, reply: ReplyOpen) {
    when_listed(core, ino, move |core, listed| {
        match listed.and_then(|()| open_for_reading(core, ino)) {
            Ok(handle) => {
                let number = core.handles.add_dir(handle);
                if !sent(|| reply.opened(Fh(number), FopenFlags::empty())) {
                    core.handles.take_dir(number);
                }
            }
            Err(failed) => reply.error(errno(failed)),
        }
    });
}

fn open_for_reading(core: &Core, ino: u64) -> Result<DirHandle> {
    let dir = core.dir_fd(ino)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Not as `.`, which would need the right to search it.
    let fd = openat(CWD, proc_path(dir.as_fd()), flags, Mode::empty())?;
    Ok(DirHandle {
        ino,
        fd: Arc::new(fd),
        names: parking_lot::Mutex::new(None),
    })
}

/// The names as they are now, `.` and `..` first, the others in the order of their bytes.
fn read_names(core: &Core, handle: &DirHandle) -> Result<Vec<DirName>> {
    rustix::fs::seek(&handle.fd, rustix::fs::SeekFrom::Start(0))?;
    let mut names = read_dir_names(handle.fd.as_fd())?;
    names.sort_unstable_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
    let parent = core
        .nodes
        .names(handle.ino)
        .first()
        .map_or(handle.ino, |(ino, _)| *ino);
    let dot = |name: &str, ino| DirName {
        name: OsString::from(name),
        ino,
        kind: FileType::Directory,
    };
    let mut all = vec![dot(".", handle.ino), dot("..", parent)];
    all.append(&mut names);
    Ok(all)
}

/// The entries of a directory, without `.` and `..`, in the file system's order.
pub fn read_dir_names(fd: std::os::fd::BorrowedFd<'_>) -> Result<Vec<DirName>> {
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(fd, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let kind = match file_type(entry.file_type()) {
            Some(kind) => kind,
            None => match Stat::at(fd, name) {
                Ok(stat) => stat.kind(),
                // It went meanwhile.
                Err(Errno::NOENT) => continue,
                Err(failed) => return Err(failed),
            },
        };
        names.push(DirName {
            name: name.to_owned(),
            ino: entry.ino(),
            kind,
        });
    }
    Ok(names)
}

/// `None`: the file system leaves the type out, so that only a stat tells it.
fn file_type(kind: rustix::fs::FileType) -> Option<FileType> {
    match kind {
        rustix::fs::FileType::RegularFile => Some(FileType::RegularFile),
        rustix::fs::FileType::Directory => Some(FileType::Directory),
        rustix::fs::FileType::Symlink => Some(FileType::Symlink),
        rustix::fs::FileType::Fifo => Some(FileType::NamedPipe),
        rustix::fs::FileType::Socket => Some(FileType::Socket),
        rustix::fs::FileType::CharacterDevice => Some(FileType::CharDevice),
        rustix::fs::FileType::BlockDevice => Some(FileType::BlockDevice),
        rustix::fs::FileType::Unknown => None,
    }
}

/// The snapshot of names that this position belongs to: a new one at the start of the directory.
fn names_at(core: &Core, handle: &DirHandle, offset: u64) -> Result<Arc<Vec<DirName>>> {
    let mut names = handle.names.lock();
    match &*names {
        Some(names) if offset > 0 => Ok(names.clone()),
        _ => {
            let read = Arc::new(read_names(core, handle)?);
            *names = Some(read.clone());
            Ok(read)
        }
    }
}

pub fn readdir(core: &Arc<Core>, number: u64, offset: u64, mut reply: ReplyDirectory) {
    let Some(handle) = core.handles.dir(number) else {
        return reply.error(errno(Errno::BADF));
    };
    match names_at(core, &handle, offset) {
        Ok(names) => {
            for (index, entry) in names.iter().enumerate().skip(offset as usize) {
                let next = index as u64 + 1;
                if reply.add(INodeNo(entry.ino), next, entry.kind, &entry.name) {
                    break;
                }
            }
            reply.ok();
        }
        Err(failed) => reply.error(errno(failed)),
    }
}

pub fn readdirplus(core: &Arc<Core>, number: u64, offset: u64, mut reply: ReplyDirectoryPlus) {
    let Some(handle) = core.handles.dir(number) else {
        return reply.error(errno(Errno::BADF));
    };
    let names = match names_at(core, &handle, offset) {
        Ok(names) => names,
        Err(failed) => return reply.error(errno(failed)),
    };
    let mut counted = Vec::new();
    for (index, entry) in names.iter().enumerate().skip(offset as usize) {
        let next = index as u64 + 1;
        let full = if index < 2 {
            add_dot(core, &handle, entry, next, &mut reply)
        } else {
            match core.find(handle.ino, &entry.name) {
                Ok(Some(stat)) => {
                    let ino = stat.ino;
                    let generation = core.generation(stat.id());
                    let (attr, ttl) = core.attr_of(stat);
                    let full = reply.add(attr.ino, next, &entry.name, &ttl, &attr, generation);
                    if full {
                        core.nodes.forget(ino, 1);
                    } else {
                        counted.push(ino);
                    }
                    full
                }
                // It went since the names were read.
                Ok(None) => false,
                Err(failed) => {
                    log::error!("list {}: {failed}", entry.name.display());
                    add_damaged(core, &handle, entry, next, &mut reply)
                }
            }
        };
        if full {
            break;
        }
    }
    if !sent(|| reply.ok()) {
        for ino in counted {
            core.nodes.forget(ino, 1);
        }
    }
}

/// The kernel takes no lookup for `.` and `..` (fs/fuse/readdir.c, fuse_direntplus_link), so none
/// is counted, and their attributes do not matter.
fn add_dot(
    core: &Core,
    handle: &DirHandle,
    entry: &DirName,
    next: u64,
    reply: &mut ReplyDirectoryPlus,
) -> bool {
    let Ok(mut stat) = core.stat_fd(&handle.fd) else {
        return false;
    };
    stat.ino = entry.ino;
    let generation = core.generation(stat.id());
    let ttl = std::time::Duration::ZERO;
    reply.add(
        INodeNo(entry.ino),
        next,
        &entry.name,
        &ttl,
        &stat.file_attr(),
        generation,
    )
}

/// A name whose file cannot be told about (a malformed record) is listed even so: it can be removed.
fn add_damaged(
    core: &Core,
    handle: &DirHandle,
    entry: &DirName,
    next: u64,
    reply: &mut ReplyDirectoryPlus,
) -> bool {
    let Ok(stat) = core.stat_at(&handle.fd, &entry.name) else {
        return false;
    };
    core.nodes.looked_up(handle.ino, &entry.name, &stat);
    let generation = core.generation(stat.id());
    let (attr, ttl) = (stat.file_attr(), std::time::Duration::ZERO);
    let full = reply.add(attr.ino, next, &entry.name, &ttl, &attr, generation);
    if full {
        core.nodes.forget(stat.ino, 1);
    }
    full
}

pub fn releasedir(core: &Arc<Core>, number: u64, reply: ReplyEmpty) {
    core.handles.take_dir(number);
    reply.ok();
}

pub fn fsyncdir(core: &Arc<Core>, number: u64, data_only: bool, reply: ReplyEmpty) {
    let result = match core.handles.dir(number) {
        Some(handle) if data_only => rustix::fs::fdatasync(&handle.fd),
        Some(handle) => rustix::fs::fsync(&handle.fd),
        None => Err(Errno::BADF),
    };
    answer_empty(result, reply);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_with_their_types() {
        let root = std::env::temp_dir().join(format!("keeper-names-{}", std::process::id()));
        std::fs::create_dir_all(root.join("d")).expect("temp dir");
        std::fs::write(root.join("f"), "").expect("write");
        std::os::unix::fs::symlink("f", root.join("l")).expect("symlink");
        let dir = std::fs::File::open(&root).expect("open");
        let mut names = read_dir_names(dir.as_fd()).expect("read");
        names.sort_by(|one, other| one.name.cmp(&other.name));
        let seen: Vec<_> = names.iter().map(|n| (n.name.to_str(), n.kind)).collect();
        assert_eq!(
            seen,
            vec![
                (Some("d"), FileType::Directory),
                (Some("f"), FileType::RegularFile),
                (Some("l"), FileType::Symlink),
            ]
        );
        std::fs::remove_dir_all(root).expect("clean up");
    }
}
