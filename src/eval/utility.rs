//! U1 and U2: what a model of the traces is worth that was trained on synthetic ones.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};
use smartcore::ensemble::random_forest_classifier::{
    RandomForestClassifier, RandomForestClassifierParameters,
};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::boosted::{Boosted, LEAF, Ungrown};
use super::distance::{percentile, sorted};
use super::features::{Feature, Features, Table};
use super::figures::Figures;
use super::shape::{Label, label};
use crate::chance::stream;
use crate::trace::{StatusCode, Trace};

/// Training traces that a class needs.
const FEW: usize = 20;
/// A request is slow whose root takes longer than this share of training traces.
const SLOW: f64 = 0.9;
/// Trees of the forest that tells many classes apart.
const TREES: u16 = 50;
/// Shares of observed traces among the training traces of a fixed number.
const MIXES: [f64; 6] = [0.0, 0.1, 0.3, 0.5, 0.7, 1.0];
/// Synthetic traces that are added to a tenth of the observed ones, as multiples of it.
const ADDED: [usize; 4] = [0, 1, 3, 9];

/// What is to be told of a trace.
#[derive(Debug, Clone, PartialEq)]
enum Question {
    /// Its root operation, one of these; features that name one are left out.
    Root(BTreeMap<Label, usize>),
    /// Whether a span has the status of an error.
    Fault,
    /// Whether the root takes longer than this many nanoseconds; durations of the root are left
    /// out.
    Slow(u64),
}

impl Question {
    /// The class of a trace; none if it has none of those that are asked for.
    fn truth(&self, trace: &Trace) -> Option<usize> {
        match self {
            Self::Root(classes) => classes.get(&label(trace.root())).copied(),
            Self::Fault => {
                let mut spans = trace.spans().iter();
                Some(usize::from(
                    spans.any(|span| span.status == StatusCode::Error),
                ))
            }
            Self::Slow(border) => Some(usize::from(trace.root().duration > *border)),
        }
    }

    fn classes(&self) -> usize {
        match self {
            Self::Root(classes) => classes.len(),
            _ => 2,
        }
    }

    fn wants(&self, feature: Feature, roots: &BTreeMap<Label, usize>) -> bool {
        let is_root = |label: Label| roots.contains_key(&label);
        match (self, feature) {
            (Self::Root(_), Feature::Count(label) | Feature::Duration(label)) => !is_root(label),
            (Self::Root(_), Feature::Edge(parent, child)) => !is_root(parent) && !is_root(child),
            (Self::Slow(_), Feature::Duration(label)) => !is_root(label),
            (Self::Slow(_), feature @ Feature::Fixed(_)) => !feature.is_log_duration(),
            _ => true,
        }
    }

    /// The keys of its figures; the score first.
    fn keys(&self) -> [&'static str; 4] {
        match self {
            Self::Root(_) => ["root_accuracy", "root_f1", "root_ratio", ""],
            Self::Fault => [
                "fault_pr_auc",
                "fault_f1",
                "fault_ratio",
                "fault_false_alarms",
            ],
            Self::Slow(_) => ["slow_pr_auc", "slow_f1", "slow_ratio", "slow_false_alarms"],
        }
    }
}

/// How well a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Score {
    /// Accuracy where there are many classes, the area under precision and recall where two.
    pub(super) main: f64,
    /// Share of answers that are right.
    pub(super) accuracy: f64,
    /// F1; the mean over classes where there are many.
    pub(super) f1: f64,
    /// Share of the others that are taken for one of the second class, where there are two.
    pub(super) false_alarms: f64,
}

/// Traces with their features.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) traces: &'a [Trace],
    pub(super) features: &'a [Features],
}

/// A hybrid of observed and synthetic training traces, and how well it does on held-out ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hybrid {
    /// What is told of a trace: "root_accuracy", "fault_pr_auc", "slow_pr_auc".
    pub score: Cow<'static, str>,
    /// (share of observed traces, score), at a fixed number of training traces.
    pub mixed: Vec<(f64, f64)>,
    /// (synthetic traces for each observed one, score), with a tenth of the observed traces; of the
    /// first question only.
    pub added: Vec<(usize, f64)>,
}

impl Hybrid {
    /// The worst mix of both, over observed traces only.
    pub fn least(&self) -> Option<f64> {
        let only = self.mixed.last()?.1;
        let mixes = self
            .mixed
            .iter()
            .filter(|(share, _)| *share > 0.0 && *share < 1.0);
        mixes
            .map(|(_, score)| score / only.max(1e-9))
            .reduce(f64::min)
    }
}

/// The questions that the observed traces allow, and how well observed training traces answer
/// them.
#[derive(Debug)]
pub(super) struct Utility<'a> {
    train: Sample<'a>,
    test: Sample<'a>,
    roots: BTreeMap<Label, usize>,
    questions: Vec<(Question, Score)>,
    seed: u64,
}

/// A row of training or test: its features and its class.
type Example<'a> = (&'a Features, usize);

impl<'a> Utility<'a> {
    /// Asks about held-out traces what training traces teach, as many of them as were held out.
    pub(super) fn new(train: Sample<'a>, test: Sample<'a>, seed: u64) -> Result<Self, Ungrown> {
        let mut counts: BTreeMap<Label, usize> = BTreeMap::new();
        for trace in train.traces {
            *counts.entry(label(trace.root())).or_default() += 1;
        }
        let roots: BTreeMap<Label, usize> = (counts.into_iter())
            .filter(|(_, count)| *count >= FEW)
            .zip(0..)
            .map(|((label, _), class)| (label, class))
            .collect();
        let durations = train
            .traces
            .iter()
            .map(|trace| trace.root().duration as f64);
        let durations = sorted(durations.collect());
        let mut asked = Vec::new();
        if roots.len() > 1 {
            asked.push(Question::Root(roots.clone()));
        }
        asked.push(Question::Fault);
        if !durations.is_empty() {
            asked.push(Question::Slow(percentile(&durations, SLOW) as u64));
        }
        let mut utility = Self {
            train,
            test,
            roots,
            questions: Vec::new(),
            seed,
        };
        for question in asked {
            let [of_train, of_test] = [train, test].map(|sample| examples(&question, sample));
            if is_enough(&question, &of_train, FEW) && is_enough(&question, &of_test, FEW / 2) {
                let observed = some(&of_train, of_test.len(), seed);
                let score = utility.score(&question, &observed, &of_test)?;
                utility.questions.push((question, score));
            }
        }
        Ok(utility)
    }

    /// U1: what training on the sample is worth; of the questions, the least that it is worth as
    /// `tstr_ratio`.
    pub(super) fn train_on(
        &self,
        sample: Sample<'_>,
        figures: &mut Figures,
    ) -> Result<(), Ungrown> {
        let (mut least, mut most) = (None::<f64>, None::<f64>);
        for (question, observed) in &self.questions {
            let test = examples(question, self.test);
            let training = some(&examples(question, sample), test.len(), self.seed);
            let score = self.score(question, &training, &test)?;
            let [main, f1, ratio, false_alarms] = question.keys();
            let over = score.main / observed.main.max(1e-9);
            figures.extend([(main, score.main), (f1, score.f1), (ratio, over)]);
            least = Some(least.map_or(over, |least| least.min(over)));
            if !false_alarms.is_empty() {
                let difference = (score.false_alarms - observed.false_alarms).abs();
                figures.insert(false_alarms, difference);
                most = Some(most.map_or(difference, |most| most.max(difference)));
            }
        }
        figures.extend(least.map(|least| ("tstr_ratio", least)));
        figures.extend(most.map(|most| ("false_alarm_difference", most)));
        Ok(())
    }

    /// U2: mixes of observed and synthetic traces, for each question; synthetic ones are added to
    /// few observed ones for the first only.
    pub(super) fn mix(&self, sample: Sample<'_>) -> Result<Vec<Hybrid>, Ungrown> {
        let hybrids = self.questions.iter().enumerate();
        hybrids
            .map(|(at, asked)| self.mix_for(asked, sample, at == 0))
            .collect()
    }

    fn mix_for(
        &self,
        (question, observed): &(Question, Score),
        sample: Sample<'_>,
        is_first: bool,
    ) -> Result<Hybrid, Ungrown> {
        let test = examples(question, self.test);
        let [mine, drawn] = [self.train, sample].map(|sample| examples(question, sample));
        let whole = test.len();
        let score = |observed: usize, synthetic: usize| -> Result<f64, Ungrown> {
            let training = [
                some(&mine, observed, self.seed),
                some(&drawn, synthetic, self.seed),
            ]
            .concat();
            Ok(self.score(question, &training, &test)?.main)
        };
        let mut mixed = Vec::new();
        for share in MIXES {
            let of_observed = (share * whole as f64).round() as usize;
            let score = if of_observed == whole {
                observed.main
            } else {
                score(of_observed, whole - of_observed)?
            };
            mixed.push((share, score));
        }
        let mut added = Vec::new();
        for times in ADDED.into_iter().filter(|_| is_first) {
            added.push((times, score(whole / 10, times * whole / 10)?));
        }
        Ok(Hybrid {
            score: question.keys()[0].into(),
            mixed,
            added,
        })
    }

    fn score(
        &self,
        question: &Question,
        training: &[Example<'_>],
        test: &[Example<'_>],
    ) -> Result<Score, Ungrown> {
        let rows: Vec<&Features> = training.iter().chain(test).map(|(row, _)| *row).collect();
        let table = Table::of(&rows, LEAF, |feature| question.wants(feature, &self.roots));
        let at: Vec<usize> = (0..rows.len()).collect();
        let (for_training, for_test) = at.split_at(training.len());
        let [training, truths] = [training, test].map(|some| {
            let classes = some.iter().map(|(_, class)| *class);
            classes.collect::<Vec<usize>>()
        });
        let (values, test_values) = (table.select(for_training), table.select(for_test));
        if question.classes() == 2 && !matches!(question, Question::Root(_)) {
            let classes: Vec<f64> = training.iter().map(|&class| class as f64).collect();
            let trees = Boosted::grow(&values, &classes, self.seed)?;
            return Ok(of_two(&truths, &trees.tell(&test_values, truths.len())));
        }
        let told = forest(&values, &training, &test_values, truths.len(), self.seed)?;
        Ok(of_many(&truths, &told, question.classes()))
    }
}

fn examples<'a>(question: &Question, sample: Sample<'a>) -> Vec<Example<'a>> {
    let both = sample.traces.iter().zip(sample.features);
    both.filter_map(|(trace, features)| Some((features, question.truth(trace)?)))
        .collect()
}

/// Whether two classes have so many examples.
fn is_enough(question: &Question, examples: &[Example<'_>], least: usize) -> bool {
    let of = |class: usize| examples.iter().filter(|(_, c)| *c == class).count();
    (0..question.classes())
        .filter(|&class| of(class) >= least)
        .count()
        > 1
}

/// So many examples at most, whichever chance picks.
fn some<'a>(examples: &[Example<'a>], most: usize, seed: u64) -> Vec<Example<'a>> {
    let mut chosen = examples.to_vec();
    chosen.shuffle(&mut stream(seed, "training examples"));
    chosen.truncate(most);
    chosen
}

/// Classes by a random forest. Shapes: values [columns, rows], classes [rows], test [columns,
/// count] -> [count].
fn forest(
    values: &[f64],
    classes: &[usize],
    test: &[f64],
    count: usize,
    seed: u64,
) -> Result<Vec<usize>, Ungrown> {
    let columns = values.len() / classes.len().max(1);
    let first = classes.first().copied().unwrap_or_default();
    if columns == 0 || classes.iter().all(|&class| class == first) {
        return Ok(vec![first; count]);
    }
    let fault = |fault: smartcore::error::Failed| Ungrown(fault.to_string());
    // What is missing stands below everything that is there.
    let matrix = |values: &[f64], rows: usize| {
        let there = values.iter().map(|v| if v.is_nan() { -1.0 } else { *v });
        DenseMatrix::new(rows, columns, there.collect(), true).map_err(fault)
    };
    let parameters = RandomForestClassifierParameters::default()
        .with_n_trees(TREES)
        .with_seed(seed);
    let (values, classes) = (matrix(values, classes.len())?, classes.to_vec());
    let trees: RandomForestClassifier<f64, usize, DenseMatrix<f64>, Vec<usize>> =
        RandomForestClassifier::fit(&values, &classes, parameters).map_err(fault)?;
    trees.predict(&matrix(test, count)?).map_err(fault)
}

fn of_many(truths: &[usize], told: &[usize], classes: usize) -> Score {
    let right = truths
        .iter()
        .zip(told)
        .filter(|(truth, told)| truth == told)
        .count();
    let f1: Vec<f64> = (0..classes)
        .filter(|class| truths.contains(class))
        .map(|class| {
            f1(truths
                .iter()
                .zip(told)
                .map(|(t, p)| (*t == class, *p == class)))
        })
        .collect();
    let accuracy = right as f64 / truths.len().max(1) as f64;
    Score {
        main: accuracy,
        accuracy,
        f1: super::features::mean(&f1),
        false_alarms: 0.0,
    }
}

pub(super) fn of_two(truths: &[usize], odds: &[f64]) -> Score {
    let pairs = || {
        truths
            .iter()
            .zip(odds)
            .map(|(t, odds)| (*t == 1, *odds > 0.0))
    };
    let alarms = pairs().filter(|pair| *pair == (false, true)).count();
    let others = truths.iter().filter(|truth| **truth == 0).count();
    let right = pairs().filter(|(truth, told)| truth == told).count();
    Score {
        main: average_precision(truths, odds),
        accuracy: right as f64 / truths.len().max(1) as f64,
        f1: f1(pairs()),
        false_alarms: alarms as f64 / others.max(1) as f64,
    }
}

/// Of pairs (is one, is told to be one).
fn f1(pairs: impl Iterator<Item = (bool, bool)>) -> f64 {
    let (mut right, mut wrong) = (0.0, 0.0);
    for pair in pairs {
        match pair {
            (true, true) => right += 1.0,
            (true, false) | (false, true) => wrong += 1.0,
            (false, false) => {}
        }
    }
    2.0 * right / f64::max(2.0 * right + wrong, 1.0)
}

/// The area under precision and recall: precision at each one that is found, from the likeliest
/// on; rows that are told the same count together.
fn average_precision(truths: &[usize], odds: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..odds.len()).collect();
    order.sort_unstable_by(|&a, &b| odds[b].total_cmp(&odds[a]));
    let (mut found, mut area, mut at) = (0.0, 0.0, 0);
    while at < order.len() {
        let same = order[at..]
            .iter()
            .take_while(|&&row| odds[row] == odds[order[at]]);
        let same = same.count().max(1);
        let ones: usize = order[at..at + same].iter().map(|&row| truths[row]).sum();
        found += ones as f64;
        at += same;
        area += ones as f64 * found / at as f64;
    }
    area / f64::max(found, 1.0)
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;
    use crate::chance::stream;
    use crate::eval::testing::timed;

    #[test]
    fn scores_of_two_classes_agree_with_values_worked_by_hand() {
        let score = of_two(&[1, 0, 1, 0], &[2.0, 1.0, 0.5, -1.0]);
        // Found at precision 1 and at 2 of 3; one of two others alarms.
        assert!(
            (score.main - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12,
            "{score:?}"
        );
        assert_eq!((score.f1, score.false_alarms), (0.8, 0.5));
        assert_eq!(score.accuracy, 0.75);
        assert_eq!(average_precision(&[1, 0, 0, 0], &[0.0; 4]), 0.25);
    }

    #[test]
    fn scores_of_many_classes_agree_with_values_worked_by_hand() {
        let score = of_many(&[0, 0, 1, 2], &[0, 1, 1, 0], 4);
        assert_eq!(score.main, 0.5);
        // F1 of 0: 2/4, of 1: 2/3, of 2: 0; the fourth class is not there.
        assert!(
            (score.f1 - (0.5 + 2.0 / 3.0) / 3.0).abs() < 1e-12,
            "{score:?}"
        );
    }

    /// Requests of two root operations, of which one calls twice; `swapped` says the wrong one.
    fn system(seed: u64, swapped: bool) -> Vec<Trace> {
        let mut rng = stream(seed, "utility tests");
        let one = |at: usize| {
            let twice = at.is_multiple_of(2);
            let root = if twice != swapped { "a" } else { "d" };
            let calls = if twice { "(b c c)" } else { "(b c)" };
            let mut time = || rng.random_range(1_000..2_000_u64);
            let slow = time() * if at.is_multiple_of(8) { 50 } else { 1 };
            timed(
                &format!("{root}{calls}"),
                &[(0, 9_000 + slow), (1, slow), (2, time()), (3, time())],
            )
        };
        (0..400).map(one).collect()
    }

    #[test]
    fn what_is_like_the_observed_teaches_as_much_and_what_lies_teaches_nothing() {
        let traces = [
            system(1, false),
            system(2, false),
            system(3, false),
            system(4, true),
        ];
        let features = traces.each_ref().map(|traces| Features::all(traces));
        let sample = |at: usize| Sample {
            traces: &traces[at],
            features: &features[at],
        };
        let utility = Utility::new(sample(0), sample(1), 1).unwrap();
        let figures = |at: usize| {
            let mut figures = Figures::new();
            utility.train_on(sample(at), &mut figures).unwrap();
            figures
        };
        let (good, lying) = (figures(2), figures(3));
        assert_eq!((good["root_accuracy"], good["root_ratio"]), (1.0, 1.0));
        assert!(
            good["slow_ratio"] > 0.95 && good["slow_false_alarms"] < 0.02,
            "{good:?}"
        );
        assert!(lying["root_accuracy"] < 0.1, "{lying:?}");
        assert!(!good.contains_key("fault_f1"), "no trace has an error");
        let hybrids = utility.mix(sample(3)).unwrap();
        assert_eq!(hybrids[1].score, "slow_pr_auc");
        let hybrid = &hybrids[0];
        assert_eq!(hybrid.mixed.last(), Some(&(1.0, 1.0)));
        assert!(
            hybrid.mixed[0].1 < 0.1 && hybrid.added[0].1 > 0.9,
            "{hybrid:?}"
        );
    }
}
