//! The mark `unclean` of a store (docs/store.md): there while something may have changed that the
//! next mount does not hear of.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// Puts the mark there, durably; true if it was there.
pub fn mark_unclean(dir: &OwnedFd) -> rustix::io::Result<bool> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match openat(dir, "unclean", flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => {
            rustix::fs::fsync(dir)?;
            crate::fault::reached("keeper.unclean-marked");
            Ok(false)
        }
        Err(Errno::EXIST) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Another one after each start of the machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// `none`, a boot id and a line's end, and one byte more to see that nothing follows.
const MARK_BYTES: usize = 43;

/// Programs of a mount without an engine may still have files open, and write unseen
/// (docs/store.md): the mark then says since which start of the machine.
fn has_unseen_writers(dir: &OwnedFd) -> rustix::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mark = match openat(dir, "unclean", flags, Mode::empty()) {
        Ok(mark) => mark,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    let mut bytes = [0; MARK_BYTES];
    let length = rustix::io::pread(&mark, &mut bytes, 0)?;
    let boot = std::fs::read_to_string(BOOT_ID).map_err(|_| Errno::IO)?;
    Ok(bytes[..length] == *format!("none {}\n", boot.trim()).as_bytes())
}

/// Takes the mark away, durably, unless somebody may still write unseen.
pub fn remove_unclean(dir: &OwnedFd) -> rustix::io::Result<()> {
    if has_unseen_writers(dir)? {
        return Ok(());
    }
    match rustix::fs::unlinkat(dir, "unclean", rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => rustix::fs::fsync(dir),
        Err(errno) => Err(errno),
    }
}
