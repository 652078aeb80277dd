//! The daemon: started, listened to, reaped and started again, as long as the mount lives.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal as ProcessSignal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

use crate::core::Core;
use crate::frames::{read_frame, write_frame};
use crate::lifecycle::{Lifecycle, Signal};
use crate::protocol::{FromDaemon, VERSION};
use crate::service::Service;

/// The descriptor that the daemon finds its end of the socket pair on.
const DAEMON_FD: i32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// After this long a service the next restart is immediate again.
const GOOD_SERVICE: Duration = Duration::from_secs(60);
/// Exits before `ready`, one after the other, after which something has to be done about it.
const MAX_EARLY_EXITS: u32 = 5;
/// A daemon whose socket ended but that goes on running is killed after this.
const EXIT_GRACE_MS: i64 = 2000;

#[derive(Default)]
struct Daemon {
    pid: AtomicU32,
    /// A descriptor of the process, so that no other process of that number is ever killed.
    pidfd: Mutex<Option<OwnedFd>>,
}

pub struct Supervisor {
    core: Arc<Core>,
    lifecycle: Arc<Lifecycle>,
    daemon: Daemon,
    /// The daemon that runs (or ran last) said `ready`, `failed`, `done`.
    ready: AtomicBool,
    failed: AtomicBool,
    done: AtomicBool,
    /// One daemon or other was ready.
    ever_ready: AtomicBool,
}

impl Supervisor {
    pub fn new(core: Arc<Core>, lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            core,
            lifecycle,
            daemon: Daemon::default(),
            ready: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            done: AtomicBool::new(false),
            ever_ready: AtomicBool::new(false),
        }
    }

    /// 0 when none runs.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.pid.load(Ordering::Acquire)
    }

    pub fn kill(&self) {
        if let Some(pidfd) = &*self.daemon.pidfd.lock()
            && let Err(errno) = pidfd_send_signal(pidfd, ProcessSignal::KILL)
        {
            log::warn!("kill the daemon: {errno}");
        }
    }

    /// Runs on a thread that lives as long as the process: the daemon is told of the death of the
    /// thread that started it (prctl(2), PR_SET_PDEATHSIG).
    pub fn run(&self) {
        let mut delay = Duration::ZERO;
        let mut early_exits = 0;
        loop {
            let started = Instant::now();
            let outcome = self.serve_once();
            let hopeless =
                self.failed.load(Ordering::Acquire) && !self.ever_ready.load(Ordering::Acquire);
            if self.lifecycle.is_ending() || self.done.load(Ordering::Acquire) || hopeless {
                self.lifecycle.signal(Signal::DaemonEnded);
                return;
            }
            let message = match outcome {
                Ok(status) => format!("it ended: {status}"),
                Err(error) => format!("{}: {error}", self.core.config.daemon.command[0]),
            };
            log::warn!("the daemon: {message}");
            if self.ready.load(Ordering::Acquire) {
                early_exits = 0;
            } else {
                early_exits += 1;
            }
            if self.failed.load(Ordering::Acquire) {
                delay = LONGEST_DELAY;
            }
            if early_exits >= MAX_EARLY_EXITS {
                self.lifecycle.signal(Signal::DaemonGaveUp { message });
                delay = LONGEST_DELAY;
            }
            if started.elapsed() >= GOOD_SERVICE {
                delay = Duration::ZERO;
            }
            if self.lifecycle.sleep_unless_ending(delay) {
                self.lifecycle.signal(Signal::DaemonEnded);
                return;
            }
            delay = (delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
            self.core.restarts.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn serve_once(&self) -> io::Result<std::process::ExitStatus> {
        self.ready.store(false, Ordering::Release);
        self.failed.store(false, Ordering::Release);
        if let Err(errno) = self.core.dirty_log.compact() {
            // A full disk: the log is longer than it need be, which costs hashes.
            log::warn!("dirty.log: {errno}");
        }
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = self.spawn(theirs)?;
        self.note_started(&child);
        let connection = self.core.link.connected(&self.hello());
        let status = std::thread::scope(|scope| {
            scope.spawn(|| self.write(&ours, connection));
            scope.spawn(|| self.read(&ours, connection));
            let status = child.wait();
            // What the daemon sent before it ended is still read (unix(7): a shut down socket
            // delivers its queue), then the socket ends, even if a child of the daemon's holds
            // the other end.
            let _ = ours.shutdown(std::net::Shutdown::Both);
            status
        });
        *self.daemon.pidfd.lock() = None;
        self.daemon.pid.store(0, Ordering::Release);
        self.core.leases.drop_all();
        status
    }

    fn spawn(&self, socket: UnixStream) -> io::Result<Child> {
        let config = &self.core.config;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open("log/daemon.log")?;
        let number = socket.as_raw_fd();
        let keeper = std::process::id();
        let mut command = Command::new(&config.daemon.command[0]);
        command
            .args(&config.daemon.command[1..])
            .env_clear()
            .envs(&config.daemon.env)
            .current_dir(&config.store)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // SAFETY: between fork and exec only async-signal-safe calls are made (signal-safety(7),
        // and prctl, which is a bare system call); nothing is allocated, and the descriptor is
        // open in the parent until spawn returns.
        unsafe {
            command.pre_exec(move || prepare_child(number, keeper));
        }
        command.spawn()
    }

    fn note_started(&self, child: &Child) {
        let pid = Pid::from_child(child);
        self.daemon.pid.store(child.id(), Ordering::Release);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => *self.daemon.pidfd.lock() = Some(pidfd),
            Err(errno) => log::warn!("pidfd_open: {errno}"),
        }
    }

    fn hello(&self) -> Value {
        let config = &self.core.config;
        let passthrough = self.core.passthrough.read().clone();
        json!({
            "t": "hello",
            "version": VERSION,
            "keeperPid": std::process::id(),
            "mountpoint": config.mountpoint.to_string_lossy(),
            "store": config.store.to_string_lossy(),
            "readOnly": config.read_only,
            "clean": self.lifecycle.scanned.load(Ordering::Acquire),
            "restarts": self.core.restarts.load(Ordering::Acquire),
            "config": config.daemon_config,
            "passthrough": { "active": passthrough.active, "reason": passthrough.reason },
        })
    }

    fn write(&self, mut socket: &UnixStream, connection: u64) {
        while let Some(message) = self.core.link.next_outgoing(connection) {
            if let Err(error) = write_frame(&mut socket, &message) {
                log::warn!("write to the daemon: {error}");
                break;
            }
        }
        // Wakes the reader here and the daemon there.
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }

    fn read(&self, mut socket: &UnixStream, connection: u64) {
        let service = Service {
            core: self.core.clone(),
            lifecycle: self.lifecycle.clone(),
            connection,
        };
        loop {
            match read_frame(&mut socket) {
                Ok(Some(frame)) => {
                    self.core.link.heard();
                    match serde_json::from_slice::<FromDaemon>(&frame) {
                        Ok(message) => {
                            self.listen(&message);
                            service.take(message);
                        }
                        Err(error) => {
                            log::error!("the daemon's message is not understood: {error}");
                            self.kill();
                            break;
                        }
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    log::warn!("read from the daemon: {error}");
                    break;
                }
            }
        }
        self.core.link.disconnected(connection);
        self.kill_unless_it_ends();
    }

    fn listen(&self, message: &FromDaemon) {
        match message {
            FromDaemon::Ready => {
                self.ready.store(true, Ordering::Release);
                self.ever_ready.store(true, Ordering::Release);
            }
            FromDaemon::Failed { .. } => self.failed.store(true, Ordering::Release),
            FromDaemon::Done { .. } => self.done.store(true, Ordering::Release),
            _ => {}
        }
    }

    /// Its socket ended, so it has to end.
    fn kill_unless_it_ends(&self) {
        let ended = {
            let pidfd = self.daemon.pidfd.lock();
            let Some(pidfd) = &*pidfd else {
                return;
            };
            let Ok(pidfd) = pidfd.try_clone() else {
                return;
            };
            pidfd
        };
        let timeout = rustix::time::Timespec {
            tv_sec: EXIT_GRACE_MS / 1000,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&ended, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)) == Ok(0) {
            log::warn!("the daemon closed its socket but goes on: it is killed");
            self.kill();
        }
    }
}

/// In the child, before exec: the socket as descriptor 3, the signals as a new process has them,
/// and an end with the keeper's.
fn prepare_child(socket: i32, keeper: u32) -> io::Result<()> {
    let check = |result: libc::c_int| {
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: plain system calls on values of ours; the signal set is initialised by sigemptyset
    // before it is used.
    unsafe {
        if socket == DAEMON_FD {
            check(libc::fcntl(socket, libc::F_SETFD, 0))?;
        } else {
            check(libc::dup2(socket, DAEMON_FD))?;
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut(),
        ))?;
        libc::signal(libc::SIGHUP, libc::SIG_DFL);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::umask(0o077);
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // It may have ended before the line above.
        if libc::getppid() as u32 != keeper {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    Ok(())
}
