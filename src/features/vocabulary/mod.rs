//! The labels that enough distinct traces share, as small whole numbers.

mod profiles;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Interner, Profile, Sampled, Token};
use crate::trace::{Invalid, Span, SpanKind, Symbol, Trace};
use profiles::{Bounds, Profiles};

/// Labels that wait for the floor, per label that can be known at most.
const WAITING_PER_KNOWN: usize = 16;

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// `service.name`.
    pub service: Arc<str>,
    /// Span name.
    pub operation: Arc<str>,
    /// Span kind.
    pub kind: SpanKind,
    /// The attribute profiles that enough distinct traces share, and the bare one if it is
    /// needed, in the order of their slots; none yet means the bare one.
    pub profiles: Vec<Arc<Profile>>,
}

impl Word {
    /// How many profiles it has: at least the bare one.
    pub fn slots(&self) -> u32 {
        self.profiles.len().max(1) as u32
    }
}

/// A vocabulary as a checkpoint holds it: texts, in the order of their tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Distinct traces that a label needed to get in.
    pub min_traces: u32,
    /// (`service.name`, span name, number of the span kind).
    pub words: Vec<(Arc<str>, Arc<str>, u8)>,
    /// The attribute profiles of each word, in the order of their slots.
    pub profiles: Vec<Vec<Profile>>,
}

/// The trace has a label that too few distinct traces had so far: it has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label is below the vocabulary floor")]
pub struct BelowFloor;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Label {
    service: Symbol,
    operation: Symbol,
    kind: SpanKind,
}

impl Label {
    fn of(span: &Span) -> Self {
        Self {
            service: span.service,
            operation: span.operation,
            kind: span.kind,
        }
    }
}

/// One dense [`Token`] per (service, operation, kind) that `min_traces` distinct traces had.
///
/// Grows while running; a token, once given, never changes. It holds the texts of known labels
/// only, and no more than `max_tokens` of them: when it is full, what is new stays unknown and
/// its traces keep waiting. Labels on their way are bounded too: when there are too many, all
/// their counts are halved and those at zero forgotten, so that a count is never too high.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    min_traces: u32,
    max_tokens: usize,
    words: Vec<Word>,
    labels: Vec<Label>,
    tokens: HashMap<Label, Token>,
    waiting: HashMap<Label, u32>,
    profiles: Profiles,
}

impl Vocabulary {
    /// An empty vocabulary. `min_traces` is the floor; 0 counts as 1.
    pub fn new(min_traces: u32, max_tokens: usize) -> Self {
        Self {
            min_traces: min_traces.max(1),
            max_tokens,
            words: Vec::new(),
            labels: Vec::new(),
            tokens: HashMap::new(),
            waiting: HashMap::new(),
            profiles: Profiles::default(),
        }
    }

    /// Counts the labels and profiles of a trace, which must not be counted twice.
    ///
    /// Returns how many labels and halves of profiles passed the floor by it; the tokens of such
    /// labels are the highest.
    pub fn observe(&mut self, trace: &Trace, texts: &Interner) -> usize {
        let before = self.words.len();
        let mut unknown: Vec<Label> = trace.spans().iter().map(Label::of).collect();
        unknown.retain(|label| !self.tokens.contains_key(label));
        unknown.sort_unstable();
        unknown.dedup();
        for label in unknown {
            let count = self.waiting.entry(label).or_default();
            *count += 1;
            if *count >= self.min_traces && self.words.len() < self.max_tokens {
                self.promote(label, texts);
            }
        }
        if self.waiting.len() > self.max_tokens.saturating_mul(WAITING_PER_KNOWN) {
            self.waiting.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
        let bounds = self.bounds();
        let labels = self.words.len() - before;
        labels + self.profiles.observe(trace, texts, bounds)
    }

    /// The token of each span, in the order of the spans.
    pub fn tokens(&self, trace: &Trace) -> Result<Vec<Token>, BelowFloor> {
        let known = |span| self.tokens.get(&Label::of(span)).copied();
        let tokens: Option<Vec<Token>> = trace.spans().iter().map(known).collect();
        tokens.ok_or(BelowFloor)
    }

    /// Which of its token's profiles each span has, or else the largest part of what it carries
    /// that is known.
    ///
    /// Fails where a span has no part of any: of traces that are learnt, [`Vocabulary::adopt`]
    /// tells.
    pub fn profiles(
        &self,
        trace: &Trace,
        tokens: &[Token],
        texts: &Interner,
    ) -> Result<Vec<u32>, BelowFloor> {
        let slot = |(span, &token): (&Span, &Token)| {
            let word = self.word(token)?;
            let place = (Label::of(span), token);
            self.profiles.slot(place, span.profile, texts, word)
        };
        let slots: Option<Vec<u32>> = trace.spans().iter().zip(tokens).map(slot).collect();
        slots.ok_or(BelowFloor)
    }

    /// As [`Vocabulary::profiles`], for a trace that is learnt: a token gets a profile, the bare one
    /// too, once a span needs it, all of which passed the floor.
    pub fn adopt(&mut self, trace: &Trace, tokens: &[Token], texts: &Interner) -> Vec<u32> {
        let bounds = self.bounds();
        let spans = trace.spans().iter().zip(tokens);
        let slots = spans.map(|(span, &token)| {
            let word = self.words.get_mut(token.0 as usize)?;
            let place = (Label::of(span), token);
            Some(
                self.profiles
                    .adopt(place, span.profile, texts, word, bounds),
            )
        });
        slots.map(Option::unwrap_or_default).collect()
    }

    /// What a token stands for; none if the token is not of this vocabulary.
    pub fn word(&self, token: Token) -> Option<&Word> {
        self.words.get(token.0 as usize)
    }

    /// The known labels, in the order of their tokens.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// A small number per token: equal for tokens of the same service, below the number of tokens.
    pub fn services(&self) -> Vec<u32> {
        let mut numbers = HashMap::new();
        let mut number = |label: &Label| {
            let next = numbers.len() as u32;
            *numbers.entry(label.service).or_insert(next)
        };
        self.labels.iter().map(&mut number).collect()
    }

    /// Number of known labels.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether nothing is known yet.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Number of known labels and profiles: it changes whenever there is more to tell of.
    pub fn size(&self) -> usize {
        self.words.len() + self.profiles.len()
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            min_traces: self.min_traces,
            max_labels: self.max_tokens,
        }
    }

    /// Number of labels that are below the floor.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A synthetic trace as if it had been observed, for evaluation.
    pub fn observed(&self, sampled: &Sampled) -> Result<Trace, Invalid> {
        let spans: Result<Vec<Span>, Invalid> = sampled
            .spans
            .iter()
            .enumerate()
            .map(|(at, span)| {
                let label = self.labels.get(span.token.0 as usize);
                let label = label.ok_or(Invalid::Order { at })?;
                Ok(Span {
                    parent: span.parent,
                    service: label.service,
                    operation: label.operation,
                    profile: Symbol(0),
                    kind: label.kind,
                    status: span.status,
                    start: span.start,
                    duration: span.duration,
                })
            })
            .collect();
        Trace::new(spans?, sampled.links.clone())
    }

    /// What a checkpoint keeps. Counts below the floor are not kept: they start again.
    pub fn dump(&self) -> Words {
        let word = |word: &Word| {
            (
                word.service.clone(),
                word.operation.clone(),
                word.kind as u8,
            )
        };
        let profiles = |word: &Word| {
            let profiles = word.profiles.iter();
            profiles.map(|profile| (**profile).clone()).collect()
        };
        Words {
            min_traces: self.min_traces,
            words: self.words.iter().map(word).collect(),
            profiles: self.words.iter().map(profiles).collect(),
        }
    }

    /// Takes up where a checkpoint ended. The floor is the higher of the two from now on; texts
    /// get the symbols that this process knows them by.
    pub fn load(words: &Words, min_traces: u32, max_tokens: usize, texts: &Interner) -> Self {
        let mut vocabulary = Self::new(min_traces.max(words.min_traces), max_tokens);
        let none = Vec::new();
        for (at, (service, operation, kind)) in words.words.iter().enumerate() {
            let label = Label {
                service: texts.symbol(service),
                operation: texts.symbol(operation),
                kind: SpanKind::from_number(u64::from(*kind)),
            };
            let mut word = Word {
                service: texts.pin(label.service).unwrap_or_else(|| service.clone()),
                operation: texts
                    .pin(label.operation)
                    .unwrap_or_else(|| operation.clone()),
                kind: label.kind,
                profiles: Vec::new(),
            };
            let profiles = words.profiles.get(at).unwrap_or(&none);
            vocabulary.profiles.load(label, &mut word, profiles);
            vocabulary.add(label, word);
        }
        vocabulary
    }

    /// Makes a label known, unless its text is no longer remembered; then it waits on.
    fn promote(&mut self, label: Label, texts: &Interner) {
        let (Some(service), Some(operation)) =
            (texts.pin(label.service), texts.pin(label.operation))
        else {
            return;
        };
        self.waiting.remove(&label);
        let kind = label.kind;
        self.add(
            label,
            Word {
                service,
                operation,
                kind,
                profiles: Vec::new(),
            },
        );
    }

    fn add(&mut self, label: Label, word: Word) {
        let Ok(number) = u32::try_from(self.words.len()) else {
            return;
        };
        self.tokens.insert(label, Token(number));
        self.labels.push(label);
        self.words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::StatusCode;

    /// A trace whose root and children have the operations named.
    fn trace(texts: &Interner, operations: &[&str]) -> Trace {
        let span = |(at, operation): (usize, &&str)| Span {
            parent: (at > 0).then_some(0),
            service: texts.symbol("shop"),
            operation: texts.symbol(operation),
            profile: Symbol(0),
            kind: SpanKind::Server,
            status: StatusCode::Unset,
            start: 0,
            duration: 1,
        };
        Trace::new(
            operations.iter().enumerate().map(span).collect(),
            Vec::new(),
        )
        .unwrap()
    }

    fn known(vocabulary: &Vocabulary) -> Vec<String> {
        let name = |word: &Word| word.operation.to_string();
        vocabulary.words().iter().map(name).collect()
    }

    /// Shows traces (operations, parted by blanks) to a vocabulary with a floor of 2.
    fn check(traces: &[&str], expected: &[&str]) -> (Vocabulary, Interner) {
        let texts = Interner::default();
        let mut vocabulary = Vocabulary::new(2, 4);
        for operations in traces {
            let operations: Vec<&str> = operations.split(' ').collect();
            vocabulary.observe(&trace(&texts, &operations), &texts);
        }
        assert_eq!(known(&vocabulary), expected);
        (vocabulary, texts)
    }

    #[test]
    fn a_label_is_known_once_enough_distinct_traces_had_it() {
        check(&["a a a a"], &[]);
        check(&["a", "b", "a"], &["a"]);
        check(&["a", "b", "b", "a"], &["b", "a"]);
    }

    #[test]
    fn a_trace_with_one_unknown_label_waits_whole() {
        let (vocabulary, texts) = check(&["a", "a b"], &["a"]);
        assert_eq!(
            vocabulary.tokens(&trace(&texts, &["a", "b"])),
            Err(BelowFloor)
        );
        assert_eq!(
            vocabulary.tokens(&trace(&texts, &["a", "a"])),
            Ok(vec![Token(0); 2])
        );
    }

    #[test]
    fn a_full_vocabulary_takes_no_more() {
        let (vocabulary, _) = check(
            &["a", "a", "b", "b", "c", "c", "d", "d", "e", "e"],
            &["a", "b", "c", "d"],
        );
        assert_eq!(vocabulary.waiting(), 1);
    }

    #[test]
    fn labels_that_never_reach_the_floor_do_not_pile_up() {
        let names: Vec<String> = (0..1000).map(|number| format!("once{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (vocabulary, _) = check(&names, &[]);
        assert!(vocabulary.waiting() <= 4 * WAITING_PER_KNOWN);
    }

    #[test]
    fn a_dump_loads_with_the_same_tokens_and_no_counts_below_the_floor() {
        let (vocabulary, _) = check(&["a", "b a", "b", "c"], &["a", "b"]);
        let json = serde_json::to_string(&vocabulary.dump()).unwrap();
        assert!(!json.contains("\"c\""));
        let texts = Interner::default();
        let loaded = Vocabulary::load(&serde_json::from_str(&json).unwrap(), 1, 4, &texts);
        assert_eq!(known(&loaded), ["a", "b"]);
        assert_eq!(loaded.dump(), vocabulary.dump());
        assert_eq!(
            loaded.tokens(&trace(&texts, &["b", "a"])),
            Ok(vec![Token(1), Token(0)])
        );
        assert_eq!(loaded.waiting(), 0);
    }

    #[test]
    fn a_sampled_trace_reads_as_an_observed_one() {
        let (vocabulary, texts) = check(&["a", "a", "b", "b"], &["a", "b"]);
        let span = |parent, token| super::super::SampledSpan {
            parent,
            token: Token(token),
            status: StatusCode::Unset,
            profile: 0,
            start: 0,
            duration: 1,
        };
        let mut sampled = Sampled {
            spans: vec![span(None, 0), span(Some(0), 1)],
            links: Vec::new(),
        };
        assert_eq!(
            vocabulary.observed(&sampled),
            Ok(trace(&texts, &["a", "b"]))
        );
        sampled.spans[1].token = Token(9);
        assert!(vocabulary.observed(&sampled).is_err());
    }
}
