//! Gradient-boosted trees, set as scikit-learn's histogram trees are by default: 100 trees of 31
//! leaves, the best leaf first, learning rate 0.1, 255 bins.

use std::collections::BTreeSet;

use forust_ml::gradientbooster::GrowPolicy;
use forust_ml::{GradientBooster, Matrix};

const TREES: usize = 100;
const LEAVES: usize = 31;
const RATE: f32 = 0.1;
const BINS: u16 = 255;
/// The least curvature of a leaf: at the first step 12 rows, each a quarter.
const LEAST: f32 = 3.0;
/// Rows that a leaf has at least.
pub(super) const LEAF: usize = 12;
/// Pull of leaves towards 0.
const PULL: f32 = 1.0;

/// Why trees could not be grown.
#[derive(Debug, thiserror::Error)]
#[error("trees can't be grown: {0}")]
pub struct Ungrown(pub(super) String);

/// Trees that tell rows of truth 1 from rows of truth 0.
pub(super) struct Boosted {
    trees: GradientBooster,
    columns: usize,
}

impl Boosted {
    /// Grows trees. Shapes: values [columns, rows], truths [rows]. Without columns, or with one
    /// truth only, what is told of every row is the same.
    pub(super) fn grow(values: &[f64], truths: &[f64], seed: u64) -> Result<Self, Ungrown> {
        let rows = truths.len();
        let columns = values.len() / rows.max(1);
        let share = truths.iter().sum::<f64>() / rows.max(1) as f64;
        let base = (share / (1.0 - share)).ln().clamp(-10.0, 10.0);
        let mut trees = GradientBooster::default()
            .set_iterations(TREES)
            .set_learning_rate(RATE)
            .set_max_leaves(LEAVES)
            .set_max_depth(rows)
            .set_nbins(BINS)
            .set_min_leaf_weight(LEAST)
            .set_l2(PULL)
            .set_parallel(false)
            .set_base_score(if base.is_nan() { 0.0 } else { base })
            .set_seed(seed);
        trees.grow_policy = GrowPolicy::LossGuide;
        if columns > 0 && share > 0.0 && share < 1.0 {
            trees
                .fit_unweighted(&Matrix::new(values, rows, columns), truths, None)
                .map_err(|fault| Ungrown(fault.to_string()))?;
        }
        Ok(Self { trees, columns })
    }

    /// The log-odds of truth 1. Shapes: values [columns, rows] -> [rows].
    pub(super) fn tell(&self, values: &[f64], rows: usize) -> Vec<f64> {
        if self.columns == 0 || self.trees.trees.is_empty() {
            return vec![self.trees.base_score; rows];
        }
        self.trees
            .predict(&Matrix::new(values, rows, self.columns), false)
    }

    /// The columns that a tree splits by.
    pub(super) fn used(&self) -> BTreeSet<usize> {
        let nodes = self.trees.trees.iter().flat_map(|tree| &tree.nodes);
        let inner = nodes.filter(|node| !node.is_leaf);
        inner.map(|node| node.split_feature).collect()
    }
}

/// Area under the ROC curve: how often a row of truth 1 is told higher than one of truth 0, ties
/// counting half. A half if one of the two is missing.
pub(super) fn auc(truths: &[f64], told: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..told.len()).collect();
    order.sort_unstable_by(|&a, &b| told[a].total_cmp(&told[b]));
    let (mut ranks, mut ones, mut at) = (0.0, 0.0, 0);
    while at < order.len() {
        let same = order[at..]
            .iter()
            .take_while(|&&row| told[row] == told[order[at]]);
        let same = same.count().max(1);
        let among: f64 = order[at..at + same].iter().map(|&row| truths[row]).sum();
        // Ranks count from 1; equal rows share their middle.
        ranks += among * (at as f64 + (same as f64 + 1.0) / 2.0);
        ones += among;
        at += same;
    }
    let zeros = told.len() as f64 - ones;
    if ones == 0.0 || zeros == 0.0 {
        return 0.5;
    }
    (ranks - ones * (ones + 1.0) / 2.0) / (ones * zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs_in_order_and_halves_ties() {
        let check = |truths: &[f64], told: &[f64], expected: f64| {
            assert_eq!(auc(truths, told), expected, "{truths:?} {told:?}");
        };
        check(&[0.0, 0.0, 1.0, 1.0], &[0.1, 0.2, 0.3, 0.4], 1.0);
        check(&[0.0, 1.0, 0.0, 1.0], &[0.1, 0.2, 0.3, 0.4], 0.75);
        check(&[0.0, 1.0, 1.0], &[0.5, 0.5, 0.7], 0.75);
        check(&[0.0, 1.0], &[0.5, 0.5], 0.5);
        check(&[1.0, 1.0], &[0.1, 0.2], 0.5);
    }

    #[test]
    fn trees_find_what_hangs_on_two_columns_and_on_what_is_missing() {
        // Truth 1 where the columns differ in sign, or where the first is missing.
        let row = |at: usize| {
            let a = ((at * 7919) % 200) as f64 - 99.5;
            let b = ((at * 104_729) % 193) as f64 - 96.5;
            let a = if at.is_multiple_of(10) { f64::NAN } else { a };
            let truth = a.is_nan() || (a > 0.0) != (b > 0.0);
            (a, b, f64::from(u8::from(truth)))
        };
        let rows: Vec<_> = (0..1_000).map(row).collect();
        let some = |from: usize, to: usize| -> (Vec<f64>, Vec<f64>) {
            let rows = &rows[from..to];
            let a = rows.iter().map(|row| row.0);
            (
                a.chain(rows.iter().map(|row| row.1)).collect(),
                rows.iter().map(|row| row.2).collect(),
            )
        };
        let (values, truths) = some(0, 700);
        let trees = Boosted::grow(&values, &truths, 1).unwrap();
        let (values, truths) = some(700, 1_000);
        let told = auc(&truths, &trees.tell(&values, truths.len()));
        assert!(told > 0.98, "{told}");
        assert_eq!(trees.used().len(), 2);
    }

    #[test]
    fn with_nothing_to_tell_by_every_row_is_told_the_same() {
        let trees = Boosted::grow(&[], &[0.0, 1.0], 1).unwrap();
        assert_eq!(trees.tell(&[], 2), [0.0, 0.0]);
    }
}
