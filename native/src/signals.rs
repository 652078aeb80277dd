//! Signals, taken one by one by a thread of their own: SIGTERM and SIGINT end the mount, a
//! real-time signal tells of a broken lease.

use std::sync::Arc;

use serde_json::json;

use crate::core::Core;
use crate::leases;
use crate::lifecycle::{Lifecycle, Signal};

fn wanted() -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset before anything else looks at it, and the
    // signal numbers are valid.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGIO, leases::signal()] {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Blocks the signals for this thread and all that it starts, and ignores those of a closed
/// terminal or socket. Called before there are threads.
pub fn block() {
    let set = wanted();
    // SAFETY: the set is valid, and SIG_IGN is a valid disposition for both signals.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// Runs until the process ends.
pub fn wait(core: &Arc<Core>, lifecycle: &Arc<Lifecycle>) {
    let set = wanted();
    loop {
        // SAFETY: the set is valid and blocked in all threads; the kernel fills the structure
        // before a positive result, and it is not looked at otherwise.
        let (signal, fd) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let signal = libc::sigwaitinfo(&raw const set, &raw mut info);
            (signal, si_fd(&info))
        };
        match signal {
            libc::SIGTERM | libc::SIGINT => lifecycle.signal(Signal::Terminate),
            // The queue of real-time signals was full: look at all leases.
            libc::SIGIO => {
                for fd in core.leases.breaking() {
                    broken(core, fd);
                }
            }
            signal if signal == leases::signal() => broken(core, fd),
            _ => {}
        }
    }
}

fn broken(core: &Core, fd: i32) {
    if let Some((lease, id)) = core.leases.signalled(fd) {
        core.mark_names(id.ino);
        core.forget_cached(id.ino);
        core.link.event(&json!({ "t": "broken", "lease": lease }));
    }
}

/// `si_fd` of a SIGIO-like signal (sigaction(2)); libc has no name for it. The structure begins
/// with three ints (signo, errno, code), then, aligned to 8 bytes, the union of which the member
/// `_sigpoll` is a long and this int (asm-generic/siginfo.h).
unsafe fn si_fd(info: &libc::siginfo_t) -> i32 {
    #[repr(C)]
    struct SigPoll {
        signo: i32,
        errno: i32,
        code: i32,
        band: libc::c_long,
        fd: i32,
    }
    const { assert!(size_of::<SigPoll>() <= size_of::<libc::siginfo_t>()) };
    let info = std::ptr::from_ref(info).cast::<SigPoll>();
    // SAFETY: siginfo_t is larger than SigPoll and as strictly aligned; every bit pattern is a
    // valid int. What it means depends on the signal, which the caller looks at.
    unsafe { (*info).fd }
}
