//! A few threads for what must not run on the threads that serve the kernel: continuations of
//! requests that waited for the daemon, and the daemon's own requests.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

pub type Job = Box<dyn FnOnce() + Send>;

/// The queue has no bound of its own: each job belongs to a request of the kernel or the daemon,
/// and both are bounded where they come from.
pub struct Pool {
    jobs: Mutex<Sender<Job>>,
}

impl Pool {
    /// The threads live as long as the process.
    pub fn start(name: &str, threads: usize) -> std::io::Result<Self> {
        let (sender, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..threads {
            let receiver = receiver.clone();
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || work(&receiver))?;
        }
        Ok(Self {
            jobs: Mutex::new(sender),
        })
    }

    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        if self.jobs.lock().send(Box::new(job)).is_err() {
            log::error!("the worker threads are gone");
        }
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        let job = receiver.lock().recv();
        let Ok(job) = job else {
            return;
        };
        // A bug in one job must not take the thread away from all others. What the job held
        // (replies answer EIO when dropped) is dropped by the unwinding.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            log::error!("a request panicked; its caller got EIO");
        }
    }
}
