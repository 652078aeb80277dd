//! What the kernel may keep: pages of what did not change, names, and a ctime that is the programs'.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use serde_json::json;

use crate::commit::settle;
use crate::support::{Mount, can_mount, python};

/// Reads all of `f` and says how many reads came to the keeper for it.
fn reads(mount: &Mount, name: &str, expected: &[u8]) -> u64 {
    let count = || mount.status()["stats"]["reads"].as_u64().expect("reads");
    let before = count();
    assert_eq!(fs::read(mount.path(name)).expect("read"), expected);
    count() - before
}

#[test]
fn keeps_the_pages_of_what_did_not_change() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::with("pages", &json!({ "passthrough": "off" }));
    let mut bytes = vec![1; 300_000];
    fs::write(mount.tree("f"), &bytes).expect("written past the mount");
    assert!(reads(&mount, "f", &bytes) > 0);
    assert_eq!(reads(&mount, "f", &bytes), 0, "read again");

    fs::set_permissions(mount.path("f"), fs::Permissions::from_mode(0o640)).expect("chmod");
    fs::rename(mount.path("f"), mount.path("g")).expect("rename");
    fs::hard_link(mount.path("g"), mount.path("f")).expect("link");
    fs::remove_file(mount.path("g")).expect("unlink");
    assert_eq!(reads(&mount, "f", &bytes), 0, "changed but for its content");
    assert_eq!(settle(&mut mount, "f", 1)["err"], json!(null));
    assert_eq!(reads(&mount, "f", &bytes), 0, "settled");

    let file = OpenOptions::new()
        .write(true)
        .open(mount.path("f"))
        .expect("open");
    file.write_at(&[2; 100], 100).expect("write");
    bytes[100..200].fill(2);
    drop(file);
    assert_eq!(reads(&mount, "f", &bytes), 0, "written through the mount");

    // Behind its back: neither size nor, as rsync does it, mtime tell.
    let past = File::options()
        .write(true)
        .open(mount.tree("f"))
        .expect("open");
    let mtime = past.metadata().expect("stat").modified().expect("mtime");
    past.write_at(&[3; 100], 0).expect("write");
    past.set_modified(mtime).expect("utimes");
    bytes[..100].fill(3);
    assert!(reads(&mount, "f", &bytes) > 0);
    assert_eq!(reads(&mount, "f", &bytes), 0, "and kept again");

    let path = mount.path("f");
    python(
        "import os,sys\np=sys.argv[1]\nos.truncate(p,10)\nos.truncate(p,20)\n\
         assert open(p,'rb').read()==b'\\3'*10+b'\\0'*10\n\
         os.close(os.open(p,os.O_RDONLY|os.O_TRUNC))\nassert open(p,'rb').read()==b''",
        &[&path],
    );
}

#[test]
fn tells_what_became_of_a_file_whose_attributes_were_cached_when_it_was_made() {
    if !can_mount() {
        return;
    }
    for mode in ["auto", "off"] {
        let mount = Mount::with(&format!("made-{mode}"), &json!({ "passthrough": mode }));
        python(
            "import mmap,os,sys,time\nd=sys.argv[1]\n\
             def made(name):\n\
             \x20fd=os.open(d+'/'+name,os.O_RDWR|os.O_CREAT|os.O_EXCL); s=os.fstat(fd)\n\
             \x20assert s.st_size==0 and os.stat(d+'/'+name).st_mtime_ns==s.st_mtime_ns\n\
             \x20time.sleep(.02); return fd,s.st_mtime_ns\n\
             def grown(name,before,size):\n\
             \x20s=os.stat(d+'/'+name); assert s.st_size==size and s.st_mtime_ns>before,(name,s)\n\
             fd,t=made('written'); os.write(fd,b'x'*5000); grown('written',t,5000)\n\
             fd,t=made('allocated'); os.posix_fallocate(fd,0,7000); grown('allocated',t,7000)\n\
             fd,t=made('cut'); os.ftruncate(fd,8192); grown('cut',t,8192)\n\
             t=os.stat(d+'/cut').st_mtime_ns; m=mmap.mmap(fd,0); time.sleep(.02); m[5]=1; m.flush()\n\
             grown('cut',t,8192)\n\
             fd,t=made('copied'); s=os.open(d+'/written',os.O_RDONLY)\n\
             assert os.copy_file_range(s,fd,5000)==5000; grown('copied',t,5000)\n\
             fd,t=made('sent'); assert os.sendfile(fd,s,0,5000)==5000; grown('sent',t,5000)\n\
             fd,t=made('linked'); os.link(d+'/linked',d+'/l'); assert os.fstat(fd).st_nlink==2\n\
             os.chmod(d+'/l',0o600); assert os.fstat(fd).st_mode&0o777==0o600",
            &[&mount.path("")],
        );
    }
}

#[test]
fn shows_the_ctime_of_the_last_change_and_not_of_its_own_link() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::new("ctime");
    fs::write(mount.path("f"), "x").expect("write");
    let ctime = |mount: &Mount, place: fn(&Mount, &str) -> std::path::PathBuf| {
        let seen = fs::metadata(place(mount, "f")).expect("stat");
        (seen.ctime(), seen.ctime_nsec())
    };
    let before = ctime(&mount, Mount::path);
    for oid in [1, 2] {
        assert_eq!(settle(&mut mount, "f", oid)["err"], json!(null));
        assert_ne!(ctime(&mount, Mount::tree), before, "the link moved it");
        assert_eq!(ctime(&mount, Mount::path), before);
    }
    mount.daemon(json!({ "do": "unlink-objects", "oids": ["1"] }));
    assert!(!mount.store("objects/1").exists());
    assert_eq!(ctime(&mount, Mount::path), before);

    fs::set_permissions(mount.path("f"), fs::Permissions::from_mode(0o600)).expect("chmod");
    let changed = ctime(&mount, Mount::path);
    assert_eq!(changed, ctime(&mount, Mount::tree));
    assert_ne!(changed, before);
    mount.daemon(json!({ "do": "unlink-objects", "oids": ["2"] }));
    assert_eq!(ctime(&mount, Mount::path), changed);
}
