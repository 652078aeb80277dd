//! Named POSIX behaviours, through a real mount, with and without passthrough.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Companion, Mount, can_mount, python};
use serde_json::json;

/// Runs a behaviour in both modes of serving.
fn in_both_modes(name: &str, behaviour: impl Fn(&mut Mount)) {
    if !can_mount() {
        return;
    }
    for mode in ["auto", "off"] {
        let mut mount = Mount::with(&format!("{name}-{mode}"), &json!({ "passthrough": mode }));
        assert_eq!(
            mount.ready["passthrough"]["active"],
            mode == "auto",
            "{}",
            mount.ready
        );
        behaviour(&mut mount);
        assert!(mount.terminate().success());
        assert!(!mount.is_mounted());
    }
}

fn errno<T>(result: std::io::Result<T>) -> i32 {
    result
        .err()
        .expect("an error")
        .raw_os_error()
        .expect("an errno")
}

#[test]
fn keeps_one_version_for_who_reads_while_names_are_replaced() {
    in_both_modes("replace", |mount| {
        let path = mount.path("model.bin");
        fs::write(&path, [b'a'; 300_000]).expect("write");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut bytes = Vec::new();
                    let mut file = File::open(&path).expect("open");
                    file.read_to_end(&mut bytes).expect("read");
                    assert_eq!(bytes.len(), 300_000);
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                }
            });
            for round in 0..60u8 {
                let next = mount.path("model.bin.incomplete");
                let mut file = File::create(&next).expect("create");
                file.write_all(&vec![b'b' + round % 20; 300_000])
                    .expect("write");
                // Before the writer closes: rename arrives before RELEASE.
                fs::rename(&next, &path).expect("rename");
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn keeps_an_unlinked_open_file() {
    in_both_modes("unlink", |mount| {
        let path = mount.path("f");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .expect("create");
        file.write_all(b"hello").expect("write");
        fs::remove_file(&path).expect("unlink");
        let seen = file.metadata().expect("fstat");
        assert_eq!((seen.nlink(), seen.len()), (0, 5));
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .expect("fchmod");
        file.set_len(3).expect("ftruncate");
        file.sync_all().expect("fsync");
        file.seek(SeekFrom::Start(0)).expect("seek");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hel");
        let seen = file.metadata().expect("fstat");
        assert_eq!(
            (seen.nlink(), seen.len(), seen.mode() & 0o777),
            (0, 3, 0o600)
        );
        assert_eq!(fs::read_dir(mount.path("")).expect("list").count(), 0);
        // Renamed over is as good as unlinked.
        fs::write(mount.path("a"), "old").expect("write");
        let old = File::open(mount.path("a")).expect("open");
        fs::write(mount.path("b"), "new").expect("write");
        fs::rename(mount.path("b"), mount.path("a")).expect("rename");
        assert_eq!(old.metadata().expect("fstat").nlink(), 0);
        let mut bytes = [0; 3];
        old.read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"old");
    });
}

#[test]
fn keeps_a_removed_working_directory() {
    in_both_modes("cwd", |mount| {
        let script = "import os,sys\np=sys.argv[1]\nos.mkdir(p)\nos.chdir(p)\nos.rmdir(p)\n\
                      assert os.listdir('.')==[]\nassert os.stat('.').st_nlink in (0,1), os.stat('.')\n\
                      try:\n open('x','w')\nexcept FileNotFoundError: pass\nelse: raise SystemExit('made')";
        python(script, &[&mount.path("d")]);
    });
}

#[test]
fn creates_appends_and_truncates_like_a_local_disk() {
    in_both_modes("write", |mount| {
        let path = mount.path("f");
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
        create(&path).expect("create");
        assert_eq!(errno(create(&path)), libc::EEXIST);
        let append = || OpenOptions::new().append(true).open(&path).expect("open");
        let (mut one, mut other) = (append(), append());
        for _ in 0..100 {
            one.write_all(b"1").expect("append");
            other.write_all(b"2").expect("append");
        }
        assert_eq!(fs::read(&path).expect("read"), b"12".repeat(100));
        // A hole reads as zeros, and costs nothing.
        let file = OpenOptions::new().write(true).open(&path).expect("open");
        file.set_len(1 << 30).expect("truncate up");
        assert!(fs::metadata(&path).expect("stat").blocks() < 100);
        file.write_at(b"x", 1 << 29).expect("write");
        let mut bytes = [1; 3];
        File::open(&path)
            .expect("open")
            .read_exact_at(&mut bytes, (1 << 29) - 1)
            .expect("read");
        assert_eq!(&bytes, b"\0x\0");
        file.set_len(2).expect("truncate down");
        assert_eq!(fs::read(&path).expect("read"), b"12");
        // Read-only from now on, but not for who has it open (hub: chmod before the last write).
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("chmod");
        file.write_at(b"xyz", 0).expect("write");
        assert_eq!(fs::read(&path).expect("read"), b"xyz");
        File::create(&path).expect("truncate as root");
        assert_eq!(fs::metadata(&path).expect("stat").len(), 0);
        fs::write(&path, "again").expect("write");
        let size = fs::metadata(&path).expect("stat").len();
        assert_eq!(size, 5);
    });
}

#[test]
fn shows_links_and_keeps_their_count() {
    in_both_modes("links", |mount| {
        fs::create_dir_all(mount.path("blobs")).expect("mkdir");
        fs::create_dir_all(mount.path("snapshots/1")).expect("mkdir");
        fs::write(mount.path("blobs/x"), "blob").expect("write");
        symlink("../../blobs/x", mount.path("snapshots/1/model")).expect("symlink");
        let target = fs::read_link(mount.path("snapshots/1/model")).expect("readlink");
        assert_eq!(target, Path::new("../../blobs/x"));
        assert_eq!(
            fs::read(mount.path("snapshots/1/model")).expect("read"),
            b"blob"
        );
        let kind = fs::symlink_metadata(mount.path("snapshots/1/model"))
            .expect("lstat")
            .file_type();
        assert!(kind.is_symlink());
        let nlink = |name: &str| {
            fs::symlink_metadata(mount.path(name))
                .expect("lstat")
                .nlink()
        };
        assert_eq!(nlink("blobs/x"), 1);
        fs::hard_link(mount.path("blobs/x"), mount.path("y")).expect("link");
        assert_eq!((nlink("blobs/x"), nlink("y")), (2, 2));
        fs::remove_file(mount.path("blobs/x")).expect("unlink");
        assert_eq!(nlink("y"), 1);
        assert_eq!(fs::read(mount.path("y")).expect("read"), b"blob");
        fs::hard_link(mount.path("snapshots/1/model"), mount.path("l")).expect("link a link");
        assert!(
            fs::symlink_metadata(mount.path("l"))
                .expect("lstat")
                .file_type()
                .is_symlink()
        );
    });
}

#[test]
fn renames_files_and_directories_as_posix_says() {
    in_both_modes("rename", |mount| {
        fs::create_dir_all(mount.path("d/e")).expect("mkdir");
        fs::write(mount.path("d/e/f"), "x").expect("write");
        let open = File::open(mount.path("d/e/f")).expect("open");
        let before = open.metadata().expect("fstat").ino();
        fs::create_dir(mount.path("empty")).expect("mkdir");
        fs::rename(mount.path("d"), mount.path("empty")).expect("rename onto an empty one");
        assert_eq!(
            fs::metadata(mount.path("empty/e/f")).expect("stat").ino(),
            before
        );
        fs::create_dir_all(mount.path("full/x")).expect("mkdir");
        let onto_full = fs::rename(mount.path("empty"), mount.path("full"));
        assert_eq!(errno(onto_full), libc::ENOTEMPTY);
        assert_eq!(errno(fs::remove_dir(mount.path("full"))), libc::ENOTEMPTY);
        assert_eq!(errno(fs::remove_dir(mount.path("missing"))), libc::ENOENT);
        assert_eq!(errno(fs::create_dir(mount.path("full"))), libc::EEXIST);
        assert_eq!(errno(fs::create_dir(mount.path("missing/x"))), libc::ENOENT);
        assert_eq!(errno(fs::remove_file(mount.path("full"))), libc::EISDIR);
        let name = "n".repeat(256);
        assert_eq!(errno(fs::write(mount.path(&name), "")), libc::ENAMETOOLONG);
        let longest = "n".repeat(255);
        fs::write(mount.path(&longest), "x").expect("255 bytes");
        fs::write(mount.path("a"), "a").expect("write");
        fs::write(mount.path("b"), "b").expect("write");
        python(
            "import ctypes,sys,os,errno\nlibc=ctypes.CDLL(None,use_errno=True)\n\
             a,b=[p.encode() for p in sys.argv[1:]]\n\
             assert libc.renameat2(-100,a,-100,b,1)==-1 and ctypes.get_errno()==errno.EEXIST\n\
             assert libc.renameat2(-100,a,-100,b,2)==0\n\
             assert open(a).read()=='b' and open(b).read()=='a'\n\
             assert libc.renameat2(-100,a,-100,b,4)==-1 and ctypes.get_errno()==errno.EINVAL",
            &[&mount.path("a"), &mount.path("b")],
        );
    });
}

#[test]
fn lists_sorted_and_stable_while_the_directory_changes() {
    in_both_modes("readdir", |mount| {
        for index in 0..3000 {
            File::create(mount.path(&format!("f{:04}", (index * 7919) % 3000))).expect("create");
        }
        let mut listing = fs::read_dir(mount.path("")).expect("list");
        let mut names = Vec::new();
        for index in 0..3000 {
            let entry = listing.next().expect("another").expect("entry");
            assert!(entry.file_type().expect("type").is_file());
            names.push(entry.file_name());
            if index == 100 {
                for gone in 1000..1500 {
                    fs::remove_file(mount.path(&format!("f{gone:04}"))).expect("unlink");
                }
                File::create(mount.path("a-new-one")).expect("create");
            }
            if listing.size_hint().1 == Some(0) || names.len() == 2500 {
                break;
            }
        }
        names.extend(listing.map(|entry| entry.expect("entry").file_name()));
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(names, sorted, "sorted, and none twice");
        assert!(
            names.len() >= 2500,
            "none that stayed is missing: {}",
            names.len()
        );
        let after: Vec<_> = fs::read_dir(mount.path("")).expect("list").collect();
        assert_eq!(after.len(), 2501);
    });
}

#[test]
fn leaves_locks_to_the_kernel() {
    in_both_modes("locks", |mount| {
        let path = mount.path("x.lock");
        let mut holder = Companion::start(
            "import fcntl,sys\nf=open(sys.argv[1],'w')\nfcntl.flock(f,fcntl.LOCK_EX)\n\
             fcntl.lockf(f,fcntl.LOCK_EX)\nprint('locked')\nsys.stdin.read()",
            &[&path],
        );
        assert_eq!(holder.line(), "locked");
        let attempt = "import fcntl,sys\nf=open(sys.argv[1],'r+')\n\
                       for lock in (fcntl.flock,fcntl.lockf):\n\
                       \x20try: lock(f,fcntl.LOCK_EX|fcntl.LOCK_NB)\n\
                       \x20except BlockingIOError: print('busy')\n\
                       \x20else: print('free')";
        assert_eq!(python(attempt, &[&path]), "busy\nbusy\n");
        holder.end();
        assert_eq!(python(attempt, &[&path]), "free\nfree\n");
    });
}

#[test]
fn maps_files_privately_and_shared() {
    in_both_modes("mmap", |mount| {
        let path = mount.path("f");
        fs::write(&path, vec![7; 100_000]).expect("write");
        python(
            "import mmap,sys,os\np=sys.argv[1]\n\
             f=open(p,'r+b'); m=mmap.mmap(f.fileno(),0); f.close()\n\
             m[50_000]=1; m.flush()\n\
             assert open(p,'rb').read()[50_000]==1\n\
             m[60_000]=2; m.close()\n\
             assert open(p,'rb').read()[60_000]==2\n\
             f=open(p,'rb'); m=mmap.mmap(f.fileno(),0,flags=mmap.MAP_PRIVATE,prot=mmap.PROT_READ|mmap.PROT_WRITE)\n\
             m[0]=9; assert open(p,'rb').read()[0]==7\n\
             os.unlink(p); assert m[50_000]==1; m.close()",
            &[&path],
        );
    });
}

#[test]
fn moves_mtime_with_stores_through_a_mapping() {
    in_both_modes("mmap-mtime", |mount| {
        let path = mount.path("f");
        fs::write(&path, vec![7; 8192]).expect("write");
        python(
            "import mmap,sys,os,time\np=sys.argv[1]\n\
             os.utime(p,ns=(0,0)); assert os.stat(p).st_mtime_ns==0\n\
             f=open(p,'r+b'); m=mmap.mmap(f.fileno(),0); f.close()\n\
             m[0]=1; m.flush()\n\
             assert os.stat(p).st_mtime_ns>0\nm.close()",
            &[&path],
        );
    });
}

#[test]
fn keeps_times_modes_and_owners() {
    in_both_modes("attributes", |mount| {
        let path = mount.path("f");
        fs::write(&path, "x").expect("write");
        python(
            "import os,sys\np=sys.argv[1]\n\
             for ns in (1_234_567_890_123_456_789, 5, -1_500_000_000, 0):\n\
             \x20os.utime(p,ns=(ns,ns)); s=os.stat(p); assert (s.st_mtime_ns,s.st_atime_ns)==(ns,ns),(s,ns)\n\
             os.chmod(p,0o4751); assert os.stat(p).st_mode&0o7777==0o4751\n\
             os.chown(p,1234,4321); s=os.stat(p); assert (s.st_uid,s.st_gid)==(1234,4321)\n\
             d=os.path.dirname(p); os.umask(0o027)\n\
             os.mkdir(d+'/d',0o777); assert os.stat(d+'/d').st_mode&0o7777==0o750\n\
             os.close(os.open(d+'/g',os.O_CREAT|os.O_WRONLY,0o666)); assert os.stat(d+'/g').st_mode&0o777==0o640\n\
             os.chown(d+'/d',0,55); os.chmod(d+'/d',0o2770)\n\
             os.mkdir(d+'/d/e'); s=os.stat(d+'/d/e'); assert s.st_gid==55 and s.st_mode&0o2000\n\
             open(d+'/d/f','w').close(); assert os.stat(d+'/d/f').st_gid==55\n\
             os.chmod(d,0o700); assert os.stat(d).st_mode&0o777==0o700\n\
             s=os.statvfs(d); assert s.f_namemax==255 and s.f_bsize==4096 and s.f_bavail>0\n\
             assert os.stat(p).st_blksize==4096\n\
             os.mkfifo(d+'/fifo'); import socket; socket.socket(socket.AF_UNIX).bind(d+'/s')\n\
             try: os.mknod(d+'/dev',0o020600,os.makedev(1,3))\n\
             except PermissionError: pass\n\
             else: raise SystemExit('device')",
            &[&path],
        );
    });
}

#[test]
fn hides_its_own_xattrs_and_keeps_others() {
    in_both_modes("xattr", |mount| {
        fs::write(mount.path("f"), "x").expect("write");
        python(
            "import os,sys,errno\np=sys.argv[1]\n\
             os.setxattr(p,'user.a',b'1'); assert os.listxattr(p)==['user.a'] and os.getxattr(p,'user.a')==b'1'\n\
             def fails(no,f,*a):\n\
             \x20try: f(*a)\n\
             \x20except OSError as e: assert e.errno==no,(e,a)\n\
             \x20else: raise SystemExit(a)\n\
             fails(errno.ENODATA,os.getxattr,p,'user.mc')\n\
             fails(errno.EPERM,os.setxattr,p,'user.mc',b'x')\n\
             fails(errno.EPERM,os.removexattr,p,'user.mc')\n\
             fails(errno.EPERM,os.setxattr,p,'user.modelcache.cid',b'x')\n\
             fails(errno.EOPNOTSUPP,os.setxattr,p,'trusted.x',b'x')\n\
             fails(errno.EOPNOTSUPP,os.getxattr,p,'security.capability')\n\
             fails(errno.ENODATA,os.getxattr,p,'user.none')\n\
             assert os.getxattr(p,'user.modelcache.cid')==b'bafyfake-f'\n\
             os.removexattr(p,'user.a'); assert os.listxattr(p)==[]",
            &[&mount.path("f")],
        );
    });
}

#[test]
fn serves_the_rarer_calls() {
    in_both_modes("rare", |mount| {
        fs::write(mount.path("f"), vec![5; 10_000]).expect("write");
        python(
            "import os,sys,errno,fcntl,mmap\np=sys.argv[1]; d=os.path.dirname(p)\n\
             a=os.open(p,os.O_RDONLY); b=os.open(d+'/g',os.O_RDWR|os.O_CREAT)\n\
             n=0\n\
             while n<10_000: n+=os.copy_file_range(a,b,10_000-n,n,n)\n\
             assert open(d+'/g','rb').read()==b'\\5'*10_000\n\
             os.posix_fallocate(b,0,50_000); assert os.fstat(b).st_size==50_000\n\
             os.ftruncate(b,0); os.ftruncate(b,1<<20); os.pwrite(b,b'x',1<<19)\n\
             assert os.lseek(b,0,os.SEEK_DATA)==1<<19 and os.lseek(b,0,os.SEEK_HOLE)==0\n\
             try: os.open(d,os.O_TMPFILE|os.O_RDWR)\n\
             except OSError as e: assert e.errno==errno.EOPNOTSUPP,e\n\
             else: raise SystemExit('tmpfile')\n\
             try: fcntl.ioctl(b,0x40049409,a)\n\
             except OSError as e: assert e.errno in (errno.EOPNOTSUPP,errno.ENOTTY,errno.EXDEV,errno.EINVAL),e\n\
             os.fsync(b); os.fdatasync(b); f=os.open(d,os.O_RDONLY); os.fsync(f)\n\
             r=os.open(p,os.O_RDONLY|os.O_DIRECT); m=mmap.mmap(-1,8192)\n\
             assert os.preadv(r,[m],0)==8192 and m[0]==5\n\
             assert os.sendfile(b,a,0,1000)==1000\n\
             os.symlink('x',d+'/l')\n\
             try: os.open(d+'/l',os.O_RDONLY|os.O_NOFOLLOW)\n\
             except OSError as e: assert e.errno==errno.ELOOP,e\n\
             os.utime(d+'/l',ns=(7,7),follow_symlinks=False); assert os.lstat(d+'/l').st_mtime_ns==7\n\
             w=os.open(p,os.O_WRONLY|os.O_TRUNC); assert os.stat(p).st_size==0",
            &[&mount.path("f")],
        );
    });
}

#[test]
fn reads_with_passthrough_without_being_asked() {
    if !can_mount() {
        return;
    }
    let mount = Mount::new("passthrough");
    fs::write(mount.path("f"), vec![3; 1 << 20]).expect("write");
    assert_eq!(fs::read(mount.path("f")).expect("read").len(), 1 << 20);
    let stats = &mount.status()["stats"];
    assert_eq!((&stats["reads"], &stats["writes"]), (&json!(0), &json!(0)));
    assert_eq!(stats["passthroughOpens"], 2);
}

#[test]
fn refuses_writes_when_mounted_read_only() {
    if !can_mount() {
        return;
    }
    let mut mount = Mount::prepare("read-only", &json!({ "readOnly": true }));
    fs::write(mount.tree("f"), "x").expect("write");
    mount.start();
    assert_eq!(fs::read(mount.path("f")).expect("read"), b"x");
    assert_eq!(errno(fs::write(mount.path("f"), "y")), libc::EROFS);
    assert_eq!(errno(fs::create_dir(mount.path("d"))), libc::EROFS);
    assert_eq!(errno(fs::remove_file(mount.path("f"))), libc::EROFS);
    assert_eq!(
        fs::write(mount.path("f"), "y").unwrap_err().kind(),
        ErrorKind::ReadOnlyFilesystem
    );
}
