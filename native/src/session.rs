//! The kernel's session: the mount, the threads that serve it, passthrough.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{BackgroundSession, BackingId, Config, Session, SessionACL};

use crate::config::PassthroughWish;
use crate::core::Core;
use crate::lifecycle::{Lifecycle, Signal};
use crate::mount::{self, MountOptions};
use crate::ops::Mounted;
use crate::start::{StartError, failed, spawn};

/// Mounts, and lets the threads serve.
pub fn start(
    core: &Arc<Core>,
    lifecycle: &Lifecycle,
    lock: &OwnedFd,
) -> Result<BackgroundSession, StartError> {
    let config = &core.config;
    let off = config.passthrough == PassthroughWish::Off;
    let stack_depth = if off {
        0
    } else {
        mount::stack_depth(&core.store)
    };
    if off {
        "switched off".clone_into(&mut core.passthrough.write().reason);
    }
    let options = MountOptions {
        mountpoint: config.mountpoint.clone(),
        source: config.fs_name(),
        read_only: config.read_only,
        allow_other: config.allow_other,
    };
    let device = mount::mount(&options)?;
    let info = mount::mounted_at(&config.mountpoint);
    if let Some(info) = &info {
        lifecycle.mounted_as(info.device.clone());
    }
    let started = (|| {
        let mounted = Mounted {
            core: core.clone(),
            stack_depth,
        };
        let mut session_config = Config::default();
        session_config.n_threads = Some(config.threads);
        session_config.clone_fd = true;
        // Who may use the mount is the kernel's to decide (allow_other).
        let session = Session::from_fd(mounted, device, SessionACL::All, session_config)?;
        core.notify.attach(session.notifier());
        probe_passthrough(core, &session, lock)?;
        session.spawn()
    })();
    started
        .map_err(|error| {
            if let Err(failure) = lifecycle.unmount(true) {
                log::error!("{}", failure.message);
            }
            failed(&format!("serve {}", config.mountpoint.display()), error)
        })
        .inspect(|_| {
            if let Some(info) = &info
                && !core.passthrough_active.load(Ordering::Acquire)
            {
                mount::raise_read_ahead(info);
            }
        })
}

/// Registers a file of the store once: what capabilities say is not true in a user name space.
fn probe_passthrough(core: &Core, session: &Session<Mounted>, file: &OwnedFd) -> io::Result<()> {
    let mut passthrough = core.passthrough.write();
    if !passthrough.active {
        log::info!("passthrough is off: {}", passthrough.reason);
        return Ok(());
    }
    let device = mount::duplicate(session.as_fd())?;
    match BackingId::create_raw(&device, file) {
        Ok(id) => {
            mount::close_backing(&device, id)?;
            core.passthrough_active.store(true, Ordering::Release);
        }
        Err(error) => {
            passthrough.active = false;
            passthrough.reason = match error.raw_os_error() {
                Some(libc::EPERM) => "needs CAP_SYS_ADMIN (mount as root)".to_owned(),
                Some(libc::ELOOP) => "the store's file system is stacked too deep".to_owned(),
                _ => format!("the kernel refuses it: {error}"),
            };
            log::info!("passthrough is off: {}", passthrough.reason);
        }
    }
    Ok(())
}

/// Waits for the end of the session on a thread of its own.
pub fn watch(
    session: BackgroundSession,
    lifecycle: &Arc<Lifecycle>,
) -> io::Result<std::thread::JoinHandle<()>> {
    let lifecycle = lifecycle.clone();
    spawn("session", move || {
        if let Err(error) = session.join() {
            log::warn!("the session ended: {error}");
        }
        lifecycle.signal(Signal::SessionEnded);
    })
}
