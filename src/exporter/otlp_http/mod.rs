//! The `otlp_http` exporter: one POST a request, protobuf or JSON.

mod config;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use serde::Deserialize;

use super::Compression;
use super::client::{Answer, Client, Connections};
use super::failure::{Accepted, Failure};
use crate::otlp::Payload;
use crate::pipeline::off_reactor;

pub use config::{Config, Encoding};

/// Posts to one backend.
#[derive(Debug)]
pub(super) struct Poster {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    compression: Compression,
    encoding: Encoding,
}

impl Poster {
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let idle = config.idle_conn_timeout;
        let connections = Connections {
            idle: (!idle.is_zero()).then(|| idle.duration()),
            ..Connections::default()
        };
        let mut headers = config.headers.map();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(match config.encoding {
                Encoding::Proto => "application/x-protobuf",
                Encoding::Json => "application/json",
            }),
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("doppelspan/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(name) = config.compression.name() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        Ok(Self {
            client: Client::new(&config.tls, connections)?,
            uri: address(&config.endpoint, &config.traces_endpoint)?,
            headers,
            compression: config.compression,
            encoding: config.encoding,
        })
    }

    pub(super) async fn send(&self, payload: &Payload) -> Result<Accepted, Failure> {
        let message = match self.encoding {
            Encoding::Proto => payload.bytes().clone(),
            Encoding::Json => {
                let mut json = Vec::new();
                off_reactor(|| super::json::write(payload.bytes(), &mut json))
                    .map_err(Failure::lasting)?;
                json.into()
            }
        };
        let message = self.compression.pack(&message);
        let message = message.map_err(|fault| Failure::lasting(fault.to_string()))?;
        let mut request = Request::post(self.uri.clone())
            .body(())
            .map_err(|fault| Failure::lasting(fault.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.send(request, Bytes::new(), message).await?;
        read(&answer)
    }
}

fn read(answer: &Answer) -> Result<Accepted, Failure> {
    let kind = answer.headers.get(header::CONTENT_TYPE);
    let json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if answer.status.is_success() {
        // A body that can't be read says no more than the status, which was good.
        let response: Option<ExportTraceServiceResponse> = if json {
            serde_json::from_slice(&answer.body).ok()
        } else {
            ExportTraceServiceResponse::decode(answer.body.clone()).ok()
        };
        return Ok(super::accepted(response.unwrap_or_default()));
    }
    let told = if json {
        /// The JSON form of `google.rpc.Status`, as far as it is of interest.
        #[derive(Deserialize)]
        struct Told {
            message: String,
        }
        serde_json::from_slice(&answer.body).map_or_else(|_| String::new(), |it: Told| it.message)
    } else {
        let status = tonic_types::pb::Status::decode(answer.body.clone());
        status.map_or_else(|_| String::new(), |status| status.message)
    };
    Err(Failure::of_http(answer.status, &answer.headers, &told))
}

/// Where traces are posted to.
pub(super) fn address(endpoint: &str, traces_endpoint: &str) -> Result<Uri, String> {
    let example = "write a URL, as http://localhost:4318";
    let url = match (endpoint, traces_endpoint) {
        ("", "") => return Err(format!("is missing; {example}")),
        (endpoint, "") => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
        (_, whole) => whole.to_owned(),
    };
    let bad = || format!("`{url}` is no http:// or https:// address; {example}");
    let uri: Uri = url.parse().map_err(|_| bad())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok(uri),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_go_below_the_endpoint_or_where_traces_endpoint_says() {
        let check = |endpoint: &str, traces: &str, expected: &str| {
            let shown = address(endpoint, traces).map_or_else(|fault| fault, |uri| uri.to_string());
            assert_eq!(shown, expected);
        };
        check("http://tempo:4318", "", "http://tempo:4318/v1/traces");
        check(
            "https://x.example/otlp/",
            "",
            "https://x.example/otlp/v1/traces",
        );
        check("http://tempo:4318", "http://b:1/in", "http://b:1/in");
        check("", "", "is missing; write a URL, as http://localhost:4318");
        check(
            "localhost:4318",
            "",
            "`localhost:4318/v1/traces` is no http:// or https:// address; write a URL, as http://localhost:4318",
        );
    }
}
