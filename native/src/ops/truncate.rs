//! Truncating what is still remote: a placeholder becomes an ordinary file of the bytes that stay.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Result;

use super::hydrate::{Fetch, Then, is_complete, told, when_complete};
use crate::core::Core;
use crate::extents::remove_map;
use crate::link::Key;
use crate::nodes::Stage;
use crate::pool::Job;
use crate::record::RECORD_XATTR;
use crate::resolve::read_stage_of;

/// The kernel's caller sets the size as soon as it runs on with our answer.
const AFTER_TRUNCATION: Duration = Duration::from_millis(20);

/// Placeholders that are being truncated, and the requests that wait for the end of that.
#[derive(Default)]
pub struct Conversions {
    /// A leaf in the lock order.
    waiting: Mutex<HashMap<u64, Vec<Job>>>,
}

impl Conversions {
    /// False if one is under way.
    fn begin(&self, ino: u64) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.contains_key(&ino) {
            return false;
        }
        waiting.insert(ino, Vec::new());
        true
    }

    /// Gives the job back if no conversion is under way.
    pub(super) fn join(&self, ino: u64, job: Job) -> Option<Job> {
        match self.waiting.lock().get_mut(&ino) {
            Some(jobs) => {
                jobs.push(job);
                None
            }
            None => Some(job),
        }
    }

    fn end(&self, ino: u64) -> Vec<Job> {
        self.waiting.lock().remove(&ino).unwrap_or_default()
    }

    pub(super) fn is_active(&self, ino: u64) -> bool {
        self.waiting.lock().contains_key(&ino)
    }
}

/// Runs `then` when the file was cut to `size` bytes, or is no placeholder any more and can be cut
/// like any file. The bytes before `size` are fetched first.
pub fn when_truncated(
    core: &Arc<Core>,
    ino: u64,
    size: u64,
    then: impl FnOnce(&Arc<Core>, Result<()>) + Send + 'static,
) {
    let fetch = match Fetch::begin(core, ino) {
        Ok(Some(fetch)) => fetch,
        Ok(None) => return then(core, Ok(())),
        Err(errno) => return then(core, Err(errno)),
    };
    if size >= fetch.record.size {
        return when_complete(core, ino, then);
    }
    let then: Then = Box::new(then);
    let detached = fetch.clone();
    fetch.windows(
        core,
        (0, size),
        Box::new(move |core, result| match result {
            Ok(()) => detach(core, detached, size, then),
            Err(_) if is_complete(core, ino) => then(core, Ok(())),
            Err(errno) => then(core, Err(errno)),
        }),
    );
}

fn detach(core: &Arc<Core>, fetch: Fetch, size: u64, then: Then) {
    let ino = fetch.id.ino;
    if !core.conversions.begin(ino) {
        let again = core.clone();
        let job: Job = Box::new(move || when_truncated(&again, ino, size, then));
        if let Some(job) = core.conversions.join(ino, job) {
            job();
        }
        return;
    }
    let asked = core.clone();
    core.link.ask(
        Key::Detach(fetch.id),
        &fetch.path,
        fetch.fd,
        move |answer| {
            let result = match answer {
                Ok(_) => convert(&asked, ino, size),
                Err(failure) => {
                    log::error!("truncate inode {ino}: {}", failure.message);
                    Err(told(failure.errno))
                }
            };
            let waiting = asked.conversions.end(ino);
            then(&asked, result);
            asked.pool.run(move || {
                // A read that ends at the new size, answered before the kernel has set it, would
                // show a page of zeros (fs/fuse/file.c, fuse_short_read).
                std::thread::sleep(AFTER_TRUNCATION);
                for job in waiting {
                    job();
                }
            });
        },
    );
}

/// Makes a placeholder of which [0, size) is present an ordinary file of that size. In this order
/// a crash leaves a placeholder of which nothing counts as present, or the ordinary file.
fn convert(core: &Arc<Core>, ino: u64, size: u64) -> Result<()> {
    let _namespace = core.namespace.read();
    let _inode = core.lock_inode(ino);
    let fd = core.open_node(ino, OFlags::RDWR)?;
    let Stage::Placeholder { record, .. } = read_stage_of(&fd)? else {
        core.set_complete(ino);
        return Ok(());
    };
    let stat = core.stat_fd(&fd)?;
    core.make_dirty(&stat)?;
    remove_map(core.extents.as_fd(), stat.id())?;
    crate::fault::reached("keeper.map-removed");
    rustix::fs::ftruncate(&fd, size)?;
    crate::fault::reached("keeper.truncated");
    rustix::fs::fchmod(&fd, record.mode.into())?;
    rustix::fs::fsync(&fd)?;
    rustix::fs::fremovexattr(&fd, RECORD_XATTR)?;
    rustix::fs::fsync(&fd)?;
    core.set_complete(ino);
    Ok(())
}
