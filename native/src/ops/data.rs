//! What is done with an open file: read, write, fsync, fallocate, lseek, copy_file_range.

use std::cell::RefCell;
use std::sync::Arc;

use fuser::{ReplyData, ReplyEmpty, ReplyLseek, ReplyWrite};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate as backing_fallocate, seek};
use rustix::io::{Errno, Result};

use super::errno;
use super::hydrate::when_present;
use super::names::answer_empty;
use super::open::drop_set_ids;
use crate::core::Core;
use crate::counters::Counters;
use crate::handles::FileHandle;

thread_local! {
    /// One buffer a thread: requests are at most 1 MiB, and the pages stay mapped.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub fn read(core: &Arc<Core>, number: u64, offset: u64, length: u32, reply: ReplyData) {
    match core.handles.file(number) {
        Some(handle) => read_handle(core, &handle, offset, length, reply),
        None => reply.error(errno(Errno::BADF)),
    }
}

fn read_handle(
    core: &Arc<Core>,
    handle: &Arc<FileHandle>,
    offset: u64,
    length: u32,
    reply: ReplyData,
) {
    let range = (offset, offset.saturating_add(u64::from(length)));
    let reader = handle.clone();
    when_present(core, handle, range, move |core, present| {
        if let Err(failed) = present {
            return reply.error(errno(failed));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let length = length as usize;
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            match read_full(&reader, &mut buffer[..length], offset) {
                Ok(filled) if is_short(&reader, offset, filled, length) => {
                    if core.conversions.is_active(reader.id.ino) {
                        // It is being truncated at this moment: again when that is done.
                        let (again, reader) = (core.clone(), reader.clone());
                        core.pool.run(move || {
                            read_handle(&again, &reader, offset, length as u32, reply);
                        });
                        return;
                    }
                    log::error!("inode {}: shorter than its record", reader.id.ino);
                    reply.error(errno(Errno::IO));
                }
                Ok(filled) => {
                    core.counters.read(filled);
                    reply.data(&buffer[..filled]);
                }
                Err(failed) => reply.error(errno(failed)),
            }
        });
    });
}

/// Whether a placeholder's file ended before its size: the kernel would make zeros of the rest.
fn is_short(handle: &FileHandle, offset: u64, filled: usize, length: usize) -> bool {
    handle.filling.as_ref().is_some_and(|filling| {
        let end = filling.size().min(offset + length as u64);
        !filling.is_complete() && offset + (filled as u64) < end
    })
}

/// Fills the buffer, or ends at the end of the file: the kernel takes anything shorter for the end.
fn read_full(handle: &FileHandle, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(&*handle.fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(failed) => return Err(failed),
        }
    }
    Ok(filled)
}

/// What is written, and where.
pub struct Part<'a> {
    pub offset: u64,
    pub bytes: &'a [u8],
    /// The writer has no CAP_FSETID.
    pub drops_set_ids: bool,
}

pub fn write(core: &Arc<Core>, number: u64, part: Part<'_>, reply: ReplyWrite) {
    let Some(handle) = core.handles.file(number) else {
        return reply.error(errno(Errno::BADF));
    };
    // The file system does the same for us, unless we are root.
    if part.drops_set_ids && rustix::process::geteuid().is_root() {
        let stat = core.stat_fd(&*handle.fd);
        if let Err(failed) = stat.and_then(|stat| drop_set_ids(&handle.fd, &stat)) {
            return reply.error(errno(failed));
        }
    }
    let (offset, data) = (part.offset, part.bytes);
    let mut written = 0;
    while written < data.len() {
        match rustix::io::pwrite(&*handle.fd, &data[written..], offset + written as u64) {
            Ok(0) => break,
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            // What was written counts; the error comes with the next write.
            Err(_) if written > 0 => break,
            Err(failed) => return reply.error(errno(failed)),
        }
    }
    Counters::add(&core.counters.writes);
    reply.written(written as u32);
}

/// Errors that a file system keeps for close() are told to the program that closes.
pub fn flush(core: &Arc<Core>, number: u64, reply: ReplyEmpty) {
    let result = match core.handles.file(number) {
        Some(handle) if handle.writable => flush_now(&handle),
        Some(_) => Ok(()),
        None => Err(Errno::BADF),
    };
    answer_empty(result, reply);
}

fn flush_now(handle: &FileHandle) -> Result<()> {
    use std::os::fd::IntoRawFd;

    let duplicate = rustix::io::fcntl_dupfd_cloexec(&*handle.fd, 0)?;
    // SAFETY: the descriptor was just made, nobody else has its number, and it is given up here,
    // so that it is closed exactly once; only close() itself can tell the error.
    if unsafe { libc::close(duplicate.into_raw_fd()) } == 0 {
        return Ok(());
    }
    match Errno::from_io_error(&std::io::Error::last_os_error()) {
        // Linux has closed it even so.
        Some(Errno::INTR) | None => Ok(()),
        Some(failed) => Err(failed),
    }
}

pub fn fsync(core: &Arc<Core>, number: u64, data_only: bool, reply: ReplyEmpty) {
    let result = match core.handles.file(number) {
        Some(handle) if data_only => rustix::fs::fdatasync(&*handle.fd),
        Some(handle) => rustix::fs::fsync(&*handle.fd),
        None => Err(Errno::BADF),
    };
    answer_empty(result, reply);
}

pub fn fallocate(
    core: &Arc<Core>,
    number: u64,
    (offset, length): (u64, u64),
    mode: i32,
    reply: ReplyEmpty,
) {
    let result = match core.handles.file(number) {
        Some(handle) if handle.writable => {
            let mode = FallocateFlags::from_bits_retain(mode as u32);
            backing_fallocate(&*handle.fd, mode, offset, length)
        }
        _ => Err(Errno::BADF),
    };
    answer_empty(result, reply);
}

/// Only SEEK_DATA and SEEK_HOLE come here. A placeholder's holes are bytes that are not there yet.
pub fn lseek(core: &Arc<Core>, number: u64, offset: i64, whence: i32, reply: ReplyLseek) {
    let result = match core.handles.file(number) {
        Some(handle) => seek_now(&handle, offset, whence),
        None => Err(Errno::BADF),
    };
    match result {
        Ok(position) => reply.offset(position),
        Err(failed) => reply.error(errno(failed)),
    }
}

fn seek_now(handle: &FileHandle, offset: i64, whence: i32) -> Result<i64> {
    let offset = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
    let position = match (&handle.filling, whence) {
        (Some(filling), libc::SEEK_DATA | libc::SEEK_HOLE) if !filling.is_complete() => {
            match (offset < filling.size(), whence) {
                (false, _) => Err(Errno::NXIO),
                (true, libc::SEEK_DATA) => Ok(offset),
                (true, _) => Ok(filling.size()),
            }
        }
        (_, libc::SEEK_DATA) => seek(&*handle.fd, SeekFrom::Data(offset)),
        (_, libc::SEEK_HOLE) => seek(&*handle.fd, SeekFrom::Hole(offset)),
        _ => Err(Errno::INVAL),
    }?;
    i64::try_from(position).map_err(|_| Errno::OVERFLOW)
}

/// Bytes that one request copies at most: it occupies a thread of the mount.
const MAX_COPY_BYTES: u64 = 64 * 1024 * 1024;

/// The same from a placeholder: it has to arrive within one deadline.
const MAX_REMOTE_COPY_BYTES: u64 = 8 * 1024 * 1024;

/// One end of a copy: an open file and a position.
#[derive(Clone, Copy)]
pub struct CopyEnd {
    pub number: u64,
    pub offset: u64,
}

pub fn copy_file_range(
    core: &Arc<Core>,
    from: CopyEnd,
    to: CopyEnd,
    length: u64,
    reply: ReplyWrite,
) {
    let (Some(source), Some(target)) =
        (core.handles.file(from.number), core.handles.file(to.number))
    else {
        return reply.error(errno(Errno::BADF));
    };
    let remote = source
        .filling
        .as_ref()
        .is_some_and(|filling| !filling.is_complete());
    let length = length.min(if remote {
        MAX_REMOTE_COPY_BYTES
    } else {
        MAX_COPY_BYTES
    });
    let range = (from.offset, from.offset.saturating_add(length));
    let reader = source.clone();
    when_present(core, &source, range, move |_, present| {
        let copied = present.and_then(|()| {
            let (mut at, mut into) = (from.offset, to.offset);
            let length = length as usize;
            let (source, target) = (&*reader.fd, &*target.fd);
            rustix::fs::copy_file_range(source, Some(&mut at), target, Some(&mut into), length)
        });
        match copied {
            Ok(copied) => reply.written(copied as u32),
            Err(failed) => reply.error(errno(failed)),
        }
    });
}
