//! Open files and directories, and the mode in which each inode is open.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuser::BackingId;
use parking_lot::{Mutex, RwLock};

use crate::extents::Filling;
use crate::protocol::InodeId;

/// One open file of the kernel's: from OPEN or CREATE to RELEASE.
pub struct FileHandle {
    pub id: InodeId,
    /// Opened with the opener's access mode, so that fsync and close report to whom they concern.
    pub fd: Arc<OwnedFd>,
    pub writable: bool,
    pub filling: Option<Arc<Filling>>,
}

/// A name as it was when the directory was opened or rewound.
#[derive(Clone, Debug)]
pub struct DirName {
    pub name: std::ffi::OsString,
    pub ino: u64,
    pub kind: fuser::FileType,
}

pub struct DirHandle {
    pub ino: u64,
    pub fd: OwnedFd,
    /// `None` until the first READDIR; replaced when it starts again at 0.
    pub names: Mutex<Option<Arc<Vec<DirName>>>>,
}

/// How the kernel treats an open inode: the same for all its handles, since cached and passthrough
/// opens of one inode exclude each other (fs/fuse/iomode.c), and one backing id.
#[derive(Clone)]
pub enum OpenMode {
    Cached,
    Passthrough(Arc<BackingId>),
}

struct OpenInode {
    handles: u32,
    writers: u32,
    mode: OpenMode,
    filling: Option<Arc<Filling>>,
}

#[derive(Default)]
pub struct Handles {
    files: RwLock<HashMap<u64, Arc<FileHandle>>>,
    dirs: RwLock<HashMap<u64, Arc<DirHandle>>>,
    last: AtomicU64,
    /// Changed under the inode's lock. A leaf in the lock order.
    inodes: Mutex<HashMap<u64, OpenInode>>,
}

impl Handles {
    pub fn add_file(&self, handle: FileHandle) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.files.write().insert(number, Arc::new(handle));
        number
    }

    pub fn file(&self, number: u64) -> Option<Arc<FileHandle>> {
        self.files.read().get(&number).cloned()
    }

    pub fn take_file(&self, number: u64) -> Option<Arc<FileHandle>> {
        self.files.write().remove(&number)
    }

    pub fn add_dir(&self, handle: DirHandle) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.dirs.write().insert(number, Arc::new(handle));
        number
    }

    pub fn dir(&self, number: u64) -> Option<Arc<DirHandle>> {
        self.dirs.read().get(&number).cloned()
    }

    pub fn take_dir(&self, number: u64) -> Option<Arc<DirHandle>> {
        self.dirs.write().remove(&number)
    }

    /// The mode and filling of an inode that is open.
    pub fn opened(&self, ino: u64) -> Option<(OpenMode, Option<Arc<Filling>>)> {
        let inodes = self.inodes.lock();
        let inode = inodes.get(&ino)?;
        Some((inode.mode.clone(), inode.filling.clone()))
    }

    /// Counts a handle; mode and filling are those of the first one.
    pub fn count(&self, ino: u64, writer: bool, mode: &OpenMode, filling: Option<&Arc<Filling>>) {
        let mut inodes = self.inodes.lock();
        let inode = inodes.entry(ino).or_insert_with(|| OpenInode {
            handles: 0,
            writers: 0,
            mode: mode.clone(),
            filling: filling.cloned(),
        });
        inode.handles += 1;
        inode.writers += u32::from(writer);
    }

    /// Takes a handle from the count; true if it was the last writer.
    pub fn uncount(&self, ino: u64, writer: bool) -> bool {
        let mut inodes = self.inodes.lock();
        let Some(inode) = inodes.get_mut(&ino) else {
            return false;
        };
        inode.handles -= 1;
        inode.writers -= u32::from(writer);
        let last_writer = writer && inode.writers == 0;
        if inode.handles == 0 {
            inodes.remove(&ino);
        }
        last_writer
    }

    pub fn filling(&self, ino: u64) -> Option<Arc<Filling>> {
        self.inodes.lock().get(&ino)?.filling.clone()
    }

    pub fn is_open(&self, ino: u64) -> bool {
        self.inodes.lock().contains_key(&ino)
    }

    pub fn has_writers(&self, ino: u64) -> bool {
        self.inodes
            .lock()
            .get(&ino)
            .is_some_and(|inode| inode.writers > 0)
    }

    /// Open files, and those that are open for writing.
    pub fn counts(&self) -> (usize, usize) {
        let inodes = self.inodes.lock();
        let writing = inodes.values().filter(|inode| inode.writers > 0).count();
        (inodes.len(), writing)
    }
}
