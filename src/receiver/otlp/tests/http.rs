//! Each row of the answer table, over HTTP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";
const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";
const SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"01010101010101010101010101010101","spanId":"0101010101010101","name":"GET /1","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}"#;

/// Sends raw bytes and reads until the server closes.
pub(super) async fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    show(&answer)
}

/// Status, telling headers, and what the body says.
fn show(answer: &[u8]) -> String {
    let end = memchr::memmem::find(answer, b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let body = answer.get(end + 4..).unwrap_or_default();
    let mut shown = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut content_type = "";
    for line in head.lines().skip(1) {
        match line.split_once(": ").unwrap() {
            (name @ ("retry-after" | "allow"), value) => {
                shown.push_str(&format!(" {name}={value}"));
            }
            ("content-type", value) => content_type = value,
            _ => {}
        }
    }
    let body = match content_type {
        "application/x-protobuf" if shown == "200" => format!("{} bytes", body.len()),
        "application/x-protobuf" => {
            let status = RpcStatus::decode(body).unwrap();
            format!("status {} {}", status.code, status.message)
        }
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    format!("{shown} {content_type} {body}")
}

pub(super) fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn check(bytes: &[u8], expected: &str) {
    let served = serve().await;
    let answer = exchange(served.http, bytes).await;
    assert!(answer.starts_with(expected), "{answer}");
    served.end().await;
}

fn encoded(content_type: &str, encoding: &str) -> String {
    format!("{content_type}Content-Encoding: {encoding}\r\n")
}

#[tokio::test]
async fn good_bytes_go_on_as_they_came_however_they_were_packed() {
    let bytes = request([1, 2]);
    for call in [
        post(PROTOBUF, &bytes),
        post(&encoded(PROTOBUF, "identity"), &bytes),
        post(&encoded(PROTOBUF, "gzip"), &gzip(&bytes)),
        post(&encoded(PROTOBUF, "zstd"), &zstd(&bytes)),
    ] {
        let served = serve().await;
        let answer = exchange(served.http, &call).await;
        assert_eq!(answer, "200 application/x-protobuf 0 bytes");
        assert_eq!(served.taken().await, bytes);
        served.end().await;
    }
}

#[tokio::test]
async fn a_body_in_chunks_is_the_same_body() {
    let bytes = request([1]);
    let (a, b) = bytes.split_at(7);
    let mut call = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{PROTOBUF}Transfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for part in [a, b, b""] {
        call.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        call.extend_from_slice(part);
        call.extend_from_slice(b"\r\n");
    }
    let served = serve().await;
    let answer = exchange(served.http, &call).await;
    assert_eq!(answer, "200 application/x-protobuf 0 bytes");
    assert_eq!(served.taken().await, bytes);
    served.end().await;
}

#[tokio::test]
async fn json_is_answered_in_json() {
    for call in [
        post(JSON, SPAN.as_bytes()),
        post(&encoded(JSON, "gzip"), &gzip(SPAN.as_bytes())),
    ] {
        let served = serve().await;
        let answer = exchange(served.http, &call).await;
        assert_eq!(answer, "200 application/json {}");
        let taken = ExportTraceServiceRequest::decode(served.taken().await).unwrap();
        let expected = ExportTraceServiceRequest::decode(&request([1])[..]).unwrap();
        assert_eq!(taken, expected);
        served.end().await;
    }
    check(
        post(JSON, b"{").as_slice(),
        r#"400 application/json {"code":3,"#,
    )
    .await;
}

#[tokio::test]
async fn an_empty_request_is_a_success() {
    check(&post(PROTOBUF, b""), "200 application/x-protobuf 0 bytes").await;
    check(&post(JSON, b"{}"), "200 application/json {}").await;
}

#[tokio::test]
async fn bad_spans_are_cut_out_and_the_first_reason_is_named() {
    let served = serve().await;
    let answer = exchange(served.http, &post(PROTOBUF, &request([1, 0, 2]))).await;
    assert!(
        answer.starts_with("200 application/x-protobuf "),
        "{answer}"
    );
    assert_ne!(answer, "200 application/x-protobuf 0 bytes");
    assert_eq!(served.taken().await, request([1, 2]));
    let bad = SPAN.replace("0101010101010101\",\"name", "\",\"name");
    let answer = exchange(served.http, &post(JSON, bad.as_bytes())).await;
    assert!(answer.contains(r#""rejectedSpans":"1""#), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn what_can_not_be_decoded_is_told_in_the_form_it_came_in() {
    let bad = "400 application/x-protobuf status 3 ";
    check(&post(PROTOBUF, b"\xff\xff"), bad).await;
    check(&post(&encoded(PROTOBUF, "gzip"), b"not gzip"), bad).await;
    check(&post(&encoded(PROTOBUF, "zstd"), &gzip(&request([1]))), bad).await;
    check(&post(JSON, b"not json"), "400 application/json ").await;
}

#[tokio::test]
async fn what_is_too_large_is_told_so_whether_packed_or_not() {
    let over = "413 application/x-protobuf status 8 the request is longer than 1048576 bytes";
    let large = vec![0; (1 << 20) + 1];
    check(&post(&encoded(PROTOBUF, "gzip"), &gzip(&large)), over).await;
    check(&post(&encoded(PROTOBUF, "zstd"), &zstd(&large)), over).await;
    // Told by its length, before the body comes.
    let announced = post(PROTOBUF, b"");
    let announced = String::from_utf8(announced).unwrap();
    let announced = announced.replace("Content-Length: 0", "Content-Length: 1048577");
    check(announced.as_bytes(), over).await;
}

#[tokio::test]
async fn a_refusal_reaches_a_sender_that_sends_everything_before_it_reads() {
    // Longer than what the sockets of both sides hold.
    let large = vec![0; 64 << 20];
    check(&post(PROTOBUF, &large), "413 ").await;
    check(&post("Content-Type: text/html\r\n", &large), "415 ").await;
    check(&post(&encoded(PROTOBUF, "br"), &large), "415 ").await;
}

#[tokio::test]
async fn a_full_queue_tells_the_sender_when_to_try_again() {
    let served = serve().await;
    served.fill().await;
    let answer = exchange(served.http, &post(PROTOBUF, &request([1]))).await;
    assert_eq!(
        answer,
        "503 retry-after=1 application/x-protobuf status 14 the sending queue of otlp_grpc/backend is full; retry in 1s"
    );
    served.end().await;
}

#[tokio::test]
async fn other_types_encodings_methods_and_paths_are_told_what_is_served() {
    check(
        &post("", b"x"),
        "415 text/plain; charset=utf-8 Content-Type must be ",
    )
    .await;
    check(&post("Content-Type: text/html\r\n", b"x"), "415 text/plain").await;
    check(
        &post(&encoded(PROTOBUF, "br"), b"x"),
        "415 application/x-protobuf status 12 unknown content encoding",
    )
    .await;
    let text = |request: Vec<u8>| String::from_utf8(request).unwrap();
    let get = text(post(PROTOBUF, b"")).replace("POST", "GET");
    check(get.as_bytes(), "405 allow=POST ").await;
    let elsewhere = text(post(PROTOBUF, b"")).replace("/v1/traces", "/v1/logs");
    check(elsewhere.as_bytes(), "404 ").await;
}

#[tokio::test]
async fn http_at_the_grpc_port_is_told_where_to_go() {
    let served = serve().await;
    let answer = exchange(served.grpc, &post(PROTOBUF, &request([1]))).await;
    assert!(answer.starts_with("415 text/plain"), "{answer}");
    assert!(
        answer.contains("this port speaks OTLP over gRPC"),
        "{answer}"
    );
    served.end().await;
}

#[tokio::test]
async fn a_request_with_giant_headers_is_turned_away() {
    let giant = format!("X-Giant: {}\r\n", "a".repeat(1 << 20));
    let served = serve().await;
    let answer = exchange(served.http, &post(&giant, b"")).await;
    assert!(
        answer.starts_with("431") || answer.trim().is_empty(),
        "{answer}"
    );
    let answer = exchange(served.http, &post(PROTOBUF, &request([1]))).await;
    assert_eq!(answer, "200 application/x-protobuf 0 bytes");
    served.end().await;
}
