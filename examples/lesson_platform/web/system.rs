//! The pages for those who operate the platform.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::{Shared, bad_request, html, unavailable};
use crate::pages::{self, MOST_RENDERERS};

pub(super) async fn page(State(platform): Shared) -> Response {
    html(StatusCode::OK, pages::system(&platform.report().await), &[])
}

pub(super) async fn json(State(platform): Shared) -> Response {
    match serde_json::to_vec_pretty(&platform.report().await) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => unavailable(&error.to_string()),
    }
}

#[derive(Deserialize)]
pub(super) struct Resize {
    workers: Option<String>,
}

/// Makes the pool of renderers larger or smaller, while pages are made.
pub(super) async fn resize(
    State(platform): Shared,
    headers: HeaderMap,
    form: Result<Form<Resize>, FormRejection>,
) -> Response {
    // Somebody else's page must not do it in a visitor's name.
    let from = headers.get("sec-fetch-site");
    if from.is_some_and(|from| from != "same-origin" && from != "none") {
        return bad_request("This was sent by a page of another site.");
    }
    let workers = form.ok().and_then(|Form(form)| form.workers);
    let workers = workers.as_deref().map(str::trim).unwrap_or_default();
    let size = match workers.parse() {
        Ok(size) if (1..=MOST_RENDERERS).contains(&size) => size,
        _ => {
            return bad_request(&format!(
                "The field `workers` is a number from 1 to {MOST_RENDERERS}, not `{workers:.20}`."
            ));
        }
    };
    match platform.resize_renderers(size) {
        Ok(()) => Redirect::to("/system").into_response(),
        Err(error) => unavailable(&error.to_string()),
    }
}
