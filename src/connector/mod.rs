//! The synthesizer connector: an exporter of the observed pipeline, a receiver of the synthetic one.

mod board;
mod budget;
mod config;
mod emit;
mod exchange;
mod gauge;
#[cfg(all(test, feature = "kafka"))]
mod readme;
mod shard;
mod synthesizer;
mod teach;

pub use board::{
    Board, BoardSnapshot, DURATION_BINS, Flow, Pulse, Recent, ServingSince, ShownEdge,
    ShownOperation, ShownSide, ShownSpan, ShownTrace, Side,
};
pub use config::{
    AssemblerConfig, CheckpointConfig, GenerationConfig, GenerationMode, LearnerConfig,
    PrivacyConfig, SynthesizerConfig,
};
pub use exchange::Role;
#[cfg(feature = "kafka")]
pub use exchange::{KafkaExchangeConfig, ModelExchangeConfig};
pub use synthesizer::{Synthesizer, SynthesizerError};

/// Types of connectors that there are.
pub const KINDS: [&str; 1] = ["synthesizer"];
