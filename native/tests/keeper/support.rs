//! A keeper with a mount and a store of its own, and a daemon that does what the test says.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);
const KEEPER: &str = env!("CARGO_BIN_EXE_modelcache-keeper");
const FAKE_DAEMON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_daemon.py");

pub struct Mount {
    pub root: PathBuf,
    pub ready: Value,
    keeper: Option<Child>,
    daemon: Option<BufReader<UnixStream>>,
    config: Value,
    /// Runs as this user, who needs the setuid helper.
    user: Option<u32>,
}

/// Mounts need root here, or the setuid helper; without /dev/fuse the test is skipped, saying so.
pub fn can_mount() -> bool {
    let possible = Path::new("/dev/fuse").exists() && rustix::process::geteuid().is_root();
    if !possible {
        eprintln!("skipped: needs /dev/fuse and root");
    }
    possible
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Mount {
    pub fn new(name: &str) -> Self {
        Self::with(name, &json!({}))
    }

    /// A fresh store; `changes` are fields of the start configuration.
    pub fn with(name: &str, changes: &Value) -> Self {
        let mut mount = Self::prepare(name, changes);
        mount.start();
        assert_eq!(mount.ready["ready"], true, "{}", mount.ready);
        mount
    }

    pub fn prepare(name: &str, changes: &Value) -> Self {
        let root = PathBuf::from(format!("/tmp/k-{name}-{}", std::process::id()));
        let store = root.join("store");
        for dir in [
            "tree", "objects", "extents", "staging", "nodes", "db", "run", "log",
        ] {
            std::fs::create_dir_all(store.join(dir)).expect("store");
        }
        std::fs::create_dir_all(root.join("mount")).expect("mountpoint");
        std::fs::write(store.join("remote.json"), "{}").expect("remote");
        let mut config = json!({
            "mountpoint": root.join("mount"),
            "store": store,
            "fetchDeadlineMs": 10_000,
            "threads": 4,
            "daemon": { "command": ["/usr/bin/python3", FAKE_DAEMON], "env": {} },
            "daemonConfig": {},
        });
        for (key, value) in changes.as_object().expect("an object") {
            config[key] = value.clone();
        }
        Self {
            root,
            ready: Value::Null,
            keeper: None,
            daemon: None,
            config,
            user: None,
        }
    }

    /// Gives everything to an ordinary user, who cannot look into this checkout.
    pub fn hand_to(&mut self, user: u32) {
        let script = self.root.join("fake_daemon.py");
        std::fs::copy(FAKE_DAEMON, &script).expect("copy");
        std::fs::copy(KEEPER, self.root.join("keeper")).expect("copy");
        self.config["daemon"]["command"][1] = json!(script);
        self.user = Some(user);
        let owner = format!("{user}:{user}");
        let given = Command::new("chown")
            .arg("-R")
            .arg(owner)
            .arg(&self.root)
            .status();
        assert!(given.expect("chown").success());
    }

    /// Starts a keeper and takes its readiness line.
    pub fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.store("log/keeper.log"))
            .expect("log");
        let mut command = match self.user {
            Some(user) => {
                // In a mount name space of its own, where /dev/fuse is open to everybody, as on
                // most machines. It ends with the keeper, and its mounts with it.
                let script = format!(
                    "mknod -m 666 \"$0/fuse\" c 10 229 && mount --make-rprivate / && \
                     mount --bind \"$0/fuse\" /dev/fuse && \
                     exec setpriv --reuid {user} --regid {user} --clear-groups \"$0/keeper\""
                );
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c"]).arg(script).arg(&self.root);
                command
            }
            None => Command::new(KEEPER),
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0);
        let mut keeper = command.spawn().expect("keeper");
        let mut stdin = keeper.stdin.take().expect("stdin");
        write!(stdin, "{}", self.config).expect("configuration");
        drop(stdin);
        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("stdout");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("readiness");
        self.ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}", self.log()));
        self.keeper = Some(keeper);
        self.daemon = None;
    }

    pub fn set_config(&mut self, key: &str, value: Value) {
        self.config[key] = value;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        let mount = self.root.join("mount");
        let mount = match (&self.keeper, self.user) {
            // As the keeper's mount name space shows it.
            (Some(keeper), Some(_)) => {
                let root = PathBuf::from(format!("/proc/{}/root", keeper.id()));
                root.join(mount.strip_prefix("/").expect("absolute"))
            }
            _ => mount,
        };
        if name.is_empty() {
            mount
        } else {
            mount.join(name)
        }
    }

    pub fn store(&self, name: &str) -> PathBuf {
        self.root.join("store").join(name)
    }

    pub fn tree(&self, name: &str) -> PathBuf {
        self.store("tree").join(name)
    }

    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.store(name)).unwrap_or_default();
        read("log/keeper.log") + &read("log/daemon.log")
    }

    pub fn keeper_pid(&self) -> u32 {
        self.keeper.as_ref().expect("a keeper").id()
    }

    /// Has the daemon do something and returns what came of it.
    pub fn daemon(&mut self, command: Value) -> Value {
        let text = format!("{command}\n");
        for _ in 0..2 {
            if self.daemon.is_none() {
                let path = self.store("run/fake.sock");
                let stream = wait_for("the daemon", || UnixStream::connect(&path).ok());
                stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
                self.daemon = Some(BufReader::new(stream));
            }
            let stream = self.daemon.as_mut().expect("connected");
            let mut line = String::new();
            let sent = stream.get_mut().write_all(text.as_bytes());
            if sent.is_ok() && stream.read_line(&mut line).is_ok_and(|length| length > 0) {
                return serde_json::from_str(&line).expect("json");
            }
            // It was restarted.
            self.daemon = None;
        }
        panic!("the daemon does not answer: {}", self.log());
    }

    /// What the keeper said to its daemons, oldest first.
    pub fn said(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.store("said.jsonl")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// All items of all `changed` events so far of one kind.
    pub fn items(&self, kind: &str) -> Vec<Value> {
        let said = self.said();
        let changed = said.iter().filter(|message| message["t"] == "changed");
        changed
            .flat_map(|message| message["items"].as_array().cloned().unwrap_or_default())
            .filter(|item| item["k"] == kind)
            .collect()
    }

    pub fn daemon_pid(&mut self) -> u32 {
        let answer = self.daemon(json!({ "do": "pid" }));
        u32::try_from(answer["pid"].as_u64().expect("pid")).expect("pid")
    }

    pub fn status(&self) -> Value {
        let stream = UnixStream::connect(self.store("run/keeper.sock")).expect("keeper.sock");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("status");
        serde_json::from_str(&line).expect("json")
    }

    /// Ends the mount as SIGTERM does.
    pub fn terminate(&mut self) -> ExitStatus {
        kill(self.keeper_pid(), libc::SIGTERM);
        self.wait()
    }

    pub fn wait(&mut self) -> ExitStatus {
        let mut keeper = self.keeper.take().expect("a keeper");
        wait_for("the keeper's end", || keeper.try_wait().expect("wait"))
    }

    /// Kills the keeper, as a crash would; its daemon goes with it.
    pub fn crash(&mut self) {
        let mut keeper = self.keeper.take().expect("a keeper");
        keeper.kill().expect("kill");
        keeper.wait().expect("wait");
        self.unmount_lazily();
    }

    fn unmount_lazily(&self) {
        // Not mounted is fine.
        let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
        let _ = rustix::mount::unmount(self.path(""), flags);
    }

    pub fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        mounts.contains(self.path("").to_str().expect("utf-8"))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.unmount_lazily();
        if let Some(mut keeper) = self.keeper.take() {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: a plain system call; the process was started by this test and not reaped yet.
    let result = unsafe { libc::kill(pid as i32, signal) };
    assert_eq!(result, 0, "kill {pid}");
}

/// Runs Python, which has the system calls that Rust's library lacks; fails the test if it fails.
pub fn python(script: &str, arguments: &[&Path]) -> String {
    let output = Command::new("/usr/bin/python3")
        .arg("-c")
        .arg(script)
        .args(arguments)
        .output()
        .expect("python3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A Python program that prints a line when it is ready and ends when its stdin does.
pub struct Companion {
    child: Child,
    pub output: BufReader<std::process::ChildStdout>,
}

impl Companion {
    pub fn start(script: &str, arguments: &[&Path]) -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .arg("-uc")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let output = BufReader::new(child.stdout.take().expect("stdout"));
        Self { child, output }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    pub fn say(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin");
        writeln!(stdin, "{text}").expect("write");
    }

    pub fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("wait").success());
    }
}
