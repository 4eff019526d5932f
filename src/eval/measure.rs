//! All figures of one sample of traces: synthetic ones, or those of a control.

use serde::Serialize;

use super::attributes::KeyLikeness;
use super::boosted::Ungrown;
use super::features::Features;
use super::fidelity::{Report, fidelity};
use super::figures::Figures;
use super::neural::neural;
use super::privacy::{Originals, Shared, membership};
use super::reconstruction::Reconstruction;
use super::shadow::Shadow;
use super::similarity::Mixed;
use super::structure::{Rare, Stratum, strata, triples};
use super::timing::{OperationTiming, RootTiming, lie, operations, roots};
use super::two_sample::{Told, TwoSample, two_sample};
use super::utility::{Hybrid, Sample, Utility};
use super::workload::{OtherSystem, Workload};
use crate::features::Interner;
use crate::trace::Trace;

/// Splits that an area under the curve is the mean of.
const SPLITS: u64 = 3;
/// Operations whose timing is told.
const OPERATIONS: usize = 40;

/// Why a sample could not be measured: a classifier could not be trained.
#[derive(Debug, thiserror::Error)]
#[error("a classifier can't be trained: {0}")]
pub struct Immeasurable(String);

impl From<Ungrown> for Immeasurable {
    fn from(fault: Ungrown) -> Self {
        Self(fault.to_string())
    }
}

impl From<candle_core::Error> for Immeasurable {
    fn from(fault: candle_core::Error) -> Self {
        Self(fault.to_string())
    }
}

/// J1 of one sample alone: the area under the curve of the trees that tell it from observed
/// traces. Fails if a tree can't be grown, as of too few traces.
pub fn told_apart(
    observed: &[Trace],
    synthetic: &[Trace],
    seed: u64,
    texts: &Interner,
) -> Result<f64, Immeasurable> {
    let sides = [observed, synthetic].map(Features::all);
    let told = two_sample([&sides[0], &sides[1]], Told::All, (seed, SPLITS), texts)?;
    Ok(told.auc)
}

/// Three disjoint samples of observed traces.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// What the generator learnt from.
    pub train: &'a [Trace],
    /// What everything is compared with.
    pub held_out: &'a [Trace],
    /// What the ceiling is measured with.
    pub second: &'a [Trace],
}

/// The classifiers' features of observed traces.
#[derive(Debug)]
pub struct ObservedFeatures {
    train: Vec<Features>,
    held_out: Vec<Features>,
    second: Vec<Features>,
}

impl ObservedFeatures {
    /// Looks at every trace.
    pub fn of(observed: Observed<'_>) -> Self {
        Self {
            train: Features::all(observed.train),
            held_out: Features::all(observed.held_out),
            second: Features::all(observed.second),
        }
    }
}

/// What samples are measured against. Made once for all of them.
#[derive(Debug)]
pub struct Bench<'a> {
    observed: Observed<'a>,
    texts: &'a Interner,
    seed: u64,
    shared: Shared,
    features: &'a ObservedFeatures,
    utility: Utility<'a>,
    rare: Rare,
    originals: Originals<'a>,
    shadow: Option<Shadow>,
    /// Shares of held-out traces whose shape, and whose full record, a training trace has.
    repeated: [f64; 2],
}

/// What was measured of one sample.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Traces of the sample.
    pub traces: usize,
    /// Spans of the sample.
    pub spans: usize,
    /// Every figure, by its key in [`super::METRICS`].
    pub figures: Figures,
    /// F1 to F3 with their parts.
    pub fidelity: Report,
    /// S1 by size.
    pub strata: Vec<Stratum>,
    /// J1.
    pub all: TwoSample,
    /// J2.
    pub structure: TwoSample,
    /// Root operations.
    pub roots: Vec<RootTiming>,
    /// The operations with the most spans.
    pub operations: Vec<OperationTiming>,
    /// U2 of each question that the observed traces allow, if it was asked for.
    pub hybrids: Vec<Hybrid>,
    /// How alike the values of each attribute are, if spans carry some.
    pub attributes: Vec<KeyLikeness>,
    /// What a model rebuilds of held-out traces, if it was asked.
    pub reconstruction: Option<Reconstruction>,
}

impl Measured {
    /// Adds what its spans carry.
    pub fn carries(&mut self, (figures, keys): (Figures, Vec<KeyLikeness>)) {
        self.figures.extend(figures);
        self.attributes = keys;
    }

    /// Adds what the generator's model rebuilds of held-out traces.
    pub fn rebuilds(&mut self, reconstruction: Reconstruction) {
        self.figures.extend(reconstruction.figures());
        self.reconstruction = Some(reconstruction);
    }
}

/// How much is measured of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// What is cheap.
    Quick,
    /// As well: a network tells the sample apart.
    Telling,
    /// As well: the sample is mixed with observed traces.
    Whole,
}

impl<'a> Bench<'a> {
    /// What is measured in one go, for a progress bar.
    pub const STEPS: u64 = 8;

    /// Reads the observed samples. The same seed gives the same figures. `floor` is how many
    /// training traces must have a label before a synthetic trace may.
    pub fn new(
        observed: Observed<'a>,
        features: &'a ObservedFeatures,
        texts: &'a Interner,
        (seed, floor): (u64, u32),
    ) -> Result<Self, Immeasurable> {
        let Observed {
            train,
            held_out,
            second,
        } = observed;
        let originals = Originals::of(train);
        let shared = Shared::of(train, floor as usize);
        let [learnt, asked] = [(train, &features.train), (held_out, &features.held_out)]
            .map(|(traces, features)| Sample { traces, features });
        Ok(Self {
            observed,
            texts,
            seed,
            features,
            utility: Utility::new(learnt, asked, seed)?,
            rare: Rare::of(held_out, [train, second], |trace| shared.allow(trace)),
            shared,
            repeated: originals.copied(held_out),
            originals,
            shadow: Shadow::learn((second, &features.second), floor, texts, seed)?,
        })
    }

    /// Shapes of held-out traces that are rare, and those of them that have no label below the floor: the fewer, the
    /// more of `rare_recall` is chance.
    pub fn rare_shapes(&self) -> [usize; 2] {
        self.rare.len()
    }

    /// Another system beside the one that was observed; none if there are too few traces.
    pub fn beside<'b>(
        &'b self,
        other: &'b OtherSystem,
    ) -> Result<Option<Workload<'b>>, Immeasurable> {
        let ObservedFeatures {
            train, held_out, ..
        } = self.features;
        Ok(Workload::new([train, held_out], other, self.seed)?)
    }

    /// Adds what was measured of a sample as one of two systems, whose least ratio and most false
    /// alarms it may be. `other` are synthetic traces of the other system; without them its
    /// observed ones stand there, as the ceiling has them.
    pub fn measure_beside(
        &self,
        workload: &Workload<'_>,
        traces: &[Trace],
        other: Option<&OtherSystem>,
        measured: &mut Measured,
    ) -> Result<(), Immeasurable> {
        let told = workload.train_on(&Features::all(traces), other)?;
        let [.., ratio, false_alarms] = workload.keys();
        let worse = [
            ("tstr_ratio", ratio, f64::min as fn(f64, f64) -> f64),
            ("false_alarm_difference", false_alarms, f64::max),
        ];
        for (whole, part, worse) in worse {
            if let Some(part) = told.get(part) {
                let whole = measured.figures.entry(whole).or_insert(*part);
                *whole = worse(*whole, *part);
            }
        }
        measured.figures.extend(told);
        Ok(())
    }

    /// Measures a sample, telling before each step what comes.
    pub fn measure(
        &self,
        traces: &[Trace],
        effort: Effort,
        mut step: impl FnMut(&'static str),
    ) -> Result<Measured, Immeasurable> {
        let (held_out, texts) = (self.observed.held_out, self.texts);
        step("fidelity");
        let report = fidelity(held_out, traces);
        let mut figures = Figures::from([
            ("outside", report.outside[1]),
            ("outside_difference", report.outside_difference),
            ("structure", report.structure.mean),
            ("durations", report.durations.mean),
            ("semantics", report.semantics.mean),
            ("overall", report.overall),
            ("edges", report.edges),
            ("shape_distance", report.shape_distance),
            ("shape_coverage", report.shape_coverage),
            ("shape_novelty", report.shape_novelty),
            ("operation_durations", report.operation_durations),
            ("triples", triples(held_out, traces)),
        ]);
        let (strata, alike) = strata(held_out, traces);
        figures.extend(alike.map(|alike| ("strata", alike)));
        let [recall, allowed] = self.rare.recall(traces);
        figures.extend(recall.map(|recall| ("rare_recall", recall)));
        figures.extend(allowed.map(|recall| ("rare_recall_allowed", recall)));
        step("timing");
        let lie = lie(held_out, traces);
        let (roots, [p50, p95, p99]) = roots(held_out, traces, texts);
        figures.extend([
            ("offset", lie.offset),
            ("self_time", lie.self_time),
            ("overlap", lie.overlap),
            ("root_p50_error", p50),
            ("root_p95_error", p95),
            ("root_p99_error", p99),
        ]);
        let operations = operations(held_out, traces, OPERATIONS, texts);
        let features = Features::all(traces);
        let tell = |told| {
            let sides = [&*self.features.held_out, &features];
            two_sample(sides, told, (self.seed, SPLITS), texts)
        };
        step("telling them apart");
        let all = tell(Told::All)?;
        step("telling structures apart");
        let structure = tell(Told::Structure)?;
        figures.extend([("c2st", all.auc), ("c2st_structure", structure.auc)]);
        step("telling trees apart");
        if effort >= Effort::Telling {
            let area = neural([held_out, traces], self.seed)?;
            figures.extend([("c2st_neural", area), ("c2st_larger", area.max(all.auc))]);
        }
        step("mixing them");
        let mixed = Mixed::of(held_out, traces);
        figures.extend(mixed.nmi(self.seed).map(|nmi| ("nmi", nmi)));
        figures.extend(mixed.nearest().map(|likeness| ("nearest", likeness)));
        step("looking for copies");
        self.privacy(traces, &features, &mut figures);
        step("training on them");
        let sample = Sample {
            traces,
            features: &features,
        };
        self.utility.train_on(sample, &mut figures)?;
        let hybrids = match effort {
            Effort::Whole => self.utility.mix(sample)?,
            _ => Vec::new(),
        };
        let least = hybrids.iter().filter_map(Hybrid::least);
        let least = least.reduce(f64::min);
        figures.extend(least.map(|least| ("hybrid_least", least)));
        Ok(Measured {
            traces: traces.len(),
            spans: traces.iter().map(|trace| trace.spans().len()).sum(),
            figures,
            fidelity: report,
            strata,
            all,
            structure,
            roots,
            operations,
            hybrids,
            attributes: Vec::new(),
            reconstruction: None,
        })
    }

    fn privacy(&self, traces: &[Trace], features: &[Features], figures: &mut Figures) {
        let [shapes, records] = self.originals.copied(traces);
        let [repeated_shapes, repeated_records] = self.repeated;
        if repeated_shapes > 0.0 {
            figures.insert("copied_shapes", shapes / repeated_shapes);
        }
        figures.insert("copied_records", records);
        figures.insert("copied_records_excess", records - repeated_records);
        let ObservedFeatures {
            train,
            held_out,
            second,
        } = self.features;
        let samples = [&**train, held_out, second, features];
        if let Some(told) = membership(samples, self.shadow.as_ref()) {
            figures.extend([
                ("mia_nearest", told.nearest),
                ("mia_density", told.density),
                ("mia_best", told.best),
                ("mia_outliers", told.outliers),
                ("mia_tpr", told.tpr),
                ("mia_outliers_tpr", told.outliers_tpr),
            ]);
            figures.extend(told.shadow.map(|shadow| ("mia_shadow", shadow)));
        }
        figures.insert("below_floor", self.shared.below(traces));
    }
}
