//! What is asked: good requests and bad ones, in each way that they can come.

use std::io::Write as _;

use bytes::Bytes;
use http::Method;
use integration_tests::http::Call;
use integration_tests::raw::EXPORT;
use integration_tests::traffic::{self, Request, spans_mut};
use prost::Message as _;

use super::CAP;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// A request of one trace of five spans, the first of which is named so.
pub fn request(name: &str) -> Request {
    let mut request = traffic::requests(1, 5).remove(0);
    if let Some(span) = spans_mut(&mut request).next() {
        span.name = name.to_owned();
    }
    request
}

fn framed(flag: u8, bytes: &[u8]) -> Bytes {
    let length = (bytes.len() as u32).to_be_bytes();
    [&[flag][..], &length, bytes].concat().into()
}

/// A unary call of these bytes.
fn grpc(headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Call {
    let usual = [("content-type", "application/grpc"), ("te", "trailers")];
    Call::post(EXPORT, &[&usual, headers].concat(), body)
}

/// A request in the form of a way.
pub fn written(way: &str, request: &Request) -> Vec<u8> {
    match way {
        "HTTP JSON" => serde_json::to_vec(request).expect("JSON"),
        _ => request.encode_to_vec(),
    }
}

pub fn content_type(way: &str) -> &'static str {
    match way {
        "HTTP JSON" => "application/json",
        _ => "application/x-protobuf",
    }
}

/// The usual call of a way.
pub fn usual(way: &str, body: Vec<u8>, encoding: &str) -> Call {
    if way == "gRPC" {
        let headers = [("grpc-encoding", encoding)];
        return match encoding {
            "" => grpc(&[], framed(0, &body)),
            _ => grpc(&headers, framed(1, &body)),
        };
    }
    let headers = [
        ("content-type", content_type(way)),
        ("content-encoding", encoding),
    ];
    let headers = &headers[..if encoding.is_empty() { 1 } else { 2 }];
    Call::post("/v1/traces", headers, body)
}

/// Calls that are made in each of the three ways.
pub fn in_each_way(way: &'static str) -> Vec<(&'static str, Call)> {
    let good = written(way, &request("good"));
    let with = |change: fn(&mut opentelemetry_proto::tonic::trace::v1::Span)| {
        let mut request = request("changed");
        spans_mut(&mut request).take(1).for_each(change);
        written(way, &request)
    };
    let long = written(way, &request(&"x".repeat(CAP + 1)));
    let mut calls = vec![
        ("good", usual(way, good.clone(), "")),
        ("good, gzip", usual(way, gzip(&good), "gzip")),
        (
            "good, zstd",
            usual(way, zstd::encode_all(&good[..], 1).expect("zstd"), "zstd"),
        ),
        (
            "empty request",
            usual(way, written(way, &Request::default()), ""),
        ),
        (
            "can't be decoded",
            usual(way, b"\x0a\xff{ this is neither".to_vec(), ""),
        ),
        ("cut off", usual(way, good[..good.len() - 3].to_vec(), "")),
        ("over-large", usual(way, long.clone(), "")),
        ("over-large when inflated", usual(way, gzip(&long), "gzip")),
        (
            "broken gzip",
            usual(way, b"this is no gzip".to_vec(), "gzip"),
        ),
        ("unknown encoding", usual(way, good.clone(), "x-unknown")),
        (
            "trace id of 3 bytes",
            usual(way, with(|span| span.trace_id = vec![1; 3]), ""),
        ),
        (
            "no trace id",
            usual(way, with(|span| span.trace_id = Vec::new()), ""),
        ),
        (
            "trace id of zeros",
            usual(way, with(|span| span.trace_id = vec![0; 16]), ""),
        ),
        (
            "span id of 20 bytes",
            usual(way, with(|span| span.span_id = vec![1; 20]), ""),
        ),
        (
            "no span id",
            usual(way, with(|span| span.span_id = Vec::new()), ""),
        ),
        (
            "parent id of 3 bytes",
            usual(way, with(|span| span.parent_span_id = vec![1; 3]), ""),
        ),
        (
            "end before start",
            usual(way, with(|span| span.end_time_unix_nano = 1), ""),
        ),
        (
            "no name",
            usual(way, with(|span| span.name = String::new()), ""),
        ),
        ("unknown kind", usual(way, with(|span| span.kind = 77), "")),
    ];
    if way != "HTTP JSON" {
        // The name ends the string of one span; its bytes are no UTF-8.
        let mut bytes = written(way, &request("NOT-UTF-8"));
        if let Some(at) = bytes.windows(9).position(|part| part == b"NOT-UTF-8") {
            bytes[at] = 0xff;
        }
        calls.push(("name that is no UTF-8", usual(way, bytes, "")));
    }
    calls
}

/// Calls that only HTTP knows.
pub fn over_http(way: &'static str) -> Vec<(&'static str, Call)> {
    let good = written(way, &request("good"));
    let usual = usual(way, good.clone(), "");
    let post =
        |path: &str, headers: &[(&'static str, &str)]| Call::post(path, headers, good.clone());
    let own = ("content-type", content_type(way));
    let method = |method: Method| Call {
        method,
        ..usual.clone()
    };
    vec![
        (
            "empty body",
            Call {
                body: Bytes::new(),
                ..post("/v1/traces", &[own])
            },
        ),
        ("no content type", post("/v1/traces", &[])),
        (
            "unknown content type",
            post("/v1/traces", &[("content-type", "text/plain")]),
        ),
        (
            "content type with a parameter",
            post(
                "/v1/traces",
                &[("content-type", &format!("{}; charset=utf-8", own.1))],
            ),
        ),
        (
            "content type in capitals",
            post("/v1/traces", &[("content-type", &own.1.to_uppercase())]),
        ),
        ("GET", method(Method::GET)),
        ("PUT", method(Method::PUT)),
        ("OPTIONS", method(Method::OPTIONS)),
        ("HEAD", method(Method::HEAD)),
        ("unknown path", post("/v1/nothing", &[own])),
        ("path of metrics", post("/v1/metrics", &[own])),
        ("path with a slash behind it", post("/v1/traces/", &[own])),
        ("path with a query", post("/v1/traces?a=b", &[own])),
        ("deflate", usual_packed(way, &good, "deflate")),
        (
            "identity",
            post("/v1/traces", &[own, ("content-encoding", "identity")]),
        ),
        (
            "gRPC's content type",
            post("/v1/traces", &[("content-type", "application/grpc")]),
        ),
    ]
}

fn usual_packed(way: &str, bytes: &[u8], encoding: &str) -> Call {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes all");
    usual(way, encoder.finish().expect("a Vec takes all"), encoding)
}

/// Calls that only gRPC knows.
pub fn over_grpc() -> Vec<(&'static str, Call)> {
    let good = request("good").encode_to_vec();
    let usual = grpc(&[], framed(0, &good));
    let to = |path: &str| Call {
        path: path.to_owned(),
        ..usual.clone()
    };
    let typed = |content_type: &str| {
        let headers = [("content-type", content_type), ("te", "trailers")];
        Call::post(EXPORT, &headers, framed(0, &good))
    };
    vec![
        (
            "unknown method",
            to("/opentelemetry.proto.collector.trace.v1.TraceService/Nothing"),
        ),
        ("unknown service", to("/nobody.knows/Export")),
        (
            "service of metrics",
            to("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
        ),
        (
            "content type application/grpc+proto",
            typed("application/grpc+proto"),
        ),
        ("content type application/json", typed("application/json")),
        (
            "packed, encoding unnamed",
            grpc(&[], framed(1, &gzip(&good))),
        ),
        ("no message", grpc(&[], Bytes::new())),
        (
            "message cut off",
            grpc(&[], framed(0, &good).slice(..good.len() - 3)),
        ),
        (
            "two messages",
            grpc(&[], [framed(0, &good), framed(0, &good)].concat()),
        ),
        (
            "GET",
            Call {
                method: Method::GET,
                ..usual.clone()
            },
        ),
    ]
}
