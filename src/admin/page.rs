//! The files of the page, as they lie in `page/`: no build step, no other host.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub(super) path: &'static str,
    kind: &'static str,
    text: &'static str,
}

impl File {
    const fn script(path: &'static str, text: &'static str) -> Self {
        let kind = "text/javascript; charset=utf-8";
        Self { path, kind, text }
    }

    pub(super) fn answer(&self) -> Response {
        let kind = HeaderValue::from_static(self.kind);
        ([(CONTENT_TYPE, kind)], self.text).into_response()
    }
}

pub(super) const FILES: [File; 13] = [
    File {
        path: "/",
        kind: "text/html; charset=utf-8",
        text: include_str!("page/index.html"),
    },
    File {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("page/style.css"),
    },
    File {
        path: "/icon.svg",
        kind: "image/svg+xml",
        text: include_str!("page/icon.svg"),
    },
    File::script("/page.mjs", include_str!("page/page.mjs")),
    File::script("/connection.mjs", include_str!("page/connection.mjs")),
    File::script("/dom.mjs", include_str!("page/dom.mjs")),
    File::script("/words.mjs", include_str!("page/words.mjs")),
    File::script("/measures.mjs", include_str!("page/measures.mjs")),
    File::script("/layout.mjs", include_str!("page/layout.mjs")),
    File::script("/traces.mjs", include_str!("page/traces.mjs")),
    File::script("/graph.mjs", include_str!("page/graph.mjs")),
    File::script("/operations.mjs", include_str!("page/operations.mjs")),
    File::script("/learner.mjs", include_str!("page/learner.mjs")),
];
