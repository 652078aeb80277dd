//! What happens to the mount as a whole: its end, and who begins it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use serde_json::json;

use crate::core::Core;
use crate::link::{Failure, Phase};
use crate::mount;

/// What the main thread acts on.
#[derive(Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Terminate,
    /// The kernel ended the session: the mount is gone.
    SessionEnded,
    DaemonReady,
    /// The daemon said that it cannot serve this mount.
    DaemonFailed {
        exit: i32,
        message: String,
    },
    /// The daemon ended before `ready` again and again.
    DaemonGaveUp {
        message: String,
    },
    /// The daemon ended, and no other is started.
    DaemonEnded,
    Done {
        dirty: u64,
    },
    Committed,
}

/// Where the mount is, for `status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Starting,
    Serving,
    Draining,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

pub struct Lifecycle {
    sender: Mutex<Sender<Signal>>,
    source: String,
    /// `major:minor` of the mount: what tells it from a stale one of the same store.
    device: OnceLock<String>,
    state: Mutex<State>,
    /// The daemon asked for the unmount, so it need not be told.
    unmounted_by_daemon: AtomicBool,
    /// No further daemon is started.
    ending: Mutex<bool>,
    ended: Condvar,
    /// A commit was made since the last stop that was not clean: the stamps were all compared.
    pub scanned: AtomicBool,
    /// What is wrong with the daemon, for `status`.
    pub trouble: Mutex<Option<String>>,
}

impl Lifecycle {
    pub fn new(source: String, clean: bool) -> (Arc<Self>, Receiver<Signal>) {
        let (sender, receiver) = channel();
        let lifecycle = Self {
            sender: Mutex::new(sender),
            source,
            device: OnceLock::new(),
            state: Mutex::new(State::Starting),
            unmounted_by_daemon: AtomicBool::new(false),
            ending: Mutex::new(false),
            ended: Condvar::new(),
            scanned: AtomicBool::new(clean),
            trouble: Mutex::new(None),
        };
        (Arc::new(lifecycle), receiver)
    }

    pub fn signal(&self, signal: Signal) {
        if self.sender.lock().send(signal).is_err() {
            log::debug!("a signal after the end");
        }
    }

    pub fn state(&self) -> State {
        *self.state.lock()
    }

    pub fn set_state(&self, state: State) {
        *self.state.lock() = state;
    }

    pub fn mounted_as(&self, device: String) {
        // There is one mount in the life of the process.
        let _ = self.device.set(device);
    }

    /// Takes the mount out of the name space. Not mounted is fine.
    pub fn unmount(&self, lazy: bool) -> Result<(), Failure> {
        let ours = mount::find(&self.source, self.device.get().map(String::as_str));
        let Some(ours) = ours else {
            return Ok(());
        };
        self.unmounted_by_daemon.store(true, Ordering::Release);
        mount::unmount(&ours, lazy).map_err(|errno| {
            self.unmounted_by_daemon.store(false, Ordering::Release);
            let path = ours.mountpoint.display();
            Failure {
                errno,
                message: format!("unmount {path}: {errno}"),
            }
        })
    }

    pub fn end(&self) {
        *self.ending.lock() = true;
        self.ended.notify_all();
    }

    pub fn is_ending(&self) -> bool {
        *self.ending.lock()
    }

    /// Sleeps, but not beyond the end; true if it came.
    pub fn sleep_unless_ending(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut ending = self.ending.lock();
        while !*ending && Instant::now() < until {
            self.ended.wait_until(&mut ending, until);
        }
        *ending
    }
}

/// After `done` the daemon has nothing to do but to exit.
const EXIT_GRACE: Duration = Duration::from_secs(5);
/// Without a daemon a busy mount is left to those who use it after this.
const BUSY_GRACE: Duration = Duration::from_secs(5);
const BUSY_RETRY: Duration = Duration::from_millis(100);

pub const LOOK_AROUND: Duration = Duration::from_secs(1);
/// A daemon that drains asks for leases and snapshots; the longest it is silent is while it hashes
/// one file. One that hangs must not keep the mount for ever.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// How the mount ended.
pub struct Ended {
    /// Files whose content is not in the log; `None` when no daemon said so.
    pub dirty: Option<u64>,
}

/// Serves until the end: `drain`, `done`, the daemon's exit.
pub struct Serving<'a> {
    pub core: &'a Core,
    pub lifecycle: &'a Lifecycle,
    pub signals: &'a Receiver<Signal>,
    /// Ends a daemon that does not end by itself.
    pub kill_daemon: &'a dyn Fn(),
}

impl Serving<'_> {
    pub fn run(&self) -> Ended {
        let mut draining = false;
        // By a signal: a mount that was unmounted in another way is not told so twice by the first.
        let mut told = false;
        let mut unmounted = false;
        let mut gave_up = false;
        loop {
            let signal = match self.signals.recv_timeout(LOOK_AROUND) {
                Ok(signal) => signal,
                Err(RecvTimeoutError::Disconnected) => return Ended { dirty: None },
                Err(RecvTimeoutError::Timeout) => {
                    if draining && self.core.link.silence() > LONGEST_SILENCE {
                        log::error!("the daemon says nothing more: ending without it");
                        return self.end_alone();
                    }
                    continue;
                }
            };
            match signal {
                Signal::Terminate if told => {
                    log::warn!("told to end twice: ending without the daemon");
                    return self.end_alone();
                }
                Signal::Terminate => {
                    told = true;
                    if !draining {
                        self.drain("signal", false);
                    }
                    draining = true;
                }
                Signal::SessionEnded => {
                    unmounted = true;
                    let known = self.lifecycle.unmounted_by_daemon.load(Ordering::Acquire);
                    self.core.notify.stop();
                    if !draining && !known {
                        self.drain("unmounted", true);
                    }
                    self.lifecycle.set_state(State::Draining);
                    draining = true;
                }
                Signal::DaemonReady => {
                    gave_up = false;
                    *self.lifecycle.trouble.lock() = None;
                    if draining {
                        // The one that was told before is gone.
                        self.drain("restart", unmounted);
                    }
                }
                Signal::DaemonFailed { message, .. } | Signal::DaemonGaveUp { message } => {
                    gave_up = true;
                    log::error!(
                        "the daemon cannot be started: {message}. Local files are served; what is \
                         remote is not. It is tried again every few seconds; see log/daemon.log"
                    );
                    *self.lifecycle.trouble.lock() = Some(message);
                }
                Signal::Committed => self.lifecycle.scanned.store(true, Ordering::Release),
                Signal::Done { dirty } => return self.end_with(dirty),
                Signal::DaemonEnded => return Ended { dirty: None },
            }
            if draining && gave_up && self.core.link.phase() == Phase::Down {
                return self.end_alone();
            }
        }
    }

    fn drain(&self, reason: &str, unmounted: bool) {
        self.lifecycle.set_state(State::Draining);
        // A daemon that recovers is told when it is ready.
        if self.core.link.phase() == Phase::Ready {
            let drain = json!({ "t": "drain", "reason": reason, "unmounted": unmounted });
            self.core.link.event(&drain);
        }
    }

    fn end_with(&self, dirty: u64) -> Ended {
        self.lifecycle.set_state(State::Draining);
        self.lifecycle.end();
        let until = Instant::now() + EXIT_GRACE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.signals.recv_timeout(left) {
                Ok(Signal::DaemonEnded) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    log::warn!("the daemon did not exit after it was done");
                    (self.kill_daemon)();
                    break;
                }
            }
        }
        self.leave();
        Ended { dirty: Some(dirty) }
    }

    /// Unmounts without a daemon: nothing is committed, and what is dirty stays for the next mount.
    fn end_alone(&self) -> Ended {
        self.lifecycle.set_state(State::Draining);
        self.lifecycle.end();
        let until = Instant::now() + BUSY_GRACE;
        loop {
            match self.lifecycle.unmount(false) {
                Err(failure) if failure.errno == Errno::BUSY && Instant::now() < until => {
                    std::thread::sleep(BUSY_RETRY);
                }
                Ok(()) => break,
                Err(_) => {
                    self.leave();
                    break;
                }
            }
        }
        (self.kill_daemon)();
        Ended { dirty: None }
    }

    /// Whoever still uses the mount keeps what is open until this process ends.
    fn leave(&self) {
        if let Err(failure) = self.lifecycle.unmount(true) {
            log::error!("{}", failure.message);
        }
    }
}
