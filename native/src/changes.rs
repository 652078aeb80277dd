//! Which directories changed since the last commit: memory only, kept until the daemon says that
//! a snapshot is in the log.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Directories by inode number; true: its mode or times were set by a program.
pub type Marks = HashMap<u64, bool>;

struct Pending {
    snapshot: u64,
    marks: Marks,
    all: bool,
}

struct State {
    marks: Marks,
    /// The next snapshot lists everything.
    all: bool,
    pending: Vec<Pending>,
    last_snapshot: u64,
}

pub struct Changes {
    /// A leaf in the lock order.
    state: Mutex<State>,
}

/// What a snapshot has to list.
pub struct Taken {
    pub snapshot: u64,
    pub marks: Marks,
    pub all: bool,
}

impl Changes {
    pub fn new(all: bool) -> Self {
        Self {
            state: Mutex::new(State {
                marks: Marks::new(),
                all,
                pending: Vec::new(),
                last_snapshot: 0,
            }),
        }
    }

    /// True if the directory was not marked before: the caller then holds its node.
    #[must_use]
    pub fn mark(&self, ino: u64, explicit: bool) -> bool {
        let mut state = self.state.lock();
        match state.marks.get_mut(&ino) {
            Some(set) => {
                *set |= explicit;
                false
            }
            None => {
                state.marks.insert(ino, explicit);
                true
            }
        }
    }

    /// The directory was removed: a listing of it is not needed any more, also not for a snapshot
    /// that was never committed, and the next inode of its number is another one. Returns how often
    /// it was marked: as often the caller releases its node.
    #[must_use]
    pub fn unmark(&self, ino: u64) -> usize {
        let mut state = self.state.lock();
        let marked = usize::from(state.marks.remove(&ino).is_some());
        let pending = state.pending.iter_mut();
        marked
            + pending
                .filter_map(|pending| pending.marks.remove(&ino))
                .count()
    }

    /// Whether anything changed that no commit has.
    pub fn any(&self) -> bool {
        let state = self.state.lock();
        state.all || !state.marks.is_empty() || !state.pending.is_empty()
    }

    /// Not all directories that changed are known: the next snapshot lists everything.
    pub fn mark_all(&self) {
        self.state.lock().all = true;
    }

    /// Begins a snapshot with all marks, those of snapshots that were never committed included.
    /// Returns the marks whose nodes are held twice now and have to be released once.
    pub fn take(&self) -> (Taken, Vec<u64>) {
        let mut state = self.state.lock();
        let mut marks = std::mem::take(&mut state.marks);
        let mut all = std::mem::take(&mut state.all);
        let mut doubles = Vec::new();
        for pending in std::mem::take(&mut state.pending) {
            all |= pending.all;
            merge(&mut marks, pending.marks, &mut doubles);
        }
        state.last_snapshot += 1;
        let snapshot = state.last_snapshot;
        state.pending.push(Pending {
            snapshot,
            marks: marks.clone(),
            all,
        });
        let taken = Taken {
            snapshot,
            marks,
            all,
        };
        (taken, doubles)
    }

    /// The changes up to this snapshot are in the log. Returns the nodes that were held for them.
    pub fn committed(&self, snapshot: u64) -> Vec<u64> {
        let mut state = self.state.lock();
        let (done, open) = std::mem::take(&mut state.pending)
            .into_iter()
            .partition(|pending| pending.snapshot <= snapshot);
        state.pending = open;
        let done: Vec<Pending> = done;
        done.into_iter()
            .flat_map(|pending| pending.marks.into_keys())
            .collect()
    }
}

fn merge(into: &mut Marks, from: Marks, doubles: &mut Vec<u64>) {
    for (ino, explicit) in from {
        match into.get_mut(&ino) {
            Some(set) => {
                *set |= explicit;
                doubles.push(ino);
            }
            None => {
                into.insert(ino, explicit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brings_back_what_was_not_committed() {
        let changes = Changes::new(false);
        assert!(changes.mark(1, false));
        assert!(!changes.mark(1, true));
        let (first, doubles) = changes.take();
        assert_eq!((first.marks.get(&1), first.all), (Some(&true), false));
        assert!(doubles.is_empty());
        assert!(changes.mark(1, false));
        assert!(changes.mark(2, false));
        let (second, doubles) = changes.take();
        assert_eq!(second.marks.len(), 2);
        assert_eq!(second.marks.get(&1), Some(&true));
        assert_eq!(doubles, vec![1]);
        assert!(changes.committed(first.snapshot).is_empty());
        let mut released = changes.committed(second.snapshot);
        released.sort_unstable();
        assert_eq!(released, vec![1, 2]);
        assert!(changes.take().0.marks.is_empty());
    }

    #[test]
    fn forgets_a_removed_directory_everywhere() {
        let changes = Changes::new(false);
        assert!(changes.mark(1, true));
        let (taken, _) = changes.take();
        assert!(changes.mark(1, false));
        assert_eq!(changes.unmark(1), 2);
        assert!(changes.committed(taken.snapshot).is_empty());
        assert!(changes.take().0.marks.is_empty());
    }

    #[test]
    fn lists_everything_until_that_was_committed() {
        let changes = Changes::new(true);
        assert!(changes.take().0.all);
        let (again, _) = changes.take();
        assert!(again.all);
        changes.committed(again.snapshot);
        assert!(!changes.take().0.all);
        changes.mark_all();
        assert!(changes.take().0.all);
    }

    #[test]
    fn forgets_the_mark_of_a_removed_directory() {
        let changes = Changes::new(false);
        assert!(changes.mark(1, false));
        assert_eq!(changes.unmark(1), 1);
        assert_eq!(changes.unmark(1), 0);
        assert!(changes.take().0.marks.is_empty());
    }
}
