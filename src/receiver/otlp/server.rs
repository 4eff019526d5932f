//! Listening: accepting connections up to a bound, serving each, draining at the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Idleness};
use super::grpc::Grpc;
use super::http::Http;
use super::reply::Reply;

/// Unread data of one HTTP/2 stream; more than the usual request, so that it comes in one go.
const STREAM_WINDOW: u32 = 4 << 20;
/// Unread data of all streams of one HTTP/2 connection.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// The largest HTTP/2 frame; a request that comes in one frame is not copied.
const FRAME: u32 = 1 << 20;
/// All headers of a request.
const HEADERS: u32 = 16 << 10;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted, as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is behind a port.
#[derive(Debug)]
pub(super) enum Front {
    Grpc(Grpc),
    Http(Http),
}

/// The bounds of connections.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// Connections at once; more wait until one of them ends.
    pub(super) connections: usize,
    /// HTTP/2 streams at once on each.
    pub(super) streams: u32,
    /// How long the headers of a request may take to arrive.
    pub(super) header_timeout: Duration,
    /// When a connection is ended for its silence or its age.
    pub(super) idleness: Idleness,
    /// How often a silent HTTP/2 peer is asked whether it is there, and how long it may take.
    pub(super) keepalive: Option<(Duration, Duration)>,
    /// Whether HTTP/1 connections serve more than one request.
    pub(super) keep_alive: bool,
}

/// A port, bound and not yet served.
pub(super) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    serving: Arc<Serving>,
    connections: usize,
}

struct Serving {
    front: Front,
    tls: Option<TlsAcceptor>,
    builder: auto::Builder<TokioExecutor>,
    idleness: Idleness,
}

impl Server {
    /// What will serve `front` at `listener`.
    pub(super) fn new(
        listener: TcpListener,
        front: Front,
        bounds: &Bounds,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> io::Result<Self> {
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            serving: Arc::new(Serving {
                front,
                tls: tls.map(TlsAcceptor::from),
                builder: builder(bounds),
                idleness: bounds.idleness.clone(),
            }),
            connections: bounds.connections,
        })
    }

    /// The bound address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then answers what is in flight and ends.
    pub(super) async fn run(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.connections));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&self.listener, &room) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let serving = self.serving.clone();
                    let stop = stop.clone();
                    connections.spawn(async move {
                        serving.connection(stream, stop).await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

fn builder(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .keep_alive(bounds.keep_alive)
        .max_headers(100);
    let keepalive = bounds.keepalive;
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS)
        .max_concurrent_streams(bounds.streams)
        .keep_alive_interval(keepalive.map(|(interval, _)| interval));
    if let Some((_, timeout)) = keepalive {
        http2.keep_alive_timeout(timeout);
    }
    builder
}

impl Serving {
    async fn connection(self: Arc<Self>, stream: TcpStream, stop: CancellationToken) {
        // Answers are small and awaited. A socket that won't have it works all the same.
        let _nodelay = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.serve(stream, stop).await,
            Some(tls) => {
                let handshake = tokio::time::timeout(HANDSHAKE, tls.accept(stream));
                let stream = tokio::select! {
                    stream = handshake => stream,
                    () = stop.cancelled() => return,
                };
                if let Ok(Ok(stream)) = stream {
                    self.serve(stream, stop).await;
                }
            }
        }
    }

    async fn serve<S>(self: Arc<Self>, stream: S, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let activity = Activity::new();
        let answer = service_fn(|request| {
            let (serving, stop, busy) = (self.clone(), stop.clone(), activity.begin());
            async move {
                let response = serving.front.answer(request, stop.is_cancelled()).await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), answer);
        let mut connection = pin!(connection);
        let mut ticks = tokio::time::interval(self.idleness.interval());
        let mut asked_to_leave = None;
        loop {
            tokio::select! {
                // What goes wrong on a connection is its peer's to know; requests were answered.
                _ = connection.as_mut() => return,
                () = stop.cancelled(), if asked_to_leave.is_none() => {}
                _ = ticks.tick() => {
                    match asked_to_leave {
                        None if activity.is_over(&self.idleness) => {}
                        None => continue,
                        Some(since) if activity.has_had_its_time(since, &self.idleness) => return,
                        Some(_) => continue,
                    }
                }
            }
            connection.as_mut().graceful_shutdown();
            asked_to_leave = Some(Instant::now());
        }
    }
}

impl Front {
    async fn answer(&self, request: Request<Incoming>, draining: bool) -> Response<Reply> {
        match self {
            Self::Grpc(grpc) => grpc.answer(request, draining).await,
            Self::Http(http) => http.answer(request, draining).await,
        }
    }
}
