//! Fidelity, utility, privacy: the measures of how good synthetic traces are.
//!
//! A figure alone says nothing: each stands beside what other observed traces, a copier,
//! independent chance and a table grammar get. A [`Bench`] measures one sample of traces against
//! held-out ones; an [`Evaluation`] puts the samples side by side.

mod ablation;
mod attributes;
mod boosted;
mod conditions;
mod control;
mod distance;
mod features;
mod fidelity;
mod figures;
mod flat;
mod gaussian;
mod latent;
mod measure;
mod neural;
mod privacy;
mod queries;
mod reconstruction;
mod report;
mod shadow;
mod shape;
mod similarity;
mod structure;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timing;
mod two_sample;
mod utility;
mod workload;

pub use ablation::{ABLATED, Ablated, Ablation, LIMITS, Noise};
pub use attributes::{Attributes, KeyLikeness};
pub use conditions::{Kept, SizesGiven, Unasked, kept, of_given_sizes};
pub use control::{Control, Controlled, controlled, copied, grammar, random};
pub use fidelity::{Durations, Report, RootLatency, Semantics, Structure, fidelity, validity};
pub use figures::{Bar, Bars, Figures, Good, METRICS, Metric, NoBar, Spread};
pub use flat::{Flat, flat};
pub use gaussian::{Gaussian, gaussian};
pub use measure::{Bench, Effort, Immeasurable, Measured, Observed, ObservedFeatures, told_apart};
pub use queries::Queries;
pub use reconstruction::Reconstruction;
pub use report::{Evaluation, Generator, Row};
pub use structure::Stratum;
pub use timing::{OperationTiming, RootTiming, bias};
pub use two_sample::TwoSample;
pub use utility::Hybrid;
pub use workload::{OtherSystem, Workload};
