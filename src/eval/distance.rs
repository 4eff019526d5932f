//! Distances between samples and between frequencies.

use std::collections::BTreeMap;

/// Sorts; what is no number comes last.
pub(super) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The two-sample Kolmogorov-Smirnov statistic of sorted samples: the largest difference of their
/// distribution functions. 1 if one of them is empty and the other is not.
pub(super) fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return f64::from(u8::from(a.is_empty() != b.is_empty()));
    }
    let (mut i, mut j, mut largest) = (0, 0, 0.0_f64);
    while i < a.len() && j < b.len() {
        let value = a[i].min(b[j]);
        i += a[i..].iter().take_while(|other| **other <= value).count();
        j += b[j..].iter().take_while(|other| **other <= value).count();
        let difference = i as f64 / a.len() as f64 - j as f64 / b.len() as f64;
        largest = largest.max(difference.abs());
    }
    largest
}

/// The 1-Wasserstein distance of sorted samples, neither of them empty: the area between their
/// distribution functions.
pub(super) fn wasserstein(a: &[f64], b: &[f64]) -> f64 {
    let (mut i, mut j, mut area) = (0, 0, 0.0);
    let mut before = a[0].min(b[0]);
    while i < a.len() || j < b.len() {
        let next = |values: &[f64], at: usize| values.get(at).copied().unwrap_or(f64::INFINITY);
        let value = next(a, i).min(next(b, j));
        let difference = i as f64 / a.len() as f64 - j as f64 / b.len() as f64;
        area += difference.abs() * (value - before);
        before = value;
        if next(a, i) <= value {
            i += 1;
        } else {
            j += 1;
        }
    }
    area
}

/// The value at a level of a sorted sample, which is not empty (nearest rank).
pub(super) fn percentile(sorted: &[f64], level: f64) -> f64 {
    let rank = (level * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// How often each thing occurs, in order.
#[derive(Debug, Clone)]
pub(super) struct Frequencies<T> {
    counts: BTreeMap<T, f64>,
    total: f64,
}

impl<T: Ord> Frequencies<T> {
    pub(super) fn of(things: impl IntoIterator<Item = T>) -> Self {
        let mut counts = BTreeMap::new();
        let mut total = 0.0;
        for thing in things {
            *counts.entry(thing).or_insert(0.0) += 1.0;
            total += 1.0;
        }
        Self { counts, total }
    }

    /// Of things that were counted.
    pub(super) fn counted(counts: impl IntoIterator<Item = (T, usize)>) -> Self {
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        let counts: BTreeMap<T, f64> = counts.map(|(thing, n)| (thing, n as f64)).collect();
        let total = counts.values().sum();
        Self { counts, total }
    }

    /// Share of this thing; 0 if nothing was counted.
    pub(super) fn share(&self, thing: &T) -> f64 {
        self.counts.get(thing).copied().unwrap_or_default() / self.total.max(1.0)
    }

    /// The shares of everything that occurs in one or both.
    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (f64, f64)> + 'a {
        let mine = self
            .counts
            .keys()
            .map(|thing| (self.share(thing), other.share(thing)));
        let strange = other
            .counts
            .keys()
            .filter(|thing| !self.counts.contains_key(*thing));
        mine.chain(strange.map(|thing| (0.0, other.share(thing))))
    }

    /// The square root of the Jensen-Shannon divergence in bits, between 0 and 1.
    pub(super) fn jensen_shannon(&self, other: &Self) -> f64 {
        let term = |share: f64, middle: f64| {
            if share > 0.0 {
                share * (share / middle).log2()
            } else {
                0.0
            }
        };
        let pairs = self.pairs(other);
        let divergence: f64 = pairs
            .map(|(p, q)| 0.5 * (term(p, (p + q) / 2.0) + term(q, (p + q) / 2.0)))
            .sum();
        divergence.clamp(0.0, 1.0).sqrt()
    }

    /// The total-variation distance: half the sum of the differences.
    pub(super) fn total_variation(&self, other: &Self) -> f64 {
        self.pairs(other).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0
    }

    /// Share of this one's occurrences whose thing occurs in the other, too.
    pub(super) fn covered_by(&self, other: &Self) -> f64 {
        let known = self
            .counts
            .iter()
            .filter(|(thing, _)| other.counts.contains_key(thing));
        known.fold(0.0, |sum, (_, count)| sum + count) / self.total.max(1.0)
    }
}

/// exp(-MMD²) of two samples of points with the same number of coordinates.
///
/// The biased V-statistic with one RBF kernel, gamma = 1 / (2 x median of the squared distances
/// that are not zero), on coordinates standardised over both samples together.
pub(super) fn exp_mmd<const N: usize>(a: &[[f64; N]], b: &[[f64; N]]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let mut points: Vec<[f64; N]> = a.iter().chain(b).copied().collect();
    standardise(&mut points);
    let squared = |x: &[f64; N], y: &[f64; N]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum()
    };
    let count = points.len();
    let mut distances = Vec::with_capacity(count * (count - 1) / 2);
    for (at, point) in points.iter().enumerate() {
        distances.extend(points[at + 1..].iter().map(|other| squared(point, other)));
    }
    let mut apart: Vec<f64> = distances.iter().copied().filter(|&d| d > 1e-12).collect();
    if apart.is_empty() {
        return 1.0;
    }
    let middle = apart.len() / 2;
    let median = *apart.select_nth_unstable_by(middle, f64::total_cmp).1;
    let (mut within_a, mut within_b, mut between) = (a.len() as f64, b.len() as f64, 0.0);
    let mut pairs = distances.into_iter();
    for at in 0..count {
        for (other, distance) in (at + 1..count).zip(&mut pairs) {
            let kernel = (-distance / (2.0 * median)).exp();
            match (at < a.len(), other < a.len()) {
                (true, true) => within_a += 2.0 * kernel,
                (false, false) => within_b += 2.0 * kernel,
                _ => between += kernel,
            }
        }
    }
    let (n, m) = (a.len() as f64, b.len() as f64);
    let mmd = within_a / (n * n) + within_b / (m * m) - 2.0 * between / (n * m);
    (-mmd.max(0.0)).exp()
}

pub(super) fn standardise<const N: usize>(points: &mut [[f64; N]]) {
    let count = points.len() as f64;
    for axis in 0..N {
        let mean = points.iter().map(|point| point[axis]).sum::<f64>() / count;
        let variance = points
            .iter()
            .map(|point| (point[axis] - mean).powi(2))
            .sum::<f64>()
            / count;
        let spread = if variance > 1e-18 {
            variance.sqrt()
        } else {
            1.0
        };
        for point in points.iter_mut() {
            point[axis] = (point[axis] - mean) / spread;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(told: f64, expected: f64) {
        assert!((told - expected).abs() < 1e-9, "{told} for {expected}");
    }

    #[test]
    fn distances_of_samples_agree_with_values_worked_by_hand() {
        near(kolmogorov_smirnov(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.0);
        near(kolmogorov_smirnov(&[1.0, 1.0, 2.0, 4.0], &[1.0, 3.0]), 0.25);
        near(kolmogorov_smirnov(&[1.0], &[2.0]), 1.0);
        near(kolmogorov_smirnov(&[], &[2.0]), 1.0);
        near(wasserstein(&[0.0, 1.0], &[0.0, 1.0]), 0.0);
        near(wasserstein(&[0.0, 1.0], &[5.0, 6.0]), 5.0);
        near(wasserstein(&[0.0], &[0.0, 2.0]), 1.0);
        near(percentile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.0);
        near(percentile(&[1.0, 2.0, 3.0, 4.0], 0.99), 4.0);
    }

    #[test]
    fn distances_of_frequencies_agree_with_values_worked_by_hand() {
        let a = Frequencies::of(["x", "x", "y", "y"]);
        let b = Frequencies::of(["x", "z"]);
        near(a.total_variation(&b), 0.5);
        // p = (.5, .5, 0), q = (.5, 0, .5): each has half a bit's weight on its own.
        near(a.jensen_shannon(&b), 0.5_f64.sqrt());
        near(a.jensen_shannon(&a), 0.0);
        near(a.covered_by(&b), 0.5);
        near(
            Frequencies::of(["x"]).jensen_shannon(&Frequencies::of(["y"])),
            1.0,
        );
    }

    #[test]
    fn the_kernel_distance_is_one_for_the_same_and_less_the_farther_apart() {
        let near_points = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]];
        near(exp_mmd(&near_points, &near_points), 1.0);
        // Two points: standardised to -1 and 1, squared distance 4 = the median, kernel e^-1/2.
        near(
            exp_mmd(&[[3.0]], &[[5.0]]),
            (-(2.0 - 2.0 * (-0.5_f64).exp())).exp(),
        );
    }
}
