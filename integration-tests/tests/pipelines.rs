//! Every example in `pipelines/` is valid, opens with a comment, and starts.

use std::path::PathBuf;
use std::time::Duration;

use integration_tests::process;
use tokio::process::Command;

fn examples() -> anyhow::Result<Vec<PathBuf>> {
    let folder = process::root().join("pipelines");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    anyhow::ensure!(!found.is_empty(), "there is no example");
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_opens_with_a_comment_and_is_valid() -> anyhow::Result<()> {
    for path in examples()? {
        let text = std::fs::read_to_string(&path)?;
        assert!(text.starts_with("# "), "{} says nothing", path.display());
        let output = process::run(&["validate", "--config", &path.to_string_lossy()]).await?;
        let faults = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {faults}", path.display());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_starts_and_ends_cleanly() -> anyhow::Result<()> {
    for path in examples()? {
        let folder = tempfile::tempdir()?;
        let health = process::free_port()?;
        // The examples listen on the well-known ports; here every listener gets a free one.
        let mut command = Command::new(process::binary()?);
        command.args(["run", "--config", &path.to_string_lossy()]);
        let text = std::fs::read_to_string(&path)?;
        let mut sets = vec![
            format!("extensions::health_check::endpoint=127.0.0.1:{health}"),
            format!(
                "service::telemetry::metrics::address=127.0.0.1:{}",
                process::free_port()?
            ),
        ];
        if !text.contains("health_check") {
            sets.push("service::extensions=[health_check]".to_owned());
        }
        if text.contains("otlp: { protocols") || text.contains("receivers:\n  otlp:") {
            for protocol in ["grpc", "http"] {
                if text.contains(&format!("{protocol}:")) {
                    sets.push(format!(
                        "receivers::otlp::protocols::{protocol}::endpoint=127.0.0.1:{}",
                        process::free_port()?
                    ));
                }
            }
        }
        for set in &sets {
            command.args(["--set", set]);
        }
        let log = folder.path().join("log");
        let mut child = command
            .current_dir(folder.path())
            .stderr(std::fs::File::create(&log)?)
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut up = false;
        for _ in 0..400 {
            up = tokio::net::TcpStream::connect(("127.0.0.1", health))
                .await
                .is_ok();
            if up || child.try_wait()?.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(up, "{}: {}", path.display(), said());
        let id = child.id().map(|id| id.to_string()).unwrap_or_default();
        Command::new("kill").args(["-TERM", &id]).status().await?;
        let status = tokio::time::timeout(Duration::from_secs(60), child.wait()).await??;
        assert!(status.success(), "{}: {status}: {}", path.display(), said());
    }
    Ok(())
}
