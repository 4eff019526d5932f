//! J1 and J2: can a classifier tell observed from synthetic traces?

use rand::seq::SliceRandom as _;
use serde::Serialize;

use super::boosted::{Boosted, LEAF, Ungrown, auc};
use super::features::{Feature, Features, Table, mean};
use crate::chance::{Rng, stream};
use crate::features::Interner;

/// Traces of each side, at most.
const SIDE: usize = 3_000;
/// Features told of, at most.
const IMPORTANT: usize = 15;

/// What the classifier is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// All features: J1.
    All,
    /// Those without times: J2.
    Structure,
}

/// How well a classifier tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TwoSample {
    /// Area under the ROC curve, the mean over the splits: 0.5 is guessing, 1 knows.
    pub auc: f64,
    /// Of each split into training and test rows.
    pub splits: Vec<f64>,
    /// The features that matter most: their names, and how much of the area is lost when the
    /// values of the test rows are mixed, in the first split.
    pub importance: Vec<(String, f64)>,
}

/// Trains on 70% of as many traces of each side, tests on the others, so many times.
pub(super) fn two_sample(
    sides: [&[Features]; 2],
    told: Told,
    (seed, splits): (u64, u64),
    texts: &Interner,
) -> Result<TwoSample, Ungrown> {
    let mut rng = stream(seed, "two samples");
    let count = sides[0].len().min(sides[1].len()).min(SIDE);
    let mut rows: Vec<&Features> = Vec::with_capacity(2 * count);
    for side in sides {
        let mut chosen: Vec<&Features> = side.iter().collect();
        chosen.shuffle(&mut rng);
        rows.extend(&chosen[..count]);
    }
    let wanted = |feature: Feature| told == Told::All || !feature.is_of_time();
    let table = Table::of(&rows, LEAF, wanted);
    let truth = |&row: &usize| f64::from(u8::from(row >= count));
    let mut areas = Vec::new();
    let mut importance = Vec::new();
    for split in 0..splits {
        let mut order: Vec<usize> = (0..2 * count).collect();
        order.shuffle(&mut rng);
        let (training, test) = order.split_at(order.len() * 7 / 10);
        let truths: Vec<f64> = training.iter().map(truth).collect();
        let trees = Boosted::grow(&table.select(training), &truths, seed + split)?;
        let truths: Vec<f64> = test.iter().map(truth).collect();
        let mut values = table.select(test);
        let area = auc(&truths, &trees.tell(&values, truths.len()));
        areas.push(area);
        if split == 0 {
            let lost = lost(&trees, &mut values, &truths, area, &mut rng);
            let named = lost.into_iter().take(IMPORTANT);
            importance = named
                .map(|(column, lost)| (table.columns[column].name(texts), lost))
                .collect();
        }
    }
    Ok(TwoSample {
        auc: mean(&areas),
        splits: areas,
        importance,
    })
}

/// What each column that the trees use is worth, the most first.
fn lost(
    trees: &Boosted,
    values: &mut [f64],
    truths: &[f64],
    area: f64,
    rng: &mut Rng,
) -> Vec<(usize, f64)> {
    let rows = truths.len();
    let mut lost: Vec<(usize, f64)> = Vec::new();
    for column in trees.used() {
        let place = column * rows..(column + 1) * rows;
        let kept = values[place.clone()].to_vec();
        values[place.clone()].shuffle(rng);
        lost.push((column, area - auc(truths, &trees.tell(values, rows))));
        values[place].copy_from_slice(&kept);
    }
    lost.sort_by(|a, b| b.1.total_cmp(&a.1));
    lost
}
