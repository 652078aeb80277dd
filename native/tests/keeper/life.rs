//! How a mount begins and ends.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Mount, can_mount, kill, python, wait_for};

#[test]
fn leaves_nothing_behind_however_often_it_is_mounted() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("cycles");
    fs::write(mount.path("f"), "kept").expect("write");
    for _ in 0..10 {
        assert!(mount.terminate().success());
        assert!(!mount.is_mounted());
        assert!(!mount.store("unclean").exists());
        assert!(!mount.store("run/keeper.sock").exists());
        mount.start();
        assert_eq!(mount.daemon(json!({ "do": "pid" }))["hello"]["clean"], true);
        assert_eq!(fs::read(mount.path("f")).expect("read"), b"kept");
    }
    assert!(mount.store("unclean").exists());
}

#[test]
fn inherits_nothing_and_keeps_few_descriptors() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("descriptors");
    let count = |mount: &Mount| {
        fs::read_dir(format!("/proc/{}/fd", mount.keeper_pid()))
            .expect("fds")
            .count()
    };
    let before = count(&mount);
    fs::create_dir(mount.path("d")).expect("mkdir");
    for index in 0..5000 {
        File::create(mount.path(&format!("d/{index}"))).expect("create");
    }
    for entry in fs::read_dir(mount.path("d")).expect("list") {
        entry.expect("entry").metadata().expect("stat");
    }
    wait_for("the last release", || {
        (count(&mount) <= before + 5).then_some(())
    });
    let environment = fs::read(format!("/proc/{}/environ", mount.daemon_pid())).expect("environ");
    assert!(
        environment.is_empty(),
        "{}",
        String::from_utf8_lossy(&environment)
    );
    let name = fs::read_to_string(format!("/proc/{}/comm", mount.keeper_pid())).expect("comm");
    assert_eq!(name, "modelcache-keep\n", "15 bytes of modelcache-keeper");
    let mode = fs::metadata(mount.store("run/keeper.sock"))
        .expect("socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn refuses_a_store_that_is_in_use() {
    if !can_mount() {
        return;
    }
    let mount = Mount::new("locked");
    let mut other = Mount::prepare("locked-other", &json!({ "store": mount.store("") }));
    other.start();
    assert_eq!(
        other.ready["error"]["code"], "store-locked",
        "{}",
        other.ready
    );
    assert_eq!(other.wait().code(), Some(1));
    assert!(!other.is_mounted());
    assert_eq!(mount.status()["state"], "serving");
}

#[test]
fn refuses_a_mountpoint_that_is_mounted() {
    if !can_mount() {
        return;
    }
    let mount = Mount::new("twice");
    let mut other = Mount::prepare("twice-other", &json!({ "mountpoint": mount.path("") }));
    other.start();
    assert_eq!(
        other.ready["error"]["code"], "already-mounted",
        "{}",
        other.ready
    );
    other.wait();
    assert!(mount.is_mounted());
    assert!(!other.store("unclean").exists());
}

#[test]
fn reports_why_the_daemon_cannot_serve() {
    if !can_mount() {
        return;
    }
    let failed = json!({ "daemonConfig": { "failed": "bafyx: is no root" } });
    let mut mount = Mount::prepare("failed", &failed);
    mount.start();
    let error = &mount.ready["error"];
    assert_eq!(
        (&error["code"], &error["exitCode"]),
        (&json!("daemon-failed"), &json!(5))
    );
    assert_eq!(error["message"], "bafyx: is no root");
    assert_eq!(mount.wait().code(), Some(5));
    assert!(!mount.is_mounted());
    assert!(!mount.store("unclean").exists());
}

#[test]
fn gives_up_a_daemon_that_never_starts() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::prepare("hopeless", &json!({ "daemonConfig": { "exit": 7 } }));
    mount.start();
    assert_eq!(
        mount.ready["error"]["code"], "daemon-failed",
        "{}",
        mount.ready
    );
    assert_eq!(mount.wait().code(), Some(1));
    assert!(!mount.is_mounted());
}

#[test]
fn restarts_the_daemon_and_serves_meanwhile() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("restart");
    fs::write(mount.path("f"), "1").expect("write");
    for round in 1..4 {
        let pid = mount.daemon_pid();
        kill(pid, libc::SIGKILL);
        fs::write(mount.path("f"), format!("{round}")).expect("write");
        assert_eq!(
            fs::read_to_string(mount.path("f")).expect("read"),
            format!("{round}")
        );
        wait_for("the next daemon", || {
            let status = mount.status();
            let next = status["restarts"] == round && status["daemon"]["state"] == "running";
            next.then_some(())
        });
    }
    assert!(mount.terminate().success());
}

#[test]
fn takes_the_daemon_with_it_when_it_is_killed() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("killed");
    let pid = mount.daemon_pid();
    mount.crash();
    wait_for("the daemon's end", || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat"));
        // Gone, or dead and not reaped by whoever inherited it.
        state.map_or(Some(()), |stat| stat.contains(") Z ").then_some(()))
    });
    mount.start();
    assert_eq!(mount.ready["ready"], true);
}

#[test]
fn says_busy_and_goes_on_when_somebody_uses_the_mount() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("busy");
    fs::write(mount.path("f"), "x").expect("write");
    let open = File::open(mount.path("f")).expect("open");
    let answer = mount.daemon(json!({ "do": "unmount", "lazy": false }));
    assert_eq!(answer["err"]["errno"], "EBUSY", "{answer}");
    assert_eq!(fs::read(mount.path("f")).expect("read"), b"x");
    drop(open);
    wait_for("the release", || {
        let answer = mount.daemon(json!({ "do": "unmount", "lazy": false }));
        answer.get("ok").cloned()
    });
    assert!(!mount.is_mounted());
    assert!(
        mount.said().iter().all(|message| message["t"] != "drain"),
        "it asked for it"
    );
    // Leases and snapshots are still answered, until it is done.
    let snapshot = mount.daemon(json!({ "do": "snapshot", "all": false }));
    assert!(snapshot["ok"].is_object());
    mount.daemon(json!({ "do": "event", "message": { "t": "done", "dirty": 0 } }));
    assert_eq!(mount.wait().code(), Some(0));
}

#[test]
fn leaves_a_busy_mount_lazily_after_a_signal() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("lazy");
    fs::write(mount.path("f"), "x").expect("write");
    let open = File::open(mount.path("f")).expect("open");
    assert!(mount.terminate().success());
    assert!(!mount.is_mounted());
    drop(open);
}

#[test]
fn drains_when_it_is_unmounted_from_outside() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("outside");
    fs::write(mount.path("f"), "x").expect("write");
    wait_for("umount", || {
        let status = std::process::Command::new("umount")
            .arg(mount.path(""))
            .status();
        status.expect("umount").success().then_some(())
    });
    assert!(mount.wait().success());
    let drain = mount
        .said()
        .into_iter()
        .find(|message| message["t"] == "drain")
        .expect("drain");
    assert_eq!(drain["unmounted"], true);
    assert!(!mount.store("unclean").exists());
}

#[test]
fn keeps_the_mark_when_something_is_dirty() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::with("marked", &json!({ "daemonConfig": { "dirty": 2 } }));
    fs::write(mount.path("f"), "x").expect("write");
    assert_eq!(mount.terminate().code(), Some(3));
    assert!(mount.store("unclean").exists());
    mount.start();
    assert_eq!(
        mount.daemon(json!({ "do": "pid" }))["hello"]["clean"],
        false
    );
}

#[test]
fn serves_an_ordinary_user_through_the_helper() {
    if !can_mount() {
        return;
    }
    if !std::path::Path::new("/usr/bin/fusermount3").exists() {
        eprintln!("skipped: needs fusermount3");
        return;
    }
    let user = 65_534;
    let mut mount = Mount::prepare("user", &json!({}));
    mount.hand_to(user);
    mount.start();
    assert_eq!(mount.ready["ready"], true, "{}", mount.ready);
    assert_eq!(mount.ready["passthrough"]["active"], false);
    let reason = mount.ready["passthrough"]["reason"]
        .as_str()
        .expect("reason");
    assert!(reason.contains("CAP_SYS_ADMIN"), "{reason}");
    mount.daemon(json!({
        "do": "make", "path": "remote", "type": "f", "size": 3_000_000, "mode": 0o444,
    }));
    let seen = python(
        "import os,sys,struct\nd=sys.argv[1]; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n\
         fd=os.open(d+'/f',os.O_CREAT|os.O_EXCL|os.O_RDWR,0o444); os.write(fd,b'x'*9)\n\
         os.fchmod(fd,0o400); os.pwrite(fd,b'y',0); os.close(fd)\n\
         assert open(d+'/f').read()=='y'+'x'*8 and os.stat(d+'/f').st_uid==65534\n\
         try: open(d+'/f','w')\n\
         except PermissionError: pass\n\
         else: raise SystemExit('written')\n\
         assert os.stat(d+'/remote').st_mode&0o777==0o444\n\
         b=open(d+'/remote','rb').read(); assert len(b)==3_000_000\n\
         assert b[800:808]==struct.pack('<Q',800)\n\
         assert os.stat(d+'/remote').st_mode&0o777==0o444\n\
         os.mkdir(d+'/d'); os.rename(d+'/f',d+'/d/f'); os.symlink('d/f',d+'/l')\n\
         print(sorted(os.listdir(d)))",
        &[&mount.path("")],
    );
    assert_eq!(seen, "['d', 'l', 'remote']\n");
    assert!(mount.terminate().success());
    assert!(!mount.is_mounted());
}
