//! The dirty log (docs/store.md): which inodes may have changed since they were settled, durably
//! noted before they are opened for writing or truncated.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{Mode, OFlags, fdatasync, fsync, openat, renameat};
use rustix::io::{Errno, Result};

use crate::protocol::InodeId;

const NAME: &str = "dirty.log";
const NEW_NAME: &str = "dirty.log.new";
/// The log is rewritten when it is longer than this and than twice the set (docs/store.md).
const REWRITE_LINES: usize = 4096;

struct State {
    file: OwnedFd,
    /// The inodes that are noted and not settled.
    noted: HashMap<u64, u64>,
    lines: usize,
    written: u64,
    synced: u64,
    syncing: bool,
    /// A write or fdatasync failed. The kernel tells such an error once and may forget the pages,
    /// so that the file cannot be trusted any more: the next note writes a new one.
    failed: bool,
}

pub struct DirtyLog {
    store: OwnedFd,
    /// Locked after the inode's lock; a leaf otherwise. Not held during fdatasync.
    state: Mutex<State>,
    synced: Condvar,
}

impl DirtyLog {
    /// Opens or creates the log and reads it; a torn last line is ignored.
    pub fn open(store: OwnedFd) -> Result<Self> {
        let file = open_append(store.as_fd(), NAME, OFlags::empty())?;
        fsync(&store)?;
        let text = read_all(&file)?;
        let noted = parse(&text);
        let mut lines = text.iter().filter(|byte| **byte == b'\n').count();
        if text.last().is_some_and(|byte| *byte != b'\n') {
            // The next line must not be glued to a torn one.
            write_all(&file, b"\n")?;
            lines += 1;
        }
        Ok(Self {
            store,
            state: Mutex::new(State {
                file,
                noted,
                lines,
                written: 0,
                synced: 0,
                syncing: false,
                failed: false,
            }),
            synced: Condvar::new(),
        })
    }

    pub fn noted(&self) -> Vec<InodeId> {
        let state = self.state.lock();
        let ids = state.noted.iter();
        ids.map(|(&ino, &btime)| InodeId { ino, btime }).collect()
    }

    /// Appends the inode; durable on return. Concurrent callers share one fdatasync.
    pub fn note(&self, id: InodeId) -> Result<()> {
        let mut state = self.state.lock();
        if state.failed && !state.syncing {
            let known = state.noted.insert(id.ino, id.btime);
            let result = self.rewrite(&mut state);
            if result.is_err() && known.is_none() {
                state.noted.remove(&id.ino);
            }
            return result;
        }
        let line = format!("{} {}\n", id.ino, id.btime);
        if let Err(failed) = write_all(&state.file, line.as_bytes()) {
            state.failed = true;
            return Err(failed);
        }
        state.lines += 1;
        state.written += 1;
        state.noted.insert(id.ino, id.btime);
        let mine = state.written;
        while state.synced < mine {
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            if state.failed {
                return self.rewrite(&mut state);
            }
            state.syncing = true;
            let covers = state.written;
            let file = rustix::io::fcntl_dupfd_cloexec(&state.file, 0);
            let result = parking_lot::MutexGuard::unlocked(&mut state, || fdatasync(file?));
            state.syncing = false;
            self.synced.notify_all();
            if let Err(failed) = result {
                state.failed = true;
                return Err(failed);
            }
            state.synced = state.synced.max(covers);
        }
        let long = state.lines > REWRITE_LINES && state.lines > 2 * state.noted.len();
        if long
            && !state.syncing
            && let Err(errno) = self.rewrite(&mut state)
        {
            // The note itself is durable.
            log::warn!("dirty.log: {errno}");
        }
        Ok(())
    }

    /// The inode is settled or gone.
    pub fn forget(&self, id: InodeId) {
        let mut state = self.state.lock();
        if state.noted.get(&id.ino) == Some(&id.btime) {
            state.noted.remove(&id.ino);
        }
    }

    /// Leaves only what is dirty now; called before a daemon starts, which reads the log.
    pub fn compact(&self) -> Result<()> {
        let mut state = self.state.lock();
        while state.syncing {
            self.synced.wait(&mut state);
        }
        if state.failed || state.lines > state.noted.len() {
            self.rewrite(&mut state)?;
        }
        Ok(())
    }

    /// Everything is settled, or local-only and without a row: nothing has to be named any more.
    pub fn clear(&self) -> Result<()> {
        self.state.lock().noted.clear();
        self.compact()
    }

    fn rewrite(&self, state: &mut State) -> Result<()> {
        let file = open_append(self.store.as_fd(), NEW_NAME, OFlags::TRUNC)?;
        let mut text = String::new();
        for (ino, btime) in &state.noted {
            text.push_str(&format!("{ino} {btime}\n"));
        }
        write_all(&file, text.as_bytes())?;
        fsync(&file)?;
        renameat(&self.store, NEW_NAME, &self.store, NAME)?;
        // From here on the name leads to the new file, whatever fails.
        state.file = file;
        state.lines = state.noted.len();
        state.failed = true;
        fsync(&self.store)?;
        // The new file was fsynced with all that is noted.
        state.synced = state.written;
        state.failed = false;
        Ok(())
    }
}

fn open_append(store: BorrowedFd<'_>, name: &str, more: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(store, name, flags | more, Mode::RUSR | Mode::WUSR)
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn read_all(file: &OwnedFd) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match rustix::io::pread(file, &mut chunk, text.len() as u64)? {
            0 => return Ok(text),
            length => text.extend_from_slice(&chunk[..length]),
        }
    }
}

/// The ids of all whole lines. A number whose birth time changed is another inode: the last counts.
fn parse(text: &[u8]) -> HashMap<u64, u64> {
    let whole = match text.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &text[..end],
        None => &[],
    };
    String::from_utf8_lossy(whole)
        .lines()
        .filter_map(|line| {
            let (ino, btime) = line.split_once(' ')?;
            Some((ino.parse().ok()?, btime.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> (std::path::PathBuf, OwnedFd) {
        let path = std::env::temp_dir().join(format!("keeper-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temp dir");
        let fd = std::fs::File::open(&path).expect("open").into();
        (path, fd)
    }

    fn id(ino: u64) -> InodeId {
        InodeId {
            ino,
            btime: ino * 10,
        }
    }

    #[test]
    fn reads_back_and_ignores_a_torn_line() {
        let (path, fd) = store("log-torn");
        std::fs::write(path.join(NAME), "1 10\n2 20\n3 3").expect("write");
        let log = DirtyLog::open(fd.try_clone().expect("dup")).expect("open");
        let mut noted = log.noted();
        noted.sort_by_key(|id| id.ino);
        assert_eq!(noted, vec![id(1), id(2)]);
        log.note(id(4)).expect("note");
        log.forget(id(1));
        drop(log);
        let text = std::fs::read_to_string(path.join(NAME)).expect("read");
        assert_eq!(text, "1 10\n2 20\n3 3\n4 40\n");
        std::fs::remove_dir_all(path).expect("clean up");
    }

    #[test]
    fn rewrites_a_long_log_with_what_is_dirty() {
        let (path, fd) = store("log-long");
        let log = DirtyLog::open(fd).expect("open");
        for ino in 0..100 {
            log.note(id(ino)).expect("note");
        }
        for ino in 1..100 {
            log.forget(id(ino));
        }
        log.compact().expect("compact");
        assert_eq!(
            std::fs::read_to_string(path.join(NAME)).expect("read"),
            "0 0\n"
        );
        log.note(id(7)).expect("note");
        log.clear().expect("clear");
        assert_eq!(std::fs::read_to_string(path.join(NAME)).expect("read"), "");
        std::fs::remove_dir_all(path).expect("clean up");
    }

    #[test]
    fn is_durable_for_many_at_once() {
        let (path, fd) = store("log-many");
        let log = DirtyLog::open(fd).expect("open");
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let log = &log;
                scope.spawn(move || {
                    for ino in 0..20 {
                        log.note(id(thread * 100 + ino)).expect("note");
                    }
                });
            }
        });
        assert_eq!(log.noted().len(), 80);
        let text = std::fs::read_to_string(path.join(NAME)).expect("read");
        assert_eq!(text.lines().count(), 80);
        std::fs::remove_dir_all(path).expect("clean up");
    }
}
