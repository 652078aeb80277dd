//! Read leases (fcntl F_SETLEASE): the kernel refuses one while any writer or writable mapping of
//! the file exists, and says when somebody opens it for writing.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::{Errno, Result};

use crate::protocol::InodeId;

/// Linux's fcntl.h, F_LINUX_SPECIFIC_BASE + 10 in asm-generic; libc has no name for it everywhere.
const F_SETSIG: libc::c_int = 10;

/// The real-time signal that tells of a broken lease, with the descriptor in `si_fd`.
pub fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

pub struct Lease {
    pub id: InodeId,
    /// Stays open until the daemon lets go, so that its number leads to this file and no other.
    pub fd: Arc<OwnedFd>,
    pub broken: bool,
}

#[derive(Default)]
struct Table {
    leases: HashMap<u64, Lease>,
    /// Inodes with a lease that holds.
    by_ino: HashMap<u64, u64>,
    last: u64,
}

#[derive(Default)]
pub struct Leases {
    /// Locked after the inode's lock; a leaf otherwise.
    table: Mutex<Table>,
}

impl Leases {
    /// Takes a lease on a descriptor that was opened read-only.
    pub fn take(&self, id: InodeId, fd: Arc<OwnedFd>) -> Result<u64> {
        let mut table = self.table.lock();
        if table.by_ino.contains_key(&id.ino) {
            return Err(Errno::AGAIN);
        }
        fcntl(&fd, F_SETSIG, signal())?;
        fcntl(&fd, libc::F_SETLEASE, libc::F_RDLCK)?;
        table.last += 1;
        let number = table.last;
        table.by_ino.insert(id.ino, number);
        let lease = Lease {
            id,
            fd,
            broken: false,
        };
        table.leases.insert(number, lease);
        Ok(number)
    }

    /// Gives up the lease on an inode that we are about to open for writing ourselves, so that
    /// the open does not wait for us. Returns its number if there was one.
    pub fn give_up(&self, ino: u64) -> Option<u64> {
        let mut table = self.table.lock();
        let number = table.by_ino.remove(&ino)?;
        let lease = table.leases.get_mut(&number)?;
        end(lease);
        Some(number)
    }

    /// A signal said that somebody past the mount wants to write to the file of this descriptor.
    pub fn signalled(&self, fd: RawFd) -> Option<(u64, InodeId)> {
        let mut table = self.table.lock();
        let (&number, lease) = table
            .leases
            .iter_mut()
            .find(|(_, lease)| !lease.broken && lease.fd.as_raw_fd() == fd)?;
        let id = lease.id;
        end(lease);
        table.by_ino.remove(&id.ino);
        Some((number, id))
    }

    /// All leases that are being broken: for when the queue of signals was full.
    pub fn breaking(&self) -> Vec<RawFd> {
        let table = self.table.lock();
        let leases = table.leases.values();
        leases
            .filter(|lease| !lease.broken && !holds(&lease.fd))
            .map(|lease| lease.fd.as_raw_fd())
            .collect()
    }

    /// The inode and descriptor of a lease, and whether it still holds.
    pub fn get(&self, number: u64) -> Option<(InodeId, Arc<OwnedFd>, bool)> {
        let table = self.table.lock();
        let lease = table.leases.get(&number)?;
        let intact = !lease.broken && holds(&lease.fd);
        Some((lease.id, lease.fd.clone(), intact))
    }

    /// The daemon lets go.
    pub fn drop(&self, number: u64) {
        let mut table = self.table.lock();
        if let Some(mut lease) = table.leases.remove(&number) {
            end(&mut lease);
            if table.by_ino.get(&lease.id.ino) == Some(&number) {
                table.by_ino.remove(&lease.id.ino);
            }
        }
    }

    /// The daemon is gone, and everything it held with it.
    pub fn drop_all(&self) {
        let mut table = self.table.lock();
        table.by_ino.clear();
        for (_, mut lease) in table.leases.drain() {
            end(&mut lease);
        }
    }
}

fn end(lease: &mut Lease) {
    if !lease.broken {
        lease.broken = true;
        // It fails only if there is no lease any more, which is what is wanted.
        let _ = fcntl(&lease.fd, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// While a lease is being broken F_GETLEASE names what it is to become (fcntl(2)).
fn holds(fd: &OwnedFd) -> bool {
    fcntl(fd, libc::F_GETLEASE, 0) == Ok(libc::F_RDLCK)
}

fn fcntl(fd: &OwnedFd, command: libc::c_int, argument: libc::c_int) -> Result<libc::c_int> {
    // SAFETY: the three commands used here (F_SETSIG, F_SETLEASE, F_GETLEASE) take an int, no
    // pointer, and the descriptor is open as long as the borrow.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) };
    if result < 0 {
        return Err(last_errno());
    }
    Ok(result)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// A descriptor by which the file of another can be named: `/proc/self/fd/N`.
pub fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
