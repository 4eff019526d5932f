//! The commands of the pages in docs/ do what the pages say.
//!
//! A comment before a fenced `sh` block says how it is run, in a folder with copies of `pipelines/` and
//! `fixtures/`, with `doppelspan` on the path and a free port in place of each `localhost:PORT`:
//!
//! | comment | the block |
//! |---|---|
//! | `<!-- run -->` | runs and succeeds |
//! | `<!-- run until it succeeds -->` | is tried again until it does |
//! | `<!-- run in the background -->` | runs while the blocks after it do, and ends well on SIGINT; it is up when `localhost:13133` answers |
//! | `<!-- needs NAME, ... -->` | of the page: these peers; Jaeger and Kafka are started, others are on the path |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use integration_tests::peers::program;
use integration_tests::process::{binary, free_port, root};
use integration_tests::{Broker, Jaeger};
use tokio::process::{Child, Command};

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(100);

/// The marked blocks of a page.
type Blocks = Vec<(How, String)>;

/// How a block is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Once,
    UntilItSucceeds,
    InTheBackground,
}

/// The marked blocks of a page, and the peers that it needs.
fn blocks(page: &str) -> anyhow::Result<(Blocks, Vec<String>)> {
    let (mut blocks, mut needs, mut mark) = (Vec::new(), Vec::new(), None);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let comment = line
            .strip_prefix("<!-- ")
            .and_then(|rest| rest.strip_suffix(" -->"));
        match comment {
            Some("run") => mark = Some(How::Once),
            Some("run until it succeeds") => mark = Some(How::UntilItSucceeds),
            Some("run in the background") => mark = Some(How::InTheBackground),
            Some(comment) => match comment.strip_prefix("needs ") {
                Some(names) => needs.extend(names.split(", ").map(str::to_owned)),
                None => anyhow::ensure!(!comment.starts_with("run"), "how is `{comment}` run?"),
            },
            None if line.starts_with("```") => {
                let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
                match mark.take() {
                    Some(how) if line == "```sh" => blocks.push((how, body.join("\n"))),
                    Some(_) => anyhow::bail!("`{line}` is marked to be run, and is no ```sh"),
                    None => {}
                }
            }
            None => anyhow::ensure!(line.is_empty() || mark.is_none(), "no block after a mark"),
        }
    }
    Ok((blocks, needs))
}

/// A folder in which a page's commands run.
struct Place {
    folder: tempfile::TempDir,
    /// Port of the page, and the one in its place.
    ports: BTreeMap<u16, u16>,
    path: Vec<PathBuf>,
    background: Vec<(Child, PathBuf)>,
}

impl Place {
    fn new(ports: BTreeMap<u16, u16>, path: Vec<PathBuf>) -> anyhow::Result<Self> {
        let mut place = Self {
            folder: tempfile::tempdir()?,
            ports,
            path,
            background: Vec::new(),
        };
        for folder in ["pipelines", "fixtures", "fixtures/imports"] {
            let copy = place.folder.path().join(folder);
            std::fs::create_dir(&copy)?;
            for entry in std::fs::read_dir(root().join(folder))? {
                let (from, to) = (entry?.path(), &copy);
                let to = to.join(from.file_name().unwrap_or_default());
                if from.is_dir() {
                    continue;
                }
                match from.extension().is_some_and(|ending| ending == "yaml") {
                    true => {
                        let text = place.with_ports(&std::fs::read_to_string(&from)?)?;
                        std::fs::write(to, text)?;
                    }
                    false => _ = std::fs::copy(from, to)?,
                }
            }
        }
        Ok(place)
    }

    /// The text with a free port in place of each that follows `localhost:`.
    fn with_ports(&mut self, text: &str) -> anyhow::Result<String> {
        let mut parts = text.split("localhost:");
        let mut result = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            let port = match part[..digits].parse() {
                Err(_) => part[..digits].to_owned(),
                Ok(port) => match self.ports.get(&port) {
                    Some(other) => other.to_string(),
                    None => {
                        let other = free_port()?;
                        self.ports.insert(port, other);
                        other.to_string()
                    }
                },
            };
            // What is left out listens on IPv4 only.
            result += &format!("127.0.0.1:{port}{}", &part[digits..]);
        }
        Ok(result)
    }

    fn command(&mut self, block: &str, log: &Path) -> anyhow::Result<Command> {
        let block = self.with_ports(block)?;
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let path = self
            .path
            .iter()
            .cloned()
            .chain(std::env::split_paths(&usual));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)?;
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", &block])
            .env("PATH", std::env::join_paths(path)?)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        Ok(command)
    }

    async fn run(&mut self, how: How, block: &str) -> anyhow::Result<()> {
        let log = self
            .folder
            .path()
            .join(format!("{}.log", self.background.len()));
        let said = |log: &Path| std::fs::read_to_string(log).unwrap_or_default();
        match how {
            How::InTheBackground => {
                // bash gives way to the program, so that a signal reaches it.
                let child = self.command(&format!("exec {block}"), &log)?.spawn()?;
                self.background.push((child, log.clone()));
                let health = self.with_ports("localhost:13133")?;
                for _ in 0..600 {
                    if tokio::net::TcpStream::connect(&health).await.is_ok() {
                        return Ok(());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                anyhow::bail!("{health} does not answer: {}", said(&log))
            }
            How::Once | How::UntilItSucceeds => {
                let attempts = if how == How::Once { 1 } else { 600 };
                let mut status = None;
                for _ in 0..attempts {
                    let ended = self.command(block, &log)?.status();
                    let ended = tokio::time::timeout(Duration::from_secs(300), ended).await??;
                    if ended.success() {
                        return Ok(());
                    }
                    status = Some(ended);
                    tokio::time::sleep(PAUSE).await;
                }
                anyhow::bail!("{status:?}: {block}\n{}", said(&log))
            }
        }
    }

    /// Interrupts what runs in the background.
    async fn end(mut self) -> anyhow::Result<()> {
        for (mut child, log) in std::mem::take(&mut self.background) {
            let id = child.id().map(|id| id.to_string()).unwrap_or_default();
            Command::new("kill").args(["-INT", &id]).status().await?;
            let ended = tokio::time::timeout(Duration::from_secs(60), child.wait()).await??;
            let said = std::fs::read_to_string(log).unwrap_or_default();
            anyhow::ensure!(ended.success(), "{ended}: {said}");
        }
        Ok(())
    }
}

/// Runs the marked blocks of a page.
async fn check(page: &str) -> anyhow::Result<()> {
    let (blocks, needs) = blocks(&std::fs::read_to_string(root().join("docs").join(page))?)?;
    let program_folder = binary()?.parent().map(Path::to_owned);
    let mut path: Vec<PathBuf> = program_folder.into_iter().collect();
    let (mut ports, mut running) = (BTreeMap::new(), Vec::new());
    let mut _broker = None;
    for name in needs {
        if name == "kafka" {
            let Some(broker) = Broker::start().await? else {
                return Ok(());
            };
            let (_, port) = broker.address.rsplit_once(':').unwrap_or_default();
            ports.insert(9092, port.parse()?);
            _broker = Some(broker);
            continue;
        }
        if name != "jaeger" {
            let Some(program) = program(&name)? else {
                return Ok(());
            };
            path.extend(program.parent().map(Path::to_owned));
            continue;
        }
        let Some(jaeger) = Jaeger::start().await? else {
            return Ok(());
        };
        for (port, address) in [
            (14317, &jaeger.grpc),
            (14318, &jaeger.http),
            (16686, &jaeger.query),
        ] {
            let (_, other) = address.rsplit_once(':').unwrap_or_default();
            ports.insert(port, other.parse()?);
        }
        running.push(jaeger);
    }
    assert!(!blocks.is_empty(), "{page} has nothing to run");
    let mut place = Place::new(ports, path)?;
    for (how, block) in blocks {
        place.run(how, &block).await?;
    }
    place.end().await
}

#[test]
fn a_mark_says_how_the_block_after_it_is_run() {
    let page = "<!-- needs jaeger, x -->\n<!-- run -->\n```sh\na\nb\n```\n```sh\nc\n```\n\
                <!-- run in the background -->\n\n```sh\nd\n```\n";
    let (found, needs) = blocks(page).unwrap();
    let expected = [(How::Once, "a\nb"), (How::InTheBackground, "d")];
    assert_eq!(found, expected.map(|(how, block)| (how, block.to_owned())));
    assert_eq!(needs, ["jaeger", "x"]);
    for wrong in [
        "<!-- run twice -->\n",
        "<!-- run -->\ntext\n",
        "<!-- run -->\n```yaml\n```\n",
    ] {
        assert!(blocks(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_page_with_a_marked_block_is_run_here() -> anyhow::Result<()> {
    for entry in std::fs::read_dir(root().join("docs"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.ends_with(".md") || blocks(&std::fs::read_to_string(&path)?)?.0.is_empty() {
            continue;
        }
        let here = include_str!("pages.rs");
        assert!(
            here.contains(&format!("check(\"{name}\")")),
            "{name} is not run"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka() -> anyhow::Result<()> {
    check("kafka.md").await
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_collector() -> anyhow::Result<()> {
    check("beside-a-collector.md").await
}

#[tokio::test(flavor = "multi_thread")]
async fn jaeger() -> anyhow::Result<()> {
    check("jaeger.md").await
}

#[tokio::test(flavor = "multi_thread")]
async fn replay() -> anyhow::Result<()> {
    check("replay.md").await
}

#[tokio::test(flavor = "multi_thread")]
async fn tempo() -> anyhow::Result<()> {
    check("tempo.md").await
}
