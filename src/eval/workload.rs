//! U1, "which workload": which of two systems a trace comes from.

use super::boosted::{Boosted, LEAF, Ungrown};
use super::features::{Feature, Features, Table};
use super::figures::Figures;
use super::utility::{Score, of_two};
use crate::trace::Trace;

/// Traces of each part below which a comparison says nothing.
const FEW: usize = 20;

/// Another system, beside which the traces of one stand.
#[derive(Debug)]
pub struct Workload<'a> {
    /// As many of the other system's as of ours: what is trained on and asked.
    train: [&'a [Features]; 2],
    held_out: [&'a [Features]; 2],
    observed: Score,
    seed: u64,
}

/// The features of another system's traces.
#[derive(Debug)]
pub struct OtherSystem {
    train: Vec<Features>,
    held_out: Vec<Features>,
    synthetic: Vec<Features>,
}

impl OtherSystem {
    /// Of observed training and held-out traces, and of synthetic ones.
    pub fn of([train, held_out, synthetic]: [&[Trace]; 3]) -> Self {
        let [train, held_out, synthetic] = [train, held_out, synthetic].map(Features::all);
        Self {
            train,
            held_out,
            synthetic,
        }
    }
}

impl<'a> Workload<'a> {
    /// Asks of held-out traces of both systems what observed training traces of both teach. Labels
    /// are left out, which alone would tell; sizes, shapes and times stay. None if a part has too
    /// few traces.
    pub(super) fn new(
        [train, held_out]: [&'a [Features]; 2],
        other: &'a OtherSystem,
        seed: u64,
    ) -> Result<Option<Self>, Ungrown> {
        let even = |a: &'a [Features], b: &'a [Features], most: usize| {
            let count = a.len().min(b.len()).min(most);
            [&a[..count], &b[..count]]
        };
        let held_out = even(held_out, &other.held_out, usize::MAX);
        let train = even(train, &other.train, held_out[0].len());
        if train[0].len() < FEW || held_out[0].len() < FEW {
            return Ok(None);
        }
        let observed = score(train, held_out, seed)?;
        Ok(Some(Self {
            train,
            held_out,
            observed,
            seed,
        }))
    }

    /// What synthetic traces of both teach; the ceiling's of the other system are its observed
    /// training traces.
    pub(super) fn train_on(
        &self,
        sample: &[Features],
        other: Option<&OtherSystem>,
    ) -> Result<Figures, Ungrown> {
        let other = other.map_or(self.train[1], |other| &other.synthetic);
        let count = sample.len().min(other.len()).min(self.held_out[0].len());
        if count < FEW {
            return Ok(Figures::new());
        }
        let told = score(
            [&sample[..count], &other[..count]],
            self.held_out,
            self.seed,
        )?;
        let false_alarms = (told.false_alarms - self.observed.false_alarms).abs();
        Ok(Figures::from([
            ("workload_accuracy", told.accuracy),
            ("workload_f1", told.f1),
            ("workload_pr_auc", told.main),
            ("workload_ratio", told.main / self.observed.main.max(1e-9)),
            ("workload_false_alarms", false_alarms),
        ]))
    }
}

fn score(training: [&[Features]; 2], test: [&[Features]; 2], seed: u64) -> Result<Score, Ungrown> {
    let rows: Vec<&Features> = training.iter().chain(&test).copied().flatten().collect();
    let table = Table::of(&rows, LEAF, |feature| matches!(feature, Feature::Fixed(_)));
    let classes = |[ours, other]: [&[Features]; 2]| -> Vec<usize> {
        [vec![1; ours.len()], vec![0; other.len()]].concat()
    };
    let [learnt, asked] = [training, test].map(classes);
    let at: Vec<usize> = (0..rows.len()).collect();
    let (for_training, for_test) = at.split_at(learnt.len());
    let truths: Vec<f64> = learnt.iter().map(|&class| class as f64).collect();
    let trees = Boosted::grow(&table.select(for_training), &truths, seed)?;
    let odds = trees.tell(&table.select(for_test), asked.len());
    Ok(of_two(&asked, &odds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::timed;

    fn system(text: &str, from: u64) -> Vec<Trace> {
        let times = |at: u64| [(0, from + at * at), (1, 20 + at), (2, 30 + at % 7)];
        (0..120).map(|at| timed(text, &times(at))).collect()
    }

    #[test]
    fn synthetic_traces_of_two_systems_teach_which_is_which_unless_they_are_mixed_up() {
        let [ours, other] = [system("a(b c)", 1_000), system("a(b(c))", 90_000)];
        let features = Features::all(&ours);
        let check =
            |ours: &[Trace], synthetic: &[Trace], accuracy: std::ops::RangeInclusive<f64>| {
                let other = OtherSystem::of([&other, &other, synthetic]);
                let workload = Workload::new([&features, &features], &other, 1);
                let workload = workload.unwrap().unwrap();
                let told = workload
                    .train_on(&Features::all(ours), Some(&other))
                    .unwrap();
                assert!(accuracy.contains(&told["workload_accuracy"]), "{told:?}");
                told
            };
        let told = check(&ours, &other, 1.0..=1.0);
        assert_eq!(
            (told["workload_ratio"], told["workload_false_alarms"]),
            (1.0, 0.0)
        );
        check(&other, &ours, 0.0..=0.1);
        let few = OtherSystem::of([&other[..5], &other, &other]);
        assert!(
            Workload::new([&features, &features], &few, 1)
                .unwrap()
                .is_none()
        );
    }
}
