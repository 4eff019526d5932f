//! Structures: token, status, attribute profile, number of children and link of each span, in
//! depth-first pre-order.

use std::sync::Arc;

use super::ABREAST;
use super::choice::{Choose, Event};
use super::layer::{First, Input, Layer, Rows, matrix, relu};
use crate::model::dense::{exponents, gru_step};
use crate::model::vae::{LABEL_TABLES, LINKS, ProfileRows, SLOT_FEATURES, Tree};
use crate::model::{Example, VaeError, Weights};

/// The structure network, compiled.
#[derive(Debug)]
pub(super) struct Structure {
    hidden: usize,
    choice: usize,
    tokens: usize,
    arities: usize,
    gates: First,
    recurrent: Layer,
    /// Hidden layers of the token and of the other choices, side by side: their inputs' part, and
    /// the part of the states.
    heads: First,
    states: Layer,
    token_out: Layer,
    choice_token: Rows,
    choice_status: Rows,
    status_out: Layer,
    profiles: ProfileRows,
    profile_out: Rows,
    profile_out_bias: Vec<f32>,
    choice_profile: Rows,
    /// Numbers of children and links, side by side.
    shape_out: Layer,
}

/// A structure while it grows.
#[derive(Debug, Default)]
pub(in crate::synthesizer) struct Growing {
    pub(in crate::synthesizer) example: Example,
    pub(super) code: usize,
    /// Spans there are to be at least and at most: numbers of children that lead elsewhere are
    /// not chosen.
    least: usize,
    most: usize,
    /// Spans above which it is given up, not whole.
    limit: usize,
    /// Tokens that a trace may begin with; with another, it is given up.
    roots: Option<Arc<[bool]>>,
    tree: Tree,
    /// Rows of the profile tables that the spans have.
    profiles: Vec<u32>,
    /// The state after each span that was read. [spans, hidden].
    states: Vec<f32>,
}

impl Growing {
    /// A structure of `least` to `most` spans.
    pub(super) fn new(code: usize, least: usize, most: usize) -> Self {
        Self {
            code,
            least,
            most,
            limit: usize::MAX,
            ..Self::default()
        }
    }

    /// One of up to `most` spans that is given up as soon as it can't but have more than `limit`.
    pub(super) fn up_to(code: usize, most: usize, limit: usize) -> Self {
        Self {
            limit,
            ..Self::new(code, 1, most)
        }
    }

    /// As it is, but given up if it begins with none of these tokens.
    pub(super) fn beginning_with(self, roots: Option<Arc<[bool]>>) -> Self {
        Self { roots, ..self }
    }

    /// Whether every span has all its children.
    pub(in crate::synthesizer) fn is_whole(&self) -> bool {
        self.tree.is_whole()
    }

    fn grows(&self) -> bool {
        !self.is_whole() && self.tree.certain() <= self.limit as u64 && self.begins_well()
    }

    fn begins_well(&self) -> bool {
        let root = self.example.tokens.first();
        match (&self.roots, root) {
            (Some(roots), Some(&root)) => roots.get(root as usize).is_some_and(|asked| *asked),
            _ => true,
        }
    }
}

/// Buffers of a step.
#[derive(Debug, Default)]
struct Buffers {
    gates: Vec<f32>,
    heads: Vec<f32>,
    features: Vec<f32>,
    state: Vec<f32>,
    projected: Vec<f32>,
    states: Vec<f32>,
    hidden: Vec<f32>,
    logits: Vec<f32>,
    choice: Vec<f32>,
}

impl Structure {
    pub(super) fn new(weights: &Weights) -> Result<Self, VaeError> {
        let settings = weights.settings();
        let (hidden, choice) = (settings.structure_hidden, settings.choice_hidden);
        let mut inputs: Vec<Input<'_>> = LABEL_TABLES.into_iter().map(Input::Label).collect();
        inputs.extend([Input::Features(SLOT_FEATURES), Input::Code]);
        let named = |name| matrix(weights, name);
        let heads = [
            ("structure.token_hidden", "structure.token_hidden_bias"),
            ("structure.choice_hidden", "structure.choice_hidden_bias"),
        ];
        let mut states = Vec::new();
        for (weight, _) in heads {
            let weight = named(weight)?;
            let inputs = weight.rows.saturating_sub(2 * hidden);
            states.push(weight.part(inputs..weight.rows)?);
        }
        let outputs = [named("structure.arity_out")?, named("structure.link_out")?];
        let biases = [
            named("structure.arity_out_bias")?,
            named("structure.link_out_bias")?,
        ];
        Ok(Self {
            hidden,
            choice,
            tokens: weights.tokens(),
            arities: settings.arities,
            gates: First::new(
                weights,
                &inputs,
                &[("structure.gates", "structure.gates_bias")],
            )?,
            recurrent: Layer::new(&[named("structure.recurrent")?], &[]),
            heads: First::new(weights, &inputs, &heads)?,
            states: Layer::new(&states, &[]),
            token_out: Layer::turned(
                &named("structure.token_out")?,
                &named("structure.token_out_bias")?,
            ),
            choice_token: Rows::new(&named("structure.choice_token")?),
            choice_status: Rows::new(&named("structure.choice_status")?),
            status_out: Layer::new(
                &[named("structure.status_out")?],
                &[named("structure.status_out_bias")?],
            ),
            profiles: weights.profiles().clone(),
            profile_out: Rows::new(&named("structure.profile_out")?),
            profile_out_bias: named("structure.profile_out_bias")?.numbers.to_vec(),
            choice_profile: Rows::new(&named("structure.choice_profile")?),
            shape_out: Layer::new(&outputs, &biases),
        })
    }

    /// Numbers of children that are told apart.
    pub(super) fn arities(&self) -> usize {
        self.arities
    }

    /// Grows structures until each is whole or given up, some abreast: where one ends, the next
    /// begins.
    pub(super) fn grow(&self, growing: &mut [Growing], choose: &mut impl Choose) {
        let mut waiting = 0..growing.len();
        let mut active: Vec<usize> = waiting.by_ref().take(ABREAST).collect();
        let mut buffers = Buffers::default();
        while !active.is_empty() {
            self.step(growing, &active, &mut buffers, choose);
            active.retain(|&trace| {
                let growing = &mut growing[trace];
                if !growing.grows() {
                    growing.states = Vec::new();
                }
                growing.grows()
            });
            active.extend(waiting.by_ref().take(ABREAST - active.len()));
        }
    }

    fn step(
        &self,
        growing: &mut [Growing],
        active: &[usize],
        buffers: &mut Buffers,
        choose: &mut impl Choose,
    ) {
        let hidden = self.hidden;
        let Buffers {
            gates,
            heads,
            features,
            state,
            projected,
            states,
            hidden: layer,
            logits,
            choice,
        } = buffers;
        gates.resize(active.len() * self.gates.cols(), 0.0);
        heads.resize(active.len() * self.heads.cols(), 0.0);
        features.clear();
        state.clear();
        let rows = gates
            .chunks_exact_mut(self.gates.cols())
            .zip(heads.chunks_exact_mut(self.heads.cols()));
        for (&trace, (gates, heads)) in active.iter().zip(rows) {
            let growing = &mut growing[trace];
            let slot = growing.tree.slot();
            let Example {
                tokens,
                status,
                arity,
                ..
            } = &growing.example;
            let rows = &growing.profiles;
            let labels = slot.labels(tokens, status, rows, arity, self.arities);
            self.gates.begin(growing.code, &labels, gates);
            self.heads.begin(growing.code, &labels, heads);
            features.extend(slot.features());
            match growing.states.len().checked_sub(hidden) {
                Some(last) => state.extend_from_slice(&growing.states[last..]),
                None => state.resize(state.len() + hidden, 0.0),
            }
        }
        self.gates.add(features, gates);
        self.heads.add(features, heads);
        self.recurrent.run(state, projected);
        gru_step(gates, projected, state, hidden);
        states.clear();
        for (&trace, state) in active.iter().zip(state.chunks_exact(hidden)) {
            let growing = &mut growing[trace];
            growing.states.extend_from_slice(state);
            let slot = growing.tree.slot();
            // The state that has read the parent and nothing later; its own for the root.
            let parent = slot.parent.map_or(slot.at, |parent| parent + 1) as usize * hidden;
            states.extend_from_slice(state);
            states.extend_from_slice(&growing.states[parent..parent + hidden]);
        }
        self.states.add(states, heads);

        relu(heads, self.heads.cols(), 0..hidden, layer);
        self.token_out.run(layer, logits);
        let cols = self.heads.cols();
        choice.clear();
        for (row, &trace) in active.iter().enumerate() {
            let growing = &mut growing[trace];
            let at = growing.example.tokens.len();
            let logits = &mut logits[row * self.token_out.cols()..][..self.tokens];
            exponents(logits);
            let token = choose.choose(trace, at, Event::Token, logits, &|_| true);
            growing.example.tokens.push(token as u32);
            let head = &heads[row * cols + hidden..][..self.choice];
            choice.extend_from_slice(head);
            let from = choice.len() - self.choice;
            self.choice_token.add(token, &mut choice[from..]);
        }
        relu(choice, self.choice, 0..self.choice, layer);
        self.status_out.run(layer, logits);
        for (row, &trace) in active.iter().enumerate() {
            let growing = &mut growing[trace];
            let at = growing.example.status.len();
            let logits = &mut logits[row * self.status_out.cols()..][..3];
            exponents(logits);
            let status = choose.choose(trace, at, Event::Status, logits, &|_| true);
            growing.example.status.push(status as u8);
            self.choice_status
                .add(status, &mut choice[row * self.choice..][..self.choice]);
        }
        relu(choice, self.choice, 0..self.choice, layer);
        for (row, &trace) in active.iter().enumerate() {
            let part = row * self.choice..(row + 1) * self.choice;
            let growing = &mut growing[trace];
            self.profile(growing, trace, &layer[part.clone()], logits, choose);
            let profile = growing.profiles.last().copied().unwrap_or_default();
            self.choice_profile.add(profile as usize, &mut choice[part]);
        }
        relu(choice, self.choice, 0..self.choice, layer);
        self.shape_out.run(layer, logits);
        for (row, &trace) in active.iter().enumerate() {
            let logits = &mut logits[row * self.shape_out.cols()..][..self.arities + LINKS];
            let (arity, link) = logits.split_at_mut(self.arities);
            self.shape(&mut growing[trace], trace, (arity, link), choose);
        }
    }

    /// Chooses the profile of the span told last, where its token has several. Shape: hidden
    /// [choice].
    fn profile(
        &self,
        growing: &mut Growing,
        trace: usize,
        hidden: &[f32],
        logits: &mut Vec<f32>,
        choose: &mut impl Choose,
    ) {
        let at = growing.example.profile.len();
        let rows = self.profiles.of(growing.example.tokens[at]);
        let mut slot = 0;
        if !rows.is_empty() {
            let logit = |&row: &u32| {
                let row = row as usize;
                self.profile_out.product(row, hidden) + self.profile_out_bias[row]
            };
            logits.clear();
            logits.extend(rows.iter().map(logit));
            exponents(logits);
            slot = choose.choose(trace, at, Event::Profile, logits, &|_| true);
        }
        growing.example.profile.push(slot as u32);
        growing.profiles.push(rows.get(slot).copied().unwrap_or(0));
    }

    /// Chooses the number of children and the link of the span told last.
    fn shape(
        &self,
        growing: &mut Growing,
        trace: usize,
        (arity, link): (&mut [f32], &mut [f32]),
        choose: &mut impl Choose,
    ) {
        let slot = growing.tree.slot();
        let at = slot.at as usize;
        // Spans there will be at least, with this one and without its children.
        let certain = at as u64 + slot.promised;
        let (least, most) = (growing.least as u64, growing.most as u64);
        let fits = |children: usize| {
            let whole = certain + children as u64;
            whole <= most && (children > 0 || slot.promised > 1 || whole >= least)
        };
        exponents(arity);
        let class = choose.choose(trace, at, Event::Arity, arity, &fits);
        let mut children = class;
        if class + 1 == self.arities {
            // The last class stands for all numbers from it on: see `Structures`.
            let beyond = 1.0 / (1.0 - choose.number(trace)) - 1.0;
            let room = most.saturating_sub(certain) as usize;
            children = (class + beyond.min(1e6) as usize).min(room.max(class));
        }
        growing.example.arity.push(children as u32);
        growing.tree.add(children as u32);

        let possible = |class: usize| match class {
            1 => slot.parent.is_some(),
            2 => slot.previous.is_some(),
            3 => at > 0,
            _ => true,
        };
        exponents(link);
        let target = match choose.choose(trace, at, Event::Link, link, &possible) {
            1 => slot.parent,
            2 => slot.previous,
            3 => Some((choose.number(trace) * at as f64) as u32),
            _ => None,
        };
        growing.example.links.extend(target.map(|to| (slot.at, to)));
    }
}
