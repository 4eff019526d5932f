//! `otlp`: takes traces over gRPC and HTTP.

mod activity;
mod answer;
mod body;
mod config;
mod grpc;
mod http;
mod inflate;
mod reply;
mod server;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{
    EnforcementPolicy, GrpcConfig, HttpConfig, Keepalive, OtlpConfig, Protocols, ServerParameters,
    Transport,
};

use self::activity::Idleness;
use self::body::Reading;
use self::server::{Bounds, Front, Server};
use crate::config::ListenAddress;
use crate::config::tls::TlsError;
use crate::pipeline::Intake;

/// Why a receiver can't start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is not to be had.
    #[error("{key}.endpoint: can't listen at {endpoint}: {hint}")]
    Listen {
        /// `protocols.grpc` or `protocols.http`.
        key: &'static str,
        /// As written in the config.
        endpoint: ListenAddress,
        /// What to do.
        hint: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or key can't be used.
    #[error("{key}.{fault}")]
    Tls {
        /// `protocols.grpc` or `protocols.http`.
        key: &'static str,
        /// What is wrong.
        fault: TlsError,
    },
}

/// The `otlp` receiver, its ports bound.
pub struct OtlpReceiver {
    grpc: Option<Server>,
    http: Option<Server>,
}

impl OtlpReceiver {
    /// Binds the ports that the config names, without serving them yet. Each transport has an
    /// intake of its own: `intake("grpc")`, `intake("http")`.
    pub async fn bind(
        config: &OtlpConfig,
        mut intake: impl FnMut(&'static str) -> Intake,
    ) -> Result<Self, BindError> {
        let grpc = match config.protocols.grpc.as_ref() {
            Some(grpc) => Some(bind_grpc(grpc, intake("grpc")).await?),
            None => None,
        };
        let http = match config.protocols.http.as_ref() {
            Some(http) => Some(bind_http(http, intake("http")).await?),
            None => None,
        };
        Ok(Self { grpc, http })
    }

    /// Where gRPC is listened for, if it is.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(Server::address)
    }

    /// Where HTTP is listened for, if it is.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(Server::address)
    }

    /// Serves until `stop`; then refuses new requests, answers those in flight, and ends.
    pub async fn run(self, stop: CancellationToken) {
        let serve = async |server: Option<Server>| {
            if let Some(server) = server {
                server.run(stop.clone()).await;
            }
        };
        tokio::join!(serve(self.grpc), serve(self.http));
    }
}

async fn bind_grpc(config: &GrpcConfig, intake: Intake) -> Result<Server, BindError> {
    let key = "protocols.grpc";
    let tls = match &config.tls {
        Some(tls) => Some(
            tls.server_config(&[b"h2"])
                .map_err(|fault| BindError::Tls { key, fault })?,
        ),
        None => None,
    };
    let keepalive = &config.keepalive.server_parameters;
    let bounds = Bounds {
        connections: config.max_connections as usize,
        streams: config.streams(),
        header_timeout: config.read_timeout.duration(),
        idleness: Idleness {
            first: config.read_timeout.duration(),
            idle: config::or_never(keepalive.max_connection_idle),
            age: config::or_never(keepalive.max_connection_age),
            grace: keepalive.max_connection_age_grace.duration(),
        },
        keepalive: config::or_never(keepalive.time)
            .map(|time| (time, keepalive.timeout.duration())),
        keep_alive: true,
    };
    let reading = Reading::new(
        config.cap(),
        (config.max_in_flight_mib as usize) << 20,
        config.read_timeout.duration(),
    );
    let front = Front::Grpc(grpc::Grpc { intake, reading });
    let server = async {
        let listener = TcpListener::bind(config.endpoint.to_bind()).await?;
        Server::new(listener, front, &bounds, tls)
    };
    let listen = |source| cant_listen(key, &config.endpoint, source);
    server.await.map_err(listen)
}

async fn bind_http(config: &HttpConfig, intake: Intake) -> Result<Server, BindError> {
    let key = "protocols.http";
    let tls = match &config.tls {
        Some(tls) => Some(
            tls.server_config(&[b"h2", b"http/1.1"])
                .map_err(|fault| BindError::Tls { key, fault })?,
        ),
        None => None,
    };
    let bounds = Bounds {
        connections: config.max_connections as usize,
        streams: 256,
        header_timeout: config.read_header_timeout.duration(),
        idleness: Idleness {
            first: config.read_header_timeout.duration(),
            idle: config::or_never(config.idle_timeout),
            age: None,
            grace: Duration::from_secs(1),
        },
        keepalive: None,
        keep_alive: config.keep_alives_enabled,
    };
    let reading = Reading::new(
        config.cap(),
        (config.max_in_flight_mib as usize) << 20,
        config.read_timeout.duration(),
    );
    let front = Front::Http(http::Http {
        intake,
        reading,
        traces_url_path: config.traces_url_path.clone(),
    });
    let server = async {
        let listener = TcpListener::bind(config.endpoint.to_bind()).await?;
        Server::new(listener, front, &bounds, tls)
    };
    let listen = |source| cant_listen(key, &config.endpoint, source);
    server.await.map_err(listen)
}

fn cant_listen(key: &'static str, endpoint: &ListenAddress, source: io::Error) -> BindError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another process has the port; end it, or choose another port (0 takes a free one)"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose a higher one",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        _ => "the system refuses it",
    };
    BindError::Listen {
        key,
        endpoint: endpoint.clone(),
        hint,
        source,
    }
}

#[cfg(test)]
mod tests;
