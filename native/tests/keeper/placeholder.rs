//! Files and directories whose content is still remote.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::support::{Companion, Mount, can_mount, kill, python, wait_for};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 5 * MIB + 3;
const MTIME: u64 = 1_500_000_000_123_456_789;

/// What the test's daemon writes: each 8 bytes are their own offset.
fn expected(start: u64, end: u64) -> Vec<u8> {
    (start..end)
        .map(|at| (at / 8 * 8).to_le_bytes()[(at % 8) as usize])
        .collect()
}

fn make(mount: &mut Mount, name: &str) {
    let made = mount.daemon(json!({
        "do": "make", "path": name, "type": "f", "size": SIZE, "mode": 0o640, "mtime": MTIME,
    }));
    assert_eq!(made, json!({}));
}

fn has_record(path: &Path) -> bool {
    python(
        "import os,sys\nprint('user.mc' in os.listxattr(sys.argv[1]))",
        &[path],
    )
    .trim()
        == "True"
}

fn asked(mount: &Mount, what: &str) -> Vec<Value> {
    mount
        .said()
        .into_iter()
        .filter(|message| message["t"] == what)
        .collect()
}

fn mount(name: &str) -> Option<Mount> {
    can_mount().then(|| Mount::new(name))
}

#[test]
fn shows_a_placeholder_as_its_record_says() {
    let Some(mut mount) = mount("ph-attributes") else {
        return;
    };
    make(&mut mount, "f");
    let seen = fs::metadata(mount.path("f")).expect("stat");
    assert_eq!((seen.size(), seen.mode() & 0o7777), (SIZE, 0o640));
    assert_eq!(
        seen.mtime() as u64 * 1_000_000_000 + seen.mtime_nsec() as u64,
        MTIME
    );
    assert!(seen.blocks() < 10);
    fs::set_permissions(mount.path("f"), fs::Permissions::from_mode(0o400)).expect("chmod");
    python(
        "import os,sys\nos.utime(sys.argv[1],ns=(5,-7_500_000_000))",
        &[&mount.path("f")],
    );
    let seen = fs::metadata(mount.path("f")).expect("stat");
    assert_eq!(
        (seen.mode() & 0o7777, seen.mtime(), seen.mtime_nsec()),
        (0o400, -8, 500_000_000)
    );
    assert!(asked(&mount, "fill").is_empty(), "nothing was fetched");
    // All of it: from now on an ordinary file with the attributes that it was given.
    assert_eq!(fs::read(mount.path("f")).expect("read"), expected(0, SIZE));
    assert!(!has_record(&mount.tree("f")));
    for path in [mount.path("f"), mount.tree("f")] {
        let seen = fs::metadata(path).expect("stat");
        assert_eq!(
            (seen.mode() & 0o7777, seen.mtime(), seen.mtime_nsec()),
            (0o400, -8, 500_000_000)
        );
    }
}

#[test]
fn fetches_only_what_is_read() {
    let Some(mut mount) = mount("ph-range") else {
        return;
    };
    make(&mut mount, "f");
    let file = File::open(mount.path("f")).expect("open");
    assert!(asked(&mount, "fill").is_empty(), "open fetches nothing");
    let mut bytes = vec![0; 100];
    file.read_exact_at(&mut bytes, 4 * MIB - 50).expect("read");
    assert_eq!(bytes, expected(4 * MIB - 50, 4 * MIB + 50));
    assert!(has_record(&mount.tree("f")));
    let fills = asked(&mount, "fill").len();
    file.read_exact_at(&mut bytes, 4 * MIB - 50)
        .expect("read again");
    assert_eq!(asked(&mount, "fill").len(), fills);
    assert_eq!(file.read_at(&mut bytes, SIZE - 3).expect("at the end"), 3);
    assert_eq!(bytes[..3], expected(SIZE - 3, SIZE));
    let hole = python(
        "import os,sys\nf=os.open(sys.argv[1],os.O_RDONLY)\n\
         print(os.lseek(f,0,os.SEEK_DATA),os.lseek(f,0,os.SEEK_HOLE))",
        &[&mount.path("f")],
    );
    assert_eq!(hole, format!("0 {SIZE}\n"), "what is not there is no hole");
    // What the map says is there is there, also for the next keeper and without a daemon's help.
    drop(file);
    mount.crash();
    mount.start();
    mount.daemon(json!({ "do": "set", "fill": "fail" }));
    let file = File::open(mount.path("f")).expect("open");
    file.read_exact_at(&mut bytes, 4 * MIB - 50)
        .expect("present");
    assert_eq!(bytes, expected(4 * MIB - 50, 4 * MIB + 50));
    let missing = file.read_at(&mut bytes, 0).expect_err("missing");
    assert_eq!(missing.raw_os_error(), Some(libc::EIO));
    mount.daemon(json!({ "do": "set", "fill": "serve" }));
    file.read_exact_at(&mut bytes, 0).expect("it is back");
    assert_eq!(bytes, expected(0, 100));
}

#[test]
fn completes_a_placeholder_for_who_writes() {
    let Some(mut mount) = mount("ph-write") else {
        return;
    };
    make(&mut mount, "f");
    // Cached readers stay while it becomes complete and is written: never two modes at once.
    let reader = File::open(mount.path("f")).expect("open");
    let file = OpenOptions::new()
        .write(true)
        .open(mount.path("f"))
        .expect("open");
    assert!(!has_record(&mount.tree("f")));
    file.write_at(b"12345678", 8).expect("write");
    let mut bytes = [0; 24];
    reader.read_exact_at(&mut bytes, 0).expect("read");
    let mut wanted = expected(0, 24);
    wanted[8..16].copy_from_slice(b"12345678");
    assert_eq!(bytes[..], wanted);
    assert_eq!(fs::metadata(mount.path("f")).expect("stat").size(), SIZE);
    drop((reader, file));
    fs::write(mount.path("g"), "x").expect("write");
    assert_eq!(fs::read(mount.path("f")).expect("read").len() as u64, SIZE);
    wait_for("passthrough", || {
        drop(File::open(mount.path("f")).expect("open"));
        (mount.status()["stats"]["passthroughOpens"].as_u64() > Some(1)).then_some(())
    });
}

#[test]
fn truncates_a_placeholder_without_losing_a_byte() {
    let Some(mut mount) = mount("ph-truncate") else {
        return;
    };
    for (name, size) in [("zero", 0), ("some", 2 * MIB + 5), ("more", SIZE + 10)] {
        make(&mut mount, name);
        let path = mount.path(name);
        python(
            &format!("import os,sys\nos.truncate(sys.argv[1],{size})"),
            &[&path],
        );
        let mut wanted = expected(0, size.min(SIZE));
        wanted.resize(size as usize, 0);
        assert_eq!(fs::read(&path).expect("read"), wanted, "{name}");
        assert!(!has_record(&mount.tree(name)));
        assert_eq!(
            fs::metadata(mount.tree(name)).expect("stat").mode() & 0o777,
            0o640
        );
    }
    make(&mut mount, "emptied");
    drop(File::create(mount.path("emptied")).expect("O_TRUNC"));
    assert_eq!(fs::metadata(mount.path("emptied")).expect("stat").size(), 0);
    let ino = fs::metadata(mount.tree("emptied"))
        .expect("stat")
        .ino()
        .to_string();
    assert!(
        asked(&mount, "fill").iter().all(|fill| fill["ino"] != *ino),
        "nothing is fetched"
    );
    assert_eq!(asked(&mount, "detach").len(), 3);
    assert!(
        fs::read_dir(mount.store("extents"))
            .expect("list")
            .next()
            .is_none()
    );
}

#[test]
fn goes_on_reading_an_unlinked_placeholder() {
    let Some(mut mount) = mount("ph-unlinked") else {
        return;
    };
    make(&mut mount, "f");
    let file = File::open(mount.path("f")).expect("open");
    fs::remove_file(mount.path("f")).expect("unlink");
    assert_eq!(file.metadata().expect("fstat").nlink(), 0);
    assert_eq!(file.metadata().expect("fstat").size(), SIZE);
    let mut bytes = vec![0; 1000];
    file.read_exact_at(&mut bytes, 3 * MIB).expect("read");
    assert_eq!(bytes, expected(3 * MIB, 3 * MIB + 1000));
}

#[test]
fn moves_and_links_placeholders_like_files() {
    let Some(mut mount) = mount("ph-names") else {
        return;
    };
    make(&mut mount, "f");
    fs::rename(mount.path("f"), mount.path("g")).expect("rename");
    fs::hard_link(mount.path("g"), mount.path("h")).expect("link");
    fs::remove_file(mount.path("g")).expect("unlink");
    assert!(asked(&mount, "fill").is_empty());
    assert!(has_record(&mount.tree("h")));
    assert_eq!(fs::read(mount.path("h")).expect("read"), expected(0, SIZE));
}

#[test]
fn lists_a_directory_on_first_use_and_once() {
    let Some(mut mount) = mount("ph-list") else {
        return;
    };
    let remote = json!({
        "d": [
            { "name": "f", "type": "f", "size": SIZE, "mode": 0o644, "mtime": MTIME },
            { "name": "l", "type": "l", "target": "f" },
            { "name": "sub", "type": "d", "mode": 0o750, "mtime": MTIME },
        ],
        "d/sub": [{ "name": "x", "type": "f", "size": 3, "mode": 0o444, "mtime": 0 }],
    });
    fs::write(mount.store("remote.json"), remote.to_string()).expect("remote");
    mount.daemon(json!({ "do": "make", "path": "d", "type": "d", "mode": 0o755, "mtime": MTIME }));
    assert_eq!(
        fs::metadata(mount.path("d")).expect("stat").mtime(),
        1_500_000_000
    );
    assert!(asked(&mount, "list").is_empty(), "a stat lists nothing");
    mount.daemon(json!({ "do": "set", "list": "hold" }));
    let readers: Vec<_> = (0..8)
        .map(|index| {
            let path = mount.path(if index % 2 == 0 { "d/sub" } else { "d" });
            thread::spawn(move || {
                fs::metadata(&path).map(|_| fs::read_dir(path).map(Iterator::count))
            })
        })
        .collect();
    wait_for("list", || (!asked(&mount, "list").is_empty()).then_some(()));
    // Whoever needs nothing remote is not held up, however many wait.
    fs::write(mount.path("local"), "x").expect("write");
    assert_eq!(fs::read(mount.path("local")).expect("read"), b"x");
    mount.daemon(json!({ "do": "set", "list": "serve" }));
    mount.daemon(json!({ "do": "serve-held" }));
    for reader in readers {
        reader.join().expect("thread").expect("stat").expect("list");
    }
    let lists = asked(&mount, "list");
    assert_eq!(lists.iter().filter(|list| list["path"] == "d").count(), 1);
    let mut names: Vec<_> = fs::read_dir(mount.path("d"))
        .expect("list")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("utf-8")
        })
        .collect();
    names.sort();
    assert_eq!(names, ["f", "l", "sub"]);
    assert_eq!(
        fs::read_link(mount.path("d/l")).expect("readlink"),
        Path::new("f")
    );
    assert_eq!(
        fs::read(mount.path("d/sub/x")).expect("read"),
        expected(0, 3)
    );
    assert!(!has_record(&mount.tree("d")));
}

#[test]
fn never_takes_an_unlisted_directory_for_an_empty_one() {
    let Some(mut mount) = mount("ph-unlisted") else {
        return;
    };
    let remote = json!({ "d": [{ "name": "f", "type": "f", "size": 1 }] });
    fs::write(mount.store("remote.json"), remote.to_string()).expect("remote");
    mount.daemon(json!({ "do": "make", "path": "d", "type": "d", "mode": 0o755 }));
    mount.daemon(json!({ "do": "set", "list": "fail" }));
    let failed = fs::remove_dir(mount.path("d")).expect_err("not listed");
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    let failed = File::create(mount.path("d/new")).expect_err("not listed");
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    fs::create_dir(mount.path("e")).expect("mkdir");
    mount.daemon(json!({ "do": "set", "list": "serve" }));
    let failed = fs::rename(mount.path("e"), mount.path("d")).expect_err("not empty");
    assert_eq!(failed.raw_os_error(), Some(libc::ENOTEMPTY));
    // A snapshot shows it as what it is, and nothing in it.
    mount.daemon(json!({ "do": "make", "path": "u", "type": "d", "mode": 0o711 }));
    let answer = mount.daemon(json!({ "do": "snapshot", "all": true }));
    let parts = answer["parts"].as_array().expect("parts");
    assert!(parts.iter().all(|part| part["path"] != "u"));
    let entries = parts[0]["entries"].as_array().expect("entries");
    let entry = entries.iter().find(|entry| entry[0] == "u").expect("u");
    assert_eq!((&entry[1], &entry[4]), (&json!("d"), &json!(0o711)));
    assert!(entry[8].is_string(), "its record");
}

#[test]
fn waits_with_reads_for_the_next_daemon() {
    let Some(mut mount) = mount("ph-restart") else {
        return;
    };
    make(&mut mount, "f");
    mount.daemon(json!({ "do": "set", "fill": "hold" }));
    let mut reader = Companion::start(
        "import sys\nf=open(sys.argv[1],'rb')\nprint('open')\nd=f.read(100)\nprint(d.hex())\nsys.stdin.read()",
        &[&mount.path("f")],
    );
    assert_eq!(reader.line(), "open");
    wait_for("fill", || (!asked(&mount, "fill").is_empty()).then_some(()));
    let first = mount.daemon_pid();
    kill(first, libc::SIGKILL);
    // Local work goes on while there is no daemon.
    for index in 0..50 {
        fs::write(mount.path(&format!("local{index}")), "x").expect("write");
    }
    let hex: String = expected(0, 100)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(reader.line(), hex);
    reader.end();
    assert_ne!(mount.daemon_pid(), first);
    assert_eq!(mount.status()["restarts"], 1);
}

#[test]
fn fails_a_read_at_its_deadline() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::with("ph-deadline", &json!({ "fetchDeadlineMs": 300 }));
    make(&mut mount, "f");
    mount.daemon(json!({ "do": "set", "fill": "hold" }));
    let file = File::open(mount.path("f")).expect("open");
    let failed = file.read_at(&mut [0; 10], 0).expect_err("nobody answers");
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    mount.daemon(json!({ "do": "set", "fill": "serve" }));
    mount.daemon(json!({ "do": "serve-held" }));
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, 0)
        .expect("a late answer counts");
    assert_eq!(bytes[..], expected(0, 10));
}

#[test]
fn reads_many_cold_ranges_at_once_without_holding_up_the_rest() {
    let Some(mut mount) = mount("ph-many") else {
        return;
    };
    make(&mut mount, "f");
    mount.daemon(json!({ "do": "set", "fill": "hold" }));
    let readers: Vec<_> = (0..32u64)
        .map(|index| {
            let path = mount.path("f");
            thread::spawn(move || {
                let at = index * 160_000;
                let mut bytes = vec![0; 1000];
                File::open(path)
                    .expect("open")
                    .read_exact_at(&mut bytes, at)
                    .expect("read");
                assert_eq!(bytes, expected(at, at + 1000));
            })
        })
        .collect();
    wait_for("fills", || (asked(&mount, "fill").len() >= 4).then_some(()));
    fs::write(mount.path("local"), "x").expect("write");
    assert_eq!(fs::read(mount.path("local")).expect("read"), b"x");
    mount.daemon(json!({ "do": "set", "fill": "serve" }));
    while mount.daemon(json!({ "do": "serve-held" }))["served"] != 0 {}
    for reader in readers {
        reader.join().expect("reader");
    }
}

#[test]
fn keeps_a_program_that_maps_a_placeholder() {
    let Some(mut mount) = mount("ph-mmap") else {
        return;
    };
    make(&mut mount, "f");
    let seen = python(
        "import mmap,sys\nf=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); f.close()\n\
         print(m[4<<20:(4<<20)+8].hex(), m[len(m)-1])",
        &[&mount.path("f")],
    );
    let hex: String = expected(4 * MIB, 4 * MIB + 8)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(seen, format!("{hex} {}\n", expected(SIZE - 1, SIZE)[0]));
}
