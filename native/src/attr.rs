//! Attributes: what statx says, as the kernel wants it.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Result;
use serde_json::{Value, json};

use crate::protocol::InodeId;
use crate::record::{PlaceholderRecord, RecordKind};

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Time {
    pub sec: i64,
    pub nsec: u32,
}

impl Time {
    pub fn ns(self) -> i128 {
        i128::from(self.sec) * 1_000_000_000 + i128::from(self.nsec)
    }

    fn system(self) -> SystemTime {
        let since = if self.sec >= 0 {
            UNIX_EPOCH.checked_add(Duration::new(self.sec.unsigned_abs(), 0))
        } else {
            UNIX_EPOCH.checked_sub(Duration::new(self.sec.unsigned_abs(), 0))
        };
        since
            .and_then(|time| time.checked_add(Duration::new(0, self.nsec)))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// One file as the backing file system sees it; `nlink` without our own link in objects/.
#[derive(Clone, Debug)]
pub struct Stat {
    pub ino: u64,
    /// Birth time in nanoseconds; 0 where the file system has none.
    pub btime: u64,
    pub dev: (u32, u32),
    /// Type and permission bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub blocks: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    /// What programs see as ctime: that of their own last change, and not of our link in objects/.
    pub shown_ctime: Time,
}

/// Size, mtime and ctime: what tells whether a file can have changed (docs/protocol.md).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
}

impl Stamp {
    pub fn json(&self) -> Value {
        json!({
            "size": self.size.to_string(),
            "mtime": self.mtime.ns().to_string(),
            "ctime": self.ctime.ns().to_string(),
        })
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

impl Stat {
    /// The file `name` in `dir`, a last symbolic link not followed.
    pub fn at(dir: impl AsFd, name: &OsStr) -> Result<Self> {
        statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, WANTED).map(Self::from_statx)
    }

    /// The file of a descriptor, which may be an `O_PATH` one.
    pub fn of(fd: impl AsFd) -> Result<Self> {
        statx(fd, "", AtFlags::EMPTY_PATH, WANTED).map(Self::from_statx)
    }

    fn from_statx(x: rustix::fs::Statx) -> Self {
        let time = |t: rustix::fs::StatxTimestamp| Time {
            sec: t.tv_sec,
            nsec: t.tv_nsec,
        };
        let has_btime = x.stx_mask & StatxFlags::BTIME.bits() != 0;
        let btime = if has_btime { time(x.stx_btime).ns() } else { 0 };
        Self {
            ino: x.stx_ino,
            btime: u64::try_from(btime).unwrap_or(0),
            dev: (x.stx_dev_major, x.stx_dev_minor),
            mode: u32::from(x.stx_mode),
            nlink: x.stx_nlink,
            uid: x.stx_uid,
            gid: x.stx_gid,
            size: x.stx_size,
            blocks: x.stx_blocks,
            atime: time(x.stx_atime),
            mtime: time(x.stx_mtime),
            ctime: time(x.stx_ctime),
            shown_ctime: time(x.stx_ctime),
        }
    }

    pub fn id(&self) -> InodeId {
        InodeId {
            ino: self.ino,
            btime: self.btime,
        }
    }

    pub fn stamp(&self) -> Stamp {
        Stamp {
            size: self.size,
            mtime: self.mtime,
            ctime: self.ctime,
        }
    }

    pub fn kind(&self) -> FileType {
        match self.mode & libc::S_IFMT {
            libc::S_IFDIR => FileType::Directory,
            libc::S_IFLNK => FileType::Symlink,
            libc::S_IFIFO => FileType::NamedPipe,
            libc::S_IFSOCK => FileType::Socket,
            libc::S_IFCHR => FileType::CharDevice,
            libc::S_IFBLK => FileType::BlockDevice,
            _ => FileType::RegularFile,
        }
    }

    pub fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// The type and mode after somebody without CAP_FSETID wrote: set-user-ID goes, and set-group-ID
    /// of what its group may execute (fs/attr.c, setattr_should_drop_suidgid).
    pub fn mode_without_set_ids(&self) -> u32 {
        let executable = libc::S_ISGID | libc::S_IXGRP;
        let mut mode = self.mode & !libc::S_ISUID;
        if mode & executable == executable {
            mode &= !libc::S_ISGID;
        }
        mode
    }

    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// Mode and mtime, and for a file its size, are the record's while there is one. An unlisted
    /// directory keeps the backing directory's size; how many directories are in it is not known,
    /// which a link count of 1 says (2 would be: none).
    pub fn overlay(&mut self, record: &PlaceholderRecord) {
        self.mode = self.mode & libc::S_IFMT | record.mode;
        self.mtime = Time {
            sec: record.mtime_sec,
            nsec: record.mtime_nsec,
        };
        if record.kind == RecordKind::File {
            self.size = record.size;
            // GNU tar -S takes a file of no blocks for one hole, and archives zeros unread.
            if self.size > 0 {
                self.blocks = self.blocks.max(u64::from(BLOCK_SIZE) / 512);
            }
        } else {
            self.nlink = 1;
        }
    }

    pub fn file_attr(&self) -> FileAttr {
        FileAttr {
            ino: INodeNo(self.ino),
            size: self.size,
            blocks: self.blocks,
            atime: self.atime.system(),
            mtime: self.mtime.system(),
            ctime: self.shown_ctime.system(),
            crtime: UNIX_EPOCH,
            kind: self.kind(),
            perm: (self.mode & 0o7777) as u16,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: BLOCK_SIZE,
            flags: 0,
        }
    }
}

/// `st_blksize`; clients size their buffers by it and expect a power of two.
pub const BLOCK_SIZE: u32 = 4096;

/// The answer to a lookup of a name that is not there: node id 0 is cached as a negative entry.
pub const NEGATIVE: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: BLOCK_SIZE,
    flags: 0,
};

/// fuser 0.18 turns seconds and nanoseconds before 1970 into `EPOCH - (|sec| + nsec)`, where the
/// time meant is `EPOCH - |sec| + nsec` (time.rs, `system_time_from_time`). Both numbers can be
/// had back exactly, and this does. The version of fuser is pinned for it.
pub fn time_from_fuser(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Time {
            sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nsec: since.subsec_nanos(),
        },
        Err(before) => Time {
            sec: i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |sec| -sec),
            nsec: before.duration().subsec_nanos(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_times_before_1970() {
        let time = Time {
            sec: -2,
            nsec: 800_000_000,
        };
        let system = time.system();
        assert_eq!(
            UNIX_EPOCH
                .duration_since(system)
                .expect("before")
                .as_millis(),
            1200
        );
        let from_fuser = UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(time_from_fuser(from_fuser), time);
        assert_eq!(
            time_from_fuser(UNIX_EPOCH + Duration::new(3, 4)),
            Time { sec: 3, nsec: 4 }
        );
    }

    #[test]
    fn stats_a_file_and_a_descriptor_alike() {
        let dir = std::fs::File::open("/proc/self").expect("proc");
        let by_name = Stat::at(&dir, OsStr::new("status")).expect("stat");
        assert!(by_name.is_file());
        assert!(Stat::of(&dir).expect("fstat").is_dir());
    }
}
