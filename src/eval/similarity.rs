//! How observed and synthetic traces mix: clusters, principal components, nearest neighbours.

use smartcore::cluster::kmeans::{KMeans, KMeansParameters};
use smartcore::decomposition::pca::{PCA, PCAParameters};
use smartcore::linalg::basic::arrays::Array as _;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::metrics::Metrics as _;
use smartcore::metrics::cluster_hcv::HCVScore;

use super::features::mean;
use super::shape::Shape;
use crate::trace::Trace;

/// Traces of each side that are looked at.
const SIDE: usize = 800;
const CLUSTERS: usize = 8;
/// Pooled features of a trace; those of F1.
const AXES: usize = 11;

/// The pooled features of both sides on one scale: mean 0 and standard deviation 1 over both.
pub(super) struct Mixed {
    points: Vec<[f64; AXES]>,
    /// How many of them are observed; they come first.
    observed: usize,
    /// Where each stands among the traces of its side.
    places: Vec<usize>,
}

impl Mixed {
    /// Of as many traces of each side, spread evenly over them.
    pub(super) fn of(observed: &[Trace], synthetic: &[Trace]) -> Self {
        let count = SIDE.min(observed.len()).min(synthetic.len());
        let mut mixed = Self {
            points: Vec::with_capacity(2 * count),
            observed: count,
            places: Vec::with_capacity(2 * count),
        };
        for side in [observed, synthetic] {
            for at in 0..count {
                let place = at * side.len() / count;
                mixed.places.push(place);
                mixed.points.push(Shape::of(&side[place]).pooled);
            }
        }
        super::distance::standardise(&mut mixed.points);
        mixed
    }

    fn matrix(&self) -> Option<DenseMatrix<f64>> {
        let values = self.points.iter().flatten().copied().collect();
        DenseMatrix::new(self.points.len(), AXES, values, false).ok()
    }

    /// Normalised mutual information of k-means clusters and of where a trace comes from: 0 if
    /// every cluster holds as many of each. None if there are too few to cluster.
    pub(super) fn nmi(&self, seed: u64) -> Option<f64> {
        if self.points.len() < 2 * CLUSTERS {
            return None;
        }
        let matrix = self.matrix()?;
        let parameters = KMeansParameters {
            k: CLUSTERS,
            max_iter: 100,
            seed: Some(seed),
        };
        let clusters: KMeans<f64, usize, DenseMatrix<f64>, Vec<usize>> =
            KMeans::fit(&matrix, parameters).ok()?;
        let clusters = clusters.predict(&matrix).ok()?;
        let origins = (0..self.points.len()).map(|at| usize::from(at >= self.observed));
        let mut scores = HCVScore::<usize>::new();
        scores.compute(&origins.collect::<Vec<usize>>(), &clusters);
        // Of a single cluster, which tells nothing, there is no entropy to divide by.
        Some(
            scores
                .v_measure()
                .filter(|nmi| nmi.is_finite())
                .unwrap_or_default(),
        )
    }

    /// The first two principal components of each side's traces.
    pub(super) fn components(&self) -> Option<[Vec<[f64; 2]>; 2]> {
        let matrix = self.matrix()?;
        let parameters = PCAParameters::default().with_n_components(2);
        let found = PCA::fit(&matrix, parameters)
            .ok()?
            .transform(&matrix)
            .ok()?;
        let point = |at: usize| [*found.get((at, 0)), *found.get((at, 1))];
        let [observed, synthetic] = [0..self.observed, self.observed..self.points.len()];
        Some([
            observed.map(point).collect(),
            synthetic.map(point).collect(),
        ])
    }

    /// How like the nearest observed trace a synthetic one is: 1 / (1 + distance), the distance
    /// a standard deviation where all features are one off; the mean. None without traces.
    pub(super) fn nearest(&self) -> Option<f64> {
        let likeness: Vec<f64> = self
            .pairs()
            .map(|(_, _, distance)| 1.0 / (1.0 + distance))
            .collect();
        (!likeness.is_empty()).then(|| mean(&likeness))
    }

    /// Each synthetic trace with its nearest observed one and how far it is: places among the
    /// traces of their sides.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        let (observed, synthetic) = self.points.split_at(self.observed);
        let places = &self.places;
        synthetic.iter().enumerate().filter_map(move |(at, point)| {
            let distances = observed.iter().map(|other| distance(point, other));
            let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?;
            Some((places[self.observed + at], places[nearest.0], nearest.1))
        })
    }
}

fn distance(a: &[f64; AXES], b: &[f64; AXES]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (squares / AXES as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::timed;

    fn traces(text: &str, slower: u64) -> Vec<Trace> {
        (0..60_u64)
            .map(|at| timed(text, &[(0, 1_000 + at * at * slower), (1, 10 + at), (2, 7)]))
            .collect()
    }

    #[test]
    fn what_is_the_same_mixes_and_what_is_not_stands_apart() {
        let (one, other) = (traces("a(b c)", 1), traces("a(b(c))", 9_000));
        let same = Mixed::of(&one, &one);
        assert_eq!(
            (same.nearest(), same.nmi(1).map(|n| n < 1e-6)),
            (Some(1.0), Some(true))
        );
        let apart = Mixed::of(&one, &other);
        assert!(apart.nmi(1).unwrap() > 0.3, "{:?}", apart.nmi(1));
        assert!(apart.nearest().unwrap() < 0.7);
        let [a, b] = apart.components().unwrap();
        let side = |points: &[[f64; 2]]| mean(&points.iter().map(|p| p[0]).collect::<Vec<_>>());
        assert!((side(&a) - side(&b)).abs() > 1.0);
    }

    #[test]
    fn a_pair_is_a_synthetic_trace_and_the_observed_one_nearest_to_it() {
        let observed = traces("a(b c)", 1);
        let synthetic = vec![observed[7].clone(), observed[7].clone()];
        let pairs: Vec<_> = Mixed::of(&observed, &synthetic).pairs().collect();
        assert_eq!(pairs.len(), 2);
        // Of two traces a side the observed ones are the first and the one in the middle.
        assert!(
            pairs
                .iter()
                .all(|(_, observed, _)| [0, 30].contains(observed))
        );
    }
}
