//! The pages over HTTP. A handler asks the parts of its page at the same time, each with its own deadline,
//! and shows what came.

mod live;
mod system;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Form, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use callboard::supervision::Answer;
use callboard::{FailureKind, RequestKey, Verdict};
use serde::Deserialize;
use tokio::net::TcpListener;
use tracing::Instrument;

use crate::calls::Part;
use crate::lessons::{self, Lesson};
use crate::messages::{Enrol, Size};
use crate::pages::{self, Card, Extras, Missing, Picture};
use crate::platform::Platform;
use crate::spans;

/// Which parts a page did without, by name and separated by commas. The drill reads it.
pub(crate) const MISSING: &str = "x-missing-parts";
/// The number of a receipt.
pub(crate) const RECEIPT: &str = "x-receipt";

const LARGEST_FORM: usize = 16 * 1024;
const LONGEST_NAME: usize = 80;
const LONGEST_QUERY: usize = 200;

type Shared = State<Arc<Platform>>;

/// Serves until `end` completes; requests in hand are answered first.
pub(crate) async fn serve(
    platform: Arc<Platform>,
    listener: TcpListener,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let live = Arc::clone(&platform);
    let end = async move {
        end.await;
        // Those who watch views would never be done.
        live.live.close();
    };
    axum::serve(listener, router(platform))
        .with_graceful_shutdown(end)
        .await
}

fn router(platform: Arc<Platform>) -> Router {
    let pages = Router::new()
        .route("/", get(list))
        .route("/lessons/{slug}", get(lesson))
        .route("/search", get(search))
        .route("/enrol", post(enrol))
        .route_layer(from_fn(traced));
    Router::new()
        .merge(pages)
        .route("/lessons/{slug}/views", get(live::views))
        .route("/images/{name}", get(image))
        .route("/thumbs/{name}", get(thumb))
        .route("/system", get(system::page))
        .route("/system.json", get(system::json))
        .route("/system/renderers", post(system::resize))
        .route("/style.css", get(style))
        .route("/live.js", get(live::script))
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .with_state(platform)
}

/// Puts all that is done for a page into a span.
async fn traced(request: Request, next: Next) -> Response {
    let span = spans::page(request.method().as_str(), request.uri().path());
    next.run(request).instrument(span).await
}

async fn list(State(platform): Shared) -> Response {
    let lessons: Vec<&Lesson> = platform.library.lessons().collect();
    let slugs: Vec<String> = lessons.iter().map(|lesson| lesson.slug.clone()).collect();
    let covers = lessons
        .iter()
        .filter_map(|lesson| lesson.images.first().cloned());
    let (sizes, views, metadata) = tokio::join!(
        platform.sizes(covers.collect()),
        platform.views(slugs.clone()),
        platform.metadata(slugs),
    );
    let mut missing = Vec::new();
    let pictures = pictures(take(Part::Thumbnails, sizes, &mut missing));
    let views = take(Part::Views, views, &mut missing);
    let metadata = take(Part::Metadata, metadata, &mut missing);
    let cards: Vec<Card<'_>> = lessons
        .iter()
        .map(|lesson| Card {
            lesson,
            cover: lesson.images.first().and_then(|image| pictures.get(image)),
            metadata: metadata.get(&lesson.slug),
            views: views.get(&lesson.slug).copied(),
        })
        .collect();
    let page = pages::list(&cards, &missing, platform.library.problems());
    html(StatusCode::OK, page, &missing)
}

// ANCHOR: lesson
async fn lesson(State(platform): Shared, Path(slug): Path<String>) -> Response {
    let Some(lesson) = platform.library.lesson(&slug) else {
        return no_lesson(&platform, &slug);
    };
    let (text, sizes, views, metadata) = tokio::join!(
        platform.render(&slug),                // this process
        platform.sizes(lesson.images.clone()), // a child, through its pipe
        platform.views(vec![slug.clone()]),    // a process of this host, through a Unix socket
        platform.metadata(vec![slug.clone()]), // a service, through TCP
    );
    platform.viewed(&slug).await;
    let text = match text {
        Ok(text) => text,
        // A lesson without its text is no lesson; everything else it can do without.
        Err(failure) => return unavailable(&failure.to_string()),
    };
    let mut missing = Vec::new();
    let mut sizes = pictures(take(Part::Thumbnails, sizes, &mut missing));
    let views = take(Part::Views, views, &mut missing);
    let metadata = take(Part::Metadata, metadata, &mut missing);
    let in_order = lesson.images.iter().filter_map(|image| sizes.remove(image));
    let extras = Extras {
        pictures: &in_order.collect::<Vec<_>>(),
        metadata: metadata.get(&slug),
        views: views.get(&slug).copied(),
        missing: &missing,
        key: RequestKey::new().to_string(),
    };
    html(
        StatusCode::OK,
        pages::lesson(lesson, &text, &extras),
        &missing,
    )
}
// ANCHOR_END: lesson

fn no_lesson(platform: &Platform, slug: &str) -> Response {
    match platform.library.unavailable(slug) {
        Some(problem) => unavailable(&problem.to_string()),
        None => not_found(),
    }
}

async fn search(
    State(platform): Shared,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let query = query.get("q").map(String::as_str).unwrap_or_default();
    if query.chars().count() > LONGEST_QUERY {
        return bad_request(&format!("A search has at most {LONGEST_QUERY} characters."));
    }
    match platform.search(query).await {
        Ok(found) => {
            let all = platform.library.lessons().count();
            let page = pages::search(query, &found.hits, found.known, all);
            html(StatusCode::OK, page, &[])
        }
        Err(failure) => unavailable(&failure.to_string()),
    }
}

async fn image(State(platform): Shared, Path(name): Path<String>) -> Response {
    if !platform.library.images().contains(&name) {
        return not_found();
    }
    let path = lessons::image_path(&platform.folder, &name);
    match tokio::task::spawn_blocking(move || std::fs::read(path)).await {
        Ok(Ok(bytes)) if bytes.starts_with(b"\x89PNG") => picture("image/png", bytes),
        Ok(Ok(bytes)) => picture("image/jpeg", bytes),
        _ => not_found(),
    }
}

async fn thumb(State(platform): Shared, Path(name): Path<String>) -> Response {
    if !platform.library.images().contains(&name) {
        return not_found();
    }
    match platform.thumbnail(&name).await {
        Ok(Ok(thumbnail)) => picture(thumbnail.kind.mime(), thumbnail.bytes),
        Ok(Err(error)) => plain_text(StatusCode::NOT_FOUND, format!("images/{name} {error}")),
        // Without the sidecar the full picture serves, only slower.
        Err(_) => (
            [(header::CACHE_CONTROL, "no-store")],
            Redirect::temporary(&format!("/images/{name}")),
        )
            .into_response(),
    }
}

/// What a form sends. Every field may be missing, so that the answer can say which.
#[derive(Deserialize)]
struct EnrolForm {
    learner: Option<String>,
    lesson: Option<String>,
    key: Option<String>,
}

async fn enrol(
    State(platform): Shared,
    headers: HeaderMap,
    form: Result<Form<EnrolForm>, FormRejection>,
) -> Response {
    let form = match form {
        Ok(Form(form)) => form,
        Err(rejection) => {
            return bad_request(&format!("This is no form: {}.", rejection.body_text()));
        }
    };
    let (key, enrol) = match check(&platform, &headers, form) {
        Ok(checked) => checked,
        Err(why) => return bad_request(&why),
    };
    match platform.enrol(key, enrol).await {
        Ok(Ok(receipt)) => {
            let text = format!(
                "Receipt {}: {} is enrolled in \"{}\" for {}.{:02}. This key has been charged once.",
                receipt.number,
                receipt.learner,
                receipt.lesson,
                receipt.cents / 100,
                receipt.cents % 100
            );
            let mut response = html(StatusCode::OK, pages::notice("Enrolled", &text, false), &[]);
            let headers = response.headers_mut();
            headers.insert(RECEIPT, HeaderValue::from(receipt.number));
            response
        }
        Ok(Err(error)) => unavailable(&error.to_string()),
        Err(failure) => {
            let (status, advice) = match (failure.kind(), failure.verdict()) {
                (FailureKind::KeyReused, _) => (
                    StatusCode::CONFLICT,
                    "This key was used for another enrolment; nothing was charged now.",
                ),
                (_, Verdict::NotSent | Verdict::NotExecuted) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Nothing was charged; try again.",
                ),
                _ => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "It is not known yet whether this was charged. Repeat it with the same key: it is charged once.",
                ),
            };
            let text = format!("{advice} ({failure})");
            html(status, pages::notice("Not enrolled", &text, true), &[])
        }
    }
}

/// A form becomes a message, or a sentence that says what is wrong with it.
fn check(
    platform: &Platform,
    headers: &HeaderMap,
    form: EnrolForm,
) -> Result<(RequestKey, Enrol), String> {
    let mut sent = headers.get_all("idempotency-key").iter();
    let header = match sent.next().map(HeaderValue::to_str) {
        Some(Err(_)) => return Err("The Idempotency-Key header is no text.".to_owned()),
        Some(Ok(key)) => Some(key),
        None => None,
    };
    if sent.next().is_some() {
        return Err("There are several Idempotency-Key headers.".to_owned());
    }
    let key = match (header, form.key.as_deref()) {
        (Some(header), Some(field)) if header != field => {
            return Err("The Idempotency-Key header and the field `key` differ.".to_owned());
        }
        (None, None) => {
            return Err(
                "An enrolment needs a key: the Idempotency-Key header or the field `key`."
                    .to_owned(),
            );
        }
        (Some(key), _) | (None, Some(key)) => key,
    };
    let key = key
        .parse()
        .map_err(|_| format!("The key `{key}` is no UUID."))?;
    let learner = form.learner.as_deref().map(str::trim).unwrap_or_default();
    if learner.is_empty() {
        return Err("Who is to be enrolled? The field `learner` is empty.".to_owned());
    }
    if learner.chars().count() > LONGEST_NAME || learner.contains(char::is_control) {
        return Err(format!(
            "A name has at most {LONGEST_NAME} characters, on one line."
        ));
    }
    let lesson = form.lesson.unwrap_or_default();
    if platform.library.lesson(&lesson).is_none() {
        return Err(format!("There is no lesson `{lesson}` to enrol in."));
    }
    let learner = learner.to_owned();
    Ok((key, Enrol { lesson, learner }))
}

async fn style() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=60"),
    ];
    (headers, pages::STYLE)
}

async fn nowhere() -> Response {
    not_found()
}

fn not_found() -> Response {
    let page = pages::notice("Not found", "There is no such page.", true);
    html(StatusCode::NOT_FOUND, page, &[])
}

fn bad_request(why: &str) -> Response {
    html(
        StatusCode::BAD_REQUEST,
        pages::notice("Not understood", why, true),
        &[],
    )
}

fn unavailable(why: &str) -> Response {
    let page = pages::notice("Not available", why, true);
    html(StatusCode::SERVICE_UNAVAILABLE, page, &[])
}

fn plain_text(status: StatusCode, text: String) -> Response {
    (status, text).into_response()
}

fn picture(mime: &'static str, bytes: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, mime),
        (header::CACHE_CONTROL, "max-age=60"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, bytes).into_response()
}

fn html(status: StatusCode, page: String, missing: &[Missing]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'",
        ),
    ];
    let mut response = (status, headers, Body::from(page)).into_response();
    if !missing.is_empty() {
        let names: Vec<String> = missing
            .iter()
            .map(|missing| missing.part.to_string())
            .collect();
        if let Ok(names) = HeaderValue::from_str(&names.join(",")) {
            response.headers_mut().insert(MISSING, names);
        }
    }
    response
}

/// What a part answered, or stands in for its answer; then the page says so.
fn take<T>(part: Part, answer: Answer<T>, missing: &mut Vec<Missing>) -> T {
    match answer {
        Answer::Full(value) => value,
        Answer::Degraded(instead, why) => {
            let detail = why.detail.unwrap_or_default();
            let why = format!("{} ({}): {detail}", why.kind, why.verdict);
            missing.push(Missing { part, why });
            instead
        }
    }
}

fn pictures(sizes: BTreeMap<String, Size>) -> BTreeMap<String, Picture> {
    let picture = |(name, size): (String, Size)| {
        let picture = Picture {
            name: name.clone(),
            width: size.width,
            height: size.height,
        };
        (name, picture)
    };
    sizes.into_iter().map(picture).collect()
}
