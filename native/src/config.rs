//! What the command line says on stdin: one JSON object (docs/protocol.md, "The start").

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::fault::Fault;

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum PassthroughWish {
    #[default]
    Auto,
    Off,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DaemonCommand {
    /// Program and arguments; the program is an absolute path.
    pub command: Vec<String>,
    /// The whole environment of the daemon: nothing of ours is inherited.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartConfig {
    pub mountpoint: PathBuf,
    pub store: PathBuf,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub allow_other: bool,
    #[serde(default)]
    pub fs_name: Option<String>,
    #[serde(default)]
    pub passthrough: PassthroughWish,
    #[serde(default = "default_fetch_deadline_ms")]
    pub fetch_deadline_ms: u64,
    #[serde(default = "default_threads")]
    pub threads: usize,
    pub daemon: DaemonCommand,
    /// For tests.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// Handed to the daemon in `hello` as it came.
    #[serde(default)]
    pub daemon_config: Value,
}

fn default_fetch_deadline_ms() -> u64 {
    30_000
}

fn default_threads() -> usize {
    8
}

/// More threads than this only cost memory (each has a request buffer).
const MAX_THREADS: usize = 64;

impl StartConfig {
    /// Parses and validates; the error is one line that names the value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self =
            serde_json::from_str(text).map_err(|error| format!("start configuration: {error}"))?;
        for (what, path) in [("mountpoint", &config.mountpoint), ("store", &config.store)] {
            if !path.is_absolute() {
                return Err(format!("{what} is no absolute path: {}", path.display()));
            }
        }
        if config.daemon.command.is_empty() {
            return Err("daemon.command is empty".to_owned());
        }
        if !(1..=MAX_THREADS).contains(&config.threads) {
            return Err(format!(
                "threads is {}, not between 1 and {MAX_THREADS}",
                config.threads
            ));
        }
        Ok(config)
    }

    /// The mount's source, by which others recognise it in /proc/self/mountinfo.
    pub fn fs_name(&self) -> String {
        self.fs_name
            .clone()
            .unwrap_or_else(|| format!("modelcache#{}", self.store.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_the_defaults() {
        let config = StartConfig::parse(
            r#"{"mountpoint":"/m","store":"/s","daemon":{"command":["/bin/node","x"]}}"#,
        )
        .expect("valid");
        assert_eq!(config.threads, 8);
        assert_eq!(config.fetch_deadline_ms, 30_000);
        assert_eq!(config.passthrough, PassthroughWish::Auto);
        assert_eq!(config.fs_name(), "modelcache#/s");
    }

    #[test]
    fn refuses_relative_paths_and_an_empty_command() {
        let relative = r#"{"mountpoint":"m","store":"/s","daemon":{"command":["x"]}}"#;
        assert!(
            StartConfig::parse(relative)
                .unwrap_err()
                .contains("mountpoint")
        );
        let empty = r#"{"mountpoint":"/m","store":"/s","daemon":{"command":[]}}"#;
        assert!(StartConfig::parse(empty).unwrap_err().contains("command"));
    }
}
