//! z_G: a vector-quantised code, its posterior (one code) and its prior (decayed shares of use).

use rand::RngExt;

use super::params::{Tensors, take};
use super::{VaeError, VaeSettings};

/// Decay per step of counts and sums.
const KEEP: f32 = 0.99;

/// The share that a code which is never used is chosen by.
const UNUSED: f32 = 1e-4;

/// The share that a code which is never used has in the prior.
const NEVER: f32 = 1e-6;

/// A code whose share is below this part of an even one may be put elsewhere.
const DEAD: f32 = 0.1;

/// How much further than the mean a trace must be from its code to be given a dead one.
const FAR: f32 = 4.0;

/// What one nat of a code's cost is worth in mean squared distances, at a beta_graph of 1.
const PULL: f32 = 0.25;

/// The codes and how often each was used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Codebook {
    width: usize,
    /// [codes * width].
    codes: Vec<f32>,
    /// Decayed sums of what was given each code, and how often: a code is their ratio. A code that is
    /// put elsewhere begins with half of what another has.
    sums: Vec<f32>,
    counts: Vec<f32>,
    /// How often each code was used, decayed: the prior, which what is lent to a code must not touch.
    uses: Vec<f32>,
    /// Decayed mean squared distance of a trace from its code.
    spread: f32,
    /// Whether a first batch has placed the codes.
    begun: bool,
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
        shares(&self.uses, NEVER)
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

    /// Chooses the code of each trace: the nearest, rare ones counting as further away.
    /// Shape: encoded [traces * width].
    pub(super) fn choose(&self, encoded: &[f32], beta: f32) -> Chosen {
        let cost = |shares: Vec<f32>| -> Vec<f32> { shares.iter().map(|it| -it.ln()).collect() };
        let costs = cost(shares(&self.counts, UNUSED));
        let kl = cost(self.prior());
        let pull = PULL * beta * self.spread;
        let mut chosen = Chosen {
            code: Vec::new(),
            kl: Vec::new(),
            distance: Vec::new(),
        };
        for trace in encoded.chunks_exact(self.width) {
            let mut best = (f32::INFINITY, 0, 0.0);
            for (at, code) in self.codes.chunks_exact(self.width).enumerate() {
                let distance: f32 = code.iter().zip(trace).map(|(a, b)| (a - b) * (a - b)).sum();
                let score = distance + pull * costs[at];
                if score < best.0 {
                    best = (score, at, distance);
                }
            }
            chosen.code.push(best.1 as u32);
            chosen.kl.push(f64::from(kl[best.1]));
            chosen.distance.push(best.2);
        }
        chosen
    }

    /// Moves the codes towards what was given them, and the prior towards their use. `traces` is
    /// how many traces have each graph. The graph that is worst off gets a code that has fallen
    /// out of use.
    pub(super) fn follow(&mut self, encoded: &[f32], chosen: &Chosen, traces: &[usize]) {
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
            self.counts[code] += part;
            self.uses[code] += part;
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
        self.restart(encoded, chosen);
    }

    fn restart(&mut self, encoded: &[f32], chosen: &Chosen) {
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
        // It takes half the use of the code that the graph had: a share near nothing would make
        // what it now stands for dear until the counts have caught up.
        let before = chosen.code[worst] as usize;
        let (from, to) = (worst * self.width, rarest * self.width);
        self.counts[before] *= 0.5;
        for sum in &mut self.sums[before * self.width..(before + 1) * self.width] {
            *sum *= 0.5;
        }
        self.counts[rarest] = self.counts[before].max(DEAD * even);
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
        put("codebook.state", &[2], &[self.spread, begun]);
    }

    pub(super) fn restore(settings: &VaeSettings, from: &mut Tensors) -> Result<Self, VaeError> {
        let (codes, width) = (settings.codes, settings.code_size);
        let state = take(from, "codebook.state", &[2])?;
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
        })
    }
}

/// Each number's share, after `least` was added to each.
fn shares(numbers: &[f32], least: f32) -> Vec<f32> {
    let total: f32 = numbers.iter().map(|number| number + least).sum();
    let share = |number: &f32| (number + least) / total;
    numbers.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::stream;

    /// Shares of use once the prior has settled, where one graph in a hundred lies far from all codes: it
    /// is given a code of its own, again and again.
    #[test]
    fn what_is_lent_to_a_code_is_not_in_the_prior() {
        let settings = VaeSettings {
            codes: 8,
            code_size: 2,
            ..VaeSettings::default()
        };
        let mut book = Codebook::new(&settings);
        let (encoded, traces) = ([0.0, 0.0, 1.0, 1.0], [300, 100]);
        book.begin(&encoded, &mut stream(1, "codes"));
        let mut lent = 0.0_f32;
        for step in 0..1_000 {
            let chosen = book.choose(&encoded, 1.0);
            book.follow(&encoded, &chosen, &traces);
            if step % 50 == 0 {
                let far = 5.0 + (step / 50) as f32;
                let (encoded, traces) = ([0.0, 0.0, 1.0, 1.0, far, -far], [297, 99, 4]);
                let chosen = book.choose(&encoded, 1.0);
                book.follow(&encoded, &chosen, &traces);
                let most = shares(&book.counts, UNUSED).into_iter().fold(0.0, f32::max);
                lent = lent.max(0.75 - most);
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
        }
        assert!(lent > 0.1, "nothing was lent: {lent}");
    }
}
