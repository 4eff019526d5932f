//! P2, with a shadow: an attack that learns on a generator of its own what members look like.

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::boosted::{Boosted, Ungrown};
use super::control::grammar;
use super::distance::{percentile, sorted};
use super::features::{Features, Table};
use super::privacy::{COMPARED, standardised};
use crate::chance::{Rng, stream};
use crate::features::Interner;
use crate::trace::{Span, Trace};

/// Shadows whose members are known.
const SHADOWS: u64 = 2;
/// Reference traces that a shadow needs.
const FEW: usize = 150;
/// One trace in so many of a shadow is one of its members' with other durations.
const LEAKS: usize = 5;
/// By how much, at most, each duration of such a trace is off.
const OFF: f64 = 0.1;
/// Synthetic neighbours that are looked at.
const NEIGHBOURS: usize = 5;
/// What an attack looks at.
const LOOKS: usize = 4;

/// How far a trace lies from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Far {
    /// From the nearest synthetic trace.
    pub(super) nearest: f64,
    /// From the five nearest ones, the mean.
    pub(super) few: f64,
    /// From the nearest trace of the reference.
    pub(super) reference: f64,
}

/// Distances of a point to its nearest others: the nearest, and the mean of the five nearest.
pub(super) fn nearest(point: &[f32], others: &[Vec<f32>]) -> [f64; 2] {
    let mut least = [f32::INFINITY; NEIGHBOURS];
    for other in others {
        let mut sum = 0.0;
        for (a, b) in point.chunks(16).zip(other.chunks(16)) {
            sum += a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            if sum >= least[NEIGHBOURS - 1] {
                break;
            }
        }
        let at = least.partition_point(|known| *known <= sum);
        if at < NEIGHBOURS {
            least.copy_within(at..NEIGHBOURS - 1, at + 1);
            least[at] = sum;
        }
    }
    let distances = least.into_iter().filter(|square| square.is_finite());
    let distances: Vec<f64> = distances.map(|square| f64::from(square).sqrt()).collect();
    [
        distances.first().copied().unwrap_or(f64::INFINITY),
        super::features::mean(&distances),
    ]
}

/// What was learnt of shadows.
pub(super) struct Shadow(Boosted);

impl std::fmt::Debug for Shadow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shadow")
    }
}

impl Shadow {
    /// Makes shadows of reference traces, of which a third each are members, others, and the
    /// reference of the shadow, and learns to tell members from others. A shadow is a leaky
    /// generator: the table grammar of the members, with one trace in five that is a member's with
    /// durations up to a tenth off. None if there are too few traces.
    pub(super) fn learn(
        (reference, features): (&[Trace], &[Features]),
        floor: u32,
        texts: &Interner,
        seed: u64,
    ) -> Result<Option<Self>, Ungrown> {
        let part = (reference.len() / 3).min(COMPARED / 2);
        if part < FEW {
            return Ok(None);
        }
        let (mut columns, mut truths) = (vec![Vec::new(); LOOKS], Vec::new());
        for shadow in 0..SHADOWS {
            let mut rng = stream(seed + shadow, "shadow attack");
            let mut order: Vec<usize> = (0..reference.len()).collect();
            order.shuffle(&mut rng);
            let members: Vec<Trace> = order[..part]
                .iter()
                .map(|&at| reference[at].clone())
                .collect();
            // A floor of fewer traces is reached by as large a share of them.
            let floor = (f64::from(floor) * part as f64 / reference.len() as f64) as u32;
            let drawn = leaky(&members, floor.max(1), texts, &mut rng);
            let drawn = Features::all(&drawn);
            let chosen = order[..3 * part].iter().map(|&at| &features[at]);
            let rows: Vec<&Features> = chosen.chain(&drawn).collect();
            let points = standardised(&Table::of(&rows, 1, |_| true));
            let (judged, others) = points.split_at(2 * part);
            let (reference, synthetic) = others.split_at(part);
            let far = judged
                .iter()
                .map(|point| far(point, [synthetic, reference]));
            let far: Vec<Far> = far.collect();
            for (column, looks) in columns.iter_mut().zip(looks(&far)) {
                column.extend(looks);
            }
            truths.extend((0..2 * part).map(|at| f64::from(u8::from(at < part))));
        }
        Ok(Some(Self(Boosted::grow(&columns.concat(), &truths, seed)?)))
    }

    /// How likely each trace is a member.
    pub(super) fn tell(&self, far: &[Far]) -> Vec<f64> {
        self.0.tell(&looks(far).concat(), far.len())
    }
}

/// How far a point lies from synthetic traces and from the reference.
pub(super) fn far(point: &[f32], [synthetic, reference]: [&[Vec<f32>]; 2]) -> Far {
    let [one, few] = nearest(point, synthetic);
    let [reference, _] = nearest(point, reference);
    Far {
        nearest: one,
        few,
        reference,
    }
}

/// What an attack looks at: logarithms of distances, in units of their medians, so that what was
/// learnt on one generator holds for another; and the ratio of the first to the last.
fn looks(far: &[Far]) -> [Vec<f64>; LOOKS] {
    let column = |of: fn(&Far) -> f64| -> Vec<f64> {
        let logs: Vec<f64> = far.iter().map(|far| (of(far) + 1e-6).ln()).collect();
        let middle = match logs.is_empty() {
            true => 0.0,
            false => percentile(&sorted(logs.clone()), 0.5),
        };
        logs.into_iter().map(|log| log - middle).collect()
    };
    [
        column(|far| far.nearest),
        column(|far| far.few),
        column(|far| far.reference),
        column(|far| (far.nearest + 1e-6) / (far.reference + 1e-6)),
    ]
}

/// Traces of a generator that gives some of its members away.
fn leaky(members: &[Trace], floor: u32, texts: &Interner, rng: &mut Rng) -> Vec<Trace> {
    let mut drawn = grammar(members, members.len(), floor, texts, rng);
    let leaked = members.len() / LEAKS;
    drawn.truncate(members.len() - leaked);
    for _ in 0..leaked {
        let member = &members[rng.random_range(0..members.len())];
        let off = |span: &Span, rng: &mut Rng| {
            let by = 1.0 + rng.random_range(-OFF..OFF);
            Span {
                duration: (span.duration as f64 * by) as u64,
                ..span.clone()
            }
        };
        let spans = member.spans().iter().map(|span| off(span, rng));
        drawn.extend(Trace::new(spans.collect(), member.links().to_vec()).ok());
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::boosted::auc;
    use crate::eval::testing::timed;

    fn sample(seed: u64, count: usize) -> Vec<Trace> {
        let mut rng = stream(seed, "shadow tests");
        let mut duration = || 100 + rng.random_range(0..100_000_u64);
        let trace = |_| timed("a(b c)", &[0, 1, 2].map(|start| (start, duration())));
        (0..count).map(trace).collect()
    }

    #[test]
    fn the_nearest_and_the_mean_of_five_are_found() {
        let others: Vec<Vec<f32>> = [9.0, 3.0, 5.0, 1.0, 4.0, 2.0].map(|at| vec![at]).into();
        assert_eq!(nearest(&[0.0], &others), [1.0, 3.0]);
        assert_eq!(nearest(&[0.0], &others[..1]), [9.0, 9.0]);
    }

    #[test]
    fn what_shadows_taught_tells_the_members_of_a_leaky_generator_and_guesses_about_others() {
        let texts = Interner::default();
        let [reference, members, others] =
            [(1, 900), (2, 300), (3, 300)].map(|(s, n)| sample(s, n));
        let features = Features::all(&reference);
        let shadow = Shadow::learn((&reference, &features), 3, &texts, 1).unwrap();
        let shadow = shadow.unwrap();
        let told = |synthetic: &[Trace]| {
            let sides = [&members, &others, &reference].map(|traces| Features::all(traces));
            let drawn = Features::all(synthetic);
            let rows: Vec<&Features> = sides.iter().flatten().chain(&drawn).collect();
            let points = standardised(&Table::of(&rows, 1, |_| true));
            let (judged, compared) = points.split_at(600);
            let (reference, synthetic) = compared.split_at(900);
            let far = judged
                .iter()
                .map(|point| far(point, [synthetic, reference]));
            let far: Vec<Far> = far.collect();
            let truths: Vec<f64> = (0..600).map(|at| f64::from(u8::from(at < 300))).collect();
            auc(&truths, &shadow.tell(&far))
        };
        let copied = told(&members);
        assert!(copied > 0.8, "{copied}");
        let strange = told(&sample(4, 300));
        assert!((strange - 0.5).abs() < 0.1, "{strange}");
        let few = Shadow::learn((&reference[..300], &features[..300]), 3, &texts, 1);
        assert!(few.unwrap().is_none());
    }
}
