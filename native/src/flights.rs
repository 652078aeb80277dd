//! Requests to the daemon that are under way, and who waits for each.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::protocol::{InodeId, name_json};

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
pub type Waiter = Box<dyn FnOnce(Answer) + Send>;

pub struct Flight {
    pub key: Key,
    message: Vec<u8>,
    /// The descriptor that the message names stays open as long as the daemon may open it.
    _fd: Arc<OwnedFd>,
    pub waiters: Vec<(Instant, Waiter)>,
}

#[derive(Default)]
pub struct Flights {
    flights: BTreeMap<u64, Flight>,
    by_key: HashMap<Key, u64>,
    last_id: u64,
}

impl Flights {
    /// Adds a waiter to a request that is under way; gives it back if there is none.
    pub fn join(&mut self, key: Key, deadline: Instant, waiter: Waiter) -> Option<Waiter> {
        let id = self.by_key.get(&key).copied();
        match id.and_then(|id| self.flights.get_mut(&id)) {
            Some(flight) => {
                flight.waiters.push((deadline, waiter));
                None
            }
            None => Some(waiter),
        }
    }

    /// Begins a request; returns its message.
    pub fn begin(
        &mut self,
        key: Key,
        path: &[u8],
        fd: Arc<OwnedFd>,
        first: (Instant, Waiter),
    ) -> Vec<u8> {
        self.last_id += 1;
        let id = self.last_id;
        let message = request(id, key, path, &fd);
        let flight = Flight {
            key,
            message: message.clone(),
            _fd: fd,
            waiters: vec![first],
        };
        self.flights.insert(id, flight);
        self.by_key.insert(key, id);
        message
    }

    /// The messages of all requests, oldest first: a new daemon gets them.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.flights
            .values()
            .map(|flight| flight.message.clone())
            .collect()
    }

    pub fn take(&mut self, id: u64) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.by_key.remove(&flight.key);
        Some(flight)
    }

    /// Drops requests that nobody waits for.
    pub fn drop_abandoned(&mut self) {
        let by_key = &mut self.by_key;
        self.flights.retain(|_, flight| {
            let wanted = !flight.waiters.is_empty();
            if !wanted {
                by_key.remove(&flight.key);
            }
            wanted
        });
    }

    /// Takes out the waiters whose deadline passed; returns the next deadline, too.
    pub fn expire(&mut self, now: Instant) -> (Vec<(Key, Waiter)>, Option<Instant>) {
        let mut expired = Vec::new();
        let mut next: Option<Instant> = None;
        for flight in self.flights.values_mut() {
            let (over, open): (Vec<_>, Vec<_>) = std::mem::take(&mut flight.waiters)
                .into_iter()
                .partition(|(deadline, _)| *deadline <= now);
            expired.extend(over.into_iter().map(|(_, waiter)| (flight.key, waiter)));
            flight.waiters = open;
            let earliest = flight.waiters.iter().map(|(deadline, _)| *deadline).min();
            next = next.into_iter().chain(earliest).min();
        }
        (expired, next)
    }
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
