//! Mounting and unmounting, without ever looking at the mountpoint once it is ours.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The mount's type in /proc/self/mountinfo is `fuse.` and this.
const SUBTYPE: &str = "modelcache";
const FUSE_DEVICE: &str = "/dev/fuse";

/// What to mount and how.
pub struct MountOptions {
    pub mountpoint: PathBuf,
    pub source: String,
    pub read_only: bool,
    pub allow_other: bool,
}

/// Why there is no mount, by the codes of the readiness line.
#[derive(Debug)]
pub struct MountError {
    pub code: &'static str,
    pub message: String,
    pub exit: i32,
}

impl MountError {
    fn new(code: &'static str, exit: i32, message: String) -> Self {
        Self {
            code,
            message,
            exit,
        }
    }
}

/// Mounts and returns the descriptor of the session.
pub fn mount(options: &MountOptions) -> Result<OwnedFd, MountError> {
    let path = options.mountpoint.display();
    if mounted_at(&options.mountpoint).is_some_and(|mount| mount.is_fuse()) {
        let message = format!("{path}: a FUSE file system is mounted there already");
        return Err(MountError::new("already-mounted", 1, message));
    }
    let mode = match rustix::fs::lstat(&options.mountpoint) {
        Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => stat.st_mode,
        Ok(_) => {
            let message = format!("{path}: not a directory");
            return Err(MountError::new("mount-failed", 1, message));
        }
        Err(errno) => {
            return Err(MountError::new(
                "mount-failed",
                1,
                format!("{path}: {errno}"),
            ));
        }
    };
    let ordinary_user = !rustix::process::geteuid().is_root();
    match mount_directly(options, mode) {
        Err(Errno::PERM) => mount_by_helper(options),
        // The device may be root's alone: the helper opens it itself.
        Err(Errno::ACCESS) if ordinary_user => mount_by_helper(options),
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => Err(MountError::new(
            "no-fuse",
            5,
            format!("{FUSE_DEVICE} is missing: load the fuse module, or mount with --engine none"),
        )),
        Err(Errno::ACCESS) => Err(MountError::new(
            "permission",
            5,
            format!("{FUSE_DEVICE} or {path}: permission denied"),
        )),
        Err(errno) => Err(MountError::new(
            "mount-failed",
            1,
            format!("mount {path}: {errno}"),
        )),
        Ok(fd) => Ok(fd),
    }
}

fn mount_directly(options: &MountOptions, mode: u32) -> Result<OwnedFd, Errno> {
    use rustix::fs::{Mode, OFlags, open};

    let device = open(FUSE_DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let mut data = format!(
        "fd={},rootmode={:o},user_id={uid},group_id={gid},default_permissions",
        device.as_raw_fd(),
        mode & libc::S_IFMT,
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    if options.read_only {
        flags |= MountFlags::RDONLY;
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let kind = format!("fuse.{SUBTYPE}");
    rustix::mount::mount(
        options.source.as_str(),
        &options.mountpoint,
        kind,
        flags,
        &*data,
    )?;
    Ok(device)
}

/// An ordinary user mounts through the setuid helper, which passes the descriptor over a socket.
fn mount_by_helper(options: &MountOptions) -> Result<OwnedFd, MountError> {
    let path = options.mountpoint.display();
    let helper = helper().ok_or_else(|| {
        let message = "fusermount3 is missing: install the package fuse3, or mount as root";
        MountError::new("permission", 5, message.to_owned())
    })?;
    let failed = |error: io::Error| {
        let message = format!("{}: {error}", helper.display());
        MountError::new("mount-failed", 1, message)
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    let access = if options.read_only { "ro" } else { "rw" };
    let others = if options.allow_other {
        ",allow_other"
    } else {
        ""
    };
    // A comma ends an option; the helper takes a backslash before it (fusermount.c, get_next_opt).
    let source = options.source.replace('\\', "\\\\").replace(',', "\\,");
    let arguments = format!(
        "{access},nosuid,nodev,default_permissions,subtype={SUBTYPE}{others},fsname={source}"
    );
    let socket = theirs.as_raw_fd();
    let mut command = Command::new(&helper);
    command
        .arg("-o")
        .arg(arguments)
        .arg("--")
        .arg(&options.mountpoint)
        .env("_FUSE_COMMFD", socket.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe; the
    // descriptor is open in the parent until the child was waited for.
    unsafe {
        command.pre_exec(move || {
            if libc::fcntl(socket, libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child = command.spawn().map_err(failed)?;
    drop(command);
    drop(theirs);
    let received = receive_descriptor(&ours);
    let output = child.wait_with_output().map_err(failed)?;
    match received {
        Ok(Some(fd)) if output.status.success() => Ok(fd),
        _ => {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let message = format!("mount {path}: {reason}");
            Err(MountError::new("permission", 5, message))
        }
    }
}

fn receive_descriptor(socket: &std::os::unix::net::UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            return Ok(fds.next());
        }
    }
    Ok(None)
}

/// The environment has no say: the keeper's own is empty.
fn helper() -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"]
        .into_iter()
        .map(|dir| Path::new(dir).join("fusermount3"))
        .find(|path| path.exists())
}

/// One line of /proc/self/mountinfo.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountInfo {
    pub device: String,
    pub mountpoint: PathBuf,
    pub kind: String,
    pub source: OsString,
}

impl MountInfo {
    pub fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind.starts_with("fuse.")
    }

    /// proc(5): id, parent, major:minor, root, mountpoint, options, optional fields, `-`, type,
    /// source, options. Blanks and the like are octal escapes.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let device = fields.nth(2)?;
        let mountpoint = fields.nth(1)?;
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = rest.next()?;
        let source = rest.next()?;
        Some(Self {
            device: String::from_utf8_lossy(device).into_owned(),
            mountpoint: PathBuf::from(unescape(mountpoint)),
            kind: String::from_utf8_lossy(kind).into_owned(),
            source: unescape(source),
        })
    }
}

fn unescape(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let octal = text.get(at + 1..at + 4).filter(|_| text[at] == b'\\');
        let value = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                at += 4;
            }
            None => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(bytes)
}

fn mounts() -> Vec<MountInfo> {
    let Ok(file) = std::fs::File::open("/proc/self/mountinfo") else {
        return Vec::new();
    };
    let lines = BufReader::new(file).split(b'\n');
    lines
        .map_while(Result::ok)
        .filter_map(|line| MountInfo::parse(&line))
        .collect()
}

/// The mount that is on top at a path. Reading the list asks no file system anything.
pub fn mounted_at(path: &Path) -> Option<MountInfo> {
    // The parent is not ours, so it can be resolved; the mountpoint itself is not touched.
    let real = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => std::fs::canonicalize(parent).ok()?.join(name),
        _ => path.to_owned(),
    };
    mounts()
        .into_iter()
        .rev()
        .find(|mount| mount.mountpoint == real)
}

/// Our mount by its source and device, wherever it is now; `None` when it is gone from this name
/// space.
pub fn find(source: &str, device: Option<&str>) -> Option<MountInfo> {
    mounts().into_iter().rev().find(|mount| {
        mount.is_fuse()
            && mount.source.as_os_str() == OsStr::new(source)
            && device.is_none_or(|device| device == mount.device)
    })
}

/// Unmounts; from a thread that serves no FUSE requests, since the kernel may send some.
pub fn unmount(mount: &MountInfo, lazy: bool) -> Result<(), Errno> {
    let mut flags = UnmountFlags::NOFOLLOW;
    if lazy {
        flags |= UnmountFlags::DETACH;
    }
    match rustix::mount::unmount(&mount.mountpoint, flags) {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {
            unmount_by_helper(&mount.mountpoint, lazy)
        }
        // Somebody else was faster.
        Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn unmount_by_helper(mountpoint: &Path, lazy: bool) -> Result<(), Errno> {
    let helper = helper().ok_or(Errno::PERM)?;
    let mut command = Command::new(helper);
    command.arg("-u");
    if lazy {
        command.arg("-z");
    }
    let output = command
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    log::warn!("fusermount3: {}", reason.trim());
    Err(if reason.contains("busy") {
        Errno::BUSY
    } else {
        Errno::PERM
    })
}

/// Kernel read-ahead without passthrough; INIT cannot raise it beyond 128 KiB, root can.
const READ_AHEAD_KIB: u32 = 1024;

pub fn raise_read_ahead(mount: &MountInfo) {
    let path = format!("/sys/class/bdi/{}/read_ahead_kb", mount.device);
    // An ordinary user may not, and reads are only slower then.
    if let Err(error) = std::fs::write(&path, READ_AHEAD_KIB.to_string()) {
        log::info!("{path}: {error}");
    }
}

/// How deep a passthrough file system on top of this one is stacked; 0: passthrough is impossible.
pub fn stack_depth(store: impl AsFd) -> u32 {
    /// statfs(2): OVERLAYFS_SUPER_MAGIC.
    const OVERLAYFS: i64 = 0x794c_7630;

    match rustix::fs::fstatfs(store) {
        Ok(stat) if stat.f_type == OVERLAYFS => 2,
        _ => 1,
    }
}

/// A copy of the session's descriptor, for the probe of passthrough.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    let duplicate = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
    Ok(duplicate)
}

/// Closes a passthrough id that was opened by hand.
pub fn close_backing(device: &OwnedFd, id: u32) -> io::Result<()> {
    /// `_IOW(229, 2, uint32_t)`, linux/fuse.h since 6.9.
    const FUSE_DEV_IOC_BACKING_CLOSE: libc::c_ulong = 0x4004_e502;

    // SAFETY: the request takes a pointer to a u32, which lives across the call.
    let result = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            FUSE_DEV_IOC_BACKING_CLOSE,
            &raw const id,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn reads_mountinfo() {
        let line = b"36 35 0:98 / /mnt/a\\040b rw,noatime shared:1 - fuse.modelcache modelcache#/s\\134x rw";
        let mount = MountInfo::parse(line).expect("a mount");
        assert_eq!(mount.device, "0:98");
        assert_eq!(mount.mountpoint, Path::new("/mnt/a b"));
        assert!(mount.is_fuse());
        assert_eq!(mount.source, OsStr::from_bytes(b"modelcache#/s\\x"));
        assert!(MountInfo::parse(b"36 35").is_none());
        assert!(mounted_at(Path::new("/")).is_some());
    }
}
