//! The real neighbours that `make peers` fetched into `.peers`, as processes on free ports.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::or_skipped;
use crate::process::root;

/// Where `make peers` puts a peer's program, whether it is there or not.
pub fn path(name: &str) -> PathBuf {
    root().join(".peers").join(name).join(name)
}

/// A peer's program, or none with a line that says what is skipped. With `CI=true` its absence is a
/// failure.
pub fn program(name: &str) -> anyhow::Result<Option<PathBuf>> {
    let there = Some(path(name)).filter(|path| path.exists());
    or_skipped(there, &format!(".peers/{name} (run `make peers`)"))
}

/// A neighbour that runs until it is dropped, in a folder of its own.
#[derive(Debug)]
pub struct Neighbour {
    child: Child,
    folder: tempfile::TempDir,
}

impl Neighbour {
    /// Starts `program` and waits until all `addresses` answer. `prepare` gets the folder that the
    /// program runs in and adds its arguments.
    pub async fn start(
        program: &Path,
        addresses: &[&str],
        prepare: impl FnOnce(&Path, &mut Command) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(program);
        prepare(folder.path(), &mut command)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let mut neighbour = Self { child, folder };
        for address in addresses {
            neighbour.wait_for(address).await?;
        }
        Ok(neighbour)
    }

    async fn wait_for(&mut self, address: &str) -> anyhow::Result<()> {
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("ended with {status} at start:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("{address} does not answer:\n{}", self.log())
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends SIGTERM and waits for the end; what it wrote.
    pub async fn terminate(mut self) -> anyhow::Result<String> {
        if let Some(id) = self.child.id() {
            let id = id.to_string();
            Command::new("kill").args(["-TERM", &id]).status().await?;
        }
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        anyhow::ensure!(ended.is_ok(), "still there 60 s after SIGTERM");
        Ok(self.log())
    }
}

/// The OpenTelemetry Collector with this document, or none where it is skipped. Its own telemetry is
/// off, so that it takes no port that nobody asked for.
pub async fn collector(yaml: &str, addresses: &[&str]) -> anyhow::Result<Option<Neighbour>> {
    let Some(program) = program("collector")? else {
        return Ok(None);
    };
    let started = Neighbour::start(&program, addresses, |folder, command| {
        std::fs::write(folder.join("config.yaml"), yaml)?;
        command.args(["--config", "config.yaml"]);
        command.args(["--set", "service::telemetry::metrics::level=none"]);
        Ok(())
    });
    Ok(Some(started.await?))
}
