//! From a node to its file: by the names in the table, beneath the tree, never through a link.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result};

use crate::attr::Stat;
use crate::core::Core;
use crate::leases::proc_path;
use crate::nodes::{Stage, Way};
use crate::record::{MAX_RECORD_BYTES, PlaceholderRecord, RECORD_XATTR};

/// Where a file is at this moment.
pub enum Place {
    At(Arc<OwnedFd>, OsString),
    Fd(Arc<OwnedFd>),
}

const PIN: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Components that are opened in one call: well below PATH_MAX with the longest names.
const MAX_COMPONENTS: usize = 8;
/// A name can move between two looks; the last look is taken with `moves` held.
const ATTEMPTS: usize = 3;

impl Core {
    /// The `O_PATH` descriptor of a directory.
    pub fn dir_fd(&self, ino: u64) -> Result<Arc<OwnedFd>> {
        if ino == self.root.ino {
            return Ok(self.tree.clone());
        }
        if let Some(fd) = self.dir_fds.get(ino) {
            return Ok(fd);
        }
        match self.settled_look(|| self.open_dir(ino)) {
            Err(Errno::ACCESS) => self.held(ino),
            result => result,
        }
    }

    fn open_dir(&self, ino: u64) -> Result<Arc<OwnedFd>> {
        let mut names = Vec::new();
        let mut at = ino;
        let base = loop {
            if at == self.root.ino {
                break self.tree.clone();
            }
            if let Some(fd) = self.dir_fds.get(at) {
                break fd;
            }
            if names.len() == MAX_COMPONENTS {
                break self.open_dir(at)?;
            }
            match self.nodes.way(at).ok_or(Errno::NOENT)? {
                Way::Pin(pin) => break pin,
                Way::Names(mut known) => {
                    let (parent, name) = known.pop().ok_or(Errno::NOENT)?;
                    names.push(name);
                    at = parent;
                }
            }
        };
        if names.is_empty() {
            return Ok(base);
        }
        names.reverse();
        let path = names.join(OsStr::new("/"));
        let fd = open_beneath(base.as_fd(), &path, PIN | OFlags::DIRECTORY)?;
        if Stat::of(&fd)?.ino != ino {
            return Err(Errno::STALE);
        }
        let fd = Arc::new(fd);
        self.dir_fds.put(ino, fd.clone());
        Ok(fd)
    }

    /// Runs `look` with each place where the inode may be until it finds the inode there.
    pub fn with_place<T>(&self, ino: u64, look: impl Fn(&Place) -> Result<T>) -> Result<T> {
        match self.with_name(ino, &look) {
            Err(Errno::ACCESS) => look(&Place::Fd(self.held(ino)?)),
            result => result,
        }
    }

    /// A descriptor that leads to the inode though an ordinary user closed a directory above it:
    /// who has it open, or works in it, goes on.
    fn held(&self, ino: u64) -> Result<Arc<OwnedFd>> {
        let held = self.dir_fds.get(ino).or_else(|| self.handles.any_fd(ino));
        held.ok_or(Errno::ACCESS)
    }

    fn with_name<T>(&self, ino: u64, look: &impl Fn(&Place) -> Result<T>) -> Result<T> {
        self.settled_look(|| {
            if ino == self.root.ino {
                return look(&Place::Fd(self.tree.clone()));
            }
            match self.nodes.way(ino).ok_or(Errno::NOENT)? {
                Way::Pin(pin) => look(&Place::Fd(pin)),
                Way::Names(names) => {
                    let mut result = Err(Errno::NOENT);
                    for (parent, name) in names {
                        result = self
                            .dir_fd(parent)
                            .and_then(|dir| look(&Place::At(dir, name)));
                        if !is_elsewhere(&result) {
                            return result;
                        }
                    }
                    result
                }
            }
        })
    }

    fn settled_look<T>(&self, look: impl Fn() -> Result<T>) -> Result<T> {
        for _ in 1..ATTEMPTS {
            let result = look();
            if !is_elsewhere(&result) {
                return result;
            }
        }
        let _moves = self.moves.lock();
        // A name that leads elsewhere for good was changed past the mount: the file is not there.
        look().map_err(|errno| {
            if errno == Errno::STALE {
                Errno::NOENT
            } else {
                errno
            }
        })
    }

    /// The attributes of a node, as the backing file system has them.
    pub fn stat_node(&self, ino: u64) -> Result<Stat> {
        self.with_place(ino, |place| {
            let stat = match place {
                Place::At(dir, name) => self.stat_at(dir, name)?,
                Place::Fd(fd) => self.stat_fd(fd)?,
            };
            same(stat, ino)
        })
    }

    /// An `O_PATH` descriptor of a node, which leads to it whatever happens to its names.
    pub fn pin(&self, ino: u64) -> Result<Arc<OwnedFd>> {
        self.with_place(ino, |place| match place {
            Place::Fd(fd) => Ok(fd.clone()),
            Place::At(dir, name) => {
                let fd = open_beneath(dir.as_fd(), name, PIN)?;
                same(Stat::of(&fd)?, ino)?;
                Ok(Arc::new(fd))
            }
        })
    }

    /// Opens the file of a node.
    pub fn open_node(&self, ino: u64, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        self.with_place(ino, |place| match place {
            Place::Fd(fd) => openat(CWD, proc_path(fd.as_fd()), flags, Mode::empty()),
            Place::At(dir, name) => {
                let fd = open_beneath(dir.as_fd(), name, flags | OFlags::NOFOLLOW)?;
                same(Stat::of(&fd)?, ino)?;
                Ok(fd)
            }
        })
    }

    /// What the inode's xattr says, looked up once and kept.
    pub fn stage_of(&self, ino: u64) -> Result<Stage> {
        let stage = self.nodes.stage(ino);
        if !matches!(stage, Stage::Unknown) {
            return Ok(stage);
        }
        let pin = self.pin(ino)?;
        let stage = read_stage(&proc_path(pin.as_fd()))?;
        self.nodes.learn_stage(ino, stage);
        Ok(self.nodes.stage(ino))
    }

    /// The same for a name that was just looked up: the kernel holds the directory's lock, so no
    /// name in it moves meanwhile (fs/namei.c, lookup_slow; fs/readdir.c, iterate_dir).
    pub fn learn_stage_at(&self, dir: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> Result<()> {
        if !(stat.is_file() || stat.is_dir())
            || !matches!(self.nodes.stage(stat.ino), Stage::Unknown)
        {
            return Ok(());
        }
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        let stage = read_stage(&OsString::from_vec(path))?;
        self.nodes.learn_stage(stat.ino, stage);
        Ok(())
    }
}

/// Whether the name led to another file or none, as after a rename.
fn is_elsewhere<T>(result: &Result<T>) -> bool {
    matches!(
        result,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::LOOP)
    )
}

fn same(stat: Stat, ino: u64) -> Result<Stat> {
    if stat.ino == ino {
        Ok(stat)
    } else {
        Err(Errno::STALE)
    }
}

/// Reads `user.mc` of the file that the path names; a magic link is followed, nothing else.
fn read_stage<P: rustix::path::Arg + Copy>(path: P) -> Result<Stage> {
    let mut bytes = [0; MAX_RECORD_BYTES];
    let result = rustix::fs::getxattr(path, RECORD_XATTR, &mut bytes[..]);
    stage_from(result, &bytes)
}

/// The same by a descriptor that was really opened.
pub fn read_stage_of(fd: impl AsFd) -> Result<Stage> {
    let mut bytes = [0; MAX_RECORD_BYTES];
    let result = rustix::fs::fgetxattr(fd, RECORD_XATTR, &mut bytes[..]);
    stage_from(result, &bytes)
}

fn stage_from(result: Result<usize>, bytes: &[u8]) -> Result<Stage> {
    match result {
        Ok(length) => match PlaceholderRecord::decode(&bytes[..length]) {
            Ok(record) => Ok(Stage::Placeholder {
                record: Arc::new(record),
                edited: false,
            }),
            Err(error) => {
                log::error!("{error}");
                Err(Errno::IO)
            }
        },
        // No xattr, or a file system without them, on which there are no placeholders. An ordinary
        // user cannot read those of his files without u+r, which a placeholder always has.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS) => Ok(Stage::Complete),
        Err(Errno::RANGE) => Err(Errno::IO),
        Err(errno) => Err(errno),
    }
}

/// Whether the kernel has openat2 (5.6); without it each component is opened by itself.
static HAS_OPENAT2: AtomicBool = AtomicBool::new(true);

/// Opens a path beneath a directory: no link, no mount point and no `..` is followed.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &OsStr, flags: OFlags) -> Result<OwnedFd> {
    if HAS_OPENAT2.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        // With O_NOFOLLOW and O_PATH a last symbolic link is opened itself, but NO_SYMLINKS
        // refuses it (ELOOP): the flag is for the components before the last.
        let single = !path.as_bytes().contains(&b'/');
        let resolve = if single {
            resolve & !ResolveFlags::NO_SYMLINKS
        } else {
            resolve
        };
        match openat2(dir, path, flags | OFlags::NOFOLLOW, Mode::empty(), resolve) {
            Err(Errno::NOSYS) => HAS_OPENAT2.store(false, Ordering::Relaxed),
            result => return result,
        }
    }
    open_by_components(dir, path, flags)
}

fn open_by_components(dir: BorrowedFd<'_>, path: &OsStr, flags: OFlags) -> Result<OwnedFd> {
    let mut components: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
    if components
        .iter()
        .any(|name| matches!(*name, b"" | b"." | b".."))
    {
        return Err(Errno::INVAL);
    }
    let last = components.pop().ok_or(Errno::INVAL)?;
    let mut at: Option<OwnedFd> = None;
    for name in components {
        let base = at.as_ref().map_or(dir, |fd| fd.as_fd());
        let next = openat(base, name, PIN | OFlags::DIRECTORY, Mode::empty())?;
        at = Some(next);
    }
    let base = at.as_ref().map_or(dir, |fd| fd.as_fd());
    openat(base, last, flags | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn opens_only_beneath_and_follows_no_link() {
        let root = std::env::temp_dir().join(format!("keeper-beneath-{}", std::process::id()));
        std::fs::create_dir_all(root.join("d")).expect("temp dir");
        std::fs::write(root.join("d/f"), "x").expect("write");
        symlink("d", root.join("link")).expect("symlink");
        let dir = std::fs::File::open(&root).expect("open");
        for open in [open_beneath, open_by_components] {
            let try_open = |path: &str| open(dir.as_fd(), OsStr::new(path), PIN);
            assert!(try_open("d/f").is_ok());
            assert!(try_open("link").is_ok(), "the link itself");
            assert!(try_open("link/f").is_err());
            assert!(try_open("../x").is_err());
            assert!(try_open("/etc").is_err());
        }
        std::fs::remove_dir_all(root).expect("clean up");
    }
}
