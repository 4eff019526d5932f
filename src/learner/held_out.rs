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
}

impl HeldOut {
    pub(super) fn new(room: usize) -> Self {
        Self {
            room: room.max(1),
            traces: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, trace: Trace) {
        if self.traces.len() >= self.room {
            self.traces.pop_front();
        }
        self.traces.push_back(trace);
    }

    /// Those that the vocabulary can name, profiles too, and the coder encode, `most` of them, spread evenly over
    /// all; the others say nothing of a model that can't know their labels.
    pub(super) fn examples(
        &self,
        vocabulary: &Vocabulary,
        texts: &Interner,
        coder: &Coder,
        most: usize,
    ) -> Vec<Arc<Example>> {
        let step = self.traces.len().div_ceil(most.max(1)).max(1);
        // From the newest backwards, so that the newest is always among them.
        let traces = self.traces.iter().rev().step_by(step);
        traces
            .filter_map(|trace| {
                let tokens = vocabulary.tokens(trace).ok()?;
                let profiles = vocabulary.profiles(trace, &tokens, texts).ok()?;
                Some(Arc::new(encode(trace, &tokens, profiles, coder).ok()?))
            })
            .collect()
    }
}
