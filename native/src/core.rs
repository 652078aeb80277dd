//! The state of the mount, and the steps that all operations share.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fuser::{FileAttr, Generation, INodeNo};
use parking_lot::{Mutex, MutexGuard, ReentrantMutex, RwLock};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, Result};

use crate::attr::{Stamp, Stat};
use crate::changes::Changes;
use crate::config::StartConfig;
use crate::counters::Counters;
use crate::dir_fds::DirFds;
use crate::dirty::Dirty;
use crate::dirty_log::DirtyLog;
use crate::handles::Handles;
use crate::leases::Leases;
use crate::link::Link;
use crate::nodes::{Nodes, Stage};
use crate::notify::Notify;
use crate::objects::Objects;
use crate::ops::truncate::Conversions;
use crate::pool::Pool;
use crate::protocol::{FinalBy, InodeId, Item};

/// We own all changes of the tree, so what the kernel caches stays right until we say otherwise.
const LONG_TTL: Duration = Duration::from_secs(24 * 3600);
/// The kernel asks again each time.
const NO_TTL: Duration = Duration::ZERO;

const INODE_LOCKS: usize = 256;

/// Whether reads and writes go past us, and why not.
#[derive(Clone, Debug, Default)]
pub struct Passthrough {
    pub active: bool,
    pub reason: String,
}

/// Lock order, outermost first: `namespace`, an inode's lock (two: by ascending index), `moves`,
/// the objects' table, then the leaves (nodes, handles, changes, dirty set, link, …), of which no
/// two are held at once. None is held while something waits for the daemon.
pub struct Core {
    pub config: StartConfig,
    pub store: OwnedFd,
    pub tree: Arc<OwnedFd>,
    pub extents: OwnedFd,
    pub root: InodeId,
    pub dev: (u32, u32),
    pub nodes: Nodes,
    pub dir_fds: DirFds,
    pub objects: Objects,
    pub handles: Handles,
    pub dirty: Dirty,
    pub dirty_log: DirtyLog,
    pub changes: Changes,
    pub leases: Leases,
    pub conversions: Conversions,
    pub link: Link,
    pub notify: Notify,
    pub counters: Counters,
    pub passthrough: RwLock<Passthrough>,
    /// Whether passthrough opens are answered; read on each open.
    pub passthrough_active: AtomicBool,
    /// The kernel leaves it to us to drop set-ID bits (FUSE_HANDLE_KILLPRIV_V2).
    pub drops_set_ids: AtomicBool,
    /// A daemon was ready once. Before that the tree may become another one (`--from`), and what
    /// the kernel is told of names must not last.
    pub was_ready: AtomicBool,
    pub restarts: AtomicU32,
    /// Held shared by every operation that changes names or attributes, for its system calls;
    /// exclusively by a snapshot, which is one moment of the tree.
    pub namespace: RwLock<()>,
    /// Held while a name and the nodes change together; who resolves a name that just moved
    /// takes it to see the end.
    pub moves: ReentrantMutex<()>,
    /// Counts the names that went or moved; changed with `moves` held. Who looked at a name and
    /// notes what it saw compares it first.
    pub moved: AtomicU64,
    inode_locks: [Mutex<()>; INODE_LOCKS],
    pub pool: Arc<Pool>,
}

/// The parts of `Core` that can fail to come up.
pub struct Parts {
    pub config: StartConfig,
    pub store: OwnedFd,
    pub notify: Notify,
    pub pool: Arc<Pool>,
    /// The last stop was not clean: the first snapshot lists everything.
    pub unclean: bool,
}

impl Core {
    pub fn open(parts: Parts) -> Result<Self> {
        let store = parts.store.as_fd();
        let directory = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let tree = openat(store, "tree", directory | OFlags::PATH, Mode::empty())?;
        let extents = openat(store, "extents", directory | OFlags::RDONLY, Mode::empty())?;
        let objects = Objects::open(store)?;
        let dirty_log = DirtyLog::open(rustix::io::fcntl_dupfd_cloexec(store, 0)?)?;
        let root = Stat::of(&tree)?;
        let dirty = Dirty::default();
        let noted = dirty_log.noted();
        for id in &noted {
            // Their nodes are found by the first snapshot.
            let _ = dirty.insert(*id, false);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let deadline = Duration::from_millis(parts.config.fetch_deadline_ms);
        Ok(Self {
            tree: Arc::new(tree),
            extents,
            root: root.id(),
            dev: root.dev,
            nodes: Nodes::new(root.id()),
            dir_fds: DirFds::new(crate::dir_fds::capacity(limit.current)),
            objects,
            handles: Handles::default(),
            changes: Changes::new(parts.unclean || !noted.is_empty()),
            dirty,
            dirty_log,
            leases: Leases::default(),
            conversions: Conversions::default(),
            link: Link::new(parts.pool.clone(), deadline),
            notify: parts.notify,
            counters: Counters::default(),
            passthrough: RwLock::default(),
            passthrough_active: AtomicBool::new(false),
            drops_set_ids: AtomicBool::new(false),
            was_ready: AtomicBool::new(false),
            restarts: AtomicU32::new(0),
            namespace: RwLock::new(()),
            moves: ReentrantMutex::new(()),
            moved: AtomicU64::new(0),
            inode_locks: std::array::from_fn(|_| Mutex::new(())),
            pool: parts.pool,
            store: parts.store,
            config: parts.config,
        })
    }

    /// The backing inode of a node: the root is node 1, every other node is its inode number.
    pub fn ino(&self, node: INodeNo) -> u64 {
        if node.0 == INodeNo::ROOT.0 {
            self.root.ino
        } else {
            node.0
        }
    }

    pub fn node(&self, ino: u64) -> INodeNo {
        if ino == self.root.ino {
            INodeNo::ROOT
        } else {
            INodeNo(ino)
        }
    }

    pub fn lock_inode(&self, ino: u64) -> MutexGuard<'_, ()> {
        self.inode_locks[slot(ino)].lock()
    }

    /// Two inodes at once, in the order that keeps two callers from waiting for each other.
    pub fn lock_inodes(&self, one: u64, other: Option<u64>) -> Vec<MutexGuard<'_, ()>> {
        let mut slots = vec![slot(one)];
        slots.extend(other.map(slot));
        slots.sort_unstable();
        slots.dedup();
        slots
            .into_iter()
            .map(|index| self.inode_locks[index].lock())
            .collect()
    }

    /// How long the kernel may keep the attributes: not at all while a writable passthrough open
    /// or mapping may exist, since stores through a mapping move mtime unseen. A lease that was
    /// granted (`settled`) is the proof that none does.
    pub fn attr_ttl(&self, id: InodeId) -> Duration {
        if self.dirty.contains(id) || self.handles.has_writers(id.ino) {
            NO_TTL
        } else {
            LONG_TTL
        }
    }

    pub fn entry_ttl(&self) -> Duration {
        if self.was_ready.load(Ordering::Acquire) {
            LONG_TTL
        } else {
            NO_TTL
        }
    }

    /// A placeholder is shown as its record says.
    pub fn overlay(&self, stat: &mut Stat) {
        if let Stage::Placeholder { record, .. } = self.nodes.stage(stat.ino) {
            stat.overlay(&record);
        }
    }

    pub fn attr_of(&self, mut stat: Stat) -> (FileAttr, Duration) {
        self.overlay(&mut stat);
        let ttl = self.attr_ttl(stat.id());
        (stat.file_attr(), ttl)
    }

    pub fn generation(&self, id: InodeId) -> Generation {
        Generation(id.btime)
    }

    /// The directory's listing is part of the next snapshot.
    pub fn mark(&self, directory: u64, explicit: bool) {
        if self.nodes.hold(directory) && !self.changes.mark(directory, explicit) {
            self.nodes.release(directory);
        }
    }

    /// Marks every directory that holds a name of the file. If not all names are known, the next
    /// snapshot lists everything.
    pub fn mark_parents(&self, stat: &Stat) {
        let names = self.nodes.names(stat.ino);
        if !stat.is_dir() && (names.len() as u64) < u64::from(stat.nlink) {
            self.changes.mark_all();
        }
        for (directory, _) in names {
            self.mark(directory, false);
        }
    }

    /// Somebody wrote to the file past the mount while its lease was held: it is listed again.
    pub fn mark_names(&self, ino: u64) {
        for (directory, _) in self.nodes.names(ino) {
            self.mark(directory, false);
        }
    }

    /// Notes, durably, that the file may change from now on. Called under the inode's lock,
    /// before the file is opened for writing or truncated.
    pub fn make_dirty(&self, stat: &Stat) -> Result<()> {
        let id = stat.id();
        self.break_lease(id.ino);
        if stat.nlink == 0 {
            // Unlinked: its row went with its last name, and it never gets another (linkat gives
            // ENOENT), so that there is nothing to settle and nobody to tell.
            return Ok(());
        }
        self.mark_parents(stat);
        if self.dirty.contains(id) {
            if self.dirty.claim(id) {
                self.nodes.hold(id.ino);
            }
            return Ok(());
        }
        self.dirty_log.note(id)?;
        self.insert_dirty(id);
        self.link.changed(Item::Dirty(id));
        self.notify.forget_attributes_of_pinned(self.node(id.ino));
        Ok(())
    }

    /// A file that was just made: nothing was ever settled of it.
    pub fn make_fresh(&self, id: InodeId) {
        self.insert_dirty(id);
    }

    fn insert_dirty(&self, id: InodeId) {
        let held = self.nodes.hold(id.ino);
        if self.dirty.insert(id, held) {
            self.nodes.release(id.ino);
        }
    }

    /// The file is settled, or its last name went.
    pub fn make_clean(&self, id: InodeId) {
        if self.dirty.remove(id) {
            self.nodes.release(id.ino);
        }
        self.dirty_log.forget(id);
    }

    /// Our own open for writing must not wait for our own lease.
    pub fn break_lease(&self, ino: u64) {
        if let Some(lease) = self.leases.give_up(ino) {
            self.link
                .event(&serde_json::json!({ "t": "broken", "lease": lease }));
        }
    }

    /// Tells the daemon that only attributes or names changed, so that the row stays good.
    pub fn renew_stamp(&self, before: &Stat, after: &Stat) {
        if !before.is_file() || before.stamp() == after.stamp() {
            return;
        }
        self.nodes.pages_moved(before, after);
        if !self.dirty.contains(before.id()) {
            let (old, new): (Stamp, Stamp) = (before.stamp(), after.stamp());
            let id = before.id();
            self.link.changed(Item::Stamp { id, old, new });
        }
    }

    /// The file got this name, by rename or link.
    pub fn tell_named(&self, id: InodeId, directory: u64, name: &OsStr) {
        if let Some(path) = self.nodes.path_of(directory, name) {
            let by = FinalBy::Name;
            self.link.changed(Item::Final { id, path, by });
        }
    }

    /// The last writer of the file went.
    pub fn tell_written(&self, id: InodeId) {
        if let Some(path) = self.nodes.path(id.ino) {
            let by = FinalBy::Writer;
            self.link.changed(Item::Final { id, path, by });
        }
    }

    /// The last name of a file, or the name of a directory, went.
    pub fn gone(&self, id: InodeId) {
        self.make_clean(id);
        self.objects.gone(id.ino);
        self.link.changed(Item::Gone(id));
    }

    /// A stat whose link count does not show our link in objects/.
    pub fn stat_at(&self, dir: impl AsFd, name: &OsStr) -> Result<Stat> {
        let stat = self.objects.hide(|| Stat::at(dir, name))?;
        self.check(stat)
    }

    pub fn stat_fd(&self, fd: impl AsFd) -> Result<Stat> {
        self.objects.hide(|| Stat::of(fd))
    }

    /// Another file system beneath the tree would have inode numbers of its own, and 1 is the
    /// root's node number.
    fn check(&self, stat: Stat) -> Result<Stat> {
        if stat.dev != self.dev || stat.ino == INodeNo::ROOT.0 {
            log::error!(
                "inode {} of another file system beneath the tree is refused",
                stat.ino
            );
            return Err(Errno::XDEV);
        }
        Ok(stat)
    }
}

fn slot(ino: u64) -> usize {
    (ino % INODE_LOCKS as u64) as usize
}
