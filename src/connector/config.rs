//! Keys of `synthesizer`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::assembler::AssemblerSettings;
use crate::config::{Faults, Period};
use crate::features::InternerSettings;
use crate::learner::LearnerSettings;
use crate::synthesizer::{Conditions, Mode};

/// Learns traces of the pipelines that end in it, and begins others with synthetic ones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthesizerConfig {
    /// Makes runs repeatable: the same seed and input draw the same. Fresh chance unless written.
    pub seed: Option<u64>,
    /// How spans become traces.
    pub assembler: AssemblerConfig,
    /// What may pass from observed to synthetic traces.
    pub privacy: PrivacyConfig,
    /// How the model learns.
    pub learner: LearnerConfig,
    /// How many synthetic traces there are, and which.
    pub generation: GenerationConfig,
    /// Where the model outlives the process.
    pub checkpoint: CheckpointConfig,
    /// How instances share what they have learnt.
    #[cfg(feature = "kafka")]
    pub model_exchange: super::exchange::ModelExchangeConfig,
}

/// How spans become traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AssemblerConfig {
    /// Threads that assemble; spans are spread over them by trace id.
    pub shards: usize,
    /// A trace is closed this long after its first span at the latest.
    pub max_wait: Period,
    /// How long a whole trace must be quiet before it is done, until each root operation has
    /// taught how long its spans take to arrive.
    pub initial_quiet: Period,
    /// Open traces at most; the oldest is given up for a new one.
    pub max_open_traces: usize,
    /// Memory of open traces at most.
    pub max_memory_mib: usize,
    /// Spans of one trace at most; a larger one is counted and not learnt.
    pub max_spans_per_trace: usize,
}

/// What may pass from observed to synthetic traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyConfig {
    /// Distinct traces that a (service, operation, kind) needs before synthetic traces may have it,
    /// and that what its spans carry needs before they may.
    pub min_traces: u32,
    /// Distinct (service, operation, kind) known at most.
    pub max_labels: usize,
    /// Keys of the attributes that synthetic spans and events may have; those of the semantic
    /// conventions that name kinds of things (below) unless written. `[]`: no attributes.
    pub attributes: Option<Vec<String>>,
}

/// How the model learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerConfig {
    /// Whether it learns; `false` draws from the checkpoint as it is.
    pub enabled: bool,
    /// Share of one core that training may take, from 0.01 to 1. It also gives way to all other
    /// work of the machine.
    pub cpu: f64,
    /// Traces kept to learn from again, at most.
    pub replay_traces: usize,
    /// Share of the traces that is held out from training, to score on.
    pub held_out: f64,
    /// Whether drawn traces are told from observed ones, so that fewer are kept of those that give
    /// themselves away: nearer to what was observed, for over three times the work a trace.
    pub discriminator: bool,
}

/// How many synthetic traces there are, and which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationConfig {
    /// `mirror`: so many as observed, times `ratio`; `rate`: `rate` a second; `off`: none.
    pub mode: GenerationMode,
    /// Synthetic traces for each observed one, in mode `mirror`.
    pub ratio: f64,
    /// Synthetic traces a second, in mode `rate`.
    pub rate: f64,
    /// Spans of every synthetic trace; 0 leaves the size to the model.
    pub spans: usize,
    /// What synthetic traces are to be like.
    pub conditions: ConditionsConfig,
}

/// What synthetic traces are to be like; what is not written is left to the model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConditionsConfig {
    /// Root operations, each `service/operation`; `[]`: any.
    pub roots: Vec<String>,
    /// Share of the traces, from 0 to 1, that have a span of error status; the others have none.
    pub errors: Option<f64>,
    /// Spans of a trace at least.
    pub min_spans: Option<usize>,
    /// Spans of a trace at most.
    pub max_spans: Option<usize>,
    /// Share of the traces, from 0 to 1, of a shape that at most one in a thousand of the model's
    /// own draws has; the others have a more frequent one.
    pub rare: Option<f64>,
}

/// What sets the number of synthetic traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationMode {
    /// The number of observed ones.
    #[default]
    Mirror,
    /// The clock.
    Rate,
    /// None are made.
    Off,
}

/// Where the model outlives the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// The file; it is read at start if it is there. None is kept unless written.
    pub path: PathBuf,
    /// How often it is saved; it is saved at shutdown too.
    pub interval: Period,
}

impl Default for AssemblerConfig {
    fn default() -> Self {
        let settings = AssemblerSettings::default();
        Self {
            shards: 1,
            max_wait: Period::from_secs(30),
            initial_quiet: Period::from_secs(5),
            max_open_traces: settings.max_open_traces,
            max_memory_mib: settings.max_bytes >> 20,
            max_spans_per_trace: settings.max_spans_per_trace,
        }
    }
}

impl Default for PrivacyConfig {
    fn default() -> Self {
        let settings = LearnerSettings::default();
        Self {
            min_traces: settings.min_traces,
            max_labels: settings.max_tokens,
            attributes: None,
        }
    }
}

impl Default for LearnerConfig {
    fn default() -> Self {
        let settings = LearnerSettings::default();
        Self {
            enabled: true,
            cpu: 0.5,
            replay_traces: settings.replay,
            held_out: settings.held_out_share,
            discriminator: settings.discriminator,
        }
    }
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            mode: GenerationMode::Mirror,
            ratio: 1.0,
            rate: 10.0,
            spans: 0,
            conditions: ConditionsConfig::default(),
        }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            interval: Period::from_secs(300),
        }
    }
}

impl SynthesizerConfig {
    /// Tells what would not do.
    pub fn check(&self, faults: &mut Faults) {
        faults.below("assembler", |faults| self.assembler.check(faults));
        faults.below("privacy", |faults| {
            at_least_one(faults, "min_traces", self.privacy.min_traces as usize);
            within(faults, "max_labels", self.privacy.max_labels, 1, 65_536);
            for key in self.privacy.attributes.iter().flatten() {
                if let Some(fault) = key_fault(key) {
                    faults.push("attributes", fault);
                }
            }
        });
        faults.below("learner", |faults| {
            let learner = &self.learner;
            share(faults, "cpu", learner.cpu, 0.01, 1.0);
            share(faults, "held_out", learner.held_out, 0.01, 0.5);
            within(
                faults,
                "replay_traces",
                learner.replay_traces,
                100,
                1_000_000,
            );
            if !learner.enabled && self.checkpoint.path.as_os_str().is_empty() && !self.exchanges()
            {
                faults.push(
                    "enabled",
                    "without learning there must be a model to draw from: write `checkpoint.path`",
                );
            }
        });
        faults.below("generation", |faults| {
            let generation = &self.generation;
            share(faults, "ratio", generation.ratio, 0.0, 1_000.0);
            share(faults, "rate", generation.rate, 0.0, 1e6);
            let most = LearnerSettings::default().max_spans;
            within(faults, "spans", generation.spans, 0, most);
            faults.below("conditions", |faults| {
                for (key, fault) in generation.conditions().faults(most) {
                    faults.push(key, fault);
                }
            });
        });
        faults.below("checkpoint", |faults| {
            if self.checkpoint.interval.is_zero() {
                faults.push("interval", "must be longer than 0s; write `5m`, say");
            }
        });
        #[cfg(feature = "kafka")]
        faults.below("model_exchange", |faults| {
            self.model_exchange.check(self.learner.enabled, faults);
        });
    }

    /// Whether a model may come from another instance.
    pub(super) fn exchanges(&self) -> bool {
        #[cfg(feature = "kafka")]
        return self.model_exchange.kafka.is_on();
        #[cfg(not(feature = "kafka"))]
        false
    }

    /// The interner of its taps, keyed by chance.
    pub(super) fn interner_settings(&self, key: u64) -> InternerSettings {
        let settings = InternerSettings {
            key,
            ..InternerSettings::default()
        };
        match &self.privacy.attributes {
            None => settings,
            Some(keys) => InternerSettings {
                attributes: keys.clone(),
                ..settings
            },
        }
    }

    pub(super) fn learner_settings(&self) -> LearnerSettings {
        LearnerSettings {
            min_traces: self.privacy.min_traces,
            max_tokens: self.privacy.max_labels,
            replay: self.learner.replay_traces,
            held_out_share: self.learner.held_out,
            discriminator: self.learner.discriminator,
            ..LearnerSettings::default()
        }
    }
}

impl AssemblerConfig {
    fn check(&self, faults: &mut Faults) {
        within(faults, "shards", self.shards, 1, 64);
        for (key, period) in [
            ("max_wait", self.max_wait),
            ("initial_quiet", self.initial_quiet),
        ] {
            if period.is_zero() {
                faults.push(key, "must be longer than 0s");
            }
        }
        at_least_one(faults, "max_open_traces", self.max_open_traces);
        at_least_one(faults, "max_memory_mib", self.max_memory_mib);
        at_least_one(faults, "max_spans_per_trace", self.max_spans_per_trace);
    }

    pub(super) fn settings(&self, key: u64) -> AssemblerSettings {
        let max_wait = self.max_wait.duration();
        let initial_quiet = self.initial_quiet.duration().min(max_wait);
        let settings = AssemblerSettings {
            max_wait,
            min_quiet: Duration::from_millis(500).min(initial_quiet),
            initial_quiet,
            max_open_traces: self.max_open_traces,
            max_bytes: self.max_memory_mib << 20,
            max_spans_per_trace: self.max_spans_per_trace,
            key,
        };
        settings.share(self.shards)
    }
}

impl GenerationConfig {
    pub(super) fn mode(&self) -> Mode {
        match self.mode {
            GenerationMode::Mirror => Mode::Mirror { ratio: self.ratio },
            GenerationMode::Rate => Mode::Rate {
                per_second: self.rate,
            },
            GenerationMode::Off => Mode::Off,
        }
    }

    pub(super) fn conditions(&self) -> Conditions {
        let asked = &self.conditions;
        Conditions {
            roots: asked.roots.clone(),
            errors: asked.errors,
            min_spans: asked.min_spans,
            max_spans: asked.max_spans,
            rare: asked.rare,
            spans: (self.spans > 0).then_some(self.spans),
        }
    }
}

/// What is wrong with a key of an attribute. What exceptions say is never let through: it is free
/// text, and the same text in many traces names somebody all the same.
fn key_fault(key: &str) -> Option<String> {
    const FREE_TEXT: [&str; 2] = ["exception.message", "exception.stacktrace"];
    if FREE_TEXT.contains(&key) {
        return Some(format!(
            "`{key}` holds free text, which is never let through; leave it out"
        ));
    }
    if key.is_empty() || key.len() > LONGEST_KEY {
        let length = key.len();
        return Some(format!(
            "a key must have 1 to {LONGEST_KEY} bytes, got {length}"
        ));
    }
    None
}

fn at_least_one(faults: &mut Faults, key: &str, got: usize) {
    if got == 0 {
        faults.push(key, "must be at least 1, got 0");
    }
}

fn within(faults: &mut Faults, key: &str, got: usize, least: usize, most: usize) {
    if !(least..=most).contains(&got) {
        faults.push(key, format!("must be from {least} to {most}, got {got}"));
    }
}

/// Bytes of an attribute's key at most.
const LONGEST_KEY: usize = 128;

fn share(faults: &mut Faults, key: &str, got: f64, least: f64, most: f64) {
    // Written so that NaN is a fault too.
    if !(got >= least && got <= most) {
        faults.push(key, format!("must be from {least} to {most}, got {got}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: &[&str]) {
        let config: SynthesizerConfig = serde_yaml_ng::from_str(yaml).unwrap();
        let mut faults = Faults::default();
        config.check(&mut faults);
        let told = faults.into_vec().into_iter();
        let told: Vec<String> = told.map(|f| format!("{}: {}", f.path, f.message)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn every_fault_names_its_key_and_says_what_would_do() {
        check("{}", &[]);
        check(
            "{assembler: {max_open_traces: 0, max_wait: 0s}, privacy: {min_traces: 0, attributes: [http.route, '', exception.message]}, \
              learner: {cpu: 2, enabled: false}, generation: {ratio: -1, spans: 1000000}}",
            &[
                "assembler.max_wait: must be longer than 0s",
                "assembler.max_open_traces: must be at least 1, got 0",
                "privacy.min_traces: must be at least 1, got 0",
                "privacy.attributes: a key must have 1 to 128 bytes, got 0",
                "privacy.attributes: `exception.message` holds free text, which is never let through; leave it out",
                "learner.cpu: must be from 0.01 to 1, got 2",
                "learner.enabled: without learning there must be a model to draw from: write `checkpoint.path`",
                "generation.ratio: must be from 0 to 1000, got -1",
                "generation.spans: must be from 0 to 2000, got 1000000",
            ],
        );
        check(
            "generation: {spans: 9, conditions: {roots: [cart], errors: 1.5, rare: -1, min_spans: 50, max_spans: 5}}",
            &[
                "generation.conditions.roots: must be `service/operation`, got `cart`",
                "generation.conditions.errors: must be a share from 0 to 1, got 1.5",
                "generation.conditions.rare: must be a share from 0 to 1, got -1",
                "generation.conditions.min_spans: can't stand beside a fixed number of spans; write one of the two",
                "generation.conditions.max_spans: can't stand beside a fixed number of spans; write one of the two",
                "generation.conditions.min_spans: must be at most max_spans (5), got 50",
            ],
        );
        check(
            "generation: {conditions: {roots: [shop/GET /], errors: 0.2, min_spans: 5, max_spans: 50, rare: 0.1}}",
            &[],
        );
    }
}
