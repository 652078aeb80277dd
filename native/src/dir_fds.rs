//! The directory descriptors: a bounded cache, so that a tree of any size costs a fixed number.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;

/// Working sets are a few dozen directories; each costs one descriptor.
const CAPACITY: usize = 1024;

/// Most descriptors are for the files that programs have open.
pub fn capacity(descriptor_limit: Option<u64>) -> usize {
    let share = descriptor_limit.map_or(CAPACITY, |limit| limit as usize / 8);
    share.clamp(16, CAPACITY)
}

#[derive(Default)]
struct Ring {
    fds: HashMap<u64, (Arc<OwnedFd>, bool)>,
    /// Second chance: a directory that was used since it was passed last is passed once more.
    hand: VecDeque<u64>,
}

pub struct DirFds {
    /// A leaf in the lock order.
    ring: Mutex<Ring>,
    capacity: usize,
}

impl DirFds {
    pub fn new(capacity: usize) -> Self {
        Self {
            ring: Mutex::default(),
            capacity,
        }
    }

    pub fn get(&self, ino: u64) -> Option<Arc<OwnedFd>> {
        let mut ring = self.ring.lock();
        let (fd, used) = ring.fds.get_mut(&ino)?;
        *used = true;
        Some(fd.clone())
    }

    pub fn put(&self, ino: u64, fd: Arc<OwnedFd>) {
        let mut ring = self.ring.lock();
        if ring.fds.insert(ino, (fd, false)).is_none() {
            ring.hand.push_back(ino);
        }
        while ring.fds.len() > self.capacity {
            let Some(oldest) = ring.hand.pop_front() else {
                return;
            };
            match ring.fds.get_mut(&oldest) {
                Some((_, used)) if *used => {
                    *used = false;
                    ring.hand.push_back(oldest);
                }
                Some(_) => {
                    ring.fds.remove(&oldest);
                }
                None => {}
            }
        }
    }

    /// The directory was removed, or its number may be used again.
    pub fn remove(&self, ino: u64) {
        let mut ring = self.ring.lock();
        if ring.fds.remove(&ino).is_some() {
            ring.hand.retain(|other| *other != ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/").expect("root").into())
    }

    #[test]
    fn keeps_what_is_used_and_stays_bounded() {
        let cache = DirFds::new(3);
        for ino in 1..=3 {
            cache.put(ino, fd());
        }
        assert!(cache.get(1).is_some());
        cache.put(4, fd());
        assert!(cache.get(1).is_some(), "it was used");
        assert!(cache.get(2).is_none(), "it was the oldest that was not");
        for ino in 5..100 {
            cache.put(ino, fd());
        }
        assert_eq!(cache.ring.lock().fds.len(), 3);
        assert_eq!(cache.ring.lock().hand.len(), 3);
    }

    #[test]
    fn forgets_a_removed_directory() {
        let cache = DirFds::new(3);
        cache.put(1, fd());
        cache.remove(1);
        assert!(cache.get(1).is_none());
        assert!(cache.ring.lock().hand.is_empty());
    }
}
