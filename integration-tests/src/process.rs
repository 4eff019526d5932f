//! The program as a process, as a user runs it.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};

/// Where cargo put the program, built on the first call.
pub fn binary() -> anyhow::Result<PathBuf> {
    static BUILT: std::sync::OnceLock<Result<PathBuf, String>> = std::sync::OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|fault| format!("{fault:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

fn build() -> anyhow::Result<PathBuf> {
    // A test executable lies in target/PROFILE/deps: the program lies one folder up.
    let test = std::env::current_exe()?;
    let folder = test
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "deps"))
        .and_then(Path::parent)
        .context("this test does not lie in a cargo target folder")?;
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bin", "doppelspan"]);
    if folder.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    } else {
        // As `cargo test --workspace` has built it, so that nothing is built twice.
        cargo.arg("--workspace");
    }
    // What cargo told this test of its own package would make build scripts run again (ring's asks
    // for these), and with them everything above, in this build and in the next `cargo test`.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo.current_dir(root()).status()?;
    anyhow::ensure!(status.success(), "the program does not build");
    Ok(folder.join("doppelspan"))
}

/// The folder of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A port that was free a moment ago, and that this process has not been given before: the kernel
/// may well name one twice, and two listeners of a neighbour can't share it.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN
        .lock()
        .map_err(|_| anyhow::anyhow!("a test has panicked"))?;
    for _ in 0..1_000 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if given.insert(port) {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is left")
}

/// Runs the program to its end, which must come within five minutes.
pub async fn run(arguments: &[&str]) -> anyhow::Result<Output> {
    run_within(Duration::from_secs(300), arguments).await
}

/// Runs the program to its end, which must come within this time.
pub async fn run_within(limit: Duration, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary()?);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(tokio::time::timeout(limit, command.output()).await??)
}

/// `doppelspan run`, ended with the test.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts `doppelspan run` with this document and waits until `address` answers.
    pub async fn start(document: &str, address: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config.yaml");
        let log = folder.path().join("log");
        std::fs::write(&config, document)?;
        let child = Command::new(binary()?)
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let mut running = Self {
            child,
            log,
            _folder: folder,
        };
        for _ in 0..400 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(running);
            }
            if let Some(status) = running.child.try_wait()? {
                anyhow::bail!("ended with {status} at start:\n{}", running.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("{address} does not answer:\n{}", running.log())
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// Sends SIGTERM and waits for the end; the exit code.
    pub async fn terminate(mut self) -> anyhow::Result<(Option<i32>, String)> {
        let id = self.id()?.to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await?;
        anyhow::ensure!(sent.success(), "kill -TERM {id} failed");
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait());
        let status = ended.await.context("still there 60 s after SIGTERM")??;
        Ok((status.code(), self.log()))
    }
}
