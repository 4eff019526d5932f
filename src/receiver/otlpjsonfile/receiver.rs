//! The receiver: finds files, reads them, and gives each record to the pipeline until it is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::config::{FileConfig, StartAt};
use super::read::{LineError, read};
use super::tail::{Identity, Tail, identity};
use crate::pipeline::{Intake, Refusal};

/// How long a refused record waits before it is given again, unless the refusal says.
const AGAIN: Duration = Duration::from_millis(200);

/// Reads files; ready to run.
#[derive(Debug)]
pub struct FileReceiver {
    config: FileConfig,
    intake: Intake,
}

/// Told to stop.
struct Stopped;

impl FileReceiver {
    /// A receiver that hands what it reads to `intake`.
    pub fn new(config: &FileConfig, intake: Intake) -> Self {
        Self {
            config: config.clone(),
            intake,
        }
    }

    /// Reads until `stop`, on a thread of its own.
    pub async fn run(self, stop: CancellationToken) {
        let handle = Handle::current();
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = Reader {
                receiver: self,
                handle,
                stop,
                tails: BTreeMap::new(),
                seen: BTreeSet::new(),
                named: BTreeSet::new(),
            };
            // Stopped is how it ends.
            reader.run().err()
        });
        if let Err(fault) = reading.await {
            tracing::error!(%fault, "the reader of files ended");
        }
    }
}

struct Reader {
    receiver: FileReceiver,
    handle: Handle,
    stop: CancellationToken,
    /// Files that are followed.
    tails: BTreeMap<Identity, Tail>,
    /// Files that were found.
    seen: BTreeSet<Identity>,
    /// Files that were complained of.
    named: BTreeSet<PathBuf>,
}

impl Reader {
    fn run(&mut self) -> Result<(), Stopped> {
        let mut first = true;
        loop {
            let there = self.find(first)?;
            self.follow(&there)?;
            if first && !self.receiver.config.follow {
                tracing::info!(files = self.seen.len(), "all files are read");
                self.handle.block_on(self.stop.cancelled());
                return Err(Stopped);
            }
            first = false;
            self.wait(self.receiver.config.poll_interval.duration())?;
        }
    }

    /// Opens files that were not there before; compressed ones are read at once. What is there.
    fn find(&mut self, first: bool) -> Result<BTreeSet<Identity>, Stopped> {
        let mut there = BTreeSet::new();
        for path in self.paths() {
            let (mut file, metadata) = match open(&path) {
                Ok(opened) => opened,
                Err(fault) => {
                    self.name(
                        &path,
                        &format!("can't be opened: {fault}; it is tried again"),
                    );
                    continue;
                }
            };
            if !metadata.is_file() {
                continue;
            }
            there.insert(identity(&metadata));
            if !self.seen.insert(identity(&metadata)) {
                continue;
            }
            let config = &self.receiver.config;
            let at_end = first && config.follow && config.start_at == StartAt::End;
            let mut head = [0; 4];
            let known = file.read(&mut head).unwrap_or(0);
            let compressed = super::read::is_compressed(&head[..known]);
            if compressed || !config.follow {
                if !at_end {
                    self.whole(&path)?;
                }
            } else {
                let at = if at_end { metadata.len() } else { 0 };
                match Tail::new(&path, file, at) {
                    Ok(tail) => {
                        self.tails.insert(identity(&metadata), tail);
                    }
                    Err(fault) => self.name(&path, &format!("can't be read: {fault}")),
                }
            }
        }
        Ok(there)
    }

    fn paths(&mut self) -> BTreeSet<PathBuf> {
        let config = self.receiver.config.clone();
        let mut found = BTreeSet::new();
        for pattern in &config.include {
            let Ok(paths) = glob::glob(pattern) else {
                continue;
            };
            found.extend(paths.filter_map(Result::ok));
            if !pattern.contains(['*', '?', '[']) && !Path::new(pattern).exists() {
                self.name(Path::new(pattern), "is not there; it is read once it is");
            }
        }
        let excluded = config.exclude.iter();
        let excluded: Vec<_> = excluded
            .filter_map(|p| glob::Pattern::new(p).ok())
            .collect();
        found.retain(|path| !excluded.iter().any(|pattern| pattern.matches_path(path)));
        found
    }

    fn whole(&mut self, path: &Path) -> Result<(), Stopped> {
        match read(path) {
            Ok(requests) => {
                for record in requests {
                    self.take(path, record)?;
                }
                Ok(())
            }
            Err(fault) => {
                self.name(path, &format!("can't be read: {fault}"));
                Ok(())
            }
        }
    }

    /// Reads what was added, and lets go of files that are no longer there.
    fn follow(&mut self, there: &BTreeSet<Identity>) -> Result<(), Stopped> {
        for (id, mut tail) in std::mem::take(&mut self.tails) {
            loop {
                match tail.next() {
                    Ok(Some(record)) => {
                        let path = tail.path().to_owned();
                        self.take(&path, record)?;
                    }
                    Ok(None) => break,
                    Err(fault) => {
                        self.name(tail.path(), &format!("can't be read on: {fault}"));
                        break;
                    }
                }
            }
            if there.contains(&id) {
                self.tails.insert(id, tail);
            }
        }
        // What was moved away or removed has been read to its end; its number may come again.
        self.seen.retain(|id| there.contains(id));
        Ok(())
    }

    fn take(&mut self, path: &Path, record: Result<Bytes, LineError>) -> Result<(), Stopped> {
        if self.stop.is_cancelled() {
            return Err(Stopped);
        }
        match record {
            Ok(bytes) => self.give(path, &bytes),
            Err(fault) => {
                self.receiver.intake.count_undecodable();
                self.name(path, &format!("a record is passed over: {fault}"));
                Ok(())
            }
        }
    }

    /// Gives a record until it is taken, or refused for good.
    fn give(&mut self, path: &Path, bytes: &Bytes) -> Result<(), Stopped> {
        loop {
            let accepted = self.receiver.intake.accept(bytes.clone());
            let wait = match self.handle.block_on(accepted) {
                Ok(accepted) => {
                    if let Some(reason) = accepted.reason {
                        self.name(path, &format!("bad spans are cut out: {reason}"));
                    }
                    return Ok(());
                }
                Err(Refusal::Draining) => return Err(Stopped),
                Err(Refusal::Full { retry_after, .. }) => retry_after.min(AGAIN),
                Err(Refusal::Undelivered {
                    retryable: true, ..
                }) => AGAIN,
                Err(fault) => {
                    self.name(path, &format!("a record is passed over: {fault}"));
                    return Ok(());
                }
            };
            self.wait(wait)?;
        }
    }

    fn wait(&self, time: Duration) -> Result<(), Stopped> {
        // A timer is made inside the runtime.
        let stopped = async {
            tokio::select! {
                () = self.stop.cancelled() => true,
                () = tokio::time::sleep(time) => false,
            }
        };
        match self.handle.block_on(stopped) {
            true => Err(Stopped),
            false => Ok(()),
        }
    }

    /// Says it once a file.
    fn name(&mut self, path: &Path, what: &str) {
        if self.named.insert(path.to_owned()) {
            tracing::warn!("{}: {what}", path.display());
        }
    }
}

fn open(path: &Path) -> std::io::Result<(File, std::fs::Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::otlp::view::Limits;
    use crate::pipeline::{QueueReceiver, QueueSettings, Sizer, queue};

    const LINE: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"N"}]}]}]}"#;

    struct Setup {
        folder: tempfile::TempDir,
        sink: QueueReceiver,
        stop: CancellationToken,
        running: tokio::task::JoinHandle<()>,
    }

    fn line(name: &str) -> String {
        format!("{}\n", LINE.replace('N', name))
    }

    /// Runs a receiver over `*.jsonl*` of a folder that holds this file.
    fn start(name: &str, content: &[u8], keys: &str, room: u32) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), content).unwrap();
        let pattern = folder.path().join("*.jsonl*");
        let yaml = format!(
            "{{include: ['{}'], poll_interval: 10ms, {keys}}}",
            pattern.display()
        );
        let config: FileConfig = serde_yaml_ng::from_str(&yaml).unwrap();
        let (sender, sink) = queue(
            "debug",
            QueueSettings {
                sizer: Sizer::Requests,
                size: room,
                block_on_overflow: false,
                wait_for_result: false,
            },
        );
        let intake = Intake::new("f", "file", Limits::default(), vec![sender], Vec::new());
        let stop = CancellationToken::new();
        let running = tokio::spawn(FileReceiver::new(&config, intake).run(stop.clone()));
        Setup {
            folder,
            sink,
            stop,
            running,
        }
    }

    impl Setup {
        fn append(&self, name: &str, content: &str) {
            let path = self.folder.path().join(name);
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.append(true).create(true).open(path).unwrap();
            file.write_all(content.as_bytes()).unwrap();
        }

        /// The names of the next spans are these.
        async fn check(&self, names: &str) {
            for name in names.split(' ') {
                let item = tokio::time::timeout(Duration::from_secs(20), self.sink.next());
                let item = item.await.unwrap_or_else(|_| panic!("{name} never came"));
                let bytes = item.unwrap().payload.bytes().to_vec();
                let text = String::from_utf8_lossy(&bytes);
                assert!(text.contains(name), "{text:?} is not {name}");
            }
        }

        async fn end(self) {
            self.stop.cancel();
            self.running.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_is_followed_through_half_lines_growth_and_rotation() {
        let setup = start(
            "a.jsonl",
            line("one").as_bytes(),
            "start_at: beginning",
            100,
        );
        setup.check("one").await;
        let second = line("two");
        setup.append("a.jsonl", &second[..40]);
        setup.append("a.jsonl", &second[40..]);
        setup.check("two").await;
        let path = setup.folder.path().join("a.jsonl");
        setup.append("a.jsonl", &line("three"));
        std::fs::rename(&path, setup.folder.path().join("a.old")).unwrap();
        setup.append("a.jsonl", &line("four"));
        setup.check("three four").await;
        std::fs::write(&path, line("5")).unwrap();
        setup.check("5").await;
        setup.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn from_the_end_only_what_is_added_and_new_files_are_read() {
        let setup = start("a.jsonl", line("old").as_bytes(), "start_at: end", 100);
        // Until the receiver has found the first file, what is added to it counts as old.
        setup.append("b.jsonl", "");
        let mut number = 0;
        loop {
            setup.append("a.jsonl", &line(&format!("added{number}")));
            number += 1;
            let next = tokio::time::timeout(Duration::from_millis(50), setup.sink.next()).await;
            if let Ok(Some(item)) = next {
                let text = String::from_utf8_lossy(item.payload.bytes()).into_owned();
                assert!(text.contains("added"), "{text}");
                break;
            }
        }
        setup.append("c.jsonl", &line("fresh"));
        loop {
            let item = setup.sink.next().await.unwrap();
            if String::from_utf8_lossy(item.payload.bytes()).contains("fresh") {
                break;
            }
        }
        setup.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_makes_it_wait_and_loses_nothing() {
        let content: String = (0..30).map(|at| line(&format!("span{at}x"))).collect();
        let setup = start("a.jsonl", content.as_bytes(), "follow: false", 2);
        for at in 0..30 {
            setup.check(&format!("span{at}x")).await;
        }
        setup.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_compressed_file_is_read_whole_and_a_bad_line_costs_itself_only() {
        let content = [line("one"), "{nonsense\n".to_owned(), line("two")].concat();
        let packed = zstd::stream::encode_all(content.as_bytes(), 1).unwrap();
        let setup = start("a.jsonl.zst", &packed, "start_at: beginning", 100);
        setup.check("one two").await;
        setup.end().await;
    }
}
