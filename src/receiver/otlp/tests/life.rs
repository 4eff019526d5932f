//! Connections that begin, hang, idle and end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{exchange, post};
use super::*;
use crate::config::{Faults, Period};

const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

/// Every patience is a few milliseconds.
fn impatient() -> OtlpConfig {
    let mut config = config();
    let soon = Period::from_millis(20);
    if let Some(http) = &mut config.protocols.http.0 {
        http.read_timeout = soon;
        http.read_header_timeout = soon;
        http.idle_timeout = soon;
    }
    if let Some(grpc) = &mut config.protocols.grpc.0 {
        grpc.read_timeout = soon;
        grpc.keepalive.server_parameters.max_connection_age_grace = soon;
    }
    config
}

/// What a peer hears that sends these bytes and then nothing more.
async fn check_stalled(bytes: &[u8], grpc: bool, expected: &str) {
    let served = serve_with(&impatient(), settings(false)).await;
    let to = if grpc { served.grpc } else { served.http };
    let answer = exchange(to, bytes).await;
    assert!(answer.starts_with(expected), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn slow_senders_are_given_up() {
    check_stalled(b"POST /v1/traces HTTP/1.1\r\nHos", false, "").await;
    check_stalled(b"", false, "").await;
    check_stalled(b"", true, "").await;
    check_stalled(b"PRI * HTTP/2.0\r\n", true, "").await;
    let cut = post(PROTOBUF, &request([1]));
    check_stalled(&cut[..cut.len() - 1], false, "408 ").await;
}

#[tokio::test]
async fn a_connection_that_is_kept_without_a_request_is_ended() {
    let served = serve_with(&impatient(), settings(false)).await;
    let call = String::from_utf8_lossy(&post(PROTOBUF, b"")).replace("Connection: close\r\n", "");
    let answer = exchange(served.http, call.as_bytes()).await;
    assert_eq!(answer, "200 application/x-protobuf 0 bytes");
    served.end().await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_not_taken() {
    let served = serve().await;
    let call = post(PROTOBUF, &request([1]));
    let mut stream = TcpStream::connect(served.http).await.unwrap();
    stream.write_all(&call[..call.len() - 1]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert!(served.sink.is_empty());
    served.end().await;
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_stop_and_later_ones_find_nobody() {
    let served = serve_with(&config(), settings(true)).await;
    let call =
        tokio::spawn(async move { exchange(served.http, &post(PROTOBUF, &request([1]))).await });
    let item = served.queue.next().await.unwrap();
    served.stop.cancel();
    item.done.unwrap().send(Ok(())).unwrap();
    assert_eq!(call.await.unwrap(), "200 application/x-protobuf 0 bytes");
    served.run.await.unwrap();
    assert!(TcpStream::connect(served.http).await.is_err());
}

#[tokio::test]
async fn a_request_that_begins_while_draining_is_told_to_try_again() {
    let intake = Intake::new("otlp", "http", Limits::default(), Vec::new(), Vec::new());
    let http = super::super::http::Http {
        intake,
        reading: Reading::new(1000, 1000, Duration::from_secs(1)),
        traces_url_path: "/v1/traces".to_owned(),
    };
    let request = ::http::Request::post("/v1/traces")
        .header("content-type", "application/x-protobuf")
        .body(http_body_util::Full::new(Bytes::new()))
        .unwrap();
    let response = http.answer(request, true).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_until_one_ends() {
    let mut bounded = config();
    if let Some(http) = &mut bounded.protocols.http.0 {
        http.max_connections = 1;
    }
    let served = serve_with(&bounded, settings(false)).await;
    let first = TcpStream::connect(served.http).await.unwrap();
    let call = post(PROTOBUF, b"");
    let mut second = std::pin::pin!(exchange(served.http, &call));
    let waited = tokio::time::timeout(Duration::from_millis(20), &mut second).await;
    assert!(waited.is_err());
    drop(first);
    assert_eq!(second.await, "200 application/x-protobuf 0 bytes");
    served.end().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let served = serve().await;
    let mut again = config();
    if let Some(grpc) = &mut again.protocols.grpc.0 {
        grpc.endpoint = served.grpc.to_string().parse().unwrap();
    }
    let intake = |transport| Intake::new("otlp", transport, Limits::default(), vec![], vec![]);
    let error = OtlpReceiver::bind(&again, intake).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "protocols.grpc.endpoint: can't listen at {}: another process has the port; end it, or choose another port (0 takes a free one)",
            served.grpc
        )
    );
    served.end().await;
}

fn check_config(yaml: &str, expected: &str) {
    let shown = match serde_yaml_ng::from_str::<OtlpConfig>(yaml) {
        Ok(config) => {
            let mut faults = Faults::default();
            config.check(&mut faults);
            let faults: Vec<_> = faults.into_vec().iter().map(ToString::to_string).collect();
            faults.join("\n")
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(shown, expected);
}

#[test]
fn a_config_of_the_collector_is_understood() {
    check_config("protocols: { grpc: , http: }", "");
    check_config(
        "protocols:
  grpc:
    endpoint: localhost:0
    transport: tcp
    max_recv_msg_size_mib: 16
    max_concurrent_streams: 16
    read_buffer_size: 524288
    keepalive: { server_parameters: { max_connection_age: 60s, time: 30s } }
  http: { traces_url_path: /traces, include_metadata: true }",
        "",
    );
}

#[test]
fn faults_are_told_with_their_keys() {
    check_config(
        "protocols: {}",
        "protocols: names no transport; write grpc:, http: or both",
    );
    check_config(
        "protocols:
  grpc: { max_recv_msg_size_mib: 2000, max_connections: 0 }
  http: { traces_url_path: traces, read_timeout: 0s }",
        "protocols.grpc.max_recv_msg_size_mib: must be at most 1024, got 2000
protocols.grpc.max_connections: must be at least 1, got 0
protocols.grpc.max_in_flight_mib: must be at least 4000, twice the largest request; got 256
protocols.http.traces_url_path: must begin with a slash, such as /v1/traces; got `traces`
protocols.http.read_timeout: must be longer than 0s, or slow senders hold connections",
    );
}
