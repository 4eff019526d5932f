//! The figures that a sample of traces gets: which there are, what is good, and which bar they have.

use std::collections::BTreeMap;

use serde::Serialize;

/// Figures by their keys; what could not be measured is not there.
pub type Figures = BTreeMap<&'static str, f64>;

/// What is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Good {
    /// The more the better.
    High,
    /// The less the better.
    Low,
    /// What the ceiling has.
    Ceiling,
}

/// What a generator is asked to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// At least what the ceiling has, less this.
    CeilingLess(f64),
}

impl Bar {
    /// Whether a figure reaches it; none where the ceiling is needed and not known.
    pub fn reached(self, figure: f64, ceiling: Option<f64>) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(figure <= most),
            Self::AtLeast(least) => Some(figure >= least),
            Self::CeilingLess(less) => ceiling.map(|ceiling| figure >= ceiling - less),
        }
    }
}

/// Why a bar can't be set otherwise.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoBar {
    /// It is not `key=number`.
    #[error("{0:?} is not KEY=NUMBER")]
    Unread(String),
    /// No figure has that key.
    #[error("there is no figure {0:?}; there are {1}")]
    Unknown(String, String),
    /// What is good is what the ceiling has, and no number.
    #[error("{0} has no bar: what is good is what the ceiling has")]
    OfCeiling(&'static str),
}

/// Bars that stand in for those of [`METRICS`]: what is asked of one system is too little or too
/// much of another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars(BTreeMap<&'static str, Bar>);

impl Bars {
    /// From texts like `c2st=0.6`. The number is the most of what is good when low, the least of
    /// what is good when high; of what hangs on the ceiling it is how much less is enough.
    pub fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NoBar> {
        let mut bars = Self::default();
        for text in texts {
            let unread = || NoBar::Unread(text.to_owned());
            let (key, number) = text.split_once('=').ok_or_else(unread)?;
            let number: f64 = number.parse().map_err(|_| unread())?;
            if !number.is_finite() {
                return Err(unread());
            }
            let metric = METRICS.iter().find(|metric| metric.key == key);
            let metric = metric.ok_or_else(|| {
                let keys: Vec<&str> = METRICS.iter().map(|metric| metric.key).collect();
                NoBar::Unknown(key.to_owned(), keys.join(", "))
            })?;
            let bar = match (metric.bar, metric.good) {
                (Some(Bar::CeilingLess(_)), _) => Bar::CeilingLess(number),
                (_, Good::Low) => Bar::AtMost(number),
                (_, Good::High) => Bar::AtLeast(number),
                (_, Good::Ceiling) => return Err(NoBar::OfCeiling(metric.key)),
            };
            bars.0.insert(metric.key, bar);
        }
        Ok(bars)
    }

    /// What is asked of a figure.
    pub fn of(&self, metric: &Metric) -> Option<Bar> {
        self.0.get(metric.key).copied().or(metric.bar)
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::CeilingLess(0.0) => write!(f, "≥ ceiling"),
            Self::CeilingLess(less) => write!(f, "≥ ceiling − {less}"),
        }
    }
}

/// A figure that can stand in the report.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The section it stands in.
    pub section: &'static str,
    /// Its short name: F1, J1.
    pub id: &'static str,
    /// Its key in [`Figures`] and in the report.
    pub key: &'static str,
    /// What it is, in words.
    pub name: &'static str,
    /// What is good.
    pub good: Good,
    /// What is asked.
    pub bar: Option<Bar>,
    /// What others published of it, in words.
    pub published: Option<&'static str>,
}

const fn metric(
    section: &'static str,
    (id, key): (&'static str, &'static str),
    name: &'static str,
    good: Good,
) -> Metric {
    Metric {
        section,
        id,
        key,
        name,
        good,
        bar: None,
        published: None,
    }
}

impl Metric {
    const fn bar(mut self, bar: Bar) -> Self {
        self.bar = Some(bar);
        self
    }

    const fn published(mut self, published: &'static str) -> Self {
        self.published = Some(published);
        self
    }
}

const TELLING: &str = "Telling them apart";
const FIDELITY: &str = "Fidelity";
const SHAPES: &str = "Structure";
const TIMING: &str = "Timing";
const MIXING: &str = "Similarity";
const UTILITY: &str = "Utility";
const QUERIES: &str = "Operators' queries, in 12 parts of the recording";
const CARRIED: &str = "Attributes, status, events";
const PRIVACY: &str = "Privacy and copying";
const REBUILT: &str = "Reconstruction through latents";

/// Every figure, in the order of the report.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric(TELLING, ("J1", "c2st"), "classifier's AUC, all features", Good::Low).bar(Bar::AtMost(0.58)),
    metric(TELLING, ("J2", "c2st_structure"), "classifier's AUC, structure only", Good::Low).bar(Bar::AtMost(0.53)),
    metric(TELLING, ("J3", "c2st_neural"), "neural classifier's AUC", Good::Low).bar(Bar::AtMost(0.58)),
    metric(TELLING, ("J", "c2st_larger"), "the larger of J1 and J3", Good::Low).bar(Bar::AtMost(0.58)),
    metric(FIDELITY, ("V1", "valid"), "valid traces", Good::High).bar(Bar::AtLeast(1.0)),
    metric(FIDELITY, ("V1", "valid_sizes"), "valid traces of 1 to 1,000 spans", Good::High).bar(Bar::AtLeast(1.0)),
    metric(FIDELITY, ("V2", "outside"), "children that leave their parent's time", Good::Ceiling),
    metric(FIDELITY, ("V2", "outside_difference"), "the same, difference to held-out", Good::Low).bar(Bar::AtMost(0.005)),
    metric(FIDELITY, ("F1", "structure"), "structure, mean of 7", Good::High),
    metric(FIDELITY, ("F2", "durations"), "durations, mean of 2", Good::High),
    metric(FIDELITY, ("F3", "semantics"), "labels, mean of 4", Good::High),
    metric(FIDELITY, ("F", "overall"), "overall, mean of F1 to F3", Good::High).bar(Bar::CeilingLess(0.01)),
    metric(FIDELITY, ("C1", "conditions_met"), "traces that meet what is asked for", Good::High).bar(Bar::AtLeast(1.0)),
    metric(FIDELITY, ("C1", "conditions_drawn"), "structures drawn for each of them", Good::Low),
    metric(SHAPES, ("S1", "strata"), "depth, fan-out, leaves, repeats by size", Good::High),
    metric(SHAPES, ("S2", "edges"), "parent and operation, 1 − √JSD", Good::High),
    metric(SHAPES, ("S2", "triples"), "grandparent, parent, operation", Good::High),
    metric(SHAPES, ("S3", "shape_distance"), "labelled shapes, total variation", Good::Low).bar(Bar::AtMost(0.10)),
    metric(SHAPES, ("S3", "shape_coverage"), "held-out traces whose shape is there", Good::High),
    metric(SHAPES, ("S3", "shape_novelty"), "traces whose shape is not held-out", Good::Ceiling),
    metric(SHAPES, ("S3", "rare_recall"), "rare shapes found", Good::High).bar(Bar::CeilingLess(0.0)),
    metric(SHAPES, ("S3", "rare_recall_allowed"), "rare shapes found, of those with no label below the floor", Good::High),
    metric(TIMING, ("T1", "operation_durations"), "duration per operation, W1 of log10", Good::Low),
    metric(TIMING, ("T1", "offset"), "start offset over parent, KS", Good::Low),
    metric(TIMING, ("T1", "self_time"), "self time over duration, KS", Good::Low),
    metric(TIMING, ("T1", "overlap"), "sibling overlap, KS", Good::Low),
    metric(TIMING, ("T1", "root_p50_error"), "root latency p50, error", Good::Low).bar(Bar::AtMost(0.10)),
    metric(TIMING, ("T1", "root_p95_error"), "root latency p95, error", Good::Low).bar(Bar::AtMost(0.10)),
    metric(TIMING, ("T1", "root_p99_error"), "root latency p99, error", Good::Low).bar(Bar::AtMost(0.10)),
    metric(TIMING, ("T1", "root_p50_bias"), "root latency p50, bias over seeds", Good::Low),
    metric(TIMING, ("T1", "root_p95_bias"), "root latency p95, bias over seeds", Good::Low),
    metric(TIMING, ("T1", "root_p99_bias"), "root latency p99, bias over seeds", Good::Low),
    metric(MIXING, ("Q4", "nmi"), "k-means clusters against origin, NMI", Good::Low),
    metric(MIXING, ("Q4", "nearest"), "likeness of the nearest held-out trace", Good::High),
    metric(UTILITY, ("U1", "tstr_ratio"), "training on synthetic over observed, least", Good::High).bar(Bar::AtLeast(0.97)),
    metric(UTILITY, ("U1", "false_alarm_difference"), "false alarms off by, most", Good::Low).bar(Bar::AtMost(0.02)),
    metric(UTILITY, ("U1", "root_accuracy"), "root operation: accuracy", Good::High),
    metric(UTILITY, ("U1", "root_f1"), "root operation: mean F1 of operations", Good::High),
    metric(UTILITY, ("U1", "root_ratio"), "root operation: accuracy over observed", Good::High),
    metric(UTILITY, ("U1", "fault_f1"), "traces with an error: F1", Good::High),
    metric(UTILITY, ("U1", "fault_pr_auc"), "traces with an error: PR-AUC", Good::High),
    metric(UTILITY, ("U1", "fault_ratio"), "traces with an error: PR-AUC over observed", Good::High),
    metric(UTILITY, ("U1", "fault_false_alarms"), "traces with an error: false alarms off by", Good::Low),
    metric(UTILITY, ("U1", "slow_f1"), "slow requests: F1", Good::High),
    metric(UTILITY, ("U1", "slow_pr_auc"), "slow requests: PR-AUC", Good::High),
    metric(UTILITY, ("U1", "slow_ratio"), "slow requests: PR-AUC over observed", Good::High),
    metric(UTILITY, ("U1", "slow_false_alarms"), "slow requests: false alarms off by", Good::Low),
    metric(UTILITY, ("U1", "workload_accuracy"), "which of two systems: accuracy", Good::High),
    metric(UTILITY, ("U1", "workload_f1"), "which of two systems: F1", Good::High),
    metric(UTILITY, ("U1", "workload_pr_auc"), "which of two systems: PR-AUC", Good::High),
    metric(UTILITY, ("U1", "workload_ratio"), "which of two systems: PR-AUC over observed", Good::High),
    metric(UTILITY, ("U1", "workload_false_alarms"), "which of two systems: false alarms off by", Good::Low),
    metric(UTILITY, ("U1", "window_accuracy"), "normal or fault window: accuracy", Good::High),
    metric(UTILITY, ("U1", "window_f1"), "normal or fault window: F1", Good::High),
    metric(UTILITY, ("U1", "window_pr_auc"), "normal or fault window: PR-AUC", Good::High),
    metric(UTILITY, ("U1", "window_ratio"), "normal or fault window: PR-AUC over observed", Good::High),
    metric(UTILITY, ("U1", "window_false_alarms"), "normal or fault window: false alarms off by", Good::Low),
    metric(UTILITY, ("U2", "hybrid_least"), "hybrid: worst mix and task over observed only", Good::High).bar(Bar::CeilingLess(0.005)),
    metric(QUERIES, ("U4", "query_errors"), "errors per part and service, F1", Good::High).published("hourly .932; head sampling .943"),
    metric(QUERIES, ("U4", "query_triggers"), "calls per part, parent and child, F1", Good::High).published("hourly .804; head sampling .712"),
    metric(QUERIES, ("U4", "query_durations"), "relative durations over time, EMD", Good::Low).published("hourly .0264; head sampling .011"),
    metric(QUERIES, ("U4", "head_errors"), "errors, held-out sampled 1:10 at the head", Good::High),
    metric(QUERIES, ("U4", "head_triggers"), "calls, held-out sampled 1:10 at the head", Good::High),
    metric(QUERIES, ("U4", "head_durations"), "durations, held-out sampled 1:10 at the head", Good::Low),
    metric(CARRIED, ("A1", "attribute_values"), "values given who carries them, 1 − √JSD", Good::High),
    metric(CARRIED, ("A1", "attribute_worst"), "the same, of the worst key", Good::High),
    metric(CARRIED, ("A1", "status_values"), "status given who has it, 1 − √JSD", Good::High),
    metric(CARRIED, ("A1", "error_share"), "spans with an error", Good::Ceiling),
    metric(CARRIED, ("A1", "error_share_difference"), "the same, difference to held-out", Good::Low),
    metric(CARRIED, ("A1", "exception_share"), "errors with an exception event", Good::Ceiling),
    metric(CARRIED, ("A1", "exception_share_difference"), "the same, difference to held-out", Good::Low),
    metric(CARRIED, ("A1", "client_server"), "calls whose client and server agree", Good::Ceiling),
    metric(CARRIED, ("A1", "client_server_difference"), "the same, difference to held-out", Good::Low),
    metric(PRIVACY, ("P1", "copied_shapes"), "copied shapes, over held-out's", Good::Ceiling),
    metric(PRIVACY, ("P1", "copied_records"), "copied full records, share", Good::Ceiling),
    metric(PRIVACY, ("P1", "copied_records_excess"), "the same, more than held-out's", Good::Low).bar(Bar::AtMost(0.005)),
    metric(PRIVACY, ("P2", "mia_nearest"), "membership by nearest neighbour, AUC", Good::Low).bar(Bar::AtMost(0.52)),
    metric(PRIVACY, ("P2", "mia_density"), "membership by density ratio, AUC", Good::Low).bar(Bar::AtMost(0.52)),
    metric(PRIVACY, ("P2", "mia_shadow"), "membership by a shadow model, AUC", Good::Low).bar(Bar::AtMost(0.52)),
    metric(PRIVACY, ("P2", "mia_best"), "the best of the three, AUC", Good::Low).bar(Bar::AtMost(0.52)),
    metric(PRIVACY, ("P2", "mia_outliers"), "the best on outliers, AUC", Good::Low),
    metric(PRIVACY, ("P2", "mia_tpr"), "the best, TPR at 1% FPR", Good::Low),
    metric(PRIVACY, ("P2", "mia_outliers_tpr"), "the best on outliers, TPR at 1% FPR", Good::Low),
    metric(PRIVACY, ("P3", "below_floor"), "spans with a label below the floor", Good::Low).bar(Bar::AtMost(0.0)),
    metric(REBUILT, ("Q1", "rebuilt_services"), "services", Good::High).bar(Bar::AtLeast(0.999)).published("SocialNetwork 1.000, TrainTicket .9990"),
    metric(REBUILT, ("Q1", "rebuilt_operations"), "operations", Good::High).bar(Bar::AtLeast(0.999)).published("SocialNetwork .9991, TrainTicket .9992"),
    metric(REBUILT, ("Q1", "rebuilt_edges_precision"), "edges, precision", Good::High),
    metric(REBUILT, ("Q1", "rebuilt_edges_recall"), "edges, recall", Good::High),
    metric(REBUILT, ("Q1", "rebuilt_edges_f1"), "edges, F1", Good::High).bar(Bar::AtLeast(0.99)).published("SocialNetwork .9765, TrainTicket .8610"),
    metric(REBUILT, ("Q1", "rebuilt_duration_error"), "durations, mean error in ms", Good::Low),
    metric(REBUILT, ("Q1", "rebuilt_log_duration_error"), "durations, mean error of log10", Good::Low),
    metric(REBUILT, ("Q1", "code_services"), "services, by z_G alone", Good::High),
    metric(REBUILT, ("Q1", "code_operations"), "operations, by z_G alone", Good::High),
    metric(REBUILT, ("Q1", "code_edges_precision"), "edges, precision, by z_G alone", Good::High),
    metric(REBUILT, ("Q1", "code_edges_recall"), "edges, recall, by z_G alone", Good::High),
    metric(REBUILT, ("Q1", "code_edges_f1"), "edges, F1, by z_G alone", Good::High),
    metric(REBUILT, ("Q1", "code_duration_error"), "durations, mean error in ms, by z_G alone", Good::Low),
    metric(REBUILT, ("Q1", "code_log_duration_error"), "durations, mean error of log10, by z_G alone", Good::Low),
];

/// A figure over generator seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; 0 of one.
    pub std: f64,
    /// The least and the largest.
    pub range: [f64; 2],
    /// Of each generator.
    pub values: Vec<f64>,
}

impl Spread {
    /// Of figures; none of none.
    pub fn of(values: Vec<f64>) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self {
            mean,
            std: (squares / (count - 1.0).max(1.0)).sqrt(),
            range: [least, largest],
            values,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_mean_sample_deviation_and_range() {
        let spread = Spread::of(vec![1.0, 2.0, 6.0]).unwrap();
        assert_eq!((spread.mean, spread.range), (3.0, [1.0, 6.0]));
        assert!((spread.std - 7_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Spread::of(vec![4.0]).unwrap().std, 0.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn a_bar_may_hang_on_the_ceiling() {
        assert_eq!(Bar::AtMost(0.5).reached(0.5, None), Some(true));
        assert_eq!(Bar::AtLeast(0.5).reached(0.4, None), Some(false));
        let bar = Bar::CeilingLess(0.01);
        assert_eq!(bar.reached(0.98, None), None);
        assert_eq!(bar.reached(0.98, Some(0.985)), Some(true));
        assert_eq!(bar.reached(0.97, Some(0.985)), Some(false));
    }

    #[test]
    fn a_bar_can_be_set_for_a_figure_that_there_is() {
        let check = |text: &str, key: &str, expected: Option<&str>| {
            let bars = Bars::read([text]);
            let metric = METRICS.iter().find(|metric| metric.key == key).unwrap();
            let told = bars.map(|bars| bars.of(metric).map(|bar| bar.to_string()));
            match expected {
                Some(bar) => assert_eq!(told, Ok(Some(bar.to_owned())), "{text}"),
                None => assert!(told.is_err(), "{text}"),
            }
        };
        check("c2st=0.6", "c2st", Some("≤ 0.6"));
        check("c2st=0.6", "c2st_structure", Some("≤ 0.53"));
        check("nearest=0.5", "nearest", Some("≥ 0.5"));
        check("overall=0.02", "overall", Some("≥ ceiling − 0.02"));
        check("outside=0.1", "outside", None);
        check("c2st", "c2st", None);
        check("c2st=much", "c2st", None);
        let fault = Bars::read(["c3st=0.6"]).unwrap_err().to_string();
        assert!(
            fault.contains("\"c3st\"") && fault.contains("c2st_neural"),
            "{fault}"
        );
    }

    #[test]
    fn every_figure_has_a_key_of_its_own() {
        let mut keys: Vec<_> = METRICS.iter().map(|metric| metric.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), METRICS.len());
    }
}
