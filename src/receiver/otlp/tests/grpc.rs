//! Each row of the answer table, over gRPC.

use ::http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use super::*;
use crate::receiver::otlp::grpc::EXPORT;

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], length.as_slice(), message].concat()
}

fn call(encoding: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let mut request = Request::post(format!("http://localhost{EXPORT}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if !encoding.is_empty() {
        request = request.header("grpc-encoding", encoding);
    }
    request.body(Full::from(body)).unwrap()
}

/// What comes back: the HTTP status if it is not 200, else the gRPC status, its retry hint and
/// its message, or the response.
async fn ask(to: SocketAddr, request: Request<Full<Bytes>>) -> String {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let driver = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    drop(sender);
    driver.abort();
    if head.status != 200 {
        let text = body.to_bytes();
        return format!("HTTP {}: {}", head.status.as_u16(), text.escape_ascii());
    }
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = tonic::Status::from_header_map(&trailers)
        .or_else(|| tonic::Status::from_header_map(&head.headers))
        .unwrap();
    if status.code() == tonic::Code::Ok {
        let framed = body.to_bytes();
        let response = ExportTraceServiceResponse::decode(framed.slice(5..)).unwrap();
        return match response.partial_success {
            None => "OK".to_owned(),
            Some(partial) => format!(
                "OK, rejected {}: {}",
                partial.rejected_spans, partial.error_message
            ),
        };
    }
    let details = RpcStatus::decode(status.details()).unwrap();
    let retry = match details.details.first() {
        Some(detail) => {
            assert_eq!(detail.type_url, "type.googleapis.com/google.rpc.RetryInfo");
            assert_eq!(details.code, status.code() as i32);
            assert!(!detail.value.is_empty());
            ", retry"
        }
        None => "",
    };
    format!("{:?}{retry}: {}", status.code(), status.message())
}

async fn check(request: Request<Full<Bytes>>, expected: &str) {
    let served = serve().await;
    let answer = ask(served.grpc, request).await;
    assert!(answer.starts_with(expected), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn good_bytes_go_on_as_they_came_however_they_were_packed() {
    let bytes = request([1, 2]);
    for call in [
        call("", framed(0, &bytes)),
        call("gzip", framed(1, &gzip(&bytes))),
        call("zstd", framed(1, &zstd(&bytes))),
        call("gzip", framed(0, &bytes)),
    ] {
        let served = serve().await;
        assert_eq!(ask(served.grpc, call).await, "OK");
        assert_eq!(served.taken().await, bytes);
        served.end().await;
    }
}

#[tokio::test]
async fn an_empty_request_is_a_success() {
    check(call("", framed(0, b"")), "OK").await;
}

#[tokio::test]
async fn bad_spans_are_cut_out_and_the_first_reason_is_named() {
    let served = serve().await;
    let answer = ask(served.grpc, call("", framed(0, &request([1, 0, 2, 0])))).await;
    assert!(answer.starts_with("OK, rejected 2: "), "{answer}");
    assert!(!answer.ends_with(": "), "{answer}");
    assert_eq!(served.taken().await, request([1, 2]));
    served.end().await;
}

#[tokio::test]
async fn what_can_not_be_decoded_is_not_to_be_sent_again() {
    let bad = "InvalidArgument: ";
    check(call("", framed(0, b"\xff\xff\xff")), bad).await;
    check(call("gzip", framed(1, b"not gzip")), bad).await;
    check(call("zstd", framed(1, b"not zstd")), bad).await;
    // How gRPC answers a packed message whose packing nothing names.
    check(call("", framed(1, &gzip(b"a"))), "Internal: ").await;
    check(call("", framed(0, b"abc")[..6].to_vec()), bad).await;
    check(call("", [framed(0, b""), framed(0, b"")].concat()), bad).await;
    check(call("", Vec::new()), bad).await;
}

#[tokio::test]
async fn what_is_too_large_is_not_to_be_sent_again() {
    let large = vec![0; (1 << 20) + 1];
    let over = "ResourceExhausted: the request is longer than 1048576 bytes";
    check(call("", framed(0, &large)), over).await;
    check(call("gzip", framed(1, &gzip(&large))), over).await;
    check(call("zstd", framed(1, &zstd(&large))), over).await;
    let many = request((0..1200).map(|n| (n % 250) as u8 + 1));
    check(call("", framed(0, &many)), "ResourceExhausted: ").await;
}

#[tokio::test]
async fn a_full_queue_tells_the_sender_to_try_again() {
    let served = serve().await;
    served.fill().await;
    assert_eq!(
        ask(served.grpc, call("", framed(0, &request([1])))).await,
        "Unavailable, retry: the sending queue of otlp_grpc/backend is full; retry in 1s"
    );
    served.end().await;
}

#[tokio::test]
async fn without_a_queue_the_sender_hears_what_the_backend_said() {
    let soon = Some(Duration::from_secs(2));
    for (retryable, code, retry_after, expected) in [
        (true, Code::Unavailable, None, "Unavailable: "),
        (true, Code::Unavailable, soon, "Unavailable, retry: "),
        (true, Code::Aborted, None, "Aborted: "),
        (
            true,
            Code::ResourceExhausted,
            soon,
            "ResourceExhausted, retry: ",
        ),
        // A sender would give up on RESOURCE_EXHAUSTED without a RetryInfo.
        (true, Code::ResourceExhausted, None, "Unavailable: "),
        (false, Code::ResourceExhausted, None, "ResourceExhausted: "),
        (false, Code::InvalidArgument, None, "InvalidArgument: "),
        (false, Code::Internal, None, "Internal: "),
    ] {
        let served = serve_with(&config(), settings(true)).await;
        let (answer, ()) = tokio::join!(
            ask(served.grpc, call("", framed(0, &request([1])))),
            async {
                let refusal = crate::pipeline::Refusal::Undelivered {
                    exporter: "otlp_grpc/backend".to_owned(),
                    message: "no".to_owned(),
                    retryable,
                    code,
                    retry_after,
                };
                let item = served.queue.next().await.unwrap();
                item.done.unwrap().send(Err(refusal)).unwrap();
            }
        );
        assert_eq!(answer, format!("{expected}otlp_grpc/backend: no"));
        served.end().await;
    }
}

#[tokio::test]
async fn what_is_not_spoken_here_is_unimplemented() {
    check(
        call("snappy", framed(1, b"x")),
        "Unimplemented: unknown content encoding",
    )
    .await;
    let mut metrics = call("", framed(0, b""));
    *metrics.uri_mut() =
        "http://localhost/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            .parse()
            .unwrap();
    check(metrics, "Unimplemented: only traces are taken here").await;
}

#[tokio::test]
async fn http_at_the_grpc_port_and_grpc_at_the_http_port_are_told_where_to_go() {
    let mut http = call("", b"{}".to_vec());
    http.headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    check(http, "HTTP 415: this port speaks OTLP over gRPC; ").await;
    let served = serve().await;
    let answer = ask(served.http, call("", framed(0, &request([1])))).await;
    let expected = "Unimplemented: this port speaks OTLP over HTTP; ";
    assert!(answer.starts_with(expected), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn a_real_client_is_served() {
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let served = serve().await;
        let mut client = TraceServiceClient::connect(format!("http://{}", served.grpc))
            .await
            .unwrap()
            .send_compressed(encoding);
        let bytes = request([1, 2, 3]);
        let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
        let response = client.export(request).await.unwrap();
        assert_eq!(response.into_inner().partial_success, None);
        assert_eq!(served.taken().await, bytes);
        served.end().await;
    }
}
