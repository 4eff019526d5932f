//! The `admin` extension: a page that shows both pipelines side by side, and the API behind it.

mod api;
mod config;
mod connections;
mod guard;
mod page;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::api::Shared;
use self::connections::Connections;
use self::guard::Hosts;
use crate::connector::Board;

pub use self::config::AdminConfig;

/// How long connections may take to end after the stop, before they are left to themselves.
const PATIENCE: Duration = Duration::from_secs(1);

/// The extension, its port bound.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    hosts: Hosts,
}

impl Admin {
    /// Binds the port.
    pub async fn bind(config: &AdminConfig) -> std::io::Result<Self> {
        let listener = TcpListener::bind(config.endpoint.to_bind()).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            hosts: Hosts::new(config),
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the page of these synthesizers, by id, until `stop`, which ends open streams too.
    pub async fn run(self, boards: Vec<(String, Arc<Board>)>, stop: CancellationToken) {
        let shared = Arc::new(Shared::new(boards, stop.clone()));
        let router = router(shared, Arc::new(self.hosts));
        let serve = axum::serve(Connections::new(self.listener), router)
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let out_of_patience = async {
            stop.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            served = serve => {
                if let Err(fault) = served {
                    tracing::warn!(%fault, "admin ended");
                }
            }
            () = out_of_patience => {}
        }
    }
}

fn router(shared: Arc<Shared>, hosts: Arc<Hosts>) -> Router {
    let mut router = Router::new()
        .route("/api/snapshot", get(api::snapshot))
        .route("/api/stream", get(stream::stream))
        .with_state(shared);
    for file in page::FILES {
        router = router.route(file.path, get(move || async move { file.answer() }));
    }
    router
        .fallback(|| async {
            let text = "There is nothing here. The page is at /, its figures at /api/snapshot and /api/stream.";
            plain(StatusCode::NOT_FOUND, text)
        })
        .method_not_allowed_fallback(|| async {
            let text = "Nothing can be changed here: only GET and HEAD are answered.";
            plain(StatusCode::METHOD_NOT_ALLOWED, text)
        })
        .layer(middleware::from_fn_with_state(hosts, guard::guard))
}

/// An answer for a reader of words.
fn plain(status: StatusCode, text: &str) -> Response {
    let mut answer = (status, format!("{text}\n")).into_response();
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

#[cfg(test)]
mod tests;
