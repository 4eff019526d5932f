//! What the page asks for: the whole picture of one synthesizer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plain;
use crate::connector::{Board, BoardSnapshot};

/// A picture this old is made anew when somebody asks.
const FRESH: Duration = Duration::from_millis(200);
/// Streams at a time.
pub(super) const STREAMS: usize = 16;

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) boards: Vec<Shown>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
    started: Instant,
}

/// A board, by the id of its synthesizer, with its last picture.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) board: Arc<Board>,
    picture: Mutex<Option<(Instant, Bytes)>>,
}

/// The answer of `/api/snapshot`.
#[derive(Debug, Serialize)]
struct Snapshot<'a> {
    version: &'static str,
    uptime_seconds: f64,
    synthesizers: Vec<&'a str>,
    /// The one that is shown; none where no synthesizer runs.
    synthesizer: Option<&'a str>,
    board: Option<BoardSnapshot>,
}

impl Shared {
    pub(super) fn new(boards: Vec<(String, Arc<Board>)>, stop: CancellationToken) -> Self {
        let shown = |(id, board)| Shown {
            id,
            board,
            picture: Mutex::new(None),
        };
        Self {
            boards: boards.into_iter().map(shown).collect(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            stop,
            started: Instant::now(),
        }
    }

    pub(super) fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn render(&self, shown: Option<usize>) -> serde_json::Result<Bytes> {
        let shown = shown.and_then(|at| self.boards.get(at));
        let snapshot = Snapshot {
            version: VERSION,
            uptime_seconds: self.uptime_seconds(),
            synthesizers: self.boards.iter().map(|shown| shown.id.as_str()).collect(),
            synthesizer: shown.map(|shown| shown.id.as_str()),
            board: shown.map(|shown| shown.board.snapshot()),
        };
        serde_json::to_vec(&snapshot).map(Bytes::from)
    }
}

/// `/api/snapshot`: of the synthesizer that is asked for, or the first.
pub(super) async fn snapshot(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes())
        .find_map(|(key, value)| (key == "synthesizer").then_some(value));
    let at = match asked {
        None if shared.boards.is_empty() => {
            return json(shared.render(None).map_err(|fault| fault.to_string()));
        }
        None => 0,
        Some(id) => match shared.boards.iter().position(|shown| shown.id == *id) {
            Some(at) => at,
            None => {
                let text = "No synthesizer has that id; /api/snapshot lists those there are.";
                return plain(StatusCode::NOT_FOUND, text);
            }
        },
    };
    let Some(shown) = shared.boards.get(at) else {
        return json(Err("the synthesizer is gone".to_owned()));
    };
    // Who comes while a picture is made waits for that one, so that many readers cost one copy.
    let mut picture = shown.picture.lock().await;
    if let Some((made, bytes)) = picture.as_ref()
        && made.elapsed() < FRESH
    {
        return json(Ok(bytes.clone()));
    }
    let render = {
        let shared = shared.clone();
        tokio::task::spawn_blocking(move || shared.render(Some(at)))
    };
    let rendered = match render.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(fault)) => Err(fault.to_string()),
        Err(fault) => Err(fault.to_string()),
    };
    *picture = rendered.clone().ok().map(|bytes| (Instant::now(), bytes));
    json(rendered)
}

fn json(rendered: Result<Bytes, String>) -> Response {
    match rendered {
        Ok(bytes) => {
            let kind = HeaderValue::from_static("application/json");
            ([(CONTENT_TYPE, kind)], bytes).into_response()
        }
        Err(fault) => {
            tracing::warn!(%fault, "the picture for the page could not be made");
            let text = "The picture could not be made; the log says why.";
            plain(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}
