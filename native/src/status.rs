//! run/keeper.sock: one JSON line to anybody who connects, also while the daemon is away.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::core::Core;
use crate::counters::Counters;
use crate::lifecycle::Lifecycle;
use crate::link::Phase;
use crate::supervisor::Supervisor;

/// Relative to the store, which is the working directory: a socket's path is at most 107 bytes.
const SOCKET: &str = "run/keeper.sock";
/// Who connects and does not read must not hold up the next.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Binds the socket, for the owner alone. Called before there are threads: umask is the process's.
pub fn bind() -> std::io::Result<UnixListener> {
    match std::fs::remove_file(SOCKET) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(SOCKET);
    rustix::process::umask(before);
    listener
}

pub fn remove() {
    // The next start removes what is left.
    let _ = std::fs::remove_file(SOCKET);
}

pub struct Status {
    pub core: Arc<Core>,
    pub lifecycle: Arc<Lifecycle>,
    pub supervisor: Arc<Supervisor>,
}

impl Status {
    /// Runs until the process ends.
    pub fn serve(&self, listener: &UnixListener) {
        for stream in listener.incoming() {
            let written = stream.and_then(|mut stream| {
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                writeln!(stream, "{}", self.json())
            });
            if let Err(error) = written {
                log::info!("{SOCKET}: {error}");
            }
        }
    }

    fn json(&self) -> Value {
        let config = &self.core.config;
        let passthrough = self.core.passthrough.read().clone();
        let counters = &self.core.counters;
        let (open_files, open_for_writing) = self.core.handles.counts();
        let daemon = match self.core.link.phase() {
            Phase::Ready => "running",
            Phase::Starting => "starting",
            Phase::Down => "down",
        };
        json!({
            "pid": std::process::id(),
            "daemonPid": self.supervisor.daemon_pid(),
            "daemon": { "state": daemon, "trouble": *self.lifecycle.trouble.lock() },
            "restarts": self.core.restarts.load(Ordering::Acquire),
            "mountpoint": config.mountpoint.to_string_lossy(),
            "store": config.store.to_string_lossy(),
            "readOnly": config.read_only,
            "state": self.lifecycle.state().name(),
            "passthrough": { "active": passthrough.active, "reason": passthrough.reason },
            "stats": {
                "reads": Counters::get(&counters.reads),
                "readBytes": Counters::get(&counters.read_bytes),
                "writes": Counters::get(&counters.writes),
                "passthroughOpens": Counters::get(&counters.passthrough_opens),
                "openFiles": open_files,
                "openForWriting": open_for_writing,
                "dirty": self.core.dirty.ids().len(),
            },
        })
    }
}
