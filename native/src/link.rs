//! The link to the daemon, whichever one is alive: what is sent, what is waited for.
//!
//! Requests outlive a daemon: they are sent again to the next one until their waiters' deadlines.
//! Messages leave in the order in which they were given, and nobody waits for the socket.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use serde_json::{Value, json};

pub use crate::flights::{Answer, Failure, Key};
use crate::flights::{Flights, Waiter};
use crate::frames::MAX_FRAME_BYTES;
use crate::pool::Pool;
use crate::protocol::{Item, WireError, errno_by_name, name_of_errno};

/// Messages that a daemon that reads nothing may leave in memory. Beyond it the daemon is ended:
/// it hangs, and losing events costs hashes, never bytes (the dirty log is on disk).
const MAX_QUEUED_BYTES: usize = 256 * 1024 * 1024;
/// The daemon's own deadline comes first: its line names the CID and the reason. It counts from the
/// last bytes that arrived, too.
const SLACK: Duration = Duration::from_secs(5);
/// What a snapshot may have in the queue before it waits.
const ROOMY_BYTES: usize = 32 * 1024 * 1024;
/// A `changed` event is closed when it is longer: one more item, a path of at most 4096 bytes that
/// JSON may write six times as long, stays far below the longest frame.
const BATCH_BYTES: usize = 1024 * 1024;

enum Outgoing {
    Message(Vec<u8>),
    Item(Item),
}

/// Where the daemon is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    Down,
    /// Connected, and recovering: requests wait until it says `ready`.
    Starting,
    Ready,
}

struct State {
    phase: Phase,
    /// Counts the connections; a writer of an older one ends.
    connection: u64,
    queue: VecDeque<Outgoing>,
    queued_bytes: usize,
    /// When the daemon said something last, or was started.
    heard: Instant,
    flights: Flights,
}

pub struct Link {
    /// A leaf in the lock order: waiters run on the pool, never under it.
    state: Mutex<State>,
    /// Something is in the queue, or the connection ended.
    outgoing: Condvar,
    /// The queue became shorter, or the connection ended.
    room: Condvar,
    /// Ends a daemon that does not read.
    end_daemon: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// A waiter was added: the earliest deadline may have changed.
    deadlines: Condvar,
    pool: Arc<Pool>,
    deadline: Duration,
}

impl Link {
    /// `deadline` is the daemon's for a fetch.
    pub fn new(pool: Arc<Pool>, deadline: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Down,
                connection: 0,
                queue: VecDeque::new(),
                queued_bytes: 0,
                heard: Instant::now(),
                flights: Flights::default(),
            }),
            outgoing: Condvar::new(),
            room: Condvar::new(),
            end_daemon: OnceLock::new(),
            deadlines: Condvar::new(),
            pool,
            deadline: deadline + SLACK,
        }
    }

    pub fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// Asks the daemon; `waiter` runs on the pool with its answer, or EIO at the deadline.
    pub fn ask(
        &self,
        key: Key,
        path: &[u8],
        fd: Arc<OwnedFd>,
        waiter: impl FnOnce(Answer) + Send + 'static,
    ) {
        let deadline = Instant::now() + self.deadline;
        let mut state = self.state.lock();
        if let Some(waiter) = state.flights.join(key, deadline, Box::new(waiter)) {
            let message = state.flights.begin(key, path, fd, (deadline, waiter));
            if state.phase == Phase::Ready {
                self.push(&mut state, Outgoing::Message(message));
            }
        }
        self.deadlines.notify_one();
    }

    /// Tells the daemon of a change. Without a daemon it is dropped: the dirty log and the marks
    /// of the directories are what the next one goes by.
    pub fn changed(&self, item: Item) {
        let mut state = self.state.lock();
        if state.phase != Phase::Down {
            self.push(&mut state, Outgoing::Item(item));
        }
    }

    pub fn event(&self, message: &Value) {
        let mut state = self.state.lock();
        if state.phase != Phase::Down {
            let message = message.to_string().into_bytes();
            self.push(&mut state, Outgoing::Message(message));
        }
    }

    /// Answers a request of the daemon, if it is still the one that asked.
    pub fn answer(&self, connection: u64, id: u64, answer: Answer) {
        let message = match answer {
            Ok(ok) => json!({ "t": "re", "id": id, "ok": ok }),
            Err(failure) => json!({
                "t": "re",
                "id": id,
                "err": { "errno": name_of_errno(failure.errno), "message": failure.message },
            }),
        };
        let mut message = message.to_string().into_bytes();
        if message.len() > MAX_FRAME_BYTES {
            log::error!(
                "an answer of {} bytes is too long to be sent",
                message.len()
            );
            let err = json!({ "errno": "EIO", "message": "the answer is too long" });
            let failed = json!({ "t": "re", "id": id, "err": err });
            message = failed.to_string().into_bytes();
        }
        let mut state = self.state.lock();
        if state.connection == connection && state.phase != Phase::Down {
            self.push(&mut state, Outgoing::Message(message));
        }
    }

    /// How a daemon that does not read its messages is ended.
    pub fn end_daemon_by(&self, end: impl Fn() + Send + Sync + 'static) {
        // There is one supervisor in the life of the process.
        let _ = self.end_daemon.set(Box::new(end));
    }

    /// The daemon said something.
    pub fn heard(&self) {
        self.state.lock().heard = Instant::now();
    }

    /// How long the daemon has said nothing.
    pub fn silence(&self) -> Duration {
        self.state.lock().heard.elapsed()
    }

    /// Sends on one connection only; dropped when that ended. Waits for room in the queue, so only
    /// for threads that serve nobody else: a snapshot can be larger than what may wait.
    pub fn send_on(&self, connection: u64, message: Vec<u8>) {
        let mut state = self.state.lock();
        while state.connection == connection
            && state.phase != Phase::Down
            && state.queued_bytes > ROOMY_BYTES
        {
            self.room.wait(&mut state);
        }
        if state.connection == connection && state.phase != Phase::Down {
            self.push(&mut state, Outgoing::Message(message));
        }
    }

    /// A daemon was started: `hello` is its first message. Returns the connection's number.
    pub fn connected(&self, hello: &Value) -> u64 {
        let mut state = self.state.lock();
        state.connection += 1;
        state.phase = Phase::Starting;
        state.heard = Instant::now();
        state.queue.clear();
        state.queued_bytes = 0;
        let hello = hello.to_string().into_bytes();
        self.push(&mut state, Outgoing::Message(hello));
        state.connection
    }

    /// The daemon can take requests: it gets all that wait.
    pub fn ready(&self) {
        let mut state = self.state.lock();
        if state.phase != Phase::Starting {
            return;
        }
        state.phase = Phase::Ready;
        for message in state.flights.messages() {
            self.push(&mut state, Outgoing::Message(message));
        }
    }

    /// The connection ended. What nobody waits for any more is not asked again.
    pub fn disconnected(&self, connection: u64) {
        let mut state = self.state.lock();
        if state.connection != connection {
            return;
        }
        state.phase = Phase::Down;
        state.queue.clear();
        state.queued_bytes = 0;
        state.flights.drop_abandoned();
        self.outgoing.notify_all();
        self.room.notify_all();
    }

    /// What the daemon answered; `None` for an answer to nothing (any more).
    pub fn answered(&self, id: u64, ok: Option<Value>, err: Option<WireError>) -> Option<Landed> {
        let flight = self.state.lock().flights.take(id)?;
        let answer = match err {
            None => Ok(ok.unwrap_or_default()),
            Some(err) => Err(Failure {
                errno: errno_by_name(&err.errno),
                message: err.message,
            }),
        };
        Some(Landed {
            key: flight.key,
            answer,
            waiters: flight.waiters,
        })
    }

    /// Runs the waiters of an answer, on the pool.
    pub fn deliver(&self, landed: Landed) {
        for (_, waiter) in landed.waiters {
            let answer = landed.answer.clone();
            self.pool.run(move || waiter(answer));
        }
    }

    /// The next bytes for the socket, in order; `None` when the connection ended.
    pub fn next_outgoing(&self, connection: u64) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        loop {
            if state.connection != connection || state.phase == Phase::Down {
                return None;
            }
            match state.queue.pop_front() {
                Some(Outgoing::Message(message)) => {
                    state.queued_bytes -= message.len();
                    self.room.notify_all();
                    return Some(message);
                }
                Some(Outgoing::Item(item)) => {
                    let changed = self.batch(&mut state, &item);
                    self.room.notify_all();
                    return Some(changed);
                }
                None => self.outgoing.wait(&mut state),
            }
        }
    }

    /// One `changed` event of an item and those that follow it in the queue.
    fn batch(&self, state: &mut State, first: &Item) -> Vec<u8> {
        let mut items = first.json().to_string();
        let mut count = 1;
        while items.len() < BATCH_BYTES
            && let Some(Outgoing::Item(item)) = state.queue.front()
        {
            items.push(',');
            items.push_str(&item.json().to_string());
            state.queue.pop_front();
            count += 1;
        }
        state.queued_bytes -= count * ITEM_BYTES;
        format!(r#"{{"t":"changed","items":[{items}]}}"#).into_bytes()
    }

    /// Fails waiters whose deadline passed. Runs for ever, on a thread of its own.
    pub fn watch_deadlines(&self) {
        let mut state = self.state.lock();
        loop {
            let (expired, next) = state.flights.expire(Instant::now());
            if state.phase == Phase::Down {
                state.flights.drop_abandoned();
            }
            for (key, waiter) in expired {
                log::error!("{key:?}: no answer within {:?}", self.deadline);
                let message = "the daemon did not answer within the deadline".to_owned();
                let failure = Failure {
                    errno: Errno::IO,
                    message,
                };
                self.pool.run(move || waiter(Err(failure)));
            }
            match next {
                Some(next) => {
                    self.deadlines.wait_until(&mut state, next);
                }
                None => self.deadlines.wait(&mut state),
            }
        }
    }

    fn push(&self, state: &mut State, outgoing: Outgoing) {
        state.queued_bytes += match &outgoing {
            Outgoing::Message(message) => message.len(),
            Outgoing::Item(_) => ITEM_BYTES,
        };
        state.queue.push_back(outgoing);
        if state.queued_bytes > MAX_QUEUED_BYTES {
            log::error!("the daemon does not read its messages: it is restarted");
            if let Some(end) = self.end_daemon.get() {
                end();
            }
            state.phase = Phase::Down;
            state.queue.clear();
            state.queued_bytes = 0;
            self.room.notify_all();
        }
        self.outgoing.notify_one();
    }
}

/// About what an item takes in memory.
const ITEM_BYTES: usize = 200;

/// An answer with those who wait for it.
pub struct Landed {
    pub key: Key,
    pub answer: Answer,
    waiters: Vec<(Instant, Waiter)>,
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
