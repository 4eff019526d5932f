//! The synthesizer connector: its threads and the channels between them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use rand::{SeedableRng as _, rngs::SysRng};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::config::SynthesizerConfig;
use super::emit::Emitter;
#[cfg(feature = "kafka")]
use super::exchange::Courier;
use super::exchange::Exchange;
use super::gauge::{EmitterGauge, LearnerGauge, ShardGauge};
use super::shard::Shard;
use super::teach::Teacher;
use crate::assembler::{Assembler, Tap, TapSettings};
use crate::chance::{self, Rng};
use crate::config::ComponentId;
use crate::features::Interner;
use crate::learner::{Checkpoint, CheckpointError, Learner, Published};
use crate::pipeline::Outlet;
use crate::synthesizer::{Identity, Pace};

/// Spans that may wait in front of a shard: about 25 MB.
const WAITING_SPANS: usize = 200_000;
/// Traces that may wait in front of the learner.
const WAITING_TRACES: usize = 2_048;

/// How far its threads stand behind those that carry observed spans, where the machine has too few
/// cores for all: shards that get no turn shed whole traces, and nobody waits for them.
const ASSEMBLE: i32 = 10;
const SYNTHESIZE: i32 = 15;
const LEARN: i32 = 19;

/// Why a synthesizer can't start: a sentence.
#[derive(Debug, thiserror::Error)]
pub enum SynthesizerError {
    /// The checkpoint can't be read.
    #[error("checkpoint.path: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The model of the checkpoint does not fit together.
    #[error("checkpoint.path: {path}: {reason}")]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing to draw from and nothing is to be learnt.
    #[error(
        "checkpoint.path: {path} is not there, and `learner.enabled` is false, so that there is nothing to draw from; train a model first (`doppelspan train`)"
    )]
    NoModel {
        /// The file.
        path: PathBuf,
    },
    /// The folder of the checkpoint is missing.
    #[error("checkpoint.path: there is no folder {folder}; make it, or choose another folder")]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder of the checkpoint can't be written.
    #[error(
        "checkpoint.path: {folder} can't be written ({source}); choose another folder, or make it writable"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The Kafka client of the exchange of models can't be set up.
    #[cfg(feature = "kafka")]
    #[error("model_exchange.kafka: can't set up the Kafka client: {0}")]
    Exchange(#[from] rdkafka::error::KafkaError),
    /// The system gives no thread, or no chance.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// A synthesizer that runs.
#[derive(Debug)]
pub struct Synthesizer {
    tap: Tap,
    board: Arc<Board>,
    outlet: Outlet,
    /// Ends the shards, and with them the learner.
    stop: CancellationToken,
    shards: Vec<JoinHandle<()>>,
    learner: JoinHandle<()>,
    emitter: JoinHandle<()>,
    courier: Option<Mail>,
}

/// The courier's thread, and what ends it: after the learner, whose last model it carries.
#[derive(Debug)]
struct Mail {
    thread: JoinHandle<()>,
    stop: CancellationToken,
}

impl Synthesizer {
    /// Loads its checkpoint and starts its threads. To be called inside a runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "the moment from which its threads count time"
    )]
    pub fn start(
        id: &ComponentId,
        config: &SynthesizerConfig,
        outlet: Outlet,
    ) -> Result<Self, SynthesizerError> {
        let id = id.to_string();
        let began = Instant::now();
        let chance = Chance::new(config.seed)?;
        let texts = config.interner_settings(chance.key("texts"));
        let texts = Arc::new(Interner::new(texts));
        let learner = learner(config, &chance, texts.clone())?;
        let published = Arc::new(ArcSwapOption::empty());
        published.store(learner.1.map(Arc::new));
        let learner = learner.0;

        let stop = CancellationToken::new();
        let board = Arc::new(Board::default());
        let missed = Arc::new(AtomicU64::new(0));
        let (traces_in, traces_out) = crossbeam_channel::bounded(WAITING_TRACES);
        let settings = TapSettings {
            shards: config.assembler.shards,
            waiting_spans: WAITING_SPANS,
            max_wait: config.assembler.max_wait.duration(),
        };
        let (tap, feeds) = Tap::new(&settings, texts.clone());
        let open: Arc<[AtomicU64]> = feeds.iter().map(|_| AtomicU64::new(0)).collect();
        let mut shards = Vec::new();
        for (number, feed) in feeds.into_iter().enumerate() {
            let key = chance.key(&format!("shard {number}"));
            let speaks = (number == 0).then(|| tap.clone());
            let shard = Shard {
                number,
                open: open.clone(),
                assembler: Assembler::new(config.assembler.settings(key)),
                feed,
                texts: texts.clone(),
                traces: traces_in.clone(),
                board: board.clone(),
                gauge: ShardGauge::new(&id, number, missed.clone(), speaks),
                began,
            };
            let stop = stop.clone();
            shards.push(thread(format!("assemble-{number}"), ASSEMBLE, move || {
                shard.run(&stop);
            })?);
        }
        // Only shards hold the channel from here on: it closes when the last of them ends.
        drop(traces_in);
        let (exchange, courier) = exchange(&id, config, &chance)?;
        let teacher = Teacher {
            learner,
            cpu: config.learner.enabled.then_some(config.learner.cpu),
            traces: traces_out,
            published: published.clone(),
            board: board.clone(),
            gauge: LearnerGauge::new(&id, missed),
            checkpoint: checkpoint(config),
            foreign: None,
            newest: None,
            sent: None,
            exchange,
            began,
        };
        let emitter = Emitter {
            published,
            pace: Pace::new(config.generation.mode()),
            conditions: config.generation.conditions(),
            complained: false,
            outlet: outlet.clone(),
            runtime: Handle::current(),
            board: board.clone(),
            gauge: EmitterGauge::new(&id),
            chance: chance.stream("samples"),
            identity: Identity::new(chance.stream("ids")),
            began,
        };
        let stopped = stop.clone();
        Ok(Self {
            tap,
            board,
            outlet,
            stop,
            shards,
            learner: thread("learn".to_owned(), LEARN, move || teacher.run())?,
            emitter: thread("synthesize".to_owned(), SYNTHESIZE, move || {
                emitter.run(&stopped)
            })?,
            courier,
        })
    }

    /// Where the observed pipelines that end in it are tapped.
    pub fn tap(&self) -> Tap {
        self.tap.clone()
    }

    /// What a page shows of it.
    pub fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// Synthetic spans given to the exporters so far.
    pub fn produced(&self) -> u64 {
        self.outlet.given()
    }

    /// Ends: shards assemble what they hold, the learner takes it and saves; the synthetic
    /// spans that exporters were given in all. Blocking; to be called
    /// when no receiver taps any more.
    pub fn stop(self) -> u64 {
        self.stop.cancel();
        let threads = self.shards.into_iter().chain([self.emitter, self.learner]);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the synthesizer did not end cleanly");
            }
        }
        if let Some(Mail { thread, stop }) = self.courier {
            stop.cancel();
            if thread.join().is_err() {
                tracing::error!("the courier of models did not end cleanly");
            }
        }
        self.outlet.given()
    }
}

/// Where all chance of a synthesizer comes from.
struct Chance(u64);

impl Chance {
    /// From the seed, or else from the system.
    fn new(seed: Option<u64>) -> io::Result<Self> {
        use rand::Rng as _;
        match seed {
            Some(seed) => Ok(Self(seed)),
            None => {
                let fresh = Rng::try_from_rng(&mut SysRng);
                Ok(Self(fresh.map_err(io::Error::other)?.next_u64()))
            }
        }
    }

    fn stream(&self, purpose: &str) -> Rng {
        chance::stream(self.0, purpose)
    }

    fn key(&self, purpose: &str) -> u64 {
        use rand::Rng as _;
        self.stream(purpose).next_u64()
    }
}

/// Starts a thread that stands so far behind those that carry observed spans.
fn thread(
    name: String,
    niceness: i32,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(move || {
        let this = Some(rustix::thread::gettid());
        if let Err(fault) = rustix::process::setpriority_process(this, niceness) {
            tracing::debug!(%fault, "a thread of the synthesizer keeps its priority");
        }
        run();
    })
}

fn checkpoint(config: &SynthesizerConfig) -> Option<(PathBuf, Duration)> {
    let checkpoint = &config.checkpoint;
    let written = !checkpoint.path.as_os_str().is_empty();
    written.then(|| (checkpoint.path.clone(), checkpoint.interval.duration()))
}

/// The ends of the exchange of models for the learner's thread, and the thread that carries them.
#[cfg(feature = "kafka")]
fn exchange(
    id: &str,
    config: &SynthesizerConfig,
    chance: &Chance,
) -> Result<(Option<Exchange>, Option<Mail>), SynthesizerError> {
    let Some(kafka) = config.model_exchange.kafka.as_ref() else {
        return Ok((None, None));
    };
    // Instances of the same seed are not the same instance.
    let fresh = Chance::new(None)?.key("instance") ^ chance.key("instance");
    let (courier, exchange) = Courier::new(id, kafka, fresh)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = thread("exchange".to_owned(), SYNTHESIZE, move || {
        courier.run(&stopped);
    })?;
    Ok((Some(exchange), Some(Mail { thread, stop })))
}

/// Built without Kafka, there is no exchange.
#[cfg(not(feature = "kafka"))]
fn exchange(
    _: &str,
    _: &SynthesizerConfig,
    _: &Chance,
) -> Result<(Option<Exchange>, Option<Mail>), SynthesizerError> {
    Ok((None, None))
}

/// A learner, and what it publishes at once: those of the checkpoint, if there is one.
fn learner(
    config: &SynthesizerConfig,
    chance: &Chance,
    texts: Arc<Interner>,
) -> Result<(Learner, Option<Published>), SynthesizerError> {
    let settings = config.learner_settings();
    let path = &config.checkpoint.path;
    let kept = !path.as_os_str().is_empty();
    if kept && path.exists() {
        let model = |reason: String| SynthesizerError::Model {
            path: path.clone(),
            reason,
        };
        let checkpoint = Checkpoint::load(path)?;
        let mut learner = checkpoint
            .learner(settings, texts)
            .map_err(|fault| model(fault.to_string()))?;
        let published = learner.snapshot();
        if published.is_none() && !config.learner.enabled {
            return Err(model("has learnt nothing yet".to_owned()));
        }
        return Ok((learner, published));
    }
    if !config.learner.enabled && !config.exchanges() {
        return Err(SynthesizerError::NoModel { path: path.clone() });
    }
    if kept {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            return Err(SynthesizerError::NoFolder { folder });
        }
        if let Err(source) = tempfile::NamedTempFile::new_in(&folder) {
            return Err(SynthesizerError::Folder { folder, source });
        }
    }
    let seed = chance.key("learner");
    Ok((Learner::new(settings, texts, seed), None))
}
