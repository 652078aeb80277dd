//! What a commit builds on: the dirty log, leases, objects, snapshots, stamps.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Companion, Mount, can_mount, wait_for};

fn id(mount: &Mount, name: &str) -> Value {
    let seen = fs::symlink_metadata(mount.tree(name)).expect("stat");
    let btime = seen.created().map_or(0, |time| {
        time.duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_nanos()
    });
    json!({ "ino": seen.ino().to_string(), "btime": btime.to_string() })
}

fn lease(mount: &mut Mount, name: &str) -> Value {
    let id = id(mount, name);
    mount.daemon(json!({ "do": "lease", "path": name, "ino": id["ino"], "btime": id["btime"] }))
}

/// Waits until the kernel has released the last writer.
fn lease_when_closed(mount: &mut Mount, name: &str) -> Value {
    wait_for("a lease", || {
        let answer = lease(mount, name);
        answer.get("ok").cloned()
    })
}

pub(crate) fn settle(mount: &mut Mount, name: &str, oid: u64) -> Value {
    let taken = lease_when_closed(mount, name);
    mount.daemon(json!({ "do": "settled", "lease": taken["lease"], "oid": oid }))
}

fn stamp(path: &Path) -> Value {
    let seen = fs::symlink_metadata(path).expect("stat");
    let ns = |sec: i64, nsec: i64| (i128::from(sec) * 1_000_000_000 + i128::from(nsec)).to_string();
    json!({
        "size": seen.size().to_string(),
        "mtime": ns(seen.mtime(), seen.mtime_nsec()),
        "ctime": ns(seen.ctime(), seen.ctime_nsec()),
    })
}

fn dirty_log(mount: &Mount) -> String {
    fs::read_to_string(mount.store("dirty.log")).expect("dirty.log")
}

pub(crate) fn snapshot(mount: &mut Mount, all: bool) -> (u64, Vec<Value>) {
    let answer = mount.daemon(json!({ "do": "snapshot", "all": all }));
    let number = answer["ok"]["snapshot"]
        .as_u64()
        .unwrap_or_else(|| panic!("{answer}"));
    (number, answer["parts"].as_array().expect("parts").clone())
}

pub(crate) fn paths(parts: &[Value]) -> Vec<&str> {
    parts
        .iter()
        .map(|part| part["path"].as_str().expect("path"))
        .collect()
}

fn names(part: &Value) -> Vec<&str> {
    let entries = part["entries"].as_array().expect("entries");
    entries
        .iter()
        .map(|entry| entry[0].as_str().expect("name"))
        .collect()
}

#[test]
fn links_a_settled_file_without_showing_it() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("settle");
    fs::write(mount.path("f"), "content").expect("write");
    let answer = settle(&mut mount, "f", 7);
    assert_eq!(answer["ok"]["stamp"], stamp(&mount.tree("f")), "{answer}");
    assert_eq!(
        fs::read(mount.store("objects/7")).expect("object"),
        b"content"
    );
    assert_eq!(fs::metadata(mount.tree("f")).expect("stat").nlink(), 2);
    let open = File::open(mount.path("f")).expect("open");
    assert_eq!(open.metadata().expect("fstat").nlink(), 1);
    assert_eq!(fs::metadata(mount.path("f")).expect("stat").nlink(), 1);
    fs::hard_link(mount.path("f"), mount.path("g")).expect("link");
    assert_eq!(fs::metadata(mount.path("g")).expect("stat").nlink(), 2);
    fs::remove_file(mount.path("g")).expect("unlink");
    fs::remove_file(mount.path("f")).expect("unlink");
    assert_eq!(open.metadata().expect("fstat").nlink(), 0);
    let ino = open.metadata().expect("fstat").ino().to_string();
    wait_for("gone", || {
        mount
            .items("gone")
            .iter()
            .any(|item| item["ino"] == *ino)
            .then_some(())
    });
    assert!(mount.daemon(json!({ "do": "unlink-objects", "oids": [7, 8] }))["ok"].is_object());
    assert!(!mount.store("objects/7").exists());
}

#[test]
fn hides_objects_also_after_a_restart() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("objects");
    fs::write(mount.path("f"), "content").expect("write");
    assert!(settle(&mut mount, "f", 1)["ok"].is_object());
    assert!(mount.terminate().success());
    mount.start();
    assert_eq!(fs::metadata(mount.path("f")).expect("stat").nlink(), 1);
}

#[test]
fn grants_no_lease_while_somebody_can_write() {
    if !can_mount() {
        return;
    }
    for mode in ["auto", "off"] {
        let mut mount = Mount::with(&format!("lease-{mode}"), &json!({ "passthrough": mode }));
        let path = mount.path("f");
        let writer = File::create(&path).expect("create");
        assert_eq!(lease(&mut mount, "f")["err"]["errno"], "EAGAIN");
        drop(writer);
        fs::write(&path, vec![0; 8192]).expect("write");
        lease_when_closed(&mut mount, "f");
        // A mapping outlives its file descriptor, and with passthrough also RELEASE.
        let mut mapper = Companion::start(
            "import mmap,sys\nf=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); f.close()\n\
             print('mapped'); sys.stdin.readline(); m[0]=1; print('stored')\n\
             sys.stdin.readline(); m.close(); print('unmapped'); sys.stdin.read()",
            &[&path],
        );
        assert_eq!(mapper.line(), "mapped");
        assert_eq!(lease(&mut mount, "f")["err"]["errno"], "EAGAIN");
        mapper.say("store");
        assert_eq!(mapper.line(), "stored");
        assert_eq!(lease(&mut mount, "f")["err"]["errno"], "EAGAIN");
        mapper.say("unmap");
        assert_eq!(mapper.line(), "unmapped");
        mapper.end();
        let granted = lease_when_closed(&mut mount, "f");
        assert_eq!(granted["stamp"], stamp(&mount.tree("f")));
    }
}

#[test]
fn breaks_its_lease_for_a_writer_and_then_settles_nothing() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("broken");
    fs::write(mount.path("f"), "1").expect("write");
    for writer in ["open", "truncate", "past the mount"] {
        let taken = lease_when_closed(&mut mount, "f");
        let fd = format!("/proc/{}/fd/{}", mount.keeper_pid(), taken["fd"]);
        assert!(fs::read(fd).is_ok(), "the daemon can open it");
        match writer {
            "open" => drop(
                OpenOptions::new()
                    .write(true)
                    .open(mount.path("f"))
                    .expect("open"),
            ),
            "truncate" => {
                std::process::Command::new("truncate")
                    .args(["-s", "5"])
                    .arg(mount.path("f"))
                    .status()
                    .expect("truncate");
            }
            _ => fs::write(mount.tree("f"), "2").expect("write"),
        }
        wait_for("broken", || {
            let broken = json!({ "t": "broken", "lease": taken["lease"] });
            mount.said().contains(&broken).then_some(())
        });
        let answer = mount.daemon(json!({ "do": "settled", "lease": taken["lease"], "oid": 9 }));
        assert_eq!(answer["err"]["errno"], "ECANCELED", "{writer}");
        assert!(!mount.store("objects/9").exists());
    }
}

#[test]
fn notes_a_clean_file_durably_before_it_can_be_written() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("dirty-log");
    let path = mount.path("f");
    fs::write(&path, "new").expect("write");
    let entry = |mount: &Mount| {
        let id = id(mount, "f");
        format!(
            "{} {}\n",
            id["ino"].as_str().expect("ino"),
            id["btime"].as_str().expect("btime")
        )
    };
    assert_eq!(dirty_log(&mount), "", "new files pay nothing");
    for how in ["write", "truncate", "set length"] {
        assert!(settle(&mut mount, "f", 1)["ok"].is_object());
        let before = dirty_log(&mount);
        assert!(File::open(&path).is_ok());
        assert_eq!(dirty_log(&mount), before, "readers pay nothing");
        let expected = before + &entry(&mount);
        match how {
            "write" => {
                let file = OpenOptions::new().write(true).open(&path).expect("open");
                assert_eq!(dirty_log(&mount), expected, "{how}");
                drop(
                    OpenOptions::new()
                        .write(true)
                        .open(&path)
                        .expect("open again"),
                );
                file.write_at(b"x", 0).expect("write");
            }
            "truncate" => drop(File::create(&path).expect("O_TRUNC")),
            _ => {
                let file = OpenOptions::new().write(true).open(&path).expect("open");
                file.set_len(9).expect("truncate");
            }
        }
        assert_eq!(dirty_log(&mount), expected, "{how}: noted once");
    }
    let dirty = wait_for("dirty items", || {
        let items = mount.items("dirty");
        (items.len() == 3).then_some(items)
    });
    assert_eq!(dirty[0]["ino"], id(&mount, "f")["ino"]);
    let stats = mount.daemon(json!({ "do": "stats" }));
    assert_eq!(stats["ok"]["dirty"], json!([id(&mount, "f")]));
    // What is dirty when the keeper ends is known to the next one.
    mount.set_config("daemonConfig", json!({ "dirty": 1 }));
    mount.crash();
    mount.start();
    assert_eq!(
        mount.daemon(json!({ "do": "stats" }))["ok"]["dirty"],
        json!([id(&mount, "f")])
    );
    assert_eq!(dirty_log(&mount), entry(&mount), "compacted for the daemon");
    assert!(settle(&mut mount, "f", 2)["ok"].is_object());
    assert_eq!(mount.terminate().code(), Some(3));
    assert!(mount.store("unclean").exists());
}

#[test]
fn renews_the_stamp_of_a_clean_file() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("stamps");
    fs::write(mount.path("f"), "x").expect("write");
    fs::set_permissions(mount.path("f"), fs::Permissions::from_mode(0o600)).expect("chmod");
    let settled = settle(&mut mount, "f", 1)["ok"]["stamp"].clone();
    assert!(mount.items("stamp").is_empty(), "a dirty file has no row");
    let mut last = settled;
    let mut count = 0;
    let mut step = |mount: &Mount, what: &str, now: &Path| {
        count += 1;
        let items = wait_for(what, || {
            let items = mount.items("stamp");
            (items.len() >= count).then_some(items)
        });
        assert_eq!(items.len(), count, "{what}");
        assert_eq!(items[count - 1]["old"], last, "{what}");
        assert_eq!(items[count - 1]["new"], stamp(now), "{what}");
        last = stamp(now);
    };
    fs::set_permissions(mount.path("f"), fs::Permissions::from_mode(0o440)).expect("chmod");
    step(&mount, "chmod", &mount.tree("f"));
    fs::hard_link(mount.path("f"), mount.path("g")).expect("link");
    step(&mount, "link", &mount.tree("f"));
    fs::remove_file(mount.path("f")).expect("unlink");
    step(&mount, "unlink", &mount.tree("g"));
    fs::rename(mount.path("g"), mount.path("h")).expect("rename");
    step(&mount, "rename", &mount.tree("h"));
    fs::hard_link(mount.path("h"), mount.path("i")).expect("link");
    step(&mount, "link", &mount.tree("h"));
    fs::write(mount.path("other"), "y").expect("write");
    fs::rename(mount.path("other"), mount.path("i")).expect("rename over");
    step(&mount, "overwritten", &mount.tree("h"));
    let finals = mount.items("final");
    let by_name = |path: &str| {
        finals
            .iter()
            .any(|item| item["path"] == path && item["by"] == "name")
    };
    assert!(by_name("g") && by_name("h") && by_name("i"), "{finals:?}");
}

#[test]
fn takes_snapshots_of_what_changed_until_they_are_committed() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("snapshot");
    fs::create_dir_all(mount.path("a/b")).expect("mkdir");
    fs::create_dir_all(mount.path("quiet")).expect("mkdir");
    fs::write(mount.path("a/b/f"), "x").expect("write");
    symlink("b/f", mount.path("a/l")).expect("symlink");
    let (first, parts) = snapshot(&mut mount, false);
    assert_eq!(paths(&parts), ["", "a", "a/b", "quiet"]);
    assert_eq!(names(&parts[1]), ["b", "l"]);
    let link = &parts[1]["entries"][1];
    assert_eq!((&link[1], &link[8]), (&json!("l"), &json!("b/f")));
    let file = &parts[2]["entries"][0];
    let seen = stamp(&mount.tree("a/b/f"));
    assert_eq!(file[1], "f");
    assert_eq!(
        (&file[5], &file[6], &file[7]),
        (&seen["size"], &seen["mtime"], &seen["ctime"])
    );
    assert!(settle(&mut mount, "a/b/f", 1)["ok"].is_object());
    // Never committed: everything comes again.
    let (second, parts) = snapshot(&mut mount, false);
    assert_eq!(paths(&parts), ["", "a", "a/b", "quiet"]);
    assert!(second > first);
    commit(&mut mount, second);
    assert_eq!(snapshot(&mut mount, false).1, Vec::<Value>::new());
    fs::set_permissions(mount.path("quiet"), fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::rename(mount.path("a"), mount.path("c")).expect("rename");
    fs::write(mount.path("c/b/g"), "y").expect("write");
    let (third, parts) = snapshot(&mut mount, false);
    assert_eq!(paths(&parts), ["", "c", "c/b", "quiet"]);
    let explicit: Vec<_> = parts
        .iter()
        .map(|part| part["explicit"].as_bool())
        .collect();
    assert_eq!(
        explicit,
        [Some(false), Some(false), Some(false), Some(true)]
    );
    commit(&mut mount, third);
    // g was never settled: it may be written at any time without our seeing it.
    assert_eq!(paths(&snapshot(&mut mount, false).1), ["", "c", "c/b"]);
    assert_eq!(
        paths(&snapshot(&mut mount, true).1),
        ["", "c", "c/b", "quiet"]
    );
}

fn commit(mount: &mut Mount, snapshot: u64) {
    let message = json!({ "t": "committed", "snapshot": snapshot, "again": [] });
    mount.daemon(json!({ "do": "event", "message": message }));
}

#[test]
fn tells_a_removed_directory_from_what_got_its_number() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("reused");
    for index in 0..50 {
        fs::create_dir(mount.path(&format!("d{index}"))).expect("mkdir");
    }
    // Never committed, as when the daemon ends.
    snapshot(&mut mount, false);
    for index in 0..50 {
        fs::remove_dir(mount.path(&format!("d{index}"))).expect("rmdir");
    }
    for index in 0..200 {
        File::create(mount.path(&format!("f{index}"))).expect("create");
    }
    let (number, parts) = snapshot(&mut mount, false);
    assert_eq!(paths(&parts), [""]);
    assert_eq!(names(&parts[0]).len(), 200);
    commit(&mut mount, number);
}

#[test]
fn lists_a_directory_again_when_the_daemon_asks_for_it() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("again");
    fs::create_dir(mount.path("d")).expect("mkdir");
    let (number, _) = snapshot(&mut mount, false);
    let message = json!({ "t": "committed", "snapshot": number, "again": [id(&mount, "d")] });
    mount.daemon(json!({ "do": "event", "message": message }));
    assert_eq!(paths(&snapshot(&mut mount, false).1), ["", "d"]);
}

#[test]
fn lists_everything_after_an_unclean_stop() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("unclean");
    fs::create_dir_all(mount.path("deep/er")).expect("mkdir");
    fs::write(mount.path("deep/er/f"), "x").expect("write");
    assert!(settle(&mut mount, "deep/er/f", 1)["ok"].is_object());
    let held = OpenOptions::new()
        .append(true)
        .open(mount.path("deep/er/f"))
        .expect("open");
    drop(held);
    mount.crash();
    mount.start();
    assert_eq!(
        mount.daemon(json!({ "do": "pid" }))["hello"]["clean"],
        false
    );
    let (number, parts) = snapshot(&mut mount, false);
    assert_eq!(paths(&parts), ["", "deep", "deep/er"]);
    commit(&mut mount, number);
    // Its directory is known now, although no program looked the file up.
    assert_eq!(
        paths(&snapshot(&mut mount, false).1),
        ["", "deep", "deep/er"]
    );
    assert!(settle(&mut mount, "deep/er/f", 1)["ok"].is_object());
    let (number, _) = snapshot(&mut mount, false);
    commit(&mut mount, number);
    assert!(snapshot(&mut mount, false).1.is_empty());
}

#[test]
fn splits_large_directories_into_parts_of_one_moment() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::prepare("large", &json!({}));
    fs::create_dir(mount.tree("d")).expect("mkdir");
    for index in 0..16_000 {
        File::create(mount.tree(&format!("d/{index:0250}"))).expect("create");
    }
    mount.start();
    let (_, parts) = snapshot(&mut mount, true);
    assert_eq!(paths(&parts), ["", "d", "d"]);
    let more: Vec<_> = parts.iter().map(|part| part["more"].as_bool()).collect();
    assert_eq!(more, [Some(false), Some(true), Some(false)]);
    let listed: Vec<_> = parts[1..].iter().flat_map(names).collect();
    assert_eq!(listed.len(), 16_000);
    assert!(listed.is_sorted());
}

#[test]
fn sees_no_half_of_a_move_in_a_snapshot() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("moment");
    fs::create_dir(mount.path("blobs")).expect("mkdir");
    fs::create_dir(mount.path("snapshots")).expect("mkdir");
    let (blobs, links) = (mount.path("blobs"), mount.path("snapshots"));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let downloads = std::thread::spawn(move || {
        for index in 0.. {
            if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            let temporary = blobs.join(format!("{index}.incomplete"));
            let mut file = File::create(&temporary).expect("create");
            file.write_all(b"blob").expect("write");
            fs::rename(&temporary, blobs.join(index.to_string())).expect("rename");
            symlink(format!("../blobs/{index}"), links.join(index.to_string())).expect("symlink");
        }
    });
    for _ in 0..30 {
        let (_, parts) = snapshot(&mut mount, false);
        let of = |path: &str| {
            let part = parts.iter().filter(|part| part["path"] == path);
            part.flat_map(names)
                .collect::<std::collections::HashSet<_>>()
        };
        let (blobs, links) = (of("blobs"), of("snapshots"));
        assert!(
            links.is_subset(&blobs),
            "a link to a blob that is not there"
        );
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    downloads.join().expect("downloads");
}
