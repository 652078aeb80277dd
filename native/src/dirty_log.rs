//! The dirty log (docs/store.md): which inodes may have changed since they were settled, durably
//! noted before they are opened for writing or truncated.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fdatasync, fsync, openat, renameat};
use rustix::io::{Errno, Result};

use crate::protocol::InodeId;

const NAME: &str = "dirty.log";
const NEW_NAME: &str = "dirty.log.new";
/// The log is rewritten when it is longer than this and than twice the set (docs/store.md).
const REWRITE_LINES: usize = 4096;
/// Space that is kept for lines to come. On a full disk a file can still be overwritten in place
/// and truncated, as on any local disk, though that has to be noted first: this many bytes are
/// some two thousand files.
const SPARE_BYTES: u64 = 64 * 1024;
/// More is asked for when less than this is left of it.
const LOW_SPARE_BYTES: u64 = SPARE_BYTES / 2;

struct State {
    file: OwnedFd,
    /// The inodes that are noted and not settled.
    noted: HashMap<u64, u64>,
    lines: usize,
    size: u64,
    /// Up to here the file has space, written or not.
    allocated: u64,
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
        let size = rustix::fs::fstat(&file)?.st_size.cast_unsigned();
        let allocated = allocate(&file, size).unwrap_or_else(|errno| {
            log::warn!("dirty.log: no space is kept for it: {errno}");
            size
        });
        Ok(Self {
            store,
            state: Mutex::new(State {
                file,
                noted,
                lines,
                size,
                allocated,
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
            let result = self.rewrite(&mut state, Spare::Wanted);
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
        crate::fault::reached("keeper.dirty-appended");
        state.lines += 1;
        state.size += line.len() as u64;
        state.written += 1;
        state.keep_spare();
        state.noted.insert(id.ino, id.btime);
        let mine = state.written;
        while state.synced < mine {
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            if state.failed {
                return self.rewrite(&mut state, Spare::Wanted);
            }
            state.syncing = true;
            let covers = state.written;
            let file = rustix::io::fcntl_dupfd_cloexec(&state.file, 0);
            let result = MutexGuard::unlocked(&mut state, || fdatasync(file?));
            state.syncing = false;
            self.synced.notify_all();
            if let Err(failed) = result {
                state.failed = true;
                return Err(failed);
            }
            state.synced = state.synced.max(covers);
        }
        crate::fault::reached("keeper.dirty-synced");
        let long = state.lines > REWRITE_LINES && state.lines > 2 * state.noted.len();
        if long
            && !state.syncing
            && let Err(errno) = self.rewrite(&mut state, Spare::Needed)
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
        self.shorten(&mut self.state.lock(), Spare::Needed)
    }

    /// Everything is settled, or local-only and without a row: nothing has to be named any more.
    pub fn clear(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.noted.clear();
        // Nothing will be noted in it: a full disk need not keep the mount from ending clean.
        self.shorten(&mut state, Spare::Wanted)
    }

    fn shorten(&self, state: &mut MutexGuard<'_, State>, spare: Spare) -> Result<()> {
        while state.syncing {
            self.synced.wait(state);
        }
        if state.failed || state.lines > state.noted.len() {
            self.rewrite(state, spare)?;
        }
        Ok(())
    }

    fn rewrite(&self, state: &mut State, spare: Spare) -> Result<()> {
        let file = open_append(self.store.as_fd(), NEW_NAME, OFlags::TRUNC)?;
        let mut text = String::new();
        for (ino, btime) in &state.noted {
            text.push_str(&format!("{ino} {btime}\n"));
        }
        let size = text.len() as u64;
        let allocated = match (allocate(&file, size), spare) {
            (Ok(allocated), _) => allocated,
            // The old log has its own still, and is only longer than it need be.
            (Err(errno), Spare::Needed) => return Err(errno),
            (Err(_), Spare::Wanted) => size,
        };
        write_all(&file, text.as_bytes())?;
        fsync(&file)?;
        renameat(&self.store, NEW_NAME, &self.store, NAME)?;
        // From here on the name leads to the new file, whatever fails.
        state.file = file;
        state.lines = state.noted.len();
        state.size = size;
        state.allocated = allocated;
        state.failed = true;
        fsync(&self.store)?;
        // The new file was fsynced with all that is noted.
        state.synced = state.written;
        state.failed = false;
        Ok(())
    }
}

impl State {
    /// Asks for more space before the last of it is used, while there may be some.
    fn keep_spare(&mut self) {
        if self.allocated < self.size + LOW_SPARE_BYTES {
            match allocate(&self.file, self.size) {
                Ok(allocated) => self.allocated = allocated,
                // It is asked for again with the next line, and needed only when this is used up.
                Err(errno) => log::debug!("dirty.log: no space is kept for it: {errno}"),
            }
        }
    }
}

/// Whether a rewritten log may do without space for lines to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spare {
    Needed,
    Wanted,
}

/// Gets space for lines behind `size`; the file's size stays. The end of what it has then.
fn allocate(file: &OwnedFd, size: u64) -> Result<u64> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, size, SPARE_BYTES) {
        Ok(()) => Ok(size + SPARE_BYTES),
        // A file system that cannot: nothing to keep, and nothing to ask for again soon.
        Err(Errno::OPNOTSUPP) => Ok(u64::MAX / 2),
        Err(errno) => Err(errno),
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
pub fn parse(text: &[u8]) -> HashMap<u64, u64> {
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
    fn keeps_space_for_lines_to_come() {
        use std::os::unix::fs::MetadataExt;
        let (path, fd) = store("log-spare");
        let log = DirtyLog::open(fd).expect("open");
        let spare = || {
            let found = std::fs::metadata(path.join(NAME)).expect("stat");
            (found.len(), found.blocks() * 512)
        };
        assert_eq!(spare(), (0, SPARE_BYTES));
        for ino in 1_000_000_000..1_000_002_000 {
            log.note(id(ino)).expect("note");
        }
        let (size, allocated) = spare();
        assert!(size > LOW_SPARE_BYTES && allocated >= size + LOW_SPARE_BYTES);
        log.clear().expect("clear");
        assert_eq!(spare(), (0, SPARE_BYTES));
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
