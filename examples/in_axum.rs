//! Pages of an axum server, in axum's own tokio runtime, that ask an actor in ours.
//!
//! Chapter 6 of the guide is cut from this file.

use std::future::IntoFuture;
use std::io::Write;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use callboard::prelude::*;
use futures::StreamExt;
use futures::channel::mpsc::{Sender, channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

// ANCHOR: library
/// Lend me a book. The answer: where it stands.
#[derive(Message)]
#[message(reply = String)]
struct Lend(String);

/// Those who wait for a book, and the hall, where one hears who comes and goes.
struct Library(Vec<Responder<String>>, Sender<&'static str>);

impl Actor for Library {}

impl DeferredHandler<Lend> for Library {
    async fn handle_deferred(
        &mut self,
        Lend(book): Lend,
        mut reader: Responder<String>,
        _: &mut Context<Self>,
    ) {
        match book.as_str() {
            "lost" => drop(reader), // nobody will ever answer
            "popular" => {
                let mut hall = self.1.clone();
                let _ = hall.try_send("a reader waits");
                reader.on_withdraw(move || drop(hall.try_send("the reader has left")));
                self.0.push(reader);
            }
            _ => reader.send(format!("{book} stands on the third shelf")),
        }
    }
}
// ANCHOR_END: library

// ANCHOR: page
/// A page. Its future is dropped when the browser goes away, and that withdraws the ask.
async fn page(
    State(library): State<ActorRef<Library>>,
    Path(book): Path<String>,
) -> Result<String, (StatusCode, String)> {
    library.ask(Lend(book)).await.map_err(|error| {
        let status = match error.verdict() {
            Verdict::NotSent | Verdict::NotExecuted => StatusCode::SERVICE_UNAVAILABLE,
            Verdict::MaybeExecuted => StatusCode::GATEWAY_TIMEOUT,
            Verdict::Executed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, error.to_string())
    })
}
// ANCHOR_END: page

/// A browser that has sent its request.
async fn browser(at: SocketAddr, book: &str) -> std::io::Result<TcpStream> {
    let mut page = TcpStream::connect(at).await?;
    let request = format!("GET /books/{book} HTTP/1.1\r\nHost: us\r\nConnection: close\r\n\r\n");
    page.write_all(request.as_bytes()).await.map(|()| page)
}

/// Waits for the answer: its status, and its text.
async fn read(mut page: TcpStream) -> callboard::Result<String> {
    let mut answer = String::new();
    page.read_to_string(&mut answer).await?;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(format!("{} {text}", head.get(9..12).unwrap_or("?")))
}

// ANCHOR: story
/// What happens, told to `out`. Runs in any tokio runtime.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let (hall, mut heard) = channel(4);
    let library = system.start(Library(Vec::new(), hall));
    let app = Router::new().route("/books/{book}", get(page));
    let app = app.with_state(library.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    for book in ["atlas", "lost"] {
        let answer = read(browser(at, book).await?).await?;
        writeln!(out, "{book}: {answer}")?;
    }
    let page = browser(at, "popular").await?;
    writeln!(out, "popular: {}", heard.next().await.unwrap_or("?"))?;
    drop(page); // the browser is closed
    writeln!(out, "popular: {}", heard.next().await.unwrap_or("?"))?;
    library.stop();
    library.wait().await;
    let answer = read(browser(at, "atlas").await?).await?;
    writeln!(out, "atlas: {answer}")?;
    server.abort();
    system.shutdown().await;
    Ok(())
}
// ANCHOR_END: story

/// The whole program: a runtime of tokio's, and beside it a system with threads of its own.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    let tokio = Builder::new_current_thread().enable_io().build()?;
    tokio.block_on(story(System::new()?, out))
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
