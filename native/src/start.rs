//! From the configuration on stdin to a mount that answers, and from its end to the exit code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open, openat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::config::StartConfig;
use crate::core::{Core, Parts};
use crate::lifecycle::{Ended, LONGEST_SILENCE, LOOK_AROUND, Lifecycle, Serving, Signal, State};
use crate::mount::MountError;
use crate::notify::{Notification, Notify};
use crate::pool::Pool;
use crate::session;
use crate::signals;
use crate::status::{self, Status};
use crate::supervisor::Supervisor;
use crate::unclean::{mark_unclean, remove_unclean};

/// Why the keeper could not start, or the mount could not be served.
#[derive(Debug)]
pub struct StartError {
    code: &'static str,
    pub message: String,
    pub exit: i32,
    /// The mount was there for a moment, and something was written to it.
    changed: bool,
}

impl StartError {
    fn new(code: &'static str, message: String) -> Self {
        Self {
            code,
            message,
            exit: 1,
            changed: false,
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "error": { "code": self.code, "message": self.message, "exitCode": self.exit },
        })
    }
}

impl From<MountError> for StartError {
    fn from(error: MountError) -> Self {
        Self {
            code: error.code,
            message: error.message,
            exit: error.exit,
            changed: false,
        }
    }
}

pub fn failed(what: &str, error: impl std::fmt::Display) -> StartError {
    StartError::new("start-failed", format!("{what}: {error}"))
}

/// Threads that run continuations and the daemon's requests: each is short or waits for a disk.
const POOL_THREADS: usize = 6;
/// The session's threads end when the kernel closes the connection; who lingers is left.
const SESSION_GRACE: Duration = Duration::from_secs(2);

/// Descriptors beyond the soft limit are wanted for open files, leases and directories.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(errno) = setrlimit(Resource::Nofile, raised) {
        log::warn!("raise RLIMIT_NOFILE: {errno}");
    }
}

/// What was inherited beyond stdin, stdout and stderr is nothing of ours, and nor is the
/// environment. There is one thread yet.
fn scrub() {
    // SAFETY: no thread but this one exists, so nobody reads the environment meanwhile; nothing
    // in this process owns a descriptor above 2 yet.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
        libc::clearenv();
    }
}

/// Writes the readiness line and closes stdout: the reader sees the end of it.
pub fn tell(line: &Value) {
    let mut stdout = io::stdout().lock();
    // Whoever waited may be gone.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // SAFETY: both descriptors are open; descriptor 1 goes on being one of stdout's.
        unsafe {
            libc::dup2(null.as_raw_fd(), 1);
        }
    }
}

/// The store, locked and entered.
struct Store {
    dir: OwnedFd,
    /// Locked as long as this process lives; also what passthrough is tried with.
    lock: Arc<OwnedFd>,
    unclean: bool,
}

impl Store {
    fn open(config: &StartConfig) -> Result<Self, StartError> {
        let path = config.store.display();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(&config.store, flags, Mode::empty())
            .map_err(|errno| failed(&format!("store {path}"), errno))?;
        rustix::process::fchdir(&dir).map_err(|errno| failed(&format!("store {path}"), errno))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = openat(&dir, "lock", flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| failed(&format!("{path}/lock"), errno))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                let message = format!("store {path}: another mount uses it");
                return Err(StartError::new("store-locked", message));
            }
            Err(errno) => return Err(failed(&format!("{path}/lock"), errno)),
        }
        let unclean =
            mark_unclean(&dir).map_err(|errno| failed(&format!("{path}/unclean"), errno))?;
        Ok(Self {
            dir,
            lock: Arc::new(lock),
            unclean,
        })
    }
}

/// Runs the whole life of the mount; the result is the exit code.
pub fn run() -> Result<i32, StartError> {
    signals::block();
    scrub();
    rustix::process::umask(Mode::empty());
    // Failing leaves the executable's name.
    let _ = rustix::thread::set_name(c"modelcache-keeper");
    raise_limit();
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| failed("stdin", error))?;
    let config = StartConfig::parse(&text).map_err(|message| StartError {
        code: "usage",
        message,
        exit: 2,
        changed: false,
    })?;
    if let Some(fault) = config.fault.clone() {
        crate::fault::arm(fault).map_err(|message| StartError {
            code: "usage",
            message,
            exit: 2,
            changed: false,
        })?;
    }
    let store = Store::open(&config)?;
    let status_socket = status::bind().map_err(|error| failed("run/keeper.sock", error))?;
    let mark =
        rustix::io::fcntl_dupfd_cloexec(&store.dir, 3).map_err(|errno| failed("store", errno))?;
    let unclean = store.unclean;
    let result = match serve(config, store, status_socket) {
        Ok(ended) => finish(&ended),
        Err(error) => {
            // What was written while the daemon started is found by looking at everything.
            if !unclean
                && !error.changed
                && let Err(errno) = remove_unclean(&mark)
            {
                log::warn!("unclean: {errno}");
            }
            Err(error)
        }
    };
    status::remove();
    result
}

/// The end of a mount that was served.
struct Served {
    core: Arc<Core>,
    ended: Ended,
    /// The kernel's session is over. After a lazy unmount it is not while programs use the mount.
    over: bool,
}

/// An error means that no program ever saw the mount.
fn serve(config: StartConfig, store: Store, socket: UnixListener) -> Result<Served, StartError> {
    let (notify, notifications) = Notify::new();
    let pool = Pool::start("pool", POOL_THREADS).map_err(|error| failed("threads", error))?;
    let (lifecycle, events) = Lifecycle::new(config.fs_name(), !store.unclean);
    let path = config.store.display().to_string();
    let parts = Parts {
        config,
        store: store.dir,
        notify,
        pool: Arc::new(pool),
        unclean: store.unclean,
    };
    let core =
        Arc::new(Core::open(parts).map_err(|errno| failed(&format!("store {path}"), errno))?);
    start_threads(&core, &lifecycle, notifications).map_err(|error| failed("threads", error))?;
    let session = session::start(&core, &lifecycle, &store.lock)?;
    let supervisor = Arc::new(Supervisor::new(core.clone(), lifecycle.clone()));
    let status = Status {
        core: core.clone(),
        lifecycle: lifecycle.clone(),
        supervisor: supervisor.clone(),
    };
    spawn("status", move || status.serve(&socket)).map_err(|error| failed("threads", error))?;
    let supervised = supervisor.clone();
    let child =
        spawn("supervisor", move || supervised.run()).map_err(|error| failed("threads", error))?;
    let watched = session::watch(session, &lifecycle).map_err(|error| failed("threads", error))?;
    let kill = || supervisor.kill();
    let ended = supervisor.clone();
    core.link.end_daemon_by(move || ended.kill());
    if let Err(mut error) = wait_until_ready(&core, &lifecycle, &events) {
        lifecycle.end();
        supervisor.kill();
        if let Err(failure) = lifecycle.unmount(true) {
            log::error!("{}", failure.message);
        }
        let over = join_within(watched, SESSION_GRACE);
        error.changed = !over || core.changes.any() || !core.dirty.ids().is_empty();
        return Err(error);
    }
    let serving = Serving {
        core: &core,
        lifecycle: &lifecycle,
        signals: &events,
        kill_daemon: &kill,
    };
    let ended = serving.run();
    let over = join_within(watched, SESSION_GRACE);
    join_within(child, SESSION_GRACE);
    Ok(Served { core, ended, over })
}

pub fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
}

fn start_threads(
    core: &Arc<Core>,
    lifecycle: &Arc<Lifecycle>,
    notifications: Receiver<Notification>,
) -> io::Result<()> {
    let (signalled, life) = (core.clone(), lifecycle.clone());
    spawn("signals", move || signals::wait(&signalled, &life))?;
    let notified = core.clone();
    spawn("notify", move || notified.notify.run(&notifications))?;
    let watched = core.clone();
    spawn("deadlines", move || watched.link.watch_deadlines())?;
    Ok(())
}

fn wait_until_ready(
    core: &Core,
    lifecycle: &Lifecycle,
    events: &Receiver<Signal>,
) -> Result<(), StartError> {
    let daemon_failed = |exit, message| StartError {
        code: "daemon-failed",
        message,
        exit,
        changed: false,
    };
    loop {
        match events.recv_timeout(LOOK_AROUND) {
            Ok(Signal::DaemonReady) => break,
            Ok(Signal::DaemonFailed { exit, message }) => {
                return Err(daemon_failed(exit, message));
            }
            Ok(Signal::DaemonGaveUp { message }) => {
                let message =
                    format!("the daemon cannot be started ({message}); see log/daemon.log");
                return Err(daemon_failed(1, message));
            }
            Ok(Signal::Terminate) => {
                return Err(StartError::new(
                    "interrupted",
                    "told to end while starting".to_owned(),
                ));
            }
            Ok(Signal::DaemonEnded) => {
                return Err(daemon_failed(
                    1,
                    "the daemon ended before it was ready".to_owned(),
                ));
            }
            Ok(Signal::SessionEnded) => {
                let message = "the mount was taken away while starting".to_owned();
                return Err(StartError::new("mount-failed", message));
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) if core.link.silence() > LONGEST_SILENCE => {
                let message = "the daemon says nothing; see log/daemon.log".to_owned();
                return Err(daemon_failed(1, message));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(error) => return Err(failed("the keeper's threads", error)),
        }
    }
    lifecycle.set_state(State::Serving);
    let passthrough = core.passthrough.read().clone();
    tell(&json!({
        "ready": true,
        "pid": std::process::id(),
        "passthrough": { "active": passthrough.active, "reason": passthrough.reason },
    }));
    Ok(())
}

/// False if the thread did not end in time.
fn join_within(thread: std::thread::JoinHandle<()>, grace: Duration) -> bool {
    let until = Instant::now() + grace;
    while !thread.is_finished() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if thread.join().is_err() {
        log::error!("a thread panicked");
    }
    true
}

/// Nothing dirty: the next mount compares no stamps. What the dirty log still names is local-only
/// and has no row (the daemon deleted it before `done`).
fn finish(served: &Served) -> Result<i32, StartError> {
    let core = &served.core;
    core.leases.drop_all();
    match served.ended.dirty {
        // Programs may have written after the last commit: the next mount looks at everything.
        Some(0) if !served.over => Ok(0),
        Some(0) => {
            core.dirty_log
                .clear()
                .map_err(|errno| failed("dirty.log", errno))?;
            remove_unclean(&core.store).map_err(|errno| failed("unclean", errno))?;
            Ok(0)
        }
        Some(_) => Ok(3),
        // No daemon said so: the next mount looks at everything.
        None if core.dirty.ids().is_empty() => Ok(0),
        None => Ok(3),
    }
}
