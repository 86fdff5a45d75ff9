//! The views of a lesson as they happen, as server-sent events.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};

use super::{Shared, no_lesson, plain_text};
use crate::pages;

/// How long a browser waits before it connects again, in milliseconds.
const AGAIN: u32 = 2_000;

// ANCHOR: live
/// Ends when the visitor leaves: the body is dropped then, and its subscription with it.
pub(super) async fn views(State(platform): Shared, Path(slug): Path<String>) -> Response {
    if platform.library.lesson(&slug).is_none() {
        return no_lesson(&platform, &slug);
    }
    let beats = match platform.watch_views(&slug).await {
        Ok(beats) => beats,
        // A browser that is told so doesn't try again by itself.
        Err(why) => return plain_text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    let first = stream::iter([format!("retry: {AGAIN}\n\n")]);
    let events = first.chain(beats.map(|beat| beat.to_string()));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    (headers, body).into_response()
}
// ANCHOR_END: live

pub(super) async fn script() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=60"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, pages::SCRIPT)
}
