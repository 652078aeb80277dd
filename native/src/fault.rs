//! Where the keeper can be made to die or stand still, for tests: each step after which what is on
//! disk is another. `reached` stands in the code right after what the sentence says. The daemon has
//! its own (src/base/fault-points.ts).

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;

/// The points and what has just been done there. Their names begin with `keeper.`, so that the
/// command line knows whose they are.
pub const POINTS: &[(&str, &str)] = &[
    ("keeper.unclean-marked", "the store is marked as in use"),
    ("keeper.dirty-appended", "a line is in the dirty log"),
    ("keeper.dirty-synced", "and durable"),
    ("keeper.created", "a new file has its name"),
    ("keeper.renamed", "a file has another name"),
    (
        "keeper.map-removed",
        "the extent map of a file that is truncated is gone",
    ),
    ("keeper.truncated", "and it has its new size"),
    ("keeper.object-linked", "a settled file is an object"),
    ("keeper.object-unlinked", "an object is gone"),
    ("keeper.listed", "a snapshot was taken"),
];

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Kill,
    /// The daemon ends by itself when the keeper is gone.
    KillBoth,
    Stop,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Fault {
    pub point: String,
    /// Counted from 1.
    pub visit: u32,
    pub action: Action,
    /// A file that is made right before it happens, so that a test knows that it did.
    pub marker: PathBuf,
}

/// Nobody lets a stopped process go on.
const STAND_STILL: Duration = Duration::from_secs(600);

static ARMED: OnceLock<Fault> = OnceLock::new();
static VISITS: AtomicU32 = AtomicU32::new(0);

/// Arms one fault for the life of this process.
pub fn arm(fault: Fault) -> Result<(), String> {
    if !POINTS.iter().any(|(name, _)| *name == fault.point) {
        return Err(format!("fault: there is no point {}", fault.point));
    }
    ARMED
        .set(fault)
        .map_err(|fault| format!("fault {}: one is armed already", fault.point))
}

/// Costs one load where nothing is armed, which is everywhere but in tests.
pub fn reached(point: &str) {
    if let Some(fault) = ARMED.get()
        && fault.point == point
        && VISITS.fetch_add(1, Ordering::AcqRel) + 1 == fault.visit
    {
        happen(fault);
    }
}

fn happen(fault: &Fault) {
    if let Ok(mut marker) = File::create(&fault.marker) {
        let written = writeln!(marker, "{}", std::process::id()).and_then(|()| marker.sync_all());
        if let Err(error) = written {
            log::error!("fault: {error}");
        }
    }
    let signal = match fault.action {
        Action::Kill | Action::KillBoth => Signal::KILL,
        Action::Stop => Signal::STOP,
    };
    match kill_process(getpid(), signal) {
        // The signal is the process's: this very thread must not go on until it has taken effect.
        Ok(()) => std::thread::sleep(STAND_STILL),
        Err(errno) => log::error!("fault: {errno}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_point_that_is_not_in_the_table() {
        let text = r#"{"point":"keeper.nowhere","visit":1,"action":"kill-both","marker":"/m"}"#;
        let fault: Fault = serde_json::from_str(text).expect("valid");
        assert_eq!(fault.action, Action::KillBoth);
        assert!(arm(fault).unwrap_err().contains("keeper.nowhere"));
        reached("keeper.listed");
    }
}
