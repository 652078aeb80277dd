//! Waiting for what is still remote: a directory's listing, a range of a file, a whole file.
//!
//! No thread of the mount waits. The caller's continuation, with the kernel's reply in it, runs at
//! once when everything is there, else on the pool when the daemon answered or the deadline passed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::{Errno, Result};
use serde_json::Value;

use crate::attr::Stat;
use crate::core::Core;
use crate::extents::Filling;
use crate::handles::FileHandle;
use crate::leases::proc_path;
use crate::link::{Answer, Key, Landed};
use crate::nodes::Stage;
use crate::pool::Job;
use crate::protocol::InodeId;
use crate::record::{PlaceholderRecord, RECORD_XATTR, RecordKind};

pub(super) type Then = Box<dyn FnOnce(&Arc<Core>, Result<()>) + Send>;

/// What is asked for in one request when a whole file has to come. Each request has its own
/// deadline, which a slow source has to meet.
const WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// What failed after less may be asked for again at once.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// A fill is cancelled when the file is detached, which ends in a file that can be read.
const MAX_CANCELS: u32 = 5;

/// Runs `then` when the directory is listed.
pub fn when_listed(
    core: &Arc<Core>,
    directory: u64,
    then: impl FnOnce(&Arc<Core>, Result<()>) + Send + 'static,
) {
    match core.stage_of(directory) {
        Ok(Stage::Placeholder { .. }) => list(core, directory, Box::new(then)),
        Ok(_) => then(core, Ok(())),
        Err(errno) => then(core, Err(errno)),
    }
}

fn list(core: &Arc<Core>, directory: u64, then: Then) {
    let Some(id) = core.nodes.id(directory) else {
        return then(core, Err(Errno::NOENT));
    };
    let fd = match core.pin(directory) {
        Ok(fd) => fd,
        Err(errno) => return then(core, Err(errno)),
    };
    let path = core.nodes.path(directory).unwrap_or_default();
    let asked = core.clone();
    core.link
        .ask(Key::List(id), &path.clone(), fd, move |answer| {
            let listed = !matches!(asked.stage_of(directory), Ok(Stage::Placeholder { .. }));
            let result = match answer {
                _ if listed => Ok(()),
                Ok(_) => {
                    log::error!("list {}: answered, but not listed", printable(&path));
                    Err(Errno::IO)
                }
                Err(failure) => {
                    log::error!("list {}: {}", printable(&path), failure.message);
                    Err(told(failure.errno))
                }
            };
            then(&asked, result);
        });
}

/// Runs `then` when the range of an open placeholder can be read.
pub fn when_present(
    core: &Arc<Core>,
    handle: &Arc<FileHandle>,
    range: (u64, u64),
    then: impl FnOnce(&Arc<Core>, Result<()>) + Send + 'static,
) {
    let present = handle.filling.as_ref().is_none_or(|filling| {
        let end = range.1.min(filling.size());
        filling.is_complete() || range.0 >= end
    });
    if present {
        return then(core, Ok(()));
    }
    fill(core, handle, range, Box::new(then), 0);
}

fn fill(
    core: &Arc<Core>,
    handle: &Arc<FileHandle>,
    (start, end): (u64, u64),
    then: Then,
    cancels: u32,
) {
    let Some(filling) = handle.filling.clone() else {
        return then(core, Ok(()));
    };
    let end = end.min(filling.size());
    let ino = handle.id.ino;
    if filling.is_complete() || start >= end {
        return then(core, Ok(()));
    }
    if core.conversions.is_active(ino) {
        // The bytes may be about to be cut off: look again when that is decided.
        let (again, waiting) = (core.clone(), handle.clone());
        let job: Job = Box::new(move || fill(&again, &waiting, (start, end), then, cancels));
        if let Some(job) = core.conversions.join(ino, job) {
            job();
        }
        return;
    }
    if filling.covers(core.extents.as_fd(), start, end) {
        return then(core, Ok(()));
    }
    if filling.just_failed(start, end) {
        return then(core, Err(Errno::IO));
    }
    let asked_at = Instant::now();
    let path = core.nodes.path(ino).unwrap_or_default();
    let key = Key::Fill {
        id: handle.id,
        start,
        end,
    };
    let asked = core.clone();
    let waiting = handle.clone();
    core.link
        .ask(key, &path.clone(), handle.fd.clone(), move |answer| {
            let result = match answer {
                Ok(_) => Ok(()),
                Err(_) if filling.is_complete() => Ok(()),
                Err(failure) if failure.errno == Errno::CANCELED && cancels < MAX_CANCELS => {
                    return fill(&asked, &waiting, (start, end), then, cancels + 1);
                }
                Err(failure) => {
                    let path = printable(&path);
                    log::error!("read {path} from {start} to {end}: {}", failure.message);
                    if asked_at.elapsed() >= LONG_WAIT {
                        filling.note_failure(start, end);
                    }
                    Err(Errno::IO)
                }
            };
            then(&asked, result);
        });
}

/// Runs `then` when the file is no placeholder any more: all of it was fetched.
pub fn when_complete(
    core: &Arc<Core>,
    ino: u64,
    then: impl FnOnce(&Arc<Core>, Result<()>) + Send + 'static,
) {
    let fetch = match Fetch::begin(core, ino) {
        Ok(Some(fetch)) => fetch,
        Ok(None) => return then(core, Ok(())),
        Err(errno) => return then(core, Err(errno)),
    };
    let size = fetch.record.size;
    let last = fetch.clone();
    let then: Then = Box::new(then);
    fetch.windows(
        core,
        (0, size),
        Box::new(move |core, result| {
            if result.is_err() || is_complete(core, ino) {
                return then(
                    core,
                    if is_complete(core, ino) {
                        Ok(())
                    } else {
                        result
                    },
                );
            }
            // Every range is there: this is answered when the placeholder was made complete.
            last.ask(
                core,
                (0, size),
                Box::new(move |core, result| {
                    if is_complete(core, ino) {
                        return then(core, Ok(()));
                    }
                    log::error!(
                        "inode {ino}: every byte was fetched, but it is still a placeholder"
                    );
                    then(core, result.and(Err(Errno::IO)));
                }),
            );
        }),
    );
}

/// Fetching (parts of) one placeholder for an operation that needs them all.
#[derive(Clone)]
pub(super) struct Fetch {
    pub(super) id: InodeId,
    pub(super) path: Vec<u8>,
    pub(super) fd: Arc<OwnedFd>,
    pub(super) record: Arc<PlaceholderRecord>,
    /// How often the daemon dropped a request because the file was detached.
    cancels: u32,
}

impl Fetch {
    /// `None`: it is no placeholder.
    pub(super) fn begin(core: &Arc<Core>, ino: u64) -> Result<Option<Self>> {
        let Stage::Placeholder { record, .. } = core.stage_of(ino)? else {
            return Ok(None);
        };
        if record.kind != RecordKind::File {
            return Err(Errno::ISDIR);
        }
        let id = core.nodes.id(ino).ok_or(Errno::NOENT)?;
        let fd = Arc::new(core.open_node(ino, OFlags::RDONLY)?);
        let path = core.nodes.path(ino).unwrap_or_default();
        Ok(Some(Self {
            id,
            path,
            fd,
            record,
            cancels: 0,
        }))
    }

    fn ask(&self, core: &Arc<Core>, (start, end): (u64, u64), then: Then) {
        if is_complete(core, self.id.ino) {
            return then(core, Ok(()));
        }
        let mut again = self.clone();
        again.cancels += 1;
        if core.conversions.is_active(self.id.ino) {
            // Another program cuts the file: look again when that is done.
            let waiting = core.clone();
            let job: Job = Box::new(move || again.ask(&waiting, (start, end), then));
            if let Some(job) = core.conversions.join(self.id.ino, job) {
                job();
            }
            return;
        }
        let key = Key::Fill {
            id: self.id,
            start,
            end,
        };
        let asked = core.clone();
        let path = self.path.clone();
        core.link
            .ask(key, &self.path, self.fd.clone(), move |answer| {
                let result = match answer {
                    Ok(_) => Ok(()),
                    Err(failure)
                        if failure.errno == Errno::CANCELED && again.cancels <= MAX_CANCELS =>
                    {
                        return again.ask(&asked, (start, end), then);
                    }
                    Err(failure) => {
                        let path = printable(&path);
                        log::error!("fetch {path} from {start} to {end}: {}", failure.message);
                        Err(told(failure.errno))
                    }
                };
                then(&asked, result);
            });
    }

    pub(super) fn windows(self, core: &Arc<Core>, (start, end): (u64, u64), then: Then) {
        if start >= end || is_complete(core, self.id.ino) {
            return then(core, Ok(()));
        }
        let next = (start + WINDOW_BYTES).min(end);
        let rest = self.clone();
        self.ask(
            core,
            (start, next),
            Box::new(move |core, result| match result {
                Ok(()) => rest.windows(core, (next, end), then),
                Err(errno) => then(core, Err(errno)),
            }),
        );
    }
}

/// The errno that a program sees: a local disk knows no cancelled request.
pub(super) fn told(errno: Errno) -> Errno {
    if errno == Errno::CANCELED {
        Errno::IO
    } else {
        errno
    }
}

pub(super) fn is_complete(core: &Arc<Core>, ino: u64) -> bool {
    matches!(core.stage_of(ino), Ok(Stage::Complete))
}

impl Core {
    /// What an answer of the daemon says about the tree, whoever waits for it.
    pub fn note_answer(&self, landed: &Landed) {
        match (landed.key, &landed.answer) {
            (Key::List(id), Ok(_)) => self.became_complete(id),
            (Key::Fill { id, start, end }, Ok(ok)) => {
                if let Some(filling) = self.filling(id) {
                    filling.add(start, end);
                }
                if ok.get("complete").and_then(Value::as_bool) == Some(true) {
                    self.became_complete(id);
                }
            }
            _ => {}
        }
    }

    fn filling(&self, id: InodeId) -> Option<Arc<Filling>> {
        self.handles
            .filling(id.ino)
            .filter(|filling| filling.id == id)
    }

    /// The daemon says that an inode is no placeholder any more.
    pub fn became_complete(&self, id: InodeId) {
        if self.nodes.id(id.ino) != Some(id) {
            return;
        }
        let _inode = self.lock_inode(id.ino);
        if let Err(errno) = self.finish(id.ino) {
            log::error!("inode {} became complete: {errno}", id.ino);
        }
    }

    fn finish(&self, ino: u64) -> Result<()> {
        let pin = self.pin(ino)?;
        let path = proc_path(pin.as_fd());
        let mut none = [0; 0];
        match rustix::fs::getxattr(&path, RECORD_XATTR, &mut none[..]) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            // It is still there: an answer that is not true is ignored.
            _ => return Err(Errno::AGAIN),
        }
        if let Stage::Placeholder {
            record,
            edited: true,
        } = self.nodes.stage(ino)
        {
            // The daemon may have read the record before a program's chmod or utimes changed it.
            self.apply_record(&pin, &record)?;
        }
        self.set_complete(ino);
        Ok(())
    }

    fn apply_record(&self, pin: &OwnedFd, record: &PlaceholderRecord) -> Result<()> {
        let before = Stat::of(pin)?;
        let path = proc_path(pin.as_fd());
        if before.mode & 0o7777 != record.mode {
            rustix::fs::chmod(&path, record.mode.into())?;
        }
        if before.mtime.ns() != record.mtime_ns() {
            crate::ops::setattr::set_mtime(&path, record)?;
        }
        self.renew_stamp(&before, &Stat::of(pin)?);
        Ok(())
    }

    pub(super) fn set_complete(&self, ino: u64) {
        self.nodes.set_stage(ino, Stage::Complete);
        if let Some(filling) = self.handles.filling(ino) {
            filling.set_complete();
        }
    }
}

/// Asks for the CID of a file or directory.
pub fn ask_cid(
    core: &Arc<Core>,
    ino: u64,
    then: impl FnOnce(Answer) + Send + 'static,
) -> Result<()> {
    let id = core.nodes.id(ino).ok_or(Errno::NOENT)?;
    let path = core.nodes.path(ino).ok_or(Errno::NODATA)?;
    let fd = core.pin(ino)?;
    core.link.ask(Key::Cid(id), &path, fd, then);
    Ok(())
}

pub fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
