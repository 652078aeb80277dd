//! modelcache-keeper: holds one mount. It answers everything that the tree on disk can answer, and
//! starts the daemon, which knows the rest, again whenever it ends.
//!
//! Its contract: one JSON object on stdin, one line of JSON on stdout when the mount is ready or
//! cannot be, exit code 0 or 3 (unmounted with dirty data kept) at the end. See docs/protocol.md.

mod attr;
mod base64;
mod changes;
mod config;
mod core;
mod counters;
mod dir_fds;
mod dirty;
mod dirty_log;
mod extents;
mod fault;
mod flights;
#[cfg(test)]
mod format_vectors;
mod frames;
mod handles;
mod leases;
mod lifecycle;
mod link;
mod listing;
mod logger;
mod mount;
mod nodes;
mod notify;
mod objects;
mod ops;
mod pool;
mod protocol;
mod record;
mod resolve;
mod service;
mod session;
mod signals;
mod snapshot;
mod start;
mod status;
mod supervisor;
mod unclean;

fn main() -> ! {
    logger::install();
    match start::run() {
        Ok(exit) => std::process::exit(exit),
        Err(error) => {
            log::error!("{}", error.message);
            start::tell(&error.json());
            std::process::exit(error.exit);
        }
    }
}
