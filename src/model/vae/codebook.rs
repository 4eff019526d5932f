//! z_G: a vector-quantised code, its posterior (one code) and its prior (decayed shares of use).

use rand::RngExt;

use super::params::{Tensors, take};
use super::{VaeError, VaeSettings};

/// Decay per step of counts and sums.
const KEEP: f32 = 0.99;

/// A code that was used less stays where it is.
const UNUSED: f32 = 1e-4;

/// The share that a code which is never used has in the prior.
const NEVER: f32 = 1e-6;

/// A code whose share is below this part of an even one may be put elsewhere.
const DEAD: f32 = 0.1;

/// How much further than the mean a trace must be from its code for the code not to follow it, and for
/// the furthest to be given a dead one.
const FAR: f32 = 12.0;

/// A code may be put elsewhere when this part of all steps so far has passed since the last was: what a
/// code stands for takes a while to learn, and longer the rarer it is.
const SETTLES: u32 = 20;

/// The codes and how often each was used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Codebook {
    width: usize,
    /// [codes * width].
    codes: Vec<f32>,
    /// Decayed sums of what was near each code, and how often: a code is their ratio. A code that is
    /// put elsewhere is lent some.
    sums: Vec<f32>,
    counts: Vec<f32>,
    /// How often each code was used, decayed: the prior, which what is lent to a code must not touch.
    uses: Vec<f32>,
    /// Decayed mean squared distance of a trace from its code.
    spread: f32,
    /// Whether a first batch has placed the codes.
    begun: bool,
    /// The step in which a code was put elsewhere last.
    restarted: u32,
}

/// What was chosen for each of some graphs.
pub(super) struct Chosen {
    /// The code of each graph.
    pub(super) code: Vec<u32>,
    /// KL(q(z_G|G) || p) of each graph.
    pub(super) kl: Vec<f64>,
    distance: Vec<f32>,
}

impl Codebook {
    pub(super) fn new(settings: &VaeSettings) -> Self {
        let (codes, width) = (settings.codes, settings.code_size);
        Self {
            width,
            codes: vec![0.0; codes * width],
            sums: vec![0.0; codes * width],
            counts: vec![1.0 / codes.max(1) as f32; codes],
            uses: vec![0.0; codes],
            spread: 0.0,
            begun: false,
            restarted: 0,
        }
    }

    /// The code of number `code`.
    pub(super) fn code(&self, code: u32) -> &[f32] {
        let from = code as usize * self.width;
        &self.codes[from..from + self.width]
    }

    /// The codes, one after another.
    pub(super) fn codes(&self) -> &[f32] {
        &self.codes
    }

    /// The prior: a share per code, none of them zero.
    pub(super) fn prior(&self) -> Vec<f32> {
        let total: f32 = self.uses.iter().map(|uses| uses + NEVER).sum();
        let share = |uses: &f32| (uses + NEVER) / total;
        self.uses.iter().map(share).collect()
    }

    /// Places the codes among the first traces seen.
    pub(super) fn begin(&mut self, encoded: &[f32], rng: &mut impl rand::Rng) {
        let traces = encoded.len() / self.width;
        if self.begun || traces == 0 {
            return;
        }
        for code in self.codes.chunks_exact_mut(self.width) {
            let at = rng.random_range(0..traces) * self.width;
            code.copy_from_slice(&encoded[at..at + self.width]);
        }
        for (sum, code) in self.sums.iter_mut().zip(&self.codes) {
            *sum = code / self.counts.len() as f32;
        }
        self.begun = true;
    }

    /// Chooses the code of each trace: the nearest. How often codes are used has no part in it: frequent
    /// traces that are much alike would change codes with every change of it, and the decoder
    /// would have to learn anew which is which. Shape: encoded [traces * width].
    pub(super) fn choose(&self, encoded: &[f32]) -> Chosen {
        let costs: Vec<f32> = self.prior().iter().map(|share| -share.ln()).collect();
        let mut chosen = Chosen {
            code: Vec::new(),
            kl: Vec::new(),
            distance: Vec::new(),
        };
        for trace in encoded.chunks_exact(self.width) {
            let mut best = (0, f32::INFINITY);
            for (at, code) in self.codes.chunks_exact(self.width).enumerate() {
                let distance: f32 = code.iter().zip(trace).map(|(a, b)| (a - b) * (a - b)).sum();
                if distance < best.1 {
                    best = (at, distance);
                }
            }
            chosen.code.push(best.0 as u32);
            chosen.kl.push(f64::from(costs[best.0]));
            chosen.distance.push(best.1);
        }
        chosen
    }

    /// Moves the codes towards what was given them, and the prior towards their use. `traces` is
    /// how many traces have each graph. The graph that is worst off gets a code that has fallen
    /// out of use, unless the codes are `settled`.
    pub(super) fn follow(
        &mut self,
        encoded: &[f32],
        chosen: &Chosen,
        traces: &[usize],
        (step, settled): (u32, bool),
    ) {
        let all = traces.iter().sum::<usize>().max(1) as f32;
        let width = self.width;
        let decayed = self.counts.iter_mut().chain(&mut self.sums);
        for number in decayed.chain(&mut self.uses) {
            *number *= KEEP;
        }
        let mut mean = 0.0;
        for (at, graph) in encoded.chunks_exact(width).enumerate() {
            let code = chosen.code[at] as usize;
            let share = traces[at] as f32 / all;
            let part = (1.0 - KEEP) * share;
            mean += share * chosen.distance[at];
            self.uses[code] += part;
            // What lies far from its code would drag it away from those that it stands for.
            if self.spread > 0.0 && chosen.distance[at] > FAR * self.spread {
                continue;
            }
            self.counts[code] += part;
            for (sum, number) in self.sums[code * width..].iter_mut().zip(graph) {
                *sum += part * number;
            }
        }
        self.spread = match self.spread {
            0.0 => mean,
            spread => KEEP * spread + (1.0 - KEEP) * mean,
        };
        for (at, &count) in self.counts.iter().enumerate() {
            if count > UNUSED {
                for place in at * width..(at + 1) * width {
                    self.codes[place] = self.sums[place] / count;
                }
            }
        }
        if !settled && step >= self.restarted + self.restarted / SETTLES {
            self.restart(encoded, chosen, step);
        }
    }

    /// Sets the prior to how often each code is used by traces that stand for so many each.
    pub(super) fn refit(&mut self, encoded: &[f32], weights: &[f64]) {
        let code = self.choose(encoded).code;
        let all: f64 = weights.iter().sum();
        if all <= 0.0 {
            return;
        }
        self.uses.fill(0.0);
        for (code, weight) in code.into_iter().zip(weights) {
            self.uses[code as usize] += (weight / all) as f32;
        }
    }

    fn restart(&mut self, encoded: &[f32], chosen: &Chosen, step: u32) {
        let worst = chosen
            .distance
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1));
        let Some((worst, _)) = worst.filter(|(_, distance)| **distance > FAR * self.spread) else {
            return;
        };
        let rarest = self
            .counts
            .iter()
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(b.1));
        let even = 1.0 / self.counts.len() as f32;
        let Some((rarest, _)) = rarest.filter(|(_, count)| **count < DEAD * even) else {
            return;
        };
        self.restarted = step;
        self.counts[rarest] = DEAD * even;
        // What it was used for is not what it will be used for.
        self.uses[rarest] = 0.0;
        let (from, to) = (worst * self.width, rarest * self.width);
        for at in 0..self.width {
            self.codes[to + at] = encoded[from + at];
            self.sums[to + at] = encoded[from + at] * self.counts[rarest];
        }
    }

    pub(super) fn save(&self, into: &mut Tensors) {
        let (codes, width) = (self.counts.len(), self.width);
        let mut put = |name: &str, shape: &[usize], numbers: &[f32]| {
            into.insert(name.to_owned(), (shape.to_vec(), numbers.to_vec()));
        };
        put("codebook.codes", &[codes, width], &self.codes);
        put("codebook.sums", &[codes, width], &self.sums);
        put("codebook.counts", &[codes], &self.counts);
        put("codebook.uses", &[codes], &self.uses);
        let begun = f32::from(u8::from(self.begun));
        let [high, low] = [self.restarted >> 16, self.restarted & 0xffff].map(|half| half as f32);
        put("codebook.state", &[4], &[self.spread, begun, high, low]);
    }

    pub(super) fn restore(settings: &VaeSettings, from: &mut Tensors) -> Result<Self, VaeError> {
        let (codes, width) = (settings.codes, settings.code_size);
        let state = take(from, "codebook.state", &[4])?;
        let counts = take(from, "codebook.counts", &[codes])?;
        let uses = take(from, "codebook.uses", &[codes])?;
        if counts.iter().chain(&uses).any(|&count| count < 0.0) {
            return Err(VaeError::Damaged("a code was used less than never".into()));
        }
        Ok(Self {
            width,
            codes: take(from, "codebook.codes", &[codes, width])?,
            sums: take(from, "codebook.sums", &[codes, width])?,
            counts,
            uses,
            spread: state[0],
            begun: state[1] > 0.0,
            restarted: (state[2] as u32) << 16 | state[3] as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(codes: usize, code_size: usize) -> Codebook {
        Codebook::new(&VaeSettings {
            codes,
            code_size,
            ..VaeSettings::default()
        })
    }

    /// Two kinds of traces that are much alike, and now and then others that are far from all codes and
    /// are given dead ones: what is lent to those is not in the prior, and the two keep their codes.
    #[test]
    fn rare_traces_take_neither_shares_nor_codes_of_frequent_ones() {
        let mut book = book(8, 2);
        let (often, traces) = ([0.0, 0.0, 0.01, 0.01], [300, 100]);
        let elsewhere = (2..8).map(|code| code as f32);
        let places = often.into_iter().chain(elsewhere.flat_map(|at| [at, at]));
        book.codes = places.collect();
        book.sums = book.codes.iter().map(|place| place / 8.0).collect();
        book.begun = true;
        let first = book.choose(&often);
        let mut lent = 0.0_f32;
        for step in 0..1_000 {
            let chosen = book.choose(&often);
            assert_eq!(chosen.code, first.code, "after {step} steps");
            if step % 5 == 0 {
                let far = 5.0 + step as f32;
                let (encoded, traces) = ([often.as_slice(), &[far, -far]].concat(), [297, 99, 4]);
                book.follow(&encoded, &book.choose(&encoded), &traces, (step, false));
            } else {
                book.follow(&often, &chosen, &traces, (step, false));
            }
            let prior = book.prior();
            let of = |at: usize| prior[chosen.code[at] as usize];
            assert!(
                step < 100 || (of(0) - 0.75).abs() < 0.01,
                "{step}: {prior:?}"
            );
            assert!(
                step < 100 || (of(1) - 0.25).abs() < 0.01,
                "{step}: {prior:?}"
            );
            let all: f32 = book.counts.iter().sum();
            lent = lent.max(all - 1.0);
        }
        assert!(lent > 0.02, "nothing was lent: {lent}");
    }

    /// Four places that are used, and the steps in which something far from them comes.
    fn moved(steps: std::ops::Range<u32>, settled: bool) -> Vec<u32> {
        let mut book = book(6, 1);
        let usual = [0.0, 0.1, 0.2, 0.3];
        book.codes = vec![0.0, 0.1, 0.2, 0.3, 50.0, 60.0];
        book.begun = true;
        book.sums = book.codes.iter().map(|code| code / 6.0).collect();
        let mut moved = Vec::new();
        for step in 0..steps.end {
            let mut encoded = usual.to_vec();
            if steps.contains(&step) {
                encoded.push(1_000.0 + step as f32);
            }
            let traces = [2_500, 2_500, 2_500, 2_500, 1];
            let traces = &traces[..encoded.len()];
            let before = book.codes.clone();
            book.follow(&encoded, &book.choose(&encoded), traces, (step, settled));
            let (now, then) = (book.codes.iter(), before.iter());
            if now.zip(then).any(|(now, then)| (now - then).abs() > 500.0) {
                moved.push(step);
            }
        }
        moved
    }

    #[test]
    fn codes_are_put_elsewhere_ever_more_seldom_and_not_at_all_once_settled() {
        let moved_at = moved(400..500, false);
        assert!((2..=6).contains(&moved_at.len()), "{moved_at:?}");
        assert!(
            moved_at
                .windows(2)
                .all(|two| two[1] >= two[0] + two[0] / SETTLES)
        );
        assert!(moved(400..500, true).is_empty());
    }

    #[test]
    fn a_code_that_is_put_elsewhere_takes_no_share_along() {
        let mut book = book(2, 1);
        (book.codes, book.begun) = (vec![0.0, 5.0], true);
        (book.counts, book.sums) = (vec![0.99, 0.01], vec![0.0, 0.05]);
        (book.uses, book.spread) = (vec![0.99, 0.01], 0.01);
        let encoded = [0.0, 900.0];
        book.follow(&encoded, &book.choose(&encoded), &[9_999, 1], (1, false));
        assert_eq!(book.code(1), [900.0]);
        assert!(book.prior()[1] < 1e-4, "{:?}", book.prior());
        book.refit(&encoded, &[3.0, 1.0]);
        assert!((book.prior()[1] - 0.25).abs() < 1e-4, "{:?}", book.prior());
    }
}
