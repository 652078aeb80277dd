//! The link to the daemon, whichever one is alive: what is sent, what is waited for.
//!
//! Requests outlive a daemon: they are sent again to the next one until their waiters' deadlines.
//! Messages leave in the order in which they were given, and nobody waits for the socket.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::pool::Pool;
use crate::protocol::{InodeId, Item, WireError, errno_by_name, name_json, name_of_errno};

/// Messages that a daemon that reads nothing may leave in memory. Beyond it the daemon is ended:
/// it hangs, and losing events costs hashes, never bytes (the dirty log is on disk).
const MAX_QUEUED_BYTES: usize = 256 * 1024 * 1024;
/// Items that go into one `changed` event.
const MAX_ITEMS: usize = 1000;

/// Requests that ask for the same are one request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Key {
    List(InodeId),
    Fill { id: InodeId, start: u64, end: u64 },
    Detach(InodeId),
    Cid(InodeId),
}

/// Why a request failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub errno: Errno,
    pub message: String,
}

pub type Answer = Result<Value, Failure>;
type Waiter = Box<dyn FnOnce(Answer) + Send>;

struct Flight {
    key: Key,
    message: Vec<u8>,
    /// The descriptor that the message names stays open as long as the daemon may open it.
    _fd: Arc<OwnedFd>,
    waiters: Vec<(Instant, Waiter)>,
}

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
    flights: BTreeMap<u64, Flight>,
    by_key: HashMap<Key, u64>,
    last_id: u64,
}

pub struct Link {
    /// A leaf in the lock order: waiters run on the pool, never under it.
    state: Mutex<State>,
    /// Something is in the queue, or the connection ended.
    outgoing: Condvar,
    /// A waiter was added: the earliest deadline may have changed.
    deadlines: Condvar,
    pool: Arc<Pool>,
    deadline: Duration,
}

impl Link {
    pub fn new(pool: Arc<Pool>, deadline: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Down,
                connection: 0,
                queue: VecDeque::new(),
                queued_bytes: 0,
                flights: BTreeMap::new(),
                by_key: HashMap::new(),
                last_id: 0,
            }),
            outgoing: Condvar::new(),
            deadlines: Condvar::new(),
            pool,
            deadline,
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
        let waiter: Waiter = Box::new(waiter);
        if let Some(id) = state.by_key.get(&key).copied()
            && let Some(flight) = state.flights.get_mut(&id)
        {
            flight.waiters.push((deadline, waiter));
            self.deadlines.notify_one();
            return;
        }
        state.last_id += 1;
        let id = state.last_id;
        let message = request(id, key, path, &fd);
        if state.phase == Phase::Ready {
            self.push(&mut state, Outgoing::Message(message.clone()));
        }
        let flight = Flight {
            key,
            message,
            _fd: fd,
            waiters: vec![(deadline, waiter)],
        };
        state.flights.insert(id, flight);
        state.by_key.insert(key, id);
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
        self.send_on(connection, message.to_string().into_bytes());
    }

    /// Sends on one connection only; dropped when that ended.
    pub fn send_on(&self, connection: u64, message: Vec<u8>) {
        let mut state = self.state.lock();
        if state.connection == connection && state.phase != Phase::Down {
            self.push(&mut state, Outgoing::Message(message));
        }
    }

    /// A daemon was started: `hello` is its first message. Returns the connection's number.
    pub fn connected(&self, hello: &Value) -> u64 {
        let mut state = self.state.lock();
        state.connection += 1;
        state.phase = Phase::Starting;
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
        let messages: Vec<_> = state.flights.values().map(|f| f.message.clone()).collect();
        for message in messages {
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
        let abandoned: Vec<u64> = state
            .flights
            .iter()
            .filter(|(_, flight)| flight.waiters.is_empty())
            .map(|(&id, _)| id)
            .collect();
        for id in abandoned {
            take_flight(&mut state, id);
        }
        self.outgoing.notify_all();
    }

    /// What the daemon answered; `None` for an answer to nothing (any more).
    pub fn answered(&self, id: u64, ok: Option<Value>, err: Option<WireError>) -> Option<Landed> {
        let flight = take_flight(&mut self.state.lock(), id)?;
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
                    return Some(message);
                }
                Some(Outgoing::Item(item)) => {
                    let mut items = vec![item.json()];
                    while items.len() < MAX_ITEMS
                        && let Some(Outgoing::Item(item)) = state.queue.front()
                    {
                        items.push(item.json());
                        state.queue.pop_front();
                    }
                    state.queued_bytes -= items.len() * ITEM_BYTES;
                    let changed = json!({ "t": "changed", "items": items });
                    return Some(changed.to_string().into_bytes());
                }
                None => self.outgoing.wait(&mut state),
            }
        }
    }

    /// Fails waiters whose deadline passed. Runs for ever, on a thread of its own.
    pub fn watch_deadlines(&self) {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let mut expired = Vec::new();
            let mut next: Option<Instant> = None;
            for flight in state.flights.values_mut() {
                let (over, open) = std::mem::take(&mut flight.waiters)
                    .into_iter()
                    .partition(|(deadline, _)| *deadline <= now);
                let over: Vec<(Instant, Waiter)> = over;
                expired.extend(over.into_iter().map(|(_, waiter)| (flight.key, waiter)));
                flight.waiters = open;
                let earliest = flight.waiters.iter().map(|(deadline, _)| *deadline).min();
                next = next.into_iter().chain(earliest).min();
            }
            if state.phase == Phase::Down {
                let abandoned: Vec<u64> = state
                    .flights
                    .iter()
                    .filter(|(_, flight)| flight.waiters.is_empty())
                    .map(|(&id, _)| id)
                    .collect();
                for id in abandoned {
                    take_flight(&mut state, id);
                }
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
            state.phase = Phase::Down;
            state.queue.clear();
            state.queued_bytes = 0;
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

fn take_flight(state: &mut State, id: u64) -> Option<Flight> {
    let flight = state.flights.remove(&id)?;
    state.by_key.remove(&flight.key);
    Some(flight)
}

fn request(id: u64, key: Key, path: &[u8], fd: &OwnedFd) -> Vec<u8> {
    let mut message = Map::new();
    let (name, inode) = match key {
        Key::List(inode) => ("list", inode),
        Key::Fill { id, start, end } => {
            message.insert("offset".to_owned(), start.to_string().into());
            message.insert("length".to_owned(), (end - start).to_string().into());
            ("fill", id)
        }
        Key::Detach(inode) => ("detach", inode),
        Key::Cid(inode) => ("cid", inode),
    };
    message.insert("t".to_owned(), name.into());
    message.insert("id".to_owned(), id.into());
    message.insert("path".to_owned(), name_json(path));
    message.insert("fd".to_owned(), fd.as_raw_fd().into());
    inode.put(&mut message);
    Value::Object(message).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn link(deadline: Duration) -> Arc<Link> {
        let pool = Arc::new(Pool::start("test", 1).expect("pool"));
        let link = Arc::new(Link::new(pool, deadline));
        let watched = link.clone();
        std::thread::spawn(move || watched.watch_deadlines());
        link
    }

    fn fd() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/").expect("root").into())
    }

    fn id(ino: u64) -> InodeId {
        InodeId { ino, btime: 0 }
    }

    fn next(link: &Link, connection: u64) -> Value {
        let bytes = link.next_outgoing(connection).expect("a message");
        serde_json::from_slice(&bytes).expect("json")
    }

    #[test]
    fn asks_once_and_again_after_a_restart() {
        let link = link(Duration::from_secs(60));
        let (sender, receiver) = channel();
        for _ in 0..2 {
            let sender = sender.clone();
            link.ask(Key::List(id(5)), b"d", fd(), move |answer| {
                sender.send(answer.is_ok()).expect("send");
            });
        }
        let first = link.connected(&json!({ "t": "hello" }));
        assert_eq!(next(&link, first)["t"], "hello");
        link.ready();
        assert_eq!(next(&link, first)["t"], "list");
        link.disconnected(first);
        assert!(link.next_outgoing(first).is_none());
        let second = link.connected(&json!({ "t": "hello" }));
        link.ready();
        assert_eq!(next(&link, second)["t"], "hello");
        let request = next(&link, second);
        assert_eq!(
            (&request["t"], &request["path"]),
            (&json!("list"), &json!("d"))
        );
        let request_id = request["id"].as_u64().expect("id");
        let landed = link
            .answered(request_id, Some(json!({})), None)
            .expect("landed");
        link.deliver(landed);
        assert!(receiver.recv().expect("first"));
        assert!(receiver.recv().expect("second"));
        assert!(link.answered(request_id, None, None).is_none());
    }

    #[test]
    fn fails_with_eio_at_the_deadline() {
        let link = link(Duration::from_millis(10));
        let (sender, receiver) = channel();
        let key = Key::Fill {
            id: id(5),
            start: 0,
            end: 9,
        };
        link.ask(key, b"f", fd(), move |answer| {
            sender.send(answer.expect_err("late").errno).expect("send");
        });
        assert_eq!(receiver.recv().expect("answer"), Errno::IO);
        let connection = link.connected(&json!({ "t": "hello" }));
        link.ready();
        assert_eq!(next(&link, connection)["t"], "hello");
        link.event(&json!({ "t": "last" }));
        assert_eq!(
            next(&link, connection)["t"],
            "last",
            "nobody waits for the fill"
        );
    }

    #[test]
    fn keeps_the_order_of_items_and_messages() {
        let link = link(Duration::from_secs(60));
        link.changed(Item::Gone(id(1)));
        let connection = link.connected(&json!({ "t": "hello" }));
        link.changed(Item::Dirty(id(2)));
        link.changed(Item::Gone(id(3)));
        link.event(&json!({ "t": "broken" }));
        link.changed(Item::Gone(id(4)));
        assert_eq!(next(&link, connection)["t"], "hello");
        let items = next(&link, connection);
        assert_eq!(
            items["items"][0],
            json!({ "k": "dirty", "ino": "2", "btime": "0" })
        );
        assert_eq!(items["items"][1]["k"], "gone");
        assert_eq!(next(&link, connection)["t"], "broken");
        assert_eq!(next(&link, connection)["items"][0]["ino"], "4");
    }
}
