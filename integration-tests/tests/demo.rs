//! `doppelspan demo` as a user runs it: it shows its page, its traces arrive, and it ends cleanly.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use integration_tests::process;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// A demo, and what it says; ended with the test.
struct Demo {
    child: Child,
    said: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Demo {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(process::binary()?)
            .arg("demo")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("it was to be piped")?;
        let said = BufReader::new(stdout).lines();
        Ok(Self { child, said })
    }

    /// The next line for which this is true; how it ends is a fault.
    async fn line(&mut self, is: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let next = async {
            loop {
                let line = self.said.next_line().await?;
                let line = line.context("it ended before it said so")?;
                if is(&line) {
                    return Ok(line);
                }
            }
        };
        let patience = Duration::from_secs(120);
        tokio::time::timeout(patience, next).await?
    }

    async fn terminate(&mut self) -> anyhow::Result<Option<i32>> {
        let id = self.child.id().context("it has ended")?.to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await?;
        anyhow::ensure!(sent.success(), "kill -TERM {id} failed");
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        Ok(ended.context("still there 60 s after SIGTERM")??.code())
    }
}

/// What a browser gets from `http://ADDRESS/`, head and body.
async fn page(address: &str) -> anyhow::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Whether a line tells of synthetic traces at the backend.
fn synthetic_arrived(line: &str) -> bool {
    line.contains(", synthetic ") && !line.contains(", synthetic 0 traces")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_shows_its_page_and_synthetic_traces_until_a_signal_ends_it() -> anyhow::Result<()> {
    let mut demo = Demo::start(&["--page", "127.0.0.1:0", "--rate", "30"])?;
    let first = demo.line(|_| true).await?;
    let address = first
        .strip_prefix("watch it at http://")
        .and_then(|rest| rest.strip_suffix('/'));
    let address = address.with_context(|| format!("first line: {first}"))?;
    let answer = page(address).await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("<html"), "{answer}");
    demo.line(synthetic_arrived).await?;

    // Its exit code says whether exactly the spans that were sent arrived without the mark.
    assert_eq!(demo.terminate().await?, Some(0));
    let summary = demo
        .line(|line| line.contains(" sent; at the backend"))
        .await?;
    assert!(synthetic_arrived(&summary), "{summary}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_of_some_seconds_ends_by_itself_and_takes_another_port_for_its_page()
-> anyhow::Result<()> {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let page = taken.local_addr()?.to_string();
    let arguments = ["demo", "--page", &page, "--seconds", "4", "--rate", "30"];
    let ended = process::run(&arguments).await?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let faults = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{said}\n{faults}");
    let other = format!("{page} is in use, so the page gets another port");
    assert!(faults.contains(&other), "{faults}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("watch it at http://"), "{said}");
    assert!(!lines[0].contains(&page), "{said}");
    assert!(
        lines.iter().any(|line| line.starts_with("   3 s: ")),
        "{said}"
    );
    let summary = lines.last().copied().unwrap_or_default();
    assert!(summary.starts_with("4 s: "), "{said}");
    assert!(!summary.contains(": 0 traces"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_no_address_is_a_fault_of_the_command_line() -> anyhow::Result<()> {
    let ended = process::run(&["demo", "--page", "nowhere"]).await?;
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.starts_with("--page: `nowhere` has no port"), "{said}");
    Ok(())
}
