use std::fmt::Write as _;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::*;
use crate::otlp::testing::{child, request, service, span};

/// Writes down what it is shown.
#[derive(Default)]
struct Seen(String);

impl Visit for Seen {
    fn resource(&mut self, resource: &ResourceView<'_>) {
        write!(self.0, "[{}]", resource.service).unwrap();
    }

    fn span(&mut self, span: &SpanView<'_>) {
        write!(self.0, " {:x}", span.span_id.to_bytes()[0]).unwrap();
        if let Some(parent) = span.parent {
            write!(self.0, "<{:x}", parent.to_bytes()[0]).unwrap();
        }
        if span.names_itself() {
            self.0.push_str("<itself");
        }
    }
}

/// Walks, and checks what was seen and how it ended. What is good after the cut must be
/// good for prost too, and be seen by a second walk just as by the first.
fn check(bytes: &[u8], expected: &str) {
    let limits = Limits::default();
    let mut seen = Seen::default();
    let told = match walk(bytes, &limits, &mut seen) {
        Ok(walked) => {
            let good = cut(bytes, &limits).unwrap();
            assert_eq!(!walked.needs_cut, good == bytes);
            ExportTraceServiceRequest::decode(&good[..]).unwrap();
            let mut again = Seen::default();
            let second = walk(&good, &limits, &mut again).unwrap();
            assert_eq!((second.spans, second.rejected), (walked.spans, 0));
            assert_eq!(again.0, seen.0);
            match walked.reason {
                Some(reason) => format!("{}; {} rejected: {reason}", seen.0, walked.rejected),
                None => seen.0,
            }
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(told, expected);
}

/// A request of one service, `shop`, with these spans.
fn shop(spans: Vec<Span>) -> Vec<u8> {
    request(vec![service("shop", spans)]).encode_to_vec()
}

#[test]
fn good_spans_are_seen_in_order_under_their_resources() {
    check(b"", "");
    check(
        &request(vec![
            service("shop", vec![span(1, 1), child(1, 2, 1)]),
            service("bank", vec![child(1, 3, 2)]),
        ])
        .encode_to_vec(),
        "[shop] 1 2<1[bank] 3<2",
    );
}

/// `span(1, 2)` between two good spans, changed.
fn check_span(change: impl FnOnce(&mut Span), expected: &str) {
    let mut odd = span(1, 2);
    change(&mut odd);
    check(&shop(vec![span(1, 1), odd, span(1, 3)]), expected);
}

/// One bad span among three, and how its fault reads.
fn check_bad(change: impl FnOnce(&mut Span), fault: &str) {
    check_span(
        change,
        &format!("[shop] 1 3; 1 rejected: span 2 of 3: {fault}"),
    );
}

#[test]
fn a_bad_id_costs_its_span() {
    check_bad(|span| span.trace_id.clear(), "trace_id is missing");
    check_bad(
        |span| span.trace_id.truncate(8),
        "trace_id has 8 bytes, expected 16",
    );
    check_bad(
        |span| span.trace_id.push(1),
        "trace_id has 17 bytes, expected 16",
    );
    check_bad(|span| span.trace_id.fill(0), "trace_id is all zeros");
    check_bad(|span| span.span_id.clear(), "span_id is missing");
    check_bad(
        |span| span.span_id.truncate(7),
        "span_id has 7 bytes, expected 8",
    );
    check_bad(|span| span.span_id.fill(0), "span_id is all zeros");
    check_bad(
        |span| span.parent_span_id = vec![1; 9],
        "parent_span_id has 9 bytes, expected 8",
    );
}

#[test]
fn a_parent_of_zeros_is_none_and_so_is_the_span_itself() {
    check_span(|span| span.parent_span_id = vec![0; 8], "[shop] 1 2 3");
    check_span(
        |span| span.parent_span_id = vec![2; 8],
        "[shop] 1 2<itself 3",
    );
}
