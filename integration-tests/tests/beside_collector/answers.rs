//! What an answer says, in words.

use std::io::Read as _;

use integration_tests::http::Answer;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::Code;

use super::calls::content_type;

/// An answer: status, content type (`in kind`, if it is the request's), kind of body, and whether it
/// says when to come again.
pub fn shown(way: &str, answer: &Answer) -> String {
    let typed = answer.header("content-type");
    let mut words = Vec::new();
    if !answer.header("grpc-status").is_empty() {
        let code = Code::from_bytes(answer.header("grpc-status").as_bytes());
        words.push(format!("{code:?}"));
        if answer.status != 200 {
            words.push(format!("HTTP {}", answer.status.as_u16()));
        }
        if typed != "application/grpc" {
            words.push(typed.to_owned());
        }
        if code == Code::Ok {
            let packed = answer.body.first() == Some(&1);
            let message = answer.body.get(5..).unwrap_or_default();
            words.push(match (packed, answer.header("grpc-encoding")) {
                (false, _) => response(message),
                (true, "gzip") => response(&inflated(flate2::read::GzDecoder::new(message))),
                (true, _) => match zstd::Decoder::new(message) {
                    Ok(packed) => response(&inflated(packed)),
                    Err(_) => "unreadable".to_owned(),
                },
            });
        }
        if !answer.header("grpc-status-details-bin").is_empty() {
            words.push("RetryInfo".to_owned());
        }
        return words.join(", ");
    }
    words.push(answer.status.as_u16().to_string());
    let kind = typed.split(';').next().unwrap_or_default();
    words.push(match kind {
        "" => "no content type".to_owned(),
        kind if kind == content_type(way) => "in kind".to_owned(),
        kind => kind.to_owned(),
    });
    words.push(match (kind, answer.status.is_success()) {
        (_, false) if answer.body.is_empty() => "empty".to_owned(),
        ("application/x-protobuf", true) => response(&answer.body),
        ("application/x-protobuf", false) => match status(&answer.body) {
            Some(code) => format!("Status {code:?}"),
            None => "unreadable".to_owned(),
        },
        ("application/json", success) => {
            match serde_json::from_slice::<serde_json::Value>(&answer.body) {
                Ok(body) if success => match body["partialSuccess"]["rejectedSpans"].as_str() {
                    Some(rejected) => format!("{rejected} rejected"),
                    None => "all taken".to_owned(),
                },
                Ok(body) => match body["code"].as_i64() {
                    Some(code) => format!("Status {:?}", Code::from_i32(code as i32)),
                    None => format!("{body}"),
                },
                Err(_) => "unreadable".to_owned(),
            }
        }
        _ if answer.body.is_empty() => "empty".to_owned(),
        _ => "a sentence".to_owned(),
    });
    if !answer.header("retry-after").is_empty() {
        words.push("Retry-After".to_owned());
    }
    words.join(", ")
}

fn inflated(source: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match source.take(1 << 20).read_to_end(&mut bytes) {
        Ok(_) => bytes,
        // No response begins so.
        Err(_) => vec![0xff],
    }
}

fn response(bytes: &[u8]) -> String {
    match ExportTraceServiceResponse::decode(bytes) {
        Ok(response) => match response
            .partial_success
            .map(|partial| partial.rejected_spans)
        {
            None | Some(0) => "all taken".to_owned(),
            Some(rejected) => format!("{rejected} rejected"),
        },
        Err(_) => "unreadable".to_owned(),
    }
}

/// The code of a `google.rpc.Status`.
fn status(bytes: &[u8]) -> Option<Code> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    let status = Status::decode(bytes).ok()?;
    Some(Code::from_i32(status.code))
}
