//! Notifications to the kernel, from a thread of their own: they can wait for locks that a request
//! holds which waits for us.

use std::ffi::OsString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use fuser::{INodeNo, Notifier};
use parking_lot::Mutex;

pub enum Notification {
    /// Attributes only.
    Attributes(INodeNo),
    /// Attributes and all cached pages; never for a file that is open.
    Inode(INodeNo),
    Entry(INodeNo, OsString),
}

pub struct Notify {
    notifier: OnceLock<Notifier>,
    sender: Mutex<Sender<Notification>>,
    /// None are sent during shutdown: they would wait for a mount that goes away.
    stopped: AtomicBool,
}

impl Notify {
    pub fn new() -> (Self, Receiver<Notification>) {
        let (sender, receiver) = channel();
        let notify = Self {
            notifier: OnceLock::new(),
            sender: Mutex::new(sender),
            stopped: AtomicBool::new(false),
        };
        (notify, receiver)
    }

    pub fn attach(&self, notifier: Notifier) {
        // There is one session in the life of the process.
        let _ = self.notifier.set(notifier);
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub fn send(&self, notification: Notification) {
        if !self.stopped.load(Ordering::Acquire) && self.sender.lock().send(notification).is_err() {
            log::error!("the notification thread is gone");
        }
    }

    /// Forgets the cached attributes of an inode at once, on the calling thread. Only for an inode
    /// that the kernel pins with a request which we have not answered: then the inode cannot be
    /// in eviction, the kernel takes neither the inode's lock nor a page's (fs/fuse/inode.c,
    /// fuse_reverse_inval_inode with a negative offset), and nothing waits.
    pub fn forget_attributes_of_pinned(&self, ino: INodeNo) {
        if let Some(notifier) = self.notifier.get()
            && let Err(error) = notifier.inval_inode(ino, -1, 0)
        {
            log::warn!("forget attributes of inode {}: {error}", ino.0);
        }
    }

    /// Runs until the process ends.
    pub fn run(&self, receiver: &Receiver<Notification>) {
        for notification in receiver {
            let Some(notifier) = self.notifier.get() else {
                continue;
            };
            if self.stopped.load(Ordering::Acquire) {
                continue;
            }
            let result = match &notification {
                Notification::Attributes(ino) => notifier.inval_inode(*ino, -1, 0),
                Notification::Inode(ino) => notifier.inval_inode(*ino, 0, 0),
                Notification::Entry(ino, name) => notifier.inval_entry(*ino, name),
            };
            if let Err(error) = result {
                log::warn!("notify the kernel: {error}");
            }
        }
    }
}
