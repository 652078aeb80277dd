//! The link without a daemon: order, restarts, deadlines.

use crate::protocol::InodeId;
use std::sync::mpsc::channel;

use super::*;

fn link(deadline: Duration) -> Arc<Link> {
    let pool = Arc::new(Pool::start("test", 1).expect("pool"));
    let mut link = Link::new(pool, deadline);
    if deadline.is_zero() {
        link.deadline = Duration::from_millis(10);
    }
    let link = Arc::new(link);
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
    let link = link(Duration::ZERO);
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
