//! `/api/stream`: the figures of every synthesizer once a second, as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::api::{STREAMS, Shared, VERSION};
use super::plain;
use crate::connector::Pulse;

const PERIOD: Duration = Duration::from_secs(1);

/// One event.
#[derive(Debug, Serialize)]
struct Event<'a> {
    version: &'static str,
    uptime_seconds: f64,
    synthesizers: Vec<Beat<'a>>,
}

#[derive(Debug, Serialize)]
struct Beat<'a> {
    id: &'a str,
    #[serde(flatten)]
    pulse: Pulse,
}

/// `/api/stream`
pub(super) async fn stream(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(place) = shared.streams.clone().try_acquire_owned() else {
        let text = format!("{STREAMS} streams are open already; close a page and try again.");
        let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, &text);
        let seconds = HeaderValue::from_static("5");
        answer.headers_mut().insert(RETRY_AFTER, seconds);
        return answer;
    };
    let mut interval = tokio::time::interval(PERIOD);
    // A reader that was away gets the present, not what it missed.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = Events {
        stop: Box::pin(shared.stop.clone().cancelled_owned()),
        interval,
        shared,
        _place: place,
    };
    let kind = HeaderValue::from_static("text/event-stream");
    ([(CONTENT_TYPE, kind)], Body::new(events)).into_response()
}

/// The body of the answer: an event a second until the service stops.
struct Events {
    shared: Arc<Shared>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    interval: Interval,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        ready!(self.interval.poll_tick(context));
        let event = event(&self.shared);
        Poll::Ready(event.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn event(shared: &Shared) -> Option<Bytes> {
    let beats = shared.boards.iter().map(|shown| Beat {
        id: &shown.id,
        pulse: shown.board.pulse(),
    });
    let event = Event {
        version: VERSION,
        uptime_seconds: shared.uptime_seconds(),
        synthesizers: beats.collect(),
    };
    let mut bytes = b"data: ".to_vec();
    serde_json::to_writer(&mut bytes, &event).ok()?;
    bytes.extend_from_slice(b"\n\n");
    Some(bytes.into())
}
