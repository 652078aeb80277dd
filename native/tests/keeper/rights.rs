//! Whose file it is, what a write does to its mode, and what an ordinary user cannot look into.

use std::fs;

use serde_json::json;

use crate::commit::{paths, snapshot};
use crate::support::{Mount, can_mount, python};

#[test]
fn drops_set_id_bits_as_a_local_disk_does() {
    if !can_mount() {
        return;
    }
    let plain = std::env::temp_dir().join(format!("k-set-id-{}", std::process::id()));
    fs::create_dir(&plain).expect("mkdir");
    let answers = |dir: &std::path::Path| {
        python(
            "import os,sys\nd=sys.argv[1]; os.chmod(d,0o777); f=d+'/f'\n\
             def made(mode,uid=65534):\n\
             \x20if os.path.exists(f): os.unlink(f)\n\
             \x20open(f,'wb').write(b'x'*9000); os.chown(f,uid,65534); os.chmod(f,mode); os.stat(f)\n\
             def as_nobody(act):\n\
             \x20pid=os.fork()\n\
             \x20if pid==0:\n\
             \x20\x20os.setgroups([]); os.setgid(65534); os.setuid(65534); act(); os._exit(0)\n\
             \x20assert os.waitpid(pid,0)[1]==0\n\
             def opened(flags): return os.open(f,flags)\n\
             acts={'write':lambda:os.write(opened(os.O_WRONLY),b'y'),\n\
             'twice':lambda:[os.write(fd,b'y') for fd in [opened(os.O_WRONLY)]*2],\n\
             'truncate':lambda:os.truncate(f,5),'up':lambda:os.truncate(f,9999),\n\
             'ftruncate':lambda:os.ftruncate(opened(os.O_RDWR),5),\n\
             'empty':lambda:opened(os.O_WRONLY|os.O_TRUNC),\n\
             'allocate':lambda:os.posix_fallocate(opened(os.O_RDWR),0,20000),\n\
             'copy':lambda:os.copy_file_range(opened(os.O_RDONLY),opened(os.O_WRONLY),10,0,100),\n\
             'send':lambda:os.sendfile(opened(os.O_WRONLY),opened(os.O_RDONLY),0,10),\n\
             'chown':lambda:os.chown(f,-1,-1),'to itself':lambda:os.chown(f,65534,-1),\n\
             'utime':lambda:os.utime(f,ns=(1,1)),'open':lambda:opened(os.O_RDWR),\n\
             'chmod':lambda:os.chmod(f,0o4711)}\n\
             for name,act in acts.items():\n\
             \x20for mode in (0o6777,0o4755,0o2755,0o2644,0o6644):\n\
             \x20\x20made(mode); as_nobody(act); seen=os.stat(f).st_mode\n\
             \x20\x20made(mode); act(); print(name,oct(mode),oct(seen),oct(os.stat(f).st_mode))\n\
             made(0o6755,1); os.chown(f,2,-1); print(oct(os.stat(f).st_mode))",
            &[dir],
        )
    };
    let expected = answers(&plain);
    fs::remove_dir_all(&plain).expect("clean up");
    for mode in ["auto", "off"] {
        let name = format!("set-id-{mode}");
        let mut mount = Mount::with(&name, &json!({ "passthrough": mode, "allowOther": true }));
        assert_eq!(answers(&mount.path("")), expected, "passthrough {mode}");
        // The mode of what is not here yet is its record's.
        mount.daemon(json!({
            "do": "make", "path": "remote", "type": "f", "size": 3_000_000, "mode": 0o6755,
        }));
        let path = mount.path("remote");
        let seen = python(
            "import os,sys\np=sys.argv[1]; print(oct(os.stat(p).st_mode)); os.chown(p,12,-1)\n\
             s=os.stat(p); print(oct(s.st_mode),s.st_uid); open(p,'rb').read(); print(oct(os.stat(p).st_mode))",
            &[&path],
        );
        assert_eq!(seen, "0o106755\n0o100755 12\n0o100755\n");
    }
}

#[test]
fn goes_on_when_an_ordinary_user_closes_a_directory() {
    if !can_mount() || !std::path::Path::new("/usr/bin/fusermount3").exists() {
        return;
    }
    let mut mount = Mount::prepare("closed", &json!({}));
    mount.hand_to(65_534);
    mount.start();
    let as_user = |mount: &Mount, script: &str| {
        let become_user = "import os,sys\nd=sys.argv[1]\nos.setgroups([]); os.setgid(65534); \
                           os.setuid(65534)\nos.chdir(d)\n";
        python(&format!("{become_user}{script}"), &[&mount.path("")])
    };
    as_user(
        &mount,
        "os.makedirs('shut/sub'); os.makedirs('blind'); os.mkdir('open')\n\
         for p in ('shut/f','shut/sub/f','blind/f','open/f'): open(p,'w').write(p)\n\
         fd=os.open('shut/sub/f',os.O_RDWR); cwd=os.open('shut/sub',os.O_RDONLY)\n\
         os.chmod('blind',0o600); os.chmod('shut',0)\n\
         os.pwrite(fd,b'S',0); os.ftruncate(fd,4); os.fchmod(fd,0o640); os.fsync(fd)\n\
         s=os.fstat(fd); assert s.st_size==4 and s.st_mode&0o777==0o640\n\
         os.utime(fd,ns=(7,7)); assert os.fstat(fd).st_mtime_ns==7\n\
         os.fchdir(cwd); open('made','w').write('in a directory that is still open')\n\
         assert sorted(os.listdir('.'))==['f','made']; os.chdir(d)\n\
         assert os.listdir('blind')==['f']\n\
         for p in ('shut/f','blind/f'):\n\
         \x20try: os.stat(p)\n\
         \x20except PermissionError: pass\n\
         \x20else: raise SystemExit(p)",
    );
    let (number, parts) = snapshot(&mut mount, false);
    assert!(paths(&parts).starts_with(&["", "open"]), "{parts:?}");
    assert!(!paths(&parts).contains(&"blind"), "{parts:?}");
    mount.daemon(json!({
        "do": "event", "message": { "t": "committed", "snapshot": number, "again": [] },
    }));
    as_user(&mount, "os.chmod('shut',0o755); os.chmod('blind',0o755)");
    let (_, parts) = snapshot(&mut mount, false);
    let told = paths(&parts);
    for path in ["blind", "shut", "shut/sub"] {
        assert!(told.contains(&path), "{path}: {told:?}");
    }
    let (_, parts) = snapshot(&mut mount, true);
    assert_eq!(paths(&parts), ["", "blind", "open", "shut", "shut/sub"]);
    assert!(mount.terminate().success());
}
