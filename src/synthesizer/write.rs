//! Synthetic traces to OTLP bytes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Identity;
use crate::features::{Moment, Profile, Sampled, Value, Word};
use crate::otlp::Payload;
use crate::otlp::template::{Likeness, Patch, ResourceTemplate, SpanTemplates};
use crate::otlp::view::ValueView;
use crate::trace::{Link, SpanId};

/// The attribute of each resource that says that its spans are no observed ones.
pub const MARK: &str = "doppelspan.synthetic";
/// The name of the instrumentation scope of synthetic spans.
const SCOPE: &str = "doppelspan";

/// Writes traces into one request after another.
///
/// In the steady state it allocates a request's bytes and nothing else: spans are collected in a
/// buffer for each service, which it keeps.
#[derive(Debug)]
pub struct Writer {
    templates: SpanTemplates,
    /// For each template, where its events stand in the span.
    moments: Vec<Box<[Moment]>>,
    words: Vec<Prepared>,
    groups: Vec<Group>,
    /// Groups that have spans, in the order in which they got their first.
    open: Vec<u32>,
    spans: usize,
    /// Ids of the spans of the trace that is being added.
    ids: Vec<SpanId>,
    /// Its links, by the span that carries them.
    links: Vec<Link>,
    /// Times of the events of the span that is being added.
    times: Vec<u64>,
}

/// What a word stands for, prepared.
#[derive(Debug, Clone, Copy)]
struct Prepared {
    /// The position of its service.
    service: u32,
    /// The template of its first profile; those of the others follow.
    first: u32,
    /// Profiles.
    slots: u32,
}

/// The spans of one service.
#[derive(Debug)]
struct Group {
    template: ResourceTemplate,
    spans: Vec<u8>,
}

impl Writer {
    /// Prepares a span for each profile of each word, and a resource for each service. The words are those
    /// that the tokens of the traces to come stand for.
    pub fn new(words: &[Word]) -> Self {
        Self::with(words, &[])
    }

    /// As [`new`](Self::new), with further attributes of every resource, which whoever asked for the
    /// traces chose.
    pub fn with(words: &[Word], resource: &[(&str, ValueView<'_>)]) -> Self {
        let mut templates = SpanTemplates::default();
        let mut groups = Vec::new();
        let mut numbers: HashMap<Arc<str>, u32> = HashMap::new();
        let mut prepared = Vec::with_capacity(words.len());
        let mut moments = Vec::new();
        let bare = [Arc::<Profile>::default()];
        for word in words {
            let first = templates.len() as u32;
            let profiles = match word.profiles.as_slice() {
                [] => bare.as_slice(),
                profiles => profiles,
            };
            for profile in profiles {
                add(&mut templates, word, profile);
                let events = profile.events().iter();
                moments.push(events.map(|event| event.at).collect());
            }
            let service = *numbers.entry(word.service.clone()).or_insert_with(|| {
                groups.push(Group {
                    template: ResourceTemplate::with(&word.service, MARK, SCOPE, resource),
                    spans: Vec::new(),
                });
                groups.len() as u32 - 1
            });
            prepared.push(Prepared {
                service,
                first,
                slots: word.slots(),
            });
        }
        Self {
            templates,
            moments,
            words: prepared,
            groups,
            open: Vec::new(),
            spans: 0,
            ids: Vec::new(),
            links: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Adds a trace whose root starts at `start_unix_nano` (ns since the epoch), with new ids.
    /// Spans that would start before the epoch start at it.
    ///
    /// Events stand where their profile says, by chance within that part of their span.
    ///
    /// Whether it was added: one that names a token beyond the words, a profile that its token does
    /// not have, a parent that does not come before its child, or a link to no span, is not, and
    /// nothing of it is written.
    pub fn add(
        &mut self,
        sampled: &Sampled,
        start_unix_nano: u64,
        identity: &mut Identity,
    ) -> bool {
        if !self.can_write(sampled) {
            return false;
        }
        let trace_id = identity.trace_id();
        self.ids.clear();
        self.ids
            .extend(sampled.spans.iter().map(|_| identity.span_id()));
        self.links.clear();
        self.links.extend_from_slice(&sampled.links);
        self.links.sort_unstable();
        let mut links = self.links.as_slice();
        for (at, (span, &span_id)) in sampled.spans.iter().zip(&self.ids).enumerate() {
            let start = start_unix_nano.saturating_add_signed(span.start);
            let parent = span.parent.map(|parent| self.ids[parent as usize]);
            let end = start.saturating_add(span.duration);
            let Prepared { service, first, .. } = self.words[span.token.0 as usize];
            let template = (first + span.profile) as usize;
            self.times.clear();
            for moment in &self.moments[template] {
                let gone = moment.share(identity.share()) * (end - start) as f64;
                self.times.push(start.saturating_add(gone as u64).min(end));
            }
            self.times.sort_unstable();
            let patch = Patch {
                trace_id,
                span_id,
                parent,
                start,
                end,
                status: span.status,
                events: &self.times,
            };
            let out = &mut self.groups[service as usize].spans;
            if out.is_empty() {
                self.open.push(service);
            }
            let own = links.partition_point(|link| link.from as usize == at);
            if own == 0 {
                self.templates.write(out, template, &patch);
            } else {
                let targets = links[..own].iter().map(|link| self.ids[link.to as usize]);
                self.templates.write_linked(out, template, &patch, targets);
                links = &links[own..];
            }
        }
        self.spans += sampled.spans.len();
        true
    }

    fn can_write(&self, sampled: &Sampled) -> bool {
        let length = sampled.spans.len();
        let mut spans = sampled.spans.iter().enumerate();
        let mut links = sampled.links.iter();
        spans.all(|(at, span)| {
            let word = self.words.get(span.token.0 as usize);
            word.is_some_and(|word| span.profile < word.slots)
                && span.parent.is_none_or(|parent| (parent as usize) < at)
        }) && links.all(|link| (link.from as usize) < length && (link.to as usize) < length)
    }

    /// Spans in the request so far.
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// Bytes of the request so far.
    pub fn bytes(&self) -> usize {
        let open = self.open.iter();
        let groups = open.map(|&service| &self.groups[service as usize]);
        groups
            .map(|group| group.template.len_with(group.spans.len()))
            .sum()
    }

    /// The request, the protobuf bytes of an `ExportTraceServiceRequest`; the next one is begun.
    /// Empty if nothing was added.
    pub fn take(&mut self) -> Payload {
        let mut bytes = Vec::with_capacity(self.bytes());
        for service in self.open.drain(..) {
            let group = &mut self.groups[service as usize];
            group.template.write(&mut bytes, &group.spans);
            group.spans.clear();
        }
        Payload::new(bytes.into(), std::mem::take(&mut self.spans))
    }
}

/// Prepares spans of a word with one of its profiles.
fn add(templates: &mut SpanTemplates, word: &Word, profile: &Profile) {
    let attributes = views(profile.attributes());
    let pairs: Vec<_> = profile
        .events()
        .iter()
        .map(|event| views(&event.attributes))
        .collect();
    let events = profile.events().iter().zip(&pairs);
    let events: Vec<_> = events
        .map(|(event, pairs)| (&*event.name, pairs.as_slice()))
        .collect();
    templates.add(&Likeness {
        name: &word.operation,
        kind: word.kind,
        attributes: &attributes,
        events: &events,
    });
}

fn views(pairs: &[(Arc<str>, Value)]) -> Vec<(&str, ValueView<'_>)> {
    let view = |value| match value {
        &Value::Int(number) => ValueView::Int(number),
        &Value::Bool(truth) => ValueView::Bool(truth),
        &Value::Double(bits) => ValueView::Double(f64::from_bits(bits)),
        Value::Text(text) => ValueView::Str(text),
    };
    pairs
        .iter()
        .map(|(key, value)| (&**key, view(value)))
        .collect()
}

#[cfg(test)]
mod tests;
