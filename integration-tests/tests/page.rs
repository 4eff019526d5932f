//! The page: its pure functions in Node, and all of it in a real browser on a running service.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use doppelspan::simulate::{Drive, System};
use integration_tests::process::root;
use integration_tests::{Document, Running, Shape, Sink, free_port, sdk};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

const SYNTHESIZER: &str = "assembler: { max_wait: 2s }, generation: { mode: mirror, ratio: 1.0 }, \
    learner: { cpu: 1.0 }";

#[tokio::test]
async fn the_pure_functions_of_the_page_keep_their_promises() -> anyhow::Result<()> {
    let Some(node) = sdk::found("node", &["node"])? else {
        return Ok(());
    };
    let tests = root().join("integration-tests/page");
    let mut command = Command::new(node);
    command.arg("--test");
    for file in std::fs::read_dir(tests)? {
        let path = file?.path();
        if path.to_string_lossy().ends_with(".test.mjs") {
            command.arg(path);
        }
    }
    let output = command.kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    Ok(())
}

/// A browser on the page; it says what it sees line by line.
struct Browser {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// None, with a line that says why, where there is no browser to look with.
    fn open(url: &str) -> anyhow::Result<Option<Self>> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let Some(chromium) = sdk::found("Chromium", &names)? else {
            return Ok(None);
        };
        let Some(node) = sdk::fetched("page", "node")? else {
            return Ok(None);
        };
        // Node looks for packages beside the script, so the script goes to them.
        let beside = root().join(".sdks/page/browse.mjs");
        std::fs::copy(root().join("integration-tests/page/browse.mjs"), &beside)?;
        let mut child = Command::new(node)
            .arg(beside)
            .arg(url)
            .arg(chromium)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Some(Self { child, lines }))
    }

    /// Waits until it has seen this; all that it has to say of it.
    async fn sees(&mut self, what: &str) -> anyhow::Result<serde_json::Value> {
        let line = tokio::time::timeout(Duration::from_secs(300), self.lines.next_line());
        let line = line
            .await
            .with_context(|| format!("{what} is not seen"))??;
        let line = line.with_context(|| format!("ended without seeing {what}"))?;
        let seen: serde_json::Value = serde_json::from_str(&line)?;
        anyhow::ensure!(seen["saw"] == what, "{seen} instead of {what}");
        Ok(seen)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_the_whole_loop_and_says_when_it_is_gone() -> anyhow::Result<()> {
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some(SYNTHESIZER),
        exporter: "",
    })?;
    let admin = format!("127.0.0.1:{}", free_port()?);
    let yaml = document
        .yaml
        .replace(
            "extensions:\n",
            &format!("extensions:\n  admin: {{ endpoint: '{admin}' }}\n"),
        )
        .replace("[health_check]", "[health_check, admin]");
    let running = Running::start(&yaml, &admin).await?;
    let Some(mut browser) = Browser::open(&format!("http://{admin}/"))? else {
        return Ok(());
    };
    browser.sees("the empty page").await?;

    let stop = CancellationToken::new();
    let drive = Drive::new(document.grpc.clone(), System::Shop, 1, 40.0);
    let traffic = tokio::spawn(drive.run(stop.clone()));
    let seen = browser.sees("the loop").await?;
    assert!(seen["rows"].as_u64() > Some(10), "{seen}");
    stop.cancel();
    traffic.await??;

    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    browser.sees("the loss").await?;
    let running = Running::start(&yaml, &admin).await?;
    browser.sees("the return").await?;
    assert!(browser.child.wait().await?.success());
    running.terminate().await?;
    Ok(())
}
