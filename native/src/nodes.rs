//! The nodes that the kernel knows: backing inode number, names, lookup count.
//!
//! A node has no descriptor of its own, except when its last known name went while the kernel
//! still knows it (unlinked but open, a removed working directory): then an `O_PATH` one keeps
//! it reachable. A million nodes cost memory, not descriptors.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::attr::{Stamp, Stat};
use crate::protocol::InodeId;
use crate::record::PlaceholderRecord;

/// What is known about an inode's bytes (a file) or names (a directory).
#[derive(Clone, Debug)]
pub enum Stage {
    /// The xattr was not looked for yet.
    Unknown,
    /// No placeholder. This is final: only an eviction, which goes through the keeper, undoes it.
    Complete,
    /// A placeholder; `edited`: chmod or utimes changed the record in this session, so that the
    /// attributes are compared once more when it becomes complete.
    Placeholder {
        record: Arc<PlaceholderRecord>,
        edited: bool,
    },
}

#[derive(Debug)]
struct Node {
    btime: u64,
    /// Names in the tree as far as they came by: (directory, name).
    names: Vec<(u64, OsString)>,
    /// What the kernel was told about; FORGET takes it back.
    lookups: u64,
    /// Names of children in the table and marks of ours: the node stays while there are any.
    refs: u32,
    pin: Option<Arc<OwnedFd>>,
    stage: Stage,
    /// What the file was when the kernel's cached pages of it were last known to be right; `None`:
    /// it was never open, so there are none.
    pages: Option<Stamp>,
}

impl Node {
    fn new(btime: u64) -> Self {
        Self {
            btime,
            names: Vec::new(),
            lookups: 0,
            refs: 0,
            pin: None,
            stage: Stage::Unknown,
            pages: None,
        }
    }
}

/// How to get at an inode.
#[derive(Clone, Debug)]
pub enum Way {
    /// By any of these names, in their directories.
    Names(Vec<(u64, OsString)>),
    Pin(Arc<OwnedFd>),
}

pub struct Nodes {
    /// A leaf in the lock order: nothing else is locked while it is held.
    table: Mutex<HashMap<u64, Node>>,
    root: u64,
}

/// A path cannot be deeper than this: the kernel's PATH_MAX of 4096 bytes bounds what one call can
/// name, and a loop in the table would be a bug that must not hang.
const MAX_DEPTH: usize = 65_536;

impl Nodes {
    pub fn new(root: InodeId) -> Self {
        let mut node = Node::new(root.btime);
        node.refs = 1;
        Self {
            table: Mutex::new(HashMap::from([(root.ino, node)])),
            root: root.ino,
        }
    }

    /// Notes that `name` in `parent` leads to the inode and that the kernel is told so once more.
    pub fn looked_up(&self, parent: u64, name: &OsStr, stat: &Stat) {
        let mut table = self.table.lock();
        remember(&mut table, parent, name, stat.id());
        if let Some(node) = table.get_mut(&stat.ino) {
            node.lookups += 1;
        }
    }

    /// Notes a name without a lookup and holds the node (`release` lets it go).
    pub fn hold_at(&self, parent: u64, name: &OsStr, id: InodeId) {
        let mut table = self.table.lock();
        remember(&mut table, parent, name, id);
        if let Some(node) = table.get_mut(&id.ino) {
            node.refs += 1;
        }
    }

    /// Holds a node that is in the table; false if it is not.
    pub fn hold(&self, ino: u64) -> bool {
        match self.table.lock().get_mut(&ino) {
            Some(node) => {
                node.refs += 1;
                true
            }
            None => false,
        }
    }

    pub fn release(&self, ino: u64) {
        let mut table = self.table.lock();
        if let Some(node) = table.get_mut(&ino) {
            node.refs = node.refs.saturating_sub(1);
        }
        drop_unused(&mut table, ino);
    }

    pub fn forget(&self, ino: u64, lookups: u64) {
        let mut table = self.table.lock();
        if let Some(node) = table.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        drop_unused(&mut table, ino);
    }

    pub fn id(&self, ino: u64) -> Option<InodeId> {
        let table = self.table.lock();
        table.get(&ino).map(|node| InodeId {
            ino,
            btime: node.btime,
        })
    }

    pub fn way(&self, ino: u64) -> Option<Way> {
        let table = self.table.lock();
        let node = table.get(&ino)?;
        match &node.pin {
            Some(pin) if node.names.is_empty() => Some(Way::Pin(pin.clone())),
            _ => Some(Way::Names(node.names.clone())),
        }
    }

    pub fn names(&self, ino: u64) -> Vec<(u64, OsString)> {
        let table = self.table.lock();
        table
            .get(&ino)
            .map_or_else(Vec::new, |node| node.names.clone())
    }

    /// The path beneath the tree; `None` when the inode has no name (any more).
    pub fn path(&self, ino: u64) -> Option<Vec<u8>> {
        let table = self.table.lock();
        let mut names = Vec::new();
        let mut at = ino;
        while at != self.root {
            let (parent, name) = table.get(&at)?.names.first()?;
            names.push(name.as_bytes());
            at = *parent;
            if names.len() > MAX_DEPTH {
                return None;
            }
        }
        names.reverse();
        Some(names.join(&b'/'))
    }

    /// The path of one name, which need not be in the table.
    pub fn path_of(&self, directory: u64, name: &OsStr) -> Option<Vec<u8>> {
        let mut path = self.path(directory)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        Some(path)
    }

    /// Whether `name` in `directory` is the only name that is known of the inode.
    pub fn is_last_name(&self, ino: u64, directory: u64, name: &OsStr) -> bool {
        let table = self.table.lock();
        table.get(&ino).is_some_and(|node| {
            node.names
                .iter()
                .all(|(parent, other)| *parent == directory && other == name)
        })
    }

    #[cfg(test)]
    fn known(&self, ino: u64) -> bool {
        self.table.lock().contains_key(&ino)
    }

    pub fn pin(&self, ino: u64, fd: OwnedFd) {
        if let Some(node) = self.table.lock().get_mut(&ino) {
            node.pin = Some(Arc::new(fd));
        }
    }

    /// `name` in `directory` leads to the inode no more.
    pub fn remove_name(&self, ino: u64, directory: u64, name: &OsStr) {
        let mut table = self.table.lock();
        forget_name(&mut table, ino, directory, name);
        drop_unused(&mut table, ino);
    }

    /// The inode got another name (link).
    pub fn add_name(&self, directory: u64, name: &OsStr, id: InodeId) {
        remember(&mut self.table.lock(), directory, name, id);
    }

    /// A rename took place. The overwritten inode, if any, lost its name before.
    pub fn moved(&self, ino: u64, from: (u64, &OsStr), to: (u64, &OsStr)) {
        let mut table = self.table.lock();
        let Some(node) = table.get(&ino) else {
            return;
        };
        let id = InodeId {
            ino,
            btime: node.btime,
        };
        remember(&mut table, to.0, to.1, id);
        forget_name(&mut table, ino, from.0, from.1);
    }

    pub fn stage(&self, ino: u64) -> Stage {
        let table = self.table.lock();
        table
            .get(&ino)
            .map_or(Stage::Unknown, |node| node.stage.clone())
    }

    pub fn set_stage(&self, ino: u64, stage: Stage) {
        if let Some(node) = self.table.lock().get_mut(&ino) {
            node.stage = stage;
        }
    }

    /// Sets what the xattr said, unless something newer is known.
    pub fn learn_stage(&self, ino: u64, stage: Stage) {
        if let Some(node) = self.table.lock().get_mut(&ino)
            && matches!(node.stage, Stage::Unknown)
        {
            node.stage = stage;
        }
    }

    /// Whether pages that the kernel has cached are those of a file with this stamp.
    pub fn pages_are(&self, ino: u64, stamp: Stamp) -> bool {
        let table = self.table.lock();
        table
            .get(&ino)
            .is_some_and(|node| node.pages.is_none_or(|pages| pages == stamp))
    }

    /// What the kernel caches from now on is of a file with this stamp.
    pub fn set_pages(&self, ino: u64, stamp: Stamp) {
        if let Some(node) = self.table.lock().get_mut(&ino) {
            node.pages = Some(stamp);
        }
    }

    /// The file's stamp changed by what the kernel knows of, or without its content.
    pub fn pages_moved(&self, before: &Stat, after: &Stat) {
        if let Some(node) = self.table.lock().get_mut(&before.ino)
            && node.pages == Some(before.stamp())
        {
            node.pages = Some(after.stamp());
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().len()
    }
}

fn remember(table: &mut HashMap<u64, Node>, parent: u64, name: &OsStr, id: InodeId) {
    let node = table.entry(id.ino).or_insert_with(|| Node::new(id.btime));
    let mut orphaned = Vec::new();
    if node.btime != id.btime {
        // The number was used again behind our back: another inode, of which nothing is known.
        // What the kernel was told, it will forget under the same number.
        node.btime = id.btime;
        node.pin = None;
        node.stage = Stage::Unknown;
        node.pages = None;
        orphaned = std::mem::take(&mut node.names);
    }
    let new = !node
        .names
        .iter()
        .any(|(directory, other)| *directory == parent && other == name);
    if new {
        node.names.push((parent, name.to_owned()));
        node.pin = None;
        if let Some(directory) = table.get_mut(&parent) {
            directory.refs += 1;
        }
    }
    for (directory, _) in orphaned {
        release_child(table, directory);
    }
}

fn forget_name(table: &mut HashMap<u64, Node>, ino: u64, directory: u64, name: &OsStr) {
    let Some(node) = table.get_mut(&ino) else {
        return;
    };
    let before = node.names.len();
    node.names
        .retain(|(parent, other)| *parent != directory || other != name);
    if node.names.len() < before {
        release_child(table, directory);
    }
}

fn release_child(table: &mut HashMap<u64, Node>, directory: u64) {
    if let Some(node) = table.get_mut(&directory) {
        node.refs = node.refs.saturating_sub(1);
    }
    drop_unused(table, directory);
}

/// Takes a node out when neither the kernel nor anything of ours needs it, then its directories.
fn drop_unused(table: &mut HashMap<u64, Node>, ino: u64) {
    let mut candidates = vec![ino];
    if let Some(node) = table.get_mut(&ino)
        && node.lookups == 0
        && node.names.is_empty()
    {
        // Only the kernel could still ask for it; marks of ours need no descriptor.
        node.pin = None;
    }
    while let Some(candidate) = candidates.pop() {
        let unused = table
            .get(&candidate)
            .is_some_and(|node| node.lookups == 0 && node.refs == 0);
        if !unused {
            continue;
        }
        let Some(node) = table.remove(&candidate) else {
            continue;
        };
        for (directory, _) in node.names {
            if let Some(parent) = table.get_mut(&directory) {
                parent.refs = parent.refs.saturating_sub(1);
                candidates.push(directory);
            }
        }
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
