//! Traces held out from training: they never touch weights, counts, codes or the vocabulary.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::features::timing::Coder;
use crate::features::{Interner, Vocabulary, encode};
use crate::model::Example;
use crate::trace::Trace;

/// The newest held-out traces.
#[derive(Debug)]
pub(super) struct HeldOut {
    room: usize,
    traces: VecDeque<Trace>,
    /// Traces held out so far.
    count: u64,
}

/// A held-out trace as a model sees it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Counts the traces held out, so that one is known again at the next score.
    pub(super) number: u64,
    pub(super) example: Arc<Example>,
}

impl HeldOut {
    pub(super) fn new(room: usize) -> Self {
        Self {
            room: room.max(1),
            traces: VecDeque::new(),
            count: 0,
        }
    }

    pub(super) fn add(&mut self, trace: Trace) {
        if self.traces.len() >= self.room {
            self.traces.pop_front();
        }
        self.traces.push_back(trace);
        self.count += 1;
    }

    /// How many traces [`examples`](Self::examples) looks at.
    pub(super) fn asked(&self, most: usize) -> usize {
        self.numbered(most).count()
    }

    /// At most so many traces, spread evenly over all, with their numbers.
    fn numbered(&self, most: usize) -> impl Iterator<Item = (u64, &Trace)> {
        let step = self.traces.len().div_ceil(most.max(1)).max(1) as u64;
        let first = self.count - self.traces.len() as u64;
        let numbered = (first..).zip(&self.traces);
        numbered.filter(move |(number, _)| number.is_multiple_of(step))
    }

    /// Those that the vocabulary can name, profiles too, and the coder encode, `most` of them, spread evenly over
    /// all; the others say nothing of a model that can't know their labels. From one call to the
    /// next they are the same ones as far as possible, so that what was scored need not be again.
    pub(super) fn examples(
        &self,
        vocabulary: &Vocabulary,
        texts: &Interner,
        coder: &Coder,
        most: usize,
    ) -> Vec<Asked> {
        self.numbered(most)
            .filter_map(|(number, trace)| {
                let tokens = vocabulary.tokens(trace).ok()?;
                let profiles = vocabulary.profiles(trace, &tokens, texts).ok()?;
                let example = Arc::new(encode(trace, &tokens, profiles, coder).ok()?);
                Some(Asked { number, example })
            })
            .collect()
    }
}
