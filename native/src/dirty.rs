//! Which files may differ from what was settled last: made in this session and never settled, or
//! named by the dirty log.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::protocol::InodeId;

#[derive(Clone, Copy)]
struct Entry {
    btime: u64,
    /// The inode's node is held in the table, so that its names stay known.
    held: bool,
}

/// The set; changed under the inode's lock.
#[derive(Default)]
pub struct Dirty {
    /// A leaf in the lock order.
    set: Mutex<HashMap<u64, Entry>>,
}

impl Dirty {
    pub fn contains(&self, id: InodeId) -> bool {
        let set = self.set.lock();
        set.get(&id.ino)
            .is_some_and(|entry| entry.btime == id.btime)
    }

    /// True if the node was held for this inode number already: one hold is enough.
    #[must_use]
    pub fn insert(&self, id: InodeId, held: bool) -> bool {
        let mut set = self.set.lock();
        let before = set.get(&id.ino).is_some_and(|entry| entry.held);
        let entry = Entry {
            btime: id.btime,
            held: held || before,
        };
        set.insert(id.ino, entry);
        held && before
    }

    /// True if the inode is in the set and its node was not held: the caller holds it now.
    #[must_use]
    pub fn claim(&self, id: InodeId) -> bool {
        match self.set.lock().get_mut(&id.ino) {
            Some(entry) if entry.btime == id.btime && !entry.held => {
                entry.held = true;
                true
            }
            _ => false,
        }
    }

    /// True if the node was held, and has to be released.
    #[must_use]
    pub fn remove(&self, id: InodeId) -> bool {
        let mut set = self.set.lock();
        match set.get(&id.ino) {
            Some(entry) if entry.btime == id.btime => {
                let held = entry.held;
                set.remove(&id.ino);
                held
            }
            _ => false,
        }
    }

    pub fn ids(&self) -> Vec<InodeId> {
        self.select(|_| true)
    }

    /// Those of an earlier run, named by the log, that no snapshot has found yet.
    pub fn unclaimed(&self) -> Vec<InodeId> {
        self.select(|entry| !entry.held)
    }

    fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<InodeId> {
        let set = self.set.lock();
        set.iter()
            .filter(|(_, entry)| wanted(entry))
            .map(|(&ino, entry)| InodeId {
                ino,
                btime: entry.btime,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_inodes_apart_that_share_a_number() {
        let dirty = Dirty::default();
        let old = InodeId { ino: 5, btime: 1 };
        let new = InodeId { ino: 5, btime: 2 };
        assert!(!dirty.insert(old, true));
        assert!(!dirty.contains(new));
        assert!(dirty.insert(new, true), "its number is held already");
        assert!(!dirty.remove(old));
        assert!(dirty.remove(new));
        assert!(dirty.ids().is_empty());
    }

    #[test]
    fn knows_whose_node_is_not_held_yet() {
        let dirty = Dirty::default();
        let id = InodeId { ino: 5, btime: 1 };
        assert!(!dirty.insert(id, false));
        assert_eq!(dirty.unclaimed(), vec![id]);
        assert!(dirty.claim(id));
        assert!(!dirty.claim(id));
        assert!(dirty.unclaimed().is_empty());
        assert!(dirty.remove(id));
    }
}
