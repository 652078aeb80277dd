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
    pub fd: Arc<OwnedFd>,
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
    /// Whether its content may have changed while it was open, by what the kernel knows of.
    written: bool,
    mode: OpenMode,
    filling: Option<Arc<Filling>>,
    /// Whether the kernel may keep what it had cached before the first of these opens.
    keeps_pages: bool,
}

/// How an inode is open, shared by all who open it until the last of them closes.
#[derive(Clone)]
pub struct Opening {
    pub mode: OpenMode,
    pub filling: Option<Arc<Filling>>,
    pub keeps_pages: bool,
}

/// What is left when a handle was closed.
pub struct Left {
    pub last_writer: bool,
    /// It was the last of all, and the content may have changed since the first.
    pub last_of_written: bool,
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

    /// Some descriptor of an inode that is open. A walk over all that is: for what happens rarely.
    pub fn any_fd(&self, ino: u64) -> Option<Arc<OwnedFd>> {
        let files = self.files.read();
        if let Some(file) = files.values().find(|handle| handle.id.ino == ino) {
            return Some(file.fd.clone());
        }
        let dirs = self.dirs.read();
        let dir = dirs.values().find(|handle| handle.ino == ino)?;
        Some(dir.fd.clone())
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

    /// How an inode is open already.
    pub fn opened(&self, ino: u64) -> Option<Opening> {
        let inodes = self.inodes.lock();
        let inode = inodes.get(&ino)?;
        Some(Opening {
            mode: inode.mode.clone(),
            filling: inode.filling.clone(),
            keeps_pages: inode.keeps_pages,
        })
    }

    /// Counts a handle; the opening is that of the first one.
    pub fn count(&self, ino: u64, writer: bool, opening: &Opening) {
        let mut inodes = self.inodes.lock();
        let inode = inodes.entry(ino).or_insert_with(|| OpenInode {
            handles: 0,
            writers: 0,
            // What of a placeholder is read comes by and by.
            written: opening.filling.is_some(),
            mode: opening.mode.clone(),
            filling: opening.filling.clone(),
            keeps_pages: opening.keeps_pages,
        });
        inode.handles += 1;
        inode.writers += u32::from(writer);
        inode.written |= writer;
    }

    /// Takes a handle from the count.
    pub fn uncount(&self, ino: u64, writer: bool) -> Left {
        let mut inodes = self.inodes.lock();
        let Some(inode) = inodes.get_mut(&ino) else {
            return Left {
                last_writer: false,
                last_of_written: false,
            };
        };
        inode.handles -= 1;
        inode.writers -= u32::from(writer);
        let left = Left {
            last_writer: writer && inode.writers == 0,
            last_of_written: inode.handles == 0 && inode.written,
        };
        if inode.handles == 0 {
            inodes.remove(&ino);
        }
        left
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
