//! Boosted trees that tell two samples of rows apart, kept as one flat table of nodes.

use forust_ml::gradientbooster::GrowPolicy;
use forust_ml::{GradientBooster, Matrix};
use serde::{Deserialize, Serialize};

const BINS: u16 = 255;
/// The feature of a leaf.
const LEAF: u32 = u32::MAX;

/// Why trees could not be grown.
#[derive(Debug, thiserror::Error)]
#[error("trees can't be grown: {0}")]
pub struct Ungrown(String);

/// Boosted trees (Friedman 2001), grown leaf by leaf on histograms.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Forest {
    /// The log-odds before any tree.
    base: f32,
    /// Where each tree begins.
    roots: Vec<u32>,
    /// By node: the column that it asks of, or that it is a leaf.
    columns: Vec<u32>,
    /// By node: a row whose value is below goes left, any other goes right. Of a leaf, what it adds.
    splits: Vec<f32>,
    /// By node: where a row goes whose value is below, is not, or is missing.
    next: Vec<[u32; 3]>,
}

/// How trees are grown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Trees.
    pub trees: usize,
    /// Leaves of each at most.
    pub leaves: usize,
    /// How much of what it finds each adds.
    pub rate: f32,
    /// The least weight of the rows of a leaf.
    pub least: f32,
    /// Share of the columns that each looks at, drawn anew for it, and how many at most: what a tree
    /// costs is in proportion to them.
    pub columns: (f64, usize),
    /// Pull of leaves towards 0, as the weight of rows that say nothing.
    pub pull: f32,
}

/// Rows to tell apart.
#[derive(Debug)]
pub struct Rows<'a> {
    /// Values, column after column; not a number is missing. Shape [columns, rows].
    pub values: &'a [f64],
    /// 1 or 0, one for each row.
    pub truths: &'a [f64],
    /// How much each row counts.
    pub weights: &'a [f64],
}

impl Forest {
    /// Grows trees that tell rows of truth 1 from rows of truth 0. Fails if there are no columns, or
    /// rows of one truth only.
    pub fn grow(rows: &Rows<'_>, growth: &Growth) -> Result<Self, Ungrown> {
        let (count, columns) = match rows.truths.len() {
            0 => return Err(Ungrown("there are no rows".to_owned())),
            count => (count, rows.values.len() / count),
        };
        let both = [0.0, 1.0].map(|truth| rows.truths.contains(&truth));
        if columns == 0 || both != [true; 2] {
            return Err(Ungrown("there is nothing to tell apart".to_owned()));
        }
        let (share, most) = growth.columns;
        let mut grown = GradientBooster::default()
            .set_iterations(growth.trees)
            .set_learning_rate(growth.rate)
            .set_max_leaves(growth.leaves)
            .set_max_depth(count)
            .set_nbins(BINS)
            // At the first step the curvature of a row is a quarter.
            .set_min_leaf_weight(growth.least / 4.0)
            .set_l2(growth.pull / 4.0)
            .set_colsample_bytree(share.min(most as f64 / columns as f64))
            .set_parallel(false)
            .set_base_score(0.0)
            .set_seed(0);
        grown.grow_policy = GrowPolicy::LossGuide;
        grown
            .fit(
                &Matrix::new(rows.values, count, columns),
                rows.truths,
                rows.weights,
                None,
            )
            .map_err(|fault| Ungrown(fault.to_string()))?;
        Ok(Self::of(&grown))
    }

    fn of(grown: &GradientBooster) -> Self {
        let mut forest = Self {
            base: grown.base_score as f32,
            ..Self::default()
        };
        for tree in &grown.trees {
            let first = forest.columns.len() as u32;
            forest.roots.push(first);
            let place = |node: usize| first + node as u32;
            for node in &tree.nodes {
                let leaf = node.is_leaf;
                let column = if leaf {
                    LEAF
                } else {
                    node.split_feature as u32
                };
                forest.columns.push(column);
                let split = node.split_value as f32;
                forest
                    .splits
                    .push(if leaf { node.weight_value } else { split });
                let next = [node.left_child, node.right_child, node.missing_node];
                forest.next.push(next.map(place));
            }
        }
        forest
    }

    /// The log-odds that a row has truth 1, and not 0. A column that the row has not is missing.
    pub fn tell(&self, row: &[f32]) -> f32 {
        let leaf = |&root: &u32| {
            let mut at = root as usize;
            while self.columns[at] != LEAF {
                let value = row.get(self.columns[at] as usize).copied();
                let value = value.unwrap_or(f32::NAN);
                let [below, above, missing] = self.next[at];
                at = if value.is_nan() {
                    missing
                } else if value < self.splits[at] {
                    below
                } else {
                    above
                } as usize;
            }
            self.splits[at]
        };
        self.base + self.roots.iter().map(leaf).sum::<f32>()
    }

    /// The columns that it asks of, each once, in order.
    pub fn asks(&self) -> Vec<u32> {
        let mut asked: Vec<u32> = self.columns.clone();
        asked.retain(|&column| column != LEAF);
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// Gives columns new numbers, each the place of its old one in this list; those that are not in
    /// it are missing from then on.
    pub fn renumber(&mut self, kept: &[u32]) {
        for column in self.columns.iter_mut().filter(|column| **column != LEAF) {
            *column = kept.binary_search(column).map_or(LEAF - 1, |at| at as u32);
        }
    }

    /// Whether every node leads on to a later one of its tree, as in what [`Forest::grow`] makes: a
    /// damaged forest may not.
    pub fn is_sound(&self) -> bool {
        let nodes = self.columns.len();
        let paired = self.splits.len() == nodes && self.next.len() == nodes;
        let led = |(at, next): (usize, &[u32; 3])| {
            self.columns[at] == LEAF
                || next
                    .iter()
                    .all(|&next| (at + 1..nodes).contains(&(next as usize)))
        };
        paired
            && self.roots.iter().all(|&root| (root as usize) < nodes)
            && self.next.iter().enumerate().all(led)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROWTH: Growth = Growth {
        trees: 100,
        leaves: 31,
        rate: 0.1,
        least: 12.0,
        columns: (1.0, usize::MAX),
        pull: 1.0,
    };

    /// Truth 1 where the first two columns differ in sign, or where the first is missing; the third
    /// says nothing.
    fn row(at: usize) -> ([f64; 3], f64) {
        let a = ((at * 7919) % 200) as f64 - 99.5;
        let b = ((at * 104_729) % 193) as f64 - 96.5;
        let a = if at.is_multiple_of(10) { f64::NAN } else { a };
        let truth = a.is_nan() || (a > 0.0) != (b > 0.0);
        ([a, 7.0, b], f64::from(u8::from(truth)))
    }

    fn grown(rows: std::ops::Range<usize>) -> (Forest, GradientBooster) {
        let rows: Vec<_> = rows.map(row).collect();
        let column = |at: usize| rows.iter().map(move |row| row.0[at]);
        let values: Vec<f64> = (0..3).flat_map(column).collect();
        let truths: Vec<f64> = rows.iter().map(|row| row.1).collect();
        let weights = vec![1.0; rows.len()];
        let rows = Rows {
            values: &values,
            truths: &truths,
            weights: &weights,
        };
        let mut twin = GradientBooster::default().set_iterations(20);
        twin.fit_unweighted(&Matrix::new(&values, truths.len(), 3), &truths, None)
            .unwrap();
        (Forest::grow(&rows, &GROWTH).unwrap(), twin)
    }

    #[test]
    fn trees_find_what_hangs_on_two_columns_and_on_what_is_missing() {
        let (forest, _) = grown(0..2_000);
        let right = (2_000..3_000).map(row).filter(|(values, truth)| {
            let told = forest.tell(&values.map(|value| value as f32));
            (told > 0.0) == (*truth > 0.5)
        });
        let right = right.count();
        assert!(right > 950, "{right}");
        assert_eq!(forest.asks(), [0, 2]);
    }

    #[test]
    fn the_flat_table_tells_what_the_trees_tell_that_were_grown() {
        let (_, twin) = grown(0..2_000);
        let forest = Forest::of(&twin);
        for at in 0..500 {
            let (values, _) = row(at);
            let expected = twin.predict(&Matrix::new(&values, 1, 3), false)[0];
            let told = forest.tell(&values.map(|value| value as f32));
            assert!(
                (f64::from(told) - expected).abs() < 1e-4,
                "{told} {expected}"
            );
        }
    }

    #[test]
    fn columns_that_no_tree_asks_of_can_be_left_out() {
        let (forest, _) = grown(0..2_000);
        let mut fewer = forest.clone();
        fewer.renumber(&forest.asks());
        for at in 0..100 {
            let [a, b, c] = row(at).0.map(|value| value as f32);
            assert_eq!(fewer.tell(&[a, c]), forest.tell(&[a, b, c]));
        }
    }

    #[test]
    fn one_truth_alone_grows_nothing_and_a_damaged_forest_is_known() {
        let rows = Rows {
            values: &[1.0, 2.0],
            truths: &[1.0, 1.0],
            weights: &[1.0, 1.0],
        };
        assert!(Forest::grow(&rows, &GROWTH).is_err());
        let (mut forest, _) = grown(0..500);
        assert!(forest.is_sound());
        forest.next[0][1] = 0;
        assert!(!forest.is_sound());
    }
}
