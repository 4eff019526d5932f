//! U1, "which workload" and "normal or fault window": which of two systems a trace comes from, or which
//! of two times of one.

use super::boosted::{Boosted, LEAF, Ungrown};
use super::features::{Feature, Features, Table};
use super::figures::Figures;
use super::utility::{Score, of_two};
use crate::trace::Trace;

/// Traces of each part below which a comparison says nothing.
const FEW: usize = 20;

/// The keys of what is found of two systems, and of one at two times: the ratio and the false alarms last.
const WORKLOAD: [&str; 5] = [
    "workload_accuracy",
    "workload_f1",
    "workload_pr_auc",
    "workload_ratio",
    "workload_false_alarms",
];
const WINDOW: [&str; 5] = [
    "window_accuracy",
    "window_f1",
    "window_pr_auc",
    "window_ratio",
    "window_false_alarms",
];

/// Another system, beside which the traces of one stand.
#[derive(Debug)]
pub struct Workload<'a> {
    /// As many of the other system's as of ours: what is trained on and asked.
    train: [Vec<&'a Features>; 2],
    held_out: [Vec<&'a Features>; 2],
    observed: Score,
    same: bool,
    seed: u64,
}

/// The features of another system's traces.
#[derive(Debug)]
pub struct OtherSystem {
    /// Whether it is the same system at another time, as under a fault.
    same: bool,
    train: Vec<Features>,
    held_out: Vec<Features>,
    synthetic: Vec<Features>,
}

impl OtherSystem {
    /// Of observed training and held-out traces, and of synthetic ones; `same` if they are of the same
    /// system at another time.
    pub fn of([train, held_out, synthetic]: [&[Trace]; 3], same: bool) -> Self {
        let [train, held_out, synthetic] = [train, held_out, synthetic].map(Features::all);
        Self {
            same,
            train,
            held_out,
            synthetic,
        }
    }
}

impl<'a> Workload<'a> {
    /// Asks of held-out traces of both systems what observed training traces of both teach. Of two
    /// systems labels are left out, which alone would tell; sizes, shapes and times stay. None if a part
    /// has too few traces.
    pub(super) fn new(
        [train, held_out]: [&'a [Features]; 2],
        other: &'a OtherSystem,
        seed: u64,
    ) -> Result<Option<Self>, Ungrown> {
        let even = |a: &'a [Features], b: &'a [Features], most: usize| {
            let count = a.len().min(b.len()).min(most);
            [spread(a, count), spread(b, count)]
        };
        let held_out = even(held_out, &other.held_out, usize::MAX);
        let train = even(train, &other.train, held_out[0].len());
        if train[0].len() < FEW || held_out[0].len() < FEW {
            return Ok(None);
        }
        let observed = score(&train, &held_out, (other.same, seed))?;
        Ok(Some(Self {
            train,
            held_out,
            observed,
            same: other.same,
            seed,
        }))
    }

    /// The keys of what it finds.
    pub(super) fn keys(&self) -> [&'static str; 5] {
        if self.same { WINDOW } else { WORKLOAD }
    }

    /// What synthetic traces of both teach; the ceiling's of the other system are its observed
    /// training traces.
    pub(super) fn train_on(
        &self,
        sample: &[Features],
        other: Option<&OtherSystem>,
    ) -> Result<Figures, Ungrown> {
        let all: Vec<&Features>;
        let other = match other {
            Some(other) => {
                all = other.synthetic.iter().collect();
                &all
            }
            None => &self.train[1],
        };
        let count = sample.len().min(other.len()).min(self.held_out[0].len());
        if count < FEW {
            return Ok(Figures::new());
        }
        let told = score(
            &[spread(sample, count), other[..count].to_vec()],
            &self.held_out,
            (self.same, self.seed),
        )?;
        let false_alarms = (told.false_alarms - self.observed.false_alarms).abs();
        let ratio = told.main / self.observed.main.max(1e-9);
        let figures = [told.accuracy, told.f1, told.main, ratio, false_alarms];
        Ok(self.keys().into_iter().zip(figures).collect())
    }
}

/// So many, spread over all: recordings stand in the order of time.
fn spread(all: &[Features], count: usize) -> Vec<&Features> {
    let at = |place: usize| &all[place * all.len() / count];
    (0..count).map(at).collect()
}

fn score(
    training: &[Vec<&Features>; 2],
    test: &[Vec<&Features>; 2],
    (labels, seed): (bool, u64),
) -> Result<Score, Ungrown> {
    let rows: Vec<&Features> = training.iter().chain(test).flatten().copied().collect();
    let wanted = |feature| labels || matches!(feature, Feature::Fixed(_));
    let table = Table::of(&rows, LEAF, wanted);
    let classes = |[ours, other]: &[Vec<&Features>; 2]| -> Vec<usize> {
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
                let other = OtherSystem::of([&other, &other, synthetic], false);
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
        let few = OtherSystem::of([&other[..5], &other, &other], false);
        assert!(
            Workload::new([&features, &features], &few, 1)
                .unwrap()
                .is_none()
        );
    }
    #[test]
    fn of_one_system_at_two_times_labels_tell_as_well() {
        // The same sizes, shapes and times; under the fault another store is asked.
        let [normal, faulty] = [system("a(b c)", 1_000), system("a(b d)", 1_000)];
        let features = Features::all(&normal);
        let told = |same: bool| {
            let other = OtherSystem::of([&faulty; 3], same);
            let workload = Workload::new([&features, &features], &other, 1);
            workload
                .unwrap()
                .unwrap()
                .train_on(&features, Some(&other))
                .unwrap()
        };
        assert_eq!(told(true)["window_accuracy"], 1.0);
        assert!(told(false)["workload_accuracy"] < 0.6);
    }
}
