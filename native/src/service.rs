//! The daemon's messages: what it asks of the keeper, and what it says.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::OFlags;
use rustix::io::{Errno, Result};
use serde_json::{Value, json};

use crate::attr::Stat;
use crate::core::Core;
use crate::counters::Counters;
use crate::lifecycle::{Lifecycle, Signal};
use crate::link::{Answer, Failure};
use crate::notify::Notification;
use crate::protocol::{FromDaemon, InodeId, Notice, WireName};
use crate::resolve::open_beneath;
use crate::snapshot;

/// Dirty inodes that `stats` names: so that its answer fits into a frame.
const MAX_DIRTY_TOLD: usize = 100_000;

/// What one connection's messages act on.
pub struct Service {
    pub core: Arc<Core>,
    pub lifecycle: Arc<Lifecycle>,
    pub connection: u64,
}

impl Service {
    /// Takes one message. Requests run on the pool, so that a long snapshot holds up no lease.
    pub fn take(&self, message: FromDaemon) {
        match message {
            FromDaemon::Ready => {
                self.core.link.ready();
                self.core.forget_root_stage();
                self.lifecycle.signal(Signal::DaemonReady);
            }
            FromDaemon::Failed { exit, message } => {
                self.lifecycle
                    .signal(Signal::DaemonFailed { exit, message });
            }
            FromDaemon::Done { dirty } => {
                self.lifecycle.signal(Signal::Done { dirty });
            }
            FromDaemon::Unlease { lease } => self.core.leases.drop(lease),
            FromDaemon::Committed { snapshot, again } => {
                self.core
                    .committed(snapshot, again.into_iter().map(InodeId::from));
                self.lifecycle.signal(Signal::Committed);
            }
            FromDaemon::Notify(notice) => self.core.noticed(notice),
            FromDaemon::Re { id, ok, err } => {
                if let Some(landed) = self.core.link.answered(id, ok, err) {
                    self.core.note_answer(&landed);
                    self.core.link.deliver(landed);
                }
            }
            FromDaemon::Lease { id, path, inode } => {
                self.answer(id, move |core| core.lease(&path, inode.into()));
            }
            FromDaemon::Settled { id, lease, oid } => {
                self.answer(id, move |core| core.settled(lease, oid.map(|oid| oid.0)));
            }
            FromDaemon::UnlinkObjects { id, oids } => {
                self.answer(id, move |core| {
                    for oid in oids {
                        let ino = core.objects.ino_of(oid.0)?;
                        let _inode = ino.map(|ino| core.lock_inode(ino));
                        core.objects.unlink(oid.0)?;
                    }
                    core.objects.sync()?;
                    Ok(json!({}))
                });
            }
            FromDaemon::Stats { id } => self.answer(id, |core| Ok(core.stats())),
            FromDaemon::Snapshot { id, all } => self.snapshot(id, all),
            FromDaemon::Unmount { id, lazy } => self.unmount(id, lazy),
        }
    }

    fn answer(&self, id: u64, work: impl FnOnce(&Core) -> Result<Value> + Send + 'static) {
        let (core, connection) = (self.core.clone(), self.connection);
        self.core.pool.run(move || {
            let answer = work(&core).map_err(failure);
            core.link.answer(connection, id, answer);
        });
    }

    fn snapshot(&self, id: u64, all: bool) {
        let (core, connection) = (self.core.clone(), self.connection);
        self.core.pool.run(move || {
            let answer: Answer = match snapshot::take(&core, all) {
                Ok(snapshot) => {
                    let number = snapshot.number;
                    snapshot.send(id, |part| core.link.send_on(connection, part));
                    Ok(json!({ "snapshot": number }))
                }
                Err(errno) => Err(failure(errno)),
            };
            core.link.answer(connection, id, answer);
        });
    }

    fn unmount(&self, id: u64, lazy: bool) {
        let (core, connection) = (self.core.clone(), self.connection);
        let lifecycle = self.lifecycle.clone();
        self.core.pool.run(move || {
            let answer = lifecycle.unmount(lazy).map(|()| json!({}));
            core.link.answer(connection, id, answer);
        });
    }
}

fn failure(errno: Errno) -> Failure {
    Failure {
        errno,
        message: errno.to_string(),
    }
}

impl Core {
    /// Takes a read lease on the file, so that its bytes can be read as one version.
    fn lease(&self, path: &WireName, id: InodeId) -> Result<Value> {
        let _inode = self.lock_inode(id.ino);
        if self.handles.has_writers(id.ino) {
            return Err(Errno::AGAIN);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match open_beneath(self.tree.as_fd(), path.os(), flags) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => {
                return Err(Errno::STALE);
            }
            Err(errno) => return Err(errno),
        };
        let stat = Stat::of(&fd)?;
        if stat.id() != id || !stat.is_file() {
            return Err(Errno::STALE);
        }
        let fd = Arc::new(fd);
        let number = match self.leases.take(id, fd.clone()) {
            Ok(number) => number,
            // Neither the owner nor CAP_LEASE: it cannot be settled, which is not for ever either.
            Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::INVAL)) => {
                log::warn!("lease {}: {errno}", path.os().display());
                return Err(Errno::AGAIN);
            }
            Err(errno) => return Err(errno),
        };
        // Taken with the lease: from here on a writer breaks it.
        let stamp = Stat::of(&fd)?.stamp();
        Ok(json!({ "lease": number, "fd": fd.as_raw_fd(), "stamp": stamp.json() }))
    }

    /// The file is settled, if its lease still holds: nothing was written since it was taken.
    fn settled(&self, lease: u64, oid: Option<u64>) -> Result<Value> {
        let (id, fd, _) = self.leases.get(lease).ok_or(Errno::CANCELED)?;
        let result = self.settle(lease, id, &fd, oid);
        self.leases.drop(lease);
        result
    }

    fn settle(
        &self,
        lease: u64,
        id: InodeId,
        fd: &std::os::fd::OwnedFd,
        oid: Option<u64>,
    ) -> Result<Value> {
        let _namespace = self.namespace.read();
        let _inode = self.lock_inode(id.ino);
        let intact = self.leases.get(lease).is_some_and(|(_, _, intact)| intact);
        if !intact || self.handles.has_writers(id.ino) {
            return Err(Errno::CANCELED);
        }
        let before = self.stat_fd(fd)?;
        if before.nlink == 0 {
            // Unlinked meanwhile: an object of it would keep its bytes for nobody.
            return Err(Errno::CANCELED);
        }
        if let Some(oid) = oid {
            self.objects.link(fd.as_fd(), id.ino, oid)?;
        }
        let stat = self.stat_fd(fd)?;
        self.nodes.pages_moved(&before, &stat);
        // Its entry in the next root is another one now.
        self.mark_parents(&stat);
        self.make_clean(id);
        Ok(json!({ "stamp": stat.stamp().json() }))
    }

    fn stats(&self) -> Value {
        let (open_files, open_for_writing) = self.handles.counts();
        let ids = self.dirty.ids().into_iter().take(MAX_DIRTY_TOLD);
        let dirty: Vec<Value> = ids.map(InodeId::json).collect();
        json!({
            "reads": Counters::get(&self.counters.reads),
            "readBytes": Counters::get(&self.counters.read_bytes),
            "writes": Counters::get(&self.counters.writes),
            "passthroughOpens": Counters::get(&self.counters.passthrough_opens),
            "openFiles": open_files,
            "openForWriting": open_for_writing,
            "dirty": dirty,
        })
    }

    fn committed(&self, snapshot: u64, again: impl Iterator<Item = InodeId>) {
        for id in again {
            if self.nodes.id(id.ino) == Some(id) {
                self.mark(id.ino, false);
            } else {
                // Its node is not known, so its path is not: the next snapshot finds it.
                self.changes.mark_all();
            }
        }
        for ino in self.changes.committed(snapshot) {
            self.nodes.release(ino);
        }
    }

    /// The daemon changed something that the kernel may have cached.
    fn noticed(&self, notice: Notice) {
        match notice {
            Notice::Inode { id } => {
                let id = InodeId::from(id);
                self.nodes.set_stage(id.ino, crate::nodes::Stage::Unknown);
                self.forget_cached(id.ino);
            }
            Notice::Complete { id } => self.became_complete(id.into()),
            Notice::Entry { path, name } => match self.ino_of_path(&path) {
                Ok(ino) => {
                    let entry = Notification::Entry(self.node(ino), name.os().to_owned());
                    self.notify.send(entry);
                }
                Err(errno) => log::warn!("notify {}: {errno}", path.os().display()),
            },
        }
    }

    /// The kernel forgets what it has cached of an inode. Not the pages of an open file: that may
    /// wait for a read that waits for us.
    pub fn forget_cached(&self, ino: u64) {
        let node = self.node(ino);
        self.notify.send(if self.handles.is_open(ino) {
            Notification::Attributes(node)
        } else {
            Notification::Inode(node)
        });
    }

    fn ino_of_path(&self, path: &WireName) -> Result<u64> {
        if path.0.is_empty() {
            return Ok(self.root.ino);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::DIRECTORY;
        Ok(Stat::of(open_beneath(self.tree.as_fd(), path.os(), flags)?)?.ino)
    }

    /// Before `ready` the daemon may have made the root an unlisted directory (`--from`).
    fn forget_root_stage(&self) {
        self.nodes
            .set_stage(self.root.ino, crate::nodes::Stage::Unknown);
        self.was_ready.store(true, Ordering::Release);
        self.notify
            .send(Notification::Attributes(self.node(self.root.ino)));
    }
}
