//! The log: one JSON line a message on stderr, which the command line points at log/keeper.log.
//!
//! It also tells the calling thread whether fuser failed to send a reply. fuser 0.18 swallows that
//! error (reply.rs, `send_ll_mut`: "Failed to send FUSE reply") and only logs it; the kernel
//! answers ENOENT when the request was interrupted or aborted, and then no FORGET or RELEASE will
//! follow for what the reply promised. Replies are sent by the thread that calls the reply object,
//! so a flag of the thread is enough.

use std::cell::Cell;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};

thread_local! {
    static REPLY_FAILED: Cell<bool> = const { Cell::new(false) };
}

const FAILED_REPLY: &str = "Failed to send FUSE reply";

struct StderrLog;

static LOG: StderrLog = StderrLog;

/// Installs the log. Called once, before any thread is started.
pub fn install() {
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Runs `send`, which must answer exactly one request, and says whether the kernel took the reply.
pub fn sent(send: impl FnOnce()) -> bool {
    REPLY_FAILED.with(|failed| failed.set(false));
    send();
    REPLY_FAILED.with(|failed| !failed.replace(false))
}

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("modelcache_keeper");
        metadata.level() <= if ours { Level::Info } else { Level::Warn }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        if message.starts_with(FAILED_REPLY) {
            // Interrupted or aborted: the sender undoes its counts, and nobody waits for an answer.
            REPLY_FAILED.with(|failed| failed.set(true));
            return;
        }
        let line = serde_json::json!({
            "time": rfc3339(SystemTime::now()),
            "level": record.level().as_str().to_lowercase(),
            "message": message,
        });
        // A log that cannot be written must not stop the mount, and there is nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    fn flush(&self) {}
}

/// UTC with milliseconds, e.g. `2026-08-22T10:00:00.123Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_from_days(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis()
    )
}

/// Days since 1970-01-01 to a Gregorian date (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`, for dates after 1970).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn writes_dates_as_rfc3339() {
        let at = |seconds: u64| rfc3339(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7));
        assert_eq!(at(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_787_392_799), "2026-08-22T09:59:59.007Z");
    }

    #[test]
    fn sees_a_reply_that_the_kernel_did_not_take() {
        let fail = || {
            LOG.log(
                &Record::builder()
                    .args(format_args!("{FAILED_REPLY}: ENOENT"))
                    .level(Level::Error)
                    .target("fuser::reply")
                    .build(),
            );
        };
        assert!(!sent(fail));
        assert!(sent(|| {}));
    }
}
