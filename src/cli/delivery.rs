//! Traces on their way to an OTLP backend: the options of whoever sends, in telemetrygen's words,
//! and a count of what became of every span.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::{complain, say};
use crate::chance::Rng;
use crate::config::{ClientTls, ComponentId, Faults, Period};
use crate::exporter::{
    self, Compression, Headers, RetryOnFailure, SendingQueue, Tally, otlp_grpc, otlp_http,
};
use crate::otlp::Payload;
use crate::otlp::view::{self, Limits, SpanView, Visit};
use crate::pipeline::{Outlet, QueueSender, Refusal};
use crate::trace::TraceId;

/// Where these options stand in the help.
const HEADING: &str = "Backend";
/// Requests that wait to be sent, at most; a request holds some two thousand spans.
const WAITING: u32 = 64;
/// How often one who waits for room, or for the end, looks again.
const BEAT: Duration = Duration::from_millis(5);

/// Where to send to and how.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Backend {
    /// `host:port` of an OTLP backend, over gRPC; with --otlp-http over HTTP, and a URL will do;
    /// localhost:4317 or localhost:4318 where it may be left out
    #[arg(long, value_name = "ADDRESS", help_heading = HEADING)]
    pub(super) otlp_endpoint: Option<String>,
    /// Speak OTLP over HTTP (protobuf) in place of gRPC
    #[arg(long, help_heading = HEADING)]
    otlp_http: bool,
    /// The path that --otlp-http writes to
    #[arg(long, value_name = "PATH", default_value = "/v1/traces", help_heading = HEADING)]
    otlp_http_url_path: String,
    /// Talk to the backend without TLS (the default for addresses of this machine)
    #[arg(long, help_heading = HEADING)]
    otlp_insecure: bool,
    /// Take any certificate of the backend; for tests, as anybody can then stand in for it
    #[arg(long, help_heading = HEADING)]
    otlp_insecure_skip_verify: bool,
    /// A header of every request, as `authorization=token`; may be repeated
    #[arg(long = "otlp-header", value_name = "NAME=VALUE", value_parser = header, help_heading = HEADING)]
    otlp_headers: Vec<(String, String)>,
    /// PEM file of the authorities to trust, in place of those that browsers trust
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    ca_cert: Option<String>,
    /// PEM file of this client's certificate, for mutual TLS
    #[arg(long, value_name = "FILE", requires = "client_key", help_heading = HEADING)]
    client_cert: Option<String>,
    /// PEM file of this client's private key
    #[arg(long, value_name = "FILE", requires = "client_cert", help_heading = HEADING)]
    client_key: Option<String>,
    /// How long to try again to send what the backend does not take, before it is given up; 0 for
    /// ever
    #[arg(long, visible_alias = "timeout", default_value = "30s", value_name = "PERIOD", help_heading = HEADING)]
    give_up_after: Period,
    /// Go on after spans were given up; the exit code says all the same that some were
    #[arg(long, help_heading = HEADING)]
    allow_export_failures: bool,
    /// Print the id of each trace, a line each; what is else said goes to standard error
    #[arg(long)]
    print_trace_ids: bool,
}

/// `name=value`; quotes around the value, which telemetrygen asks for, are taken off.
fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no `=`")?;
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    Ok((name.trim().to_owned(), inner.unwrap_or(value).to_owned()))
}

impl Backend {
    /// Whether ids are printed.
    pub(super) fn prints_ids(&self) -> bool {
        self.print_trace_ids
    }

    /// The address, telemetrygen's own if none was given.
    fn address(&self) -> &str {
        match (&self.otlp_endpoint, self.otlp_http) {
            (Some(address), _) => address,
            (None, true) => "localhost:4318",
            (None, false) => "localhost:4317",
        }
    }

    fn tls(&self) -> ClientTls {
        ClientTls {
            insecure: self.otlp_insecure || is_local(self.address()),
            insecure_skip_verify: self.otlp_insecure_skip_verify,
            ca_file: self.ca_cert.clone(),
            cert_file: self.client_cert.clone(),
            key_file: self.client_key.clone(),
            ..ClientTls::default()
        }
    }

    /// The exporter that these options ask for, so many requests on their way at once.
    fn config(&self, requests: u32) -> anyhow::Result<exporter::Config> {
        let (address, tls) = (self.address(), self.tls());
        let headers: Headers = self.otlp_headers.iter().cloned().collect();
        let sending_queue = SendingQueue {
            num_consumers: requests,
            queue_size: WAITING,
            ..SendingQueue::default()
        };
        let retry_on_failure = RetryOnFailure {
            initial_interval: Period::from_millis(200),
            max_interval: Period::from_secs(5),
            max_elapsed_time: self.give_up_after,
            ..RetryOnFailure::default()
        };
        let mut faults = Faults::default();
        let config = if self.otlp_http {
            let config = otlp_http::Config {
                traces_endpoint: url(address, tls.insecure, &self.otlp_http_url_path),
                tls,
                compression: Compression::None,
                headers,
                sending_queue,
                retry_on_failure,
                ..otlp_http::Config::default()
            };
            config.check(&mut faults);
            exporter::Config::OtlpHttp(Box::new(config))
        } else {
            let config = otlp_grpc::Config {
                endpoint: address.to_owned(),
                tls,
                compression: Compression::None,
                headers,
                sending_queue,
                retry_on_failure,
                ..otlp_grpc::Config::default()
            };
            config.check(&mut faults);
            exporter::Config::OtlpGrpc(Box::new(config))
        };
        if let Some(fault) = faults.into_vec().into_iter().next() {
            let option = match fault.path.as_str() {
                path if path.starts_with("headers") => "--otlp-header",
                _ => "--otlp-endpoint",
            };
            anyhow::bail!("{option}: {}", fault.message);
        }
        Ok(config)
    }
}

/// The whole URL: a URL stays what it is, and gets the path if it has none.
fn url(address: &str, insecure: bool, path: &str) -> String {
    let path = path.trim_start_matches('/');
    let scheme = if insecure { "http" } else { "https" };
    let address = address.trim_end_matches('/');
    match address.split_once("://") {
        Some((_, rest)) if rest.contains('/') => address.to_owned(),
        Some(_) => format!("{address}/{path}"),
        None => format!("{scheme}://{address}/{path}"),
    }
}

/// Whether an address is one of this machine.
fn is_local(endpoint: &str) -> bool {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_start_matches("http://");
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}

/// The way to the backend, and what went along it.
pub(super) struct Delivery {
    queue: QueueSender,
    outlet: Outlet,
    tally: std::sync::Arc<Tally>,
    sending: JoinHandle<()>,
    /// Ends the sending where it is.
    deadline: CancellationToken,
    /// Ctrl-C was pressed.
    stopped: CancellationToken,
    address: String,
    goes_on: bool,
    prints_ids: bool,
    given: u64,
    kept: u64,
}

/// What became of all spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Spans that were made, or read.
    made: u64,
    /// Acknowledged.
    sent: u64,
    /// Left out by the backend.
    refused: u64,
    /// Given up.
    failed: u64,
}

impl Delivery {
    /// Opens the way; connects to nothing yet. From now on Ctrl-C and SIGTERM are heard here.
    pub(super) fn open(backend: &Backend, requests: u32, jitter: Rng) -> anyhow::Result<Self> {
        let id: ComponentId = "otlp/backend".parse().map_err(anyhow::Error::msg)?;
        let config = backend.config(requests)?;
        let (queue, exporter) = exporter::bind(&id, &config, jitter)
            .map_err(|fault| anyhow::anyhow!("{}", fault.message))?;
        let tally = exporter.tally();
        let deadline = CancellationToken::new();
        let stopped = CancellationToken::new();
        let mut signals = Signals::listen()?;
        let (first, second) = (stopped.clone(), deadline.clone());
        tokio::spawn(async move {
            signals.next().await;
            complain("ending; what was made is still being sent (a second Ctrl-C gives it up)");
            first.cancel();
            signals.next().await;
            second.cancel();
        });
        Ok(Self {
            outlet: Outlet::new(vec![queue.clone()]),
            queue,
            tally,
            sending: tokio::spawn(exporter.run(deadline.clone())),
            deadline,
            stopped,
            address: backend.address().to_owned(),
            goes_on: backend.allow_export_failures,
            prints_ids: backend.print_trace_ids,
            given: 0,
            kept: 0,
        })
    }

    /// Whether no more is to be made: somebody pressed Ctrl-C, or spans were given up.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.is_cancelled() || self.has_failed()
    }

    /// Sleeps, but not when it is over.
    pub(super) async fn sleep(&self, length: Duration) {
        let mut left = length;
        while !left.is_zero() && !self.is_over() {
            let part = left.min(Duration::from_millis(100));
            tokio::select! {
                () = tokio::time::sleep(part) => {}
                () = self.stopped.cancelled() => {}
            }
            left -= part;
        }
    }

    /// Spans that the backend took so far.
    pub(super) fn sent(&self) -> u64 {
        self.tally.counts().sent
    }

    fn has_failed(&self) -> bool {
        !self.goes_on && self.tally.counts().dropped > 0
    }

    /// Gives a request to the exporter, waiting for room. What is over before there is room is
    /// counted as failed.
    pub(super) async fn give(&mut self, payload: Payload) -> anyhow::Result<()> {
        let spans = payload.spans() as u64;
        if spans == 0 {
            return Ok(());
        }
        loop {
            match self.outlet.offer(&payload).await {
                Ok(()) => {
                    self.given += spans;
                    return Ok(());
                }
                Err(Refusal::Full { .. })
                    if !self.has_failed() && !self.deadline.is_cancelled() =>
                {
                    tokio::time::sleep(BEAT).await;
                }
                Err(_) => {
                    self.kept += spans;
                    return Ok(());
                }
            }
        }
    }

    /// Waits until all was sent or given up, and says what became of it; `made` is what it was, as
    /// `made 5 traces`, and `note` what stands behind the number of spans. A failure unless all of it arrived.
    pub(super) async fn end(mut self, made: &str, note: &str) -> anyhow::Result<ExitCode> {
        self.queue.close();
        loop {
            tokio::select! {
                ended = &mut self.sending => {
                    ended?;
                    break;
                }
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    if self.has_failed() {
                        self.deadline.cancel();
                    }
                }
            }
        }
        let tallied = self.tally.counts();
        let failed = tallied.dropped + tallied.refused + self.kept;
        let counts = Counts {
            made: self.given + self.kept,
            sent: tallied.sent,
            refused: tallied.rejected,
            failed,
        };
        let line = format!(
            "{made} of {} spans{note}; {} took {} spans",
            counts.made, self.address, counts.sent
        );
        if self.prints_ids {
            complain(&line);
        } else {
            say(&line)?;
        }
        if counts.sent == counts.made {
            return Ok(ExitCode::SUCCESS);
        }
        let reason = self.tally.trouble();
        complain(&format!(
            "{} spans did not arrive ({} rejected by the backend, {} given up){}",
            counts.made.saturating_sub(counts.sent),
            counts.refused,
            counts.failed,
            reason.map_or(String::new(), |reason| format!(": {reason}")),
        ));
        Ok(ExitCode::FAILURE)
    }
}

/// The ids of the traces of a request, a line each.
pub(super) fn ids(payload: &Payload) -> anyhow::Result<String> {
    let mut fresh = Fresh::default();
    view::walk(payload.bytes(), &Limits::default(), &mut fresh)?;
    fresh.lines.pop();
    Ok(fresh.lines)
}

#[derive(Default)]
struct Fresh {
    known: HashSet<TraceId>,
    lines: String,
}

impl Visit for Fresh {
    fn span(&mut self, span: &SpanView<'_>) {
        if self.known.insert(span.trace_id) {
            self.lines.push_str(&hex(&span.trace_id.to_bytes()));
            self.lines.push('\n');
        }
    }
}

/// An id as it is printed.
pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headers_value_may_stand_in_quotes() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let seen = header(text).ok();
            let seen = seen.as_ref().map(|(name, value)| (&**name, &**value));
            assert_eq!(seen, expected, "{text}");
        };
        check("x-scope-orgid=demo", Some(("x-scope-orgid", "demo")));
        check(
            "authorization=\"Bearer a=b\"",
            Some(("authorization", "Bearer a=b")),
        );
        check("nothing", None);
    }

    #[test]
    fn an_address_becomes_a_url_and_a_url_stays_one() {
        let check = |address: &str, insecure: bool, expected: &str| {
            assert_eq!(url(address, insecure, "/v1/traces"), expected);
        };
        check("localhost:4318", true, "http://localhost:4318/v1/traces");
        check("tempo:4318", false, "https://tempo:4318/v1/traces");
        check("http://tempo:4318/", false, "http://tempo:4318/v1/traces");
        check(
            "https://x.example/otlp/v1/traces",
            false,
            "https://x.example/otlp/v1/traces",
        );
    }

    #[test]
    fn this_machine_is_spoken_to_without_tls() {
        let check = |address, expected| assert_eq!(is_local(address), expected, "{address}");
        check("localhost:4317", true);
        check("127.0.0.1:4317", true);
        check("[::1]:4317", true);
        check("http://localhost:4317", true);
        check("tempo:4317", false);
        check("localhost.example:4317", false);
    }
}
