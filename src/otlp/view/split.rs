//! One request as several: each with the spans of one trace, or none longer than so many bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::fault::{Fault, Named, Stop};
use super::group::{RESOURCE_SPANS, SCOPE_SPANS, SPANS};
use super::{Limits, WalkError, turned_away};
use crate::otlp::wire::{Reader, len, put_varint, varint_len};
use crate::trace::TraceId;

const TRACE_ID: u32 = len(1);
/// Bytes of a container's key and the longest length that it can have.
const AROUND: usize = 6;

/// A request cut out of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The trace of all its spans, where it was cut by traces.
    pub trace: Option<TraceId>,
    /// Number of spans.
    pub spans: usize,
    /// The protobuf bytes of an `ExportTraceServiceRequest`.
    pub bytes: Bytes,
}

/// Cuts a request that was walked and found good: into one part a trace (`by_trace`), in the
/// order in which traces first appear, and into parts of at most `most` bytes. Every span is in
/// exactly one part, under a copy of all that its resource and scope say; a single span that is
/// longer than `most` by itself makes a part of its own.
///
/// A request that needs no cut is given back as it is, byte for byte.
pub fn split(bytes: &Bytes, by_trace: bool, most: usize) -> Result<Vec<Part>, WalkError> {
    let pieces = Pieces::of(bytes).map_err(|stop| turned_away(stop, &Limits::default()))?;
    let mut by_key: BTreeMap<usize, (Option<TraceId>, Vec<Piece<'_>>)> = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for piece in &pieces.spans {
        let trace = by_trace.then_some(piece.trace);
        let next = numbers.len();
        let number = *numbers.entry(trace).or_insert(next);
        let (_, kept) = by_key.entry(number).or_insert_with(|| (trace, Vec::new()));
        kept.push(*piece);
    }
    if let [(trace, kept)] = &by_key.values().collect::<Vec<_>>()[..]
        && bytes.len() <= most
    {
        return Ok(vec![Part {
            trace: *trace,
            spans: kept.len(),
            bytes: bytes.clone(),
        }]);
    }
    let mut parts = Vec::new();
    for (trace, kept) in by_key.into_values() {
        for chunk in pieces.chunks(&kept, most) {
            parts.push(Part {
                trace,
                spans: chunk.len(),
                bytes: pieces.write(chunk).into(),
            });
        }
    }
    Ok(parts)
}

/// A span and where it lies.
#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    group: usize,
    scope: usize,
    trace: TraceId,
    /// The field, key and length included.
    whole: &'a [u8],
}

/// What a container says of all its spans: its fields but for those that hold them.
#[derive(Debug, Default)]
struct Head<'a>(Vec<&'a [u8]>);

impl Head<'_> {
    fn len(&self) -> usize {
        self.0.iter().map(|field| field.len()).sum()
    }

    fn write(&self, out: &mut Vec<u8>) {
        for field in &self.0 {
            out.extend_from_slice(field);
        }
    }
}

/// A request taken to pieces.
#[derive(Debug, Default)]
struct Pieces<'a> {
    groups: Vec<Head<'a>>,
    scopes: Vec<Head<'a>>,
    spans: Vec<Piece<'a>>,
}

impl<'a> Pieces<'a> {
    fn of(request: &'a [u8]) -> Result<Self, Stop> {
        let mut pieces = Self::default();
        for_each(request, "request", |key, message, _| {
            if key == RESOURCE_SPANS {
                pieces.group(message)?;
            }
            Ok(())
        })?;
        Ok(pieces)
    }

    fn group(&mut self, group: &'a [u8]) -> Result<(), Stop> {
        let mut head = Head::default();
        let number = self.groups.len();
        for_each(group, "ResourceSpans", |key, message, whole| {
            if key == SCOPE_SPANS {
                self.scope(number, message)?;
            } else {
                head.0.push(whole);
            }
            Ok(())
        })?;
        self.groups.push(head);
        Ok(())
    }

    fn scope(&mut self, group: usize, scope: &'a [u8]) -> Result<(), Stop> {
        let mut head = Head::default();
        let number = self.scopes.len();
        for_each(scope, "ScopeSpans", |key, message, whole| {
            if key == SPANS {
                self.spans.push(Piece {
                    group,
                    scope: number,
                    trace: trace_id(message)?,
                    whole,
                });
            } else {
                head.0.push(whole);
            }
            Ok(())
        })?;
        self.scopes.push(head);
        Ok(())
    }

    /// As few runs of pieces as give requests of at most `most` bytes.
    fn chunks<'p>(&self, pieces: &'p [Piece<'a>], most: usize) -> Vec<&'p [Piece<'a>]> {
        let mut chunks = Vec::new();
        let (mut from, mut size) = (0, 0);
        for (at, piece) in pieces.iter().enumerate() {
            let cost = |last: Option<&Piece<'_>>| {
                let mut cost = piece.whole.len();
                if last.is_none_or(|last| last.scope != piece.scope) {
                    cost += self.scopes[piece.scope].len() + AROUND;
                }
                if last.is_none_or(|last| last.group != piece.group) {
                    cost += self.groups[piece.group].len() + AROUND;
                }
                cost
            };
            let more = cost(pieces[from..at].last());
            if at > from && size + more > most {
                chunks.push(&pieces[from..at]);
                (from, size) = (at, cost(None));
            } else {
                size += more;
            }
        }
        chunks.push(&pieces[from..]);
        chunks
    }

    fn write(&self, pieces: &[Piece<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for group in pieces.chunk_by(|a, b| a.group == b.group) {
            let head = &self.groups[group[0].group];
            let scopes = || group.chunk_by(|a, b| a.scope == b.scope);
            let inner = scopes().map(|scope| field_len(self.scope_len(scope)));
            put_varint(&mut out, u64::from(RESOURCE_SPANS));
            put_varint(&mut out, (head.len() + inner.sum::<usize>()) as u64);
            head.write(&mut out);
            for scope in scopes() {
                put_varint(&mut out, u64::from(SCOPE_SPANS));
                put_varint(&mut out, self.scope_len(scope) as u64);
                self.scopes[scope[0].scope].write(&mut out);
                for piece in scope {
                    out.extend_from_slice(piece.whole);
                }
            }
        }
        out
    }

    fn scope_len(&self, scope: &[Piece<'_>]) -> usize {
        let spans = scope.iter().map(|piece| piece.whole.len());
        self.scopes[scope[0].scope].len() + spans.sum::<usize>()
    }
}

/// Bytes of a field with a key of one byte around a message of this length.
fn field_len(message: usize) -> usize {
    1 + varint_len(message) + message
}

/// The fields of a message: key, message (empty where the field holds none), and all of it.
fn for_each<'a>(
    message: &'a [u8],
    name: &'static str,
    mut take: impl FnMut(u32, &'a [u8], &'a [u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut reader = Reader::new(message);
    loop {
        let before = reader.rest();
        let Some(key) = reader.key().of(name)? else {
            return Ok(());
        };
        let inner = if key & 7 == len(0) {
            reader.bytes().of(name)?
        } else {
            reader.pass(key).of(name)?;
            &[]
        };
        take(key, inner, &before[..before.len() - reader.rest().len()])?;
    }
}

fn trace_id(span: &[u8]) -> Result<TraceId, Stop> {
    // Of a field that is there twice the last one counts, as in every protobuf library.
    let mut found: &[u8] = &[];
    for_each(span, "span", |key, value, _| {
        if key == TRACE_ID {
            found = value;
        }
        Ok(())
    })?;
    TraceId::from_slice(found)
        .map_err(|fault| Stop::Fault(Fault::new("trace_id", super::fault::What::Id(fault))))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;

    use super::*;
    use crate::otlp::testing::{request, service, span};
    use crate::otlp::view::walk;

    /// Three services with spans of two traces among each other.
    fn mixed() -> Bytes {
        request(vec![
            service("shop", vec![span(1, 1), span(2, 2), span(1, 3)]),
            service("bank", vec![span(2, 4)]),
            service("post", vec![span(1, 5), span(2, 6)]),
        ])
        .encode_to_vec()
        .into()
    }

    /// Each part as `trace:` and its services with their spans.
    fn check(bytes: &Bytes, by_trace: bool, most: usize, expected: &[&str]) {
        let parts = split(bytes, by_trace, most).unwrap();
        let shown: Vec<String> = parts.iter().map(shown).collect();
        assert_eq!(shown, expected);
    }

    fn shown(part: &Part) -> String {
        let walked = walk(&part.bytes, &Limits::default(), &mut ()).unwrap();
        assert_eq!((walked.spans, walked.rejected), (part.spans, 0));
        let request = ExportTraceServiceRequest::decode(part.bytes.clone()).unwrap();
        let mut text = part
            .trace
            .map_or("-".to_owned(), |t| t.to_bytes()[0].to_string());
        for group in request.resource_spans {
            let name = group.resource.unwrap().attributes.remove(0).value.unwrap();
            let scope = &group.scope_spans[0];
            assert_eq!(scope.scope.as_ref().unwrap().name, "tests");
            let spans = scope.spans.iter().map(|span| span.span_id[0].to_string());
            let spans = spans.collect::<Vec<_>>().join(",");
            let name = format!("{:?}", name.value.unwrap());
            let name = name
                .trim_start_matches("StringValue(\"")
                .trim_end_matches("\")");
            text = format!("{text} {name} {spans}");
        }
        text
    }

    #[test]
    fn every_trace_gets_a_request_of_its_own_with_all_its_services() {
        let all = ["1 shop 1,3 post 5", "2 shop 2 bank 4 post 6"];
        check(&mixed(), true, usize::MAX, &all);
    }

    #[test]
    fn a_request_that_needs_no_cut_stays_as_it_is_byte_for_byte() {
        let one: Bytes = request(vec![service("shop", vec![span(1, 1), span(1, 2)])])
            .encode_to_vec()
            .into();
        for (bytes, by_trace) in [(&one, true), (&one, false), (&mixed(), false)] {
            let parts = split(bytes, by_trace, bytes.len()).unwrap();
            assert_eq!(parts.len(), 1);
            assert_eq!(parts[0].bytes, *bytes);
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_spans_and_no_part_is_longer() {
        let one_span = request(vec![service("shop", vec![span(1, 1)])]).encoded_len() + 2 * AROUND;
        let each = [
            "- shop 1", "- shop 2", "- shop 3", "- bank 4", "- post 5", "- post 6",
        ];
        check(&mixed(), false, one_span, &each);
        check(&mixed(), false, 1, &each);
        for most in 1..mixed().len() {
            let parts = split(&mixed(), true, most).unwrap();
            let spans: usize = parts.iter().map(|part| part.spans).sum();
            assert_eq!(spans, 6);
            let fits = |part: &Part| part.spans == 1 || part.bytes.len() <= most;
            assert!(parts.iter().all(fits), "{most}");
        }
    }

    #[test]
    fn fields_that_nobody_knows_go_along_with_their_container() {
        let mut group =
            request(vec![service("shop", vec![span(1, 1), span(2, 2)])]).encode_to_vec();
        // Field 15 of ResourceSpans, a varint: the group's length grows by its three bytes.
        group.extend_from_slice(&[0x78, 0x96, 0x01]);
        let length = group.len() - 3;
        assert_eq!(group[0], 0x0a);
        assert!((127..256).contains(&length), "{length}");
        group[1] = ((length & 0x7f) | 0x80) as u8;
        for part in split(&group.clone().into(), true, usize::MAX).unwrap() {
            let found = part
                .bytes
                .windows(3)
                .any(|three| three == [0x78, 0x96, 0x01]);
            assert!(found);
        }
    }
}
