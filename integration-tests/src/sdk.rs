//! The real SDKs of other languages, fetched by `make sdks` into an ignored folder.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::or_skipped;
use crate::process::root;

/// (trace id, span id, parent id or `-`) of spans, in hex.
pub type Ids = BTreeSet<(String, String, String)>;

/// A language whose SDK sends traces.
#[derive(Debug, Clone, Copy)]
pub enum Sdk {
    /// opentelemetry-sdk from PyPI.
    Python,
    /// @opentelemetry/sdk-trace-node from npm.
    JavaScript,
}

impl Sdk {
    /// The interpreter, or none with a line that says what is skipped. With `CI=true` its
    /// absence is a failure.
    pub fn interpreter(self) -> anyhow::Result<Option<PathBuf>> {
        match self {
            Self::Python => {
                let python = root().join(".sdks/python/bin/python");
                fetched("python", &python.to_string_lossy())
            }
            Self::JavaScript => fetched("javascript", "node"),
        }
    }

    /// Sends traces and gives the ids that the SDK made: (trace, span, parent or `-`).
    pub async fn send(
        self,
        protocol: &str,
        endpoint: &str,
        traces: usize,
    ) -> anyhow::Result<Option<Ids>> {
        let Some(interpreter) = self.interpreter()? else {
            return Ok(None);
        };
        let scripts = root().join("integration-tests/sdk");
        let script = match self {
            Self::Python => scripts.join("python/send.py"),
            Self::JavaScript => {
                // Node looks for packages beside the script, so the script goes to them.
                let beside = root().join(".sdks/javascript/send.mjs");
                std::fs::copy(scripts.join("javascript/send.mjs"), &beside)?;
                beside
            }
        };
        let mut command = Command::new(interpreter);
        command
            .arg(script)
            .args([protocol, endpoint, &traces.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await??;
        anyhow::ensure!(
            output.status.success(),
            "{self:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout)?;
        let ids = text.lines().filter_map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            Some((words.next()?, words.next()?, words.next()?))
        });
        Ok(Some(ids.collect()))
    }
}

/// The program that runs what `make sdks` fetched into this folder of `.sdks`, or none with a line
/// that says what is skipped. With `CI=true` its absence is a failure.
pub fn fetched(folder: &str, program: &str) -> anyhow::Result<Option<PathBuf>> {
    let done = root().join(".sdks").join(folder).join(".done");
    let there = done.exists().then(|| program.into());
    or_skipped(there, &format!(".sdks/{folder} (run `make sdks`)"))
}

/// The first of these programs that is on the path, or none with a line that says what is skipped.
/// With `CI=true` its absence is a failure.
pub fn found(what: &str, names: &[&str]) -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> = std::env::split_paths(&path).collect();
    let mut all = names
        .iter()
        .flat_map(|name| places.iter().map(move |place| place.join(name)));
    or_skipped(all.find(|program| program.is_file()), what)
}
