//! The kernel's requests (fuser's `Filesystem`), each handed to the file of its kind.

pub mod create;
pub mod data;
pub mod dir;
pub mod hydrate;
pub mod lookup;
pub mod names;
pub mod open;
pub mod rename;
pub mod setattr;
pub mod truncate;
pub mod xattr;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::core::Core;
use names::Caller;

/// The kernel's largest request: 256 pages.
const MAX_WRITE_BYTES: u32 = 1024 * 1024;
/// Requests that the kernel sends without a program waiting: read-ahead, RELEASE. Those that wait
/// for a fetch take a place each, but no thread of ours, and must not keep out what is local.
const MAX_BACKGROUND: u16 = 4096;

/// The errno that goes to the kernel.
pub fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_i32(errno.raw_os_error())
}

/// The mounted file system.
pub struct Mounted {
    pub core: Arc<Core>,
    /// 0: passthrough is not asked for.
    pub stack_depth: u32,
}

impl Mounted {
    fn ino(&self, node: INodeNo) -> u64 {
        self.core.ino(node)
    }
}

/// Capabilities that are used where the kernel has them. Not among them, on purpose: the lock
/// capabilities (the kernel's own flock and fcntl are right for one host), WRITEBACK_CACHE (the
/// kernel would own size and mtime, and it excludes passthrough), POSIX_ACL, EXPORT_SUPPORT.
const WANTED: [InitFlags; 9] = [
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_NO_EXPORT_SUPPORT,
];

impl Filesystem for Mounted {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in WANTED {
            // A kernel without it works too, slower.
            let _ = config.add_capabilities(flag);
        }
        let limits = config
            .set_max_write(MAX_WRITE_BYTES)
            .map_err(|_| "max_write")
            .and(
                config
                    .set_max_background(MAX_BACKGROUND)
                    .map_err(|_| "max_background"),
            );
        limits.map_err(|what| io::Error::other(format!("the kernel refuses {what}")))?;
        // Without it the kernel asks for `security.capability` before every single write (fs/inode.c,
        // file_remove_privs; SB_NOSEC is set for whoever takes this over), passed through or not.
        let drops = config.add_capabilities(InitFlags::FUSE_HANDLE_KILLPRIV_V2);
        self.core
            .drops_set_ids
            .store(drops.is_ok(), Ordering::Release);
        let mut passthrough = self.core.passthrough.write();
        if self.stack_depth == 0 {
            return Ok(());
        }
        if config
            .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
            .is_err()
        {
            "the kernel has no FUSE passthrough (6.9 or later)".clone_into(&mut passthrough.reason);
        } else if config.set_max_stack_depth(self.stack_depth).is_err() {
            "the store's file system is stacked too deep".clone_into(&mut passthrough.reason);
        } else {
            passthrough.active = true;
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        lookup::lookup(&self.core, self.ino(parent), name.to_owned(), reply);
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.core.nodes.forget(self.ino(ino), nlookup);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        lookup::getattr(&self.core, self.ino(ino), handle.map(|fh| fh.0), reply);
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let wish = setattr::Wish {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
            handle: handle.map(|fh| fh.0),
            caller: request.uid(),
        };
        setattr::setattr(&self.core, self.ino(ino), wish, reply);
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        lookup::readlink(&self.core, self.ino(ino), reply);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let new = names::New::Node {
            mode: mode & !umask,
        };
        let caller = Caller::of(request);
        names::make(
            &self.core,
            self.ino(parent),
            name.to_owned(),
            new,
            caller,
            reply,
        );
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let new = names::New::Directory {
            mode: mode & !umask,
        };
        let caller = Caller::of(request);
        names::make(
            &self.core,
            self.ino(parent),
            name.to_owned(),
            new,
            caller,
            reply,
        );
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let new = names::New::Link {
            target: target.as_os_str().to_owned(),
        };
        let caller = Caller::of(request);
        names::make(
            &self.core,
            self.ino(parent),
            name.to_owned(),
            new,
            caller,
            reply,
        );
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        names::unlink(&self.core, self.ino(parent), name.to_owned(), reply);
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        names::rmdir(&self.core, self.ino(parent), name.to_owned(), reply);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = rename::Rename {
            parent: self.ino(parent),
            name: name.to_owned(),
            new_parent: self.ino(new_parent),
            new_name: new_name.to_owned(),
            flags,
        };
        rename::rename(&self.core, rename, reply);
    }

    fn link(
        &self,
        _request: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let (ino, parent) = (self.ino(ino), self.ino(new_parent));
        names::link(&self.core, ino, parent, new_name.to_owned(), reply);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let asked = open::Asked {
            flags: flags.0,
            uid: request.uid(),
        };
        open::open(&self.core, self.ino(ino), asked, open::Opener::Open(reply));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let create = create::Create {
            parent: self.ino(parent),
            name: name.to_owned(),
            mode: mode & !umask,
            flags,
            caller: Caller::of(request),
        };
        create::create(&self.core, create, reply);
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        data::read(&self.core, handle.0, offset, size, reply);
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        how: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let drops_set_ids = how.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let part = data::Part {
            offset,
            bytes,
            drops_set_ids,
        };
        data::write(&self.core, handle.0, part, reply);
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        data::flush(&self.core, handle.0, reply);
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        open::release(&self.core, handle.0, reply);
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        data::fsync(&self.core, handle.0, data_only, reply);
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        dir::opendir(&self.core, self.ino(ino), reply);
    }

    fn readdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        dir::readdir(&self.core, handle.0, offset, reply);
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        dir::readdirplus(&self.core, handle.0, offset, reply);
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        dir::releasedir(&self.core, handle.0, reply);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        dir::fsyncdir(&self.core, handle.0, data_only, reply);
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        lookup::statfs(&self.core, reply);
    }

    fn setxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        xattr::setxattr(&self.core, self.ino(ino), name, value, flags, reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        xattr::getxattr(&self.core, self.ino(ino), name.to_owned(), size, reply);
    }

    fn listxattr(&self, _request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        xattr::listxattr(&self.core, self.ino(ino), size, reply);
    }

    fn removexattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        xattr::removexattr(&self.core, self.ino(ino), name, reply);
    }

    /// No ioctl is for a file of a model cache. FICLONE does not come here (EOPNOTSUPP from the
    /// kernel: FUSE has no remap_file_range).
    fn ioctl(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        data::fallocate(&self.core, handle.0, (offset, length), mode, reply);
    }

    fn lseek(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        data::lseek(&self.core, handle.0, offset, whence, reply);
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _ino_in: INodeNo,
        handle_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        handle_out: FileHandle,
        offset_out: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let from = data::CopyEnd {
            number: handle_in.0,
            offset: offset_in,
        };
        let to = data::CopyEnd {
            number: handle_out.0,
            offset: offset_out,
        };
        data::copy_file_range(&self.core, from, to, length, reply);
    }
}
