//! Says of the snapshot that serves, of the next one and of the grammar who may serve.
//!
//! All are asked about the same held-out traces. The one that serves keeps its answers, so that it
//! is asked about new traces only.

use std::collections::BTreeMap;

/// Narrow defeats in a row after which a VAE that serves gives way to the grammar.
const PATIENCE: u32 = 6;
/// A defeat that is no chance counts for so many narrow ones.
const SURE: u32 = 3;
/// Standard errors of the mean from which on a difference is no chance.
const ERRORS: f64 = 3.0;
/// A candidate may need this share more nats than the one that serves: noise of the score.
const TOLERANCE: f64 = 0.002;

/// Nats of each held-out trace, in the order of the traces.
#[derive(Debug)]
pub(super) struct Scores<'a> {
    /// Of the newest VAE.
    pub(super) candidate: &'a [f64],
    /// Of the VAE that serves, if one does that can be asked.
    pub(super) served: Option<&'a [f64]>,
    /// Of the newest grammar.
    pub(super) grammar: &'a [f64],
}

/// Who is to serve from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The candidate.
    Candidate,
    /// Whoever serves.
    Stay,
    /// The grammar.
    Grammar,
}

/// How often in a row the VAE was behind.
#[derive(Debug, Default)]
pub(super) struct Canary {
    behind: u32,
}

impl Canary {
    /// The candidate serves if it needs fewer nats than the grammar and no more than the VAE that
    /// serves. Otherwise a VAE that serves gives way to the grammar once it was behind it often
    /// enough; where none serves (`vae_serves`), the grammar goes on.
    pub(super) fn judge(&mut self, scores: &Scores<'_>, vae_serves: bool) -> Verdict {
        let Scores {
            candidate,
            served,
            grammar,
        } = *scores;
        let served_mean = served.map(mean);
        let better = mean(candidate) < mean(grammar);
        let no_worse =
            served_mean.is_none_or(|served| mean(candidate) <= served + TOLERANCE * served.abs());
        if better && no_worse {
            self.behind = 0;
            return Verdict::Candidate;
        }
        if !vae_serves {
            return Verdict::Grammar;
        }
        // Where what serves can't be asked, the candidate answers for it: they are close kin.
        let (behind, error) = difference(served.unwrap_or(candidate), grammar);
        self.behind = match behind {
            _ if behind <= 0.0 => 0,
            _ if behind > ERRORS * error => self.behind + SURE,
            _ => self.behind + 1,
        };
        if self.behind >= PATIENCE {
            self.behind = 0;
            return Verdict::Grammar;
        }
        Verdict::Stay
    }
}

/// What the VAE that serves said of held-out traces, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<u64, f64>);

impl Answers {
    /// The numbers of those that were not asked yet.
    pub(super) fn missing(&self, asked: &[u64]) -> Vec<usize> {
        let unknown = |at: &usize| !self.0.contains_key(&asked[*at]);
        (0..asked.len()).filter(unknown).collect()
    }

    /// Takes an answer in.
    pub(super) fn add(&mut self, number: u64, nats: f64) {
        self.0.insert(number, nats);
    }

    /// The answers in this order, all others forgotten; none if one is missing.
    pub(super) fn only(&mut self, asked: &[u64]) -> Option<Vec<f64>> {
        let answers: Option<Vec<f64>> = asked.iter().map(|at| self.0.get(at).copied()).collect();
        let oldest = asked.iter().min().copied().unwrap_or(u64::MAX);
        self.0.retain(|&number, _| number >= oldest);
        answers
    }
}

/// The mean.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// By how much the first needs more on average, and the standard error of that.
pub(super) fn difference(first: &[f64], second: &[f64]) -> (f64, f64) {
    let apart: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let middle = mean(&apart);
    let count = apart.len().max(2) as f64;
    let squares: f64 = apart.iter().map(|one| (one - middle).powi(2)).sum();
    (middle, (squares / (count - 1.0) / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Candidate, Grammar, Stay};

    /// Nats of 40 traces around a mean; the noise of two that differ in `phase` is not the same.
    fn nats(mean: f64, phase: usize) -> Vec<f64> {
        let noise = |at: usize| ((at * 7 + phase * 3) % 10) as f64 - 4.5;
        (0..40).map(|at| mean + noise(at)).collect()
    }

    /// Means of candidate, served and grammar, and what is said of each in turn.
    fn check(vae_serves: bool, rounds: &[(f64, Option<f64>, f64)], expected: &[Verdict]) {
        let mut canary = Canary::default();
        let said = rounds.iter().map(|&(candidate, served, grammar)| {
            let served = served.map(|mean| nats(mean, 1));
            let scores = Scores {
                candidate: &nats(candidate, 1),
                served: served.as_deref(),
                grammar: &nats(grammar, 2),
            };
            canary.judge(&scores, vae_serves)
        });
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_candidate_serves_if_it_beats_the_grammar_and_is_no_worse_than_what_serves() {
        check(false, &[(90.0, None, 100.0)], &[Candidate]);
        check(true, &[(90.1, Some(90.0), 100.0)], &[Candidate]);
        check(true, &[(91.0, Some(90.0), 100.0)], &[Stay]);
        check(false, &[(101.0, None, 100.0)], &[Grammar]);
    }

    #[test]
    fn what_serves_is_judged_on_the_traces_of_now() {
        // New traces cost both more: the candidate is better and need not wait for old times.
        let turn = [(90.0, Some(90.1), 100.0), (120.0, Some(150.0), 130.0)];
        check(true, &turn, &[Candidate, Candidate]);
    }

    #[test]
    fn a_clear_defeat_is_borne_twice_and_a_narrow_one_six_times() {
        let clear = (104.0, Some(104.0), 100.0);
        check(true, &[clear; 2], &[Stay, Grammar]);
        let narrow = (100.2, Some(100.2), 100.0);
        check(true, &[narrow; 6], &[Stay, Stay, Stay, Stay, Stay, Grammar]);
        let won = (100.2, Some(99.0), 100.0);
        check(true, &[clear, won, clear], &[Stay, Stay, Stay]);
    }

    #[test]
    fn answers_are_asked_for_once_and_those_of_old_traces_forgotten() {
        let mut answers = Answers::default();
        assert_eq!(answers.missing(&[3, 6, 9]), [0, 1, 2]);
        for number in [3, 6, 9] {
            answers.add(number, number as f64);
        }
        assert_eq!(answers.missing(&[6, 9, 12]), [2]);
        answers.add(12, 1.5);
        assert_eq!(answers.only(&[6, 9, 12]), Some(vec![6.0, 9.0, 1.5]));
        assert_eq!(answers.only(&[3]), None);
    }
}
