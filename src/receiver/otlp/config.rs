//! The config of the `otlp` receiver, with the Collector's keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Faults, ListenAddress, Period, Present, ServerTls};

/// The largest request that any key may allow, MiB.
const LARGEST_MIB: u32 = 1024;

/// `otlp`: takes traces over gRPC, HTTP or both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// The transports; one that is named is on, also with nothing after it.
    pub protocols: Protocols,
}

/// The transports of the `otlp` receiver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protocols {
    /// OTLP over gRPC.
    pub grpc: Present<GrpcConfig>,
    /// OTLP over HTTP, protobuf and JSON.
    pub http: Present<HttpConfig>,
}

/// OTLP over gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Where to listen; port 0 takes a free one.
    pub endpoint: ListenAddress,
    /// `tcp`; nothing else is spoken.
    pub transport: Transport,
    /// TLS, and mutual TLS with `client_ca_file`.
    pub tls: Option<ServerTls>,
    /// Allow an address beyond this machine without TLS.
    pub insecure: bool,
    /// The largest request, on the wire and inflated, MiB.
    pub max_recv_msg_size_mib: u32,
    /// Requests at once on one connection.
    pub max_concurrent_streams: u32,
    /// Connections at once; more wait until one ends.
    pub max_connections: u32,
    /// Requests in flight together, MiB; beyond it senders are told to try again.
    pub max_in_flight_mib: u32,
    /// How long a request may take to arrive.
    pub read_timeout: Period,
    /// How connections are kept, asked after and ended.
    pub keepalive: Keepalive,
    /// Taken so that a Collector's file is read; the buffer grows as it is needed.
    pub read_buffer_size: Option<u64>,
    /// Taken so that a Collector's file is read; the buffer grows as it is needed.
    pub write_buffer_size: Option<u64>,
    /// Taken so that a Collector's file is read; nothing here reads metadata.
    pub include_metadata: bool,
}

/// The network of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP over IPv4 and IPv6.
    #[default]
    Tcp,
}

/// Keepalive of gRPC connections.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// What the server does.
    pub server_parameters: ServerParameters,
    /// What clients may do. Taken so that a Collector's file is read: pings are cheap here.
    pub enforcement_policy: EnforcementPolicy,
}

/// What the server does to keep or end connections; 0 is never.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerParameters {
    /// How long a connection may be without a request.
    pub max_connection_idle: Period,
    /// How long a connection may live.
    pub max_connection_age: Period,
    /// How long a client may take to leave once it was asked to and has nothing in flight.
    pub max_connection_age_grace: Period,
    /// How often a silent client is asked whether it is there.
    pub time: Period,
    /// How long it may take to answer.
    pub timeout: Period,
}

/// What clients may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnforcementPolicy {
    /// The shortest time between a client's pings.
    pub min_time: Period,
    /// Whether it may ping without a request.
    pub permit_without_stream: bool,
}

/// OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to listen; port 0 takes a free one.
    pub endpoint: ListenAddress,
    /// `tcp`; nothing else is spoken.
    pub transport: Transport,
    /// TLS, and mutual TLS with `client_ca_file`.
    pub tls: Option<ServerTls>,
    /// Allow an address beyond this machine without TLS.
    pub insecure: bool,
    /// The path that takes traces.
    pub traces_url_path: String,
    /// Taken so that a Collector's file is read; only traces are served.
    pub metrics_url_path: Option<String>,
    /// Taken so that a Collector's file is read; only traces are served.
    pub logs_url_path: Option<String>,
    /// The largest request, on the wire and inflated, bytes; 0 is the default.
    pub max_request_body_size: u64,
    /// Connections at once; more wait until one ends.
    pub max_connections: u32,
    /// Requests in flight together, MiB; beyond it senders are told to try again.
    pub max_in_flight_mib: u32,
    /// How long the body of a request may take to arrive.
    pub read_timeout: Period,
    /// How long the headers of a request may take to arrive.
    pub read_header_timeout: Period,
    /// How long a connection may be without a request.
    pub idle_timeout: Period,
    /// Whether a connection serves more than one request.
    pub keep_alives_enabled: bool,
    /// Taken so that a Collector's file is read; nothing here reads metadata.
    pub include_metadata: bool,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            endpoint: ListenAddress::localhost(4317),
            transport: Transport::Tcp,
            tls: None,
            insecure: false,
            max_recv_msg_size_mib: 4,
            max_concurrent_streams: 256,
            max_connections: 4096,
            max_in_flight_mib: 256,
            read_timeout: Period::from_secs(60),
            keepalive: Keepalive::default(),
            read_buffer_size: None,
            write_buffer_size: None,
            include_metadata: false,
        }
    }
}

impl Default for ServerParameters {
    fn default() -> Self {
        Self {
            max_connection_idle: Period::from_secs(3600),
            max_connection_age: Period::ZERO,
            max_connection_age_grace: Period::from_secs(1),
            time: Period::from_secs(7200),
            timeout: Period::from_secs(20),
        }
    }
}

impl Default for EnforcementPolicy {
    fn default() -> Self {
        Self {
            min_time: Period::from_secs(300),
            permit_without_stream: false,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            endpoint: ListenAddress::localhost(4318),
            transport: Transport::Tcp,
            tls: None,
            insecure: false,
            traces_url_path: "/v1/traces".to_owned(),
            metrics_url_path: None,
            logs_url_path: None,
            max_request_body_size: 20 << 20,
            max_connections: 4096,
            max_in_flight_mib: 256,
            read_timeout: Period::from_secs(60),
            read_header_timeout: Period::from_secs(60),
            idle_timeout: Period::from_secs(60),
            keep_alives_enabled: true,
            include_metadata: false,
        }
    }
}

impl OtlpConfig {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        faults.below("protocols", |faults| {
            if !self.protocols.grpc.is_on() && !self.protocols.http.is_on() {
                faults.push("", "names no transport; write grpc:, http: or both");
            }
            if let Some(grpc) = self.protocols.grpc.as_ref() {
                faults.below("grpc", |faults| grpc.check(faults));
            }
            if let Some(http) = self.protocols.http.as_ref() {
                faults.below("http", |faults| http.check(faults));
            }
        });
    }
}

impl GrpcConfig {
    fn check(&self, faults: &mut Faults) {
        self.endpoint
            .check_exposure(self.tls.is_some(), self.insecure, faults);
        if let Some(tls) = &self.tls {
            faults.below("tls", |faults| tls.check(faults));
        }
        let largest = self.max_recv_msg_size_mib;
        if largest > LARGEST_MIB {
            let message = format!("must be at most {LARGEST_MIB}, got {largest}");
            faults.push("max_recv_msg_size_mib", message);
        }
        at_least_one("max_connections", self.max_connections, faults);
        let room = u64::from(self.max_in_flight_mib) << 20;
        check_room(room, self.cap(), faults);
        check_time("read_timeout", self.read_timeout, faults);
    }

    /// The largest request, bytes. As in the Collector, 0 is the default.
    pub(super) fn cap(&self) -> usize {
        match self.max_recv_msg_size_mib {
            0 => 4 << 20,
            mib => (mib as usize) << 20,
        }
    }

    /// Requests at once on one connection. As in the Collector, 0 is the default.
    pub(super) fn streams(&self) -> u32 {
        match self.max_concurrent_streams {
            0 => 256,
            streams => streams,
        }
    }
}

impl HttpConfig {
    fn check(&self, faults: &mut Faults) {
        self.endpoint
            .check_exposure(self.tls.is_some(), self.insecure, faults);
        if let Some(tls) = &self.tls {
            faults.below("tls", |faults| tls.check(faults));
        }
        if !self.traces_url_path.starts_with('/') {
            let message = format!(
                "must begin with a slash, such as /v1/traces; got `{}`",
                self.traces_url_path
            );
            faults.push("traces_url_path", message);
        }
        let (largest, size) = (u64::from(LARGEST_MIB) << 20, self.max_request_body_size);
        if size > largest {
            let message = format!("must be at most {largest}, got {size}");
            faults.push("max_request_body_size", message);
        }
        at_least_one("max_connections", self.max_connections, faults);
        let room = u64::from(self.max_in_flight_mib) << 20;
        check_room(room, self.cap(), faults);
        check_time("read_timeout", self.read_timeout, faults);
        check_time("read_header_timeout", self.read_header_timeout, faults);
    }

    /// The largest request, bytes. As in the Collector, 0 is the default.
    pub(super) fn cap(&self) -> usize {
        match self.max_request_body_size {
            0 => 20 << 20,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }
}

/// A period that may be 0, which is never.
pub(super) fn or_never(period: Period) -> Option<Duration> {
    (!period.is_zero()).then_some(period.duration())
}

fn at_least_one(key: &str, value: u32, faults: &mut Faults) {
    if value == 0 {
        faults.push(key, "must be at least 1, got 0");
    }
}

/// A compressed request of the largest size is held packed and unpacked.
fn check_room(room: u64, cap: usize, faults: &mut Faults) {
    if room < 2 * cap as u64 {
        let least = (2 * cap as u64).div_ceil(1 << 20);
        let message = format!(
            "must be at least {least}, twice the largest request; got {}",
            room >> 20
        );
        faults.push("max_in_flight_mib", message);
    }
}

fn check_time(key: &str, period: Period, faults: &mut Faults) {
    if period.is_zero() {
        faults.push(
            key,
            "must be longer than 0s, or slow senders hold connections",
        );
    }
}
