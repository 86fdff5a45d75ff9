//! Handlers of actix-web that ask an actor of Callboard and an adopted actor of actix; their statuses follow
//! from verdicts. The server sends itself a few requests, and ends.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard::actix::{Adopted, adopt};
use callboard::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(2);

/// Somebody opened a lesson. The answer: how many were opened.
#[derive(Message)]
#[message(reply = u32)]
struct Viewed;

struct Views(u32);

impl Actor for Views {}

impl Handler<Viewed> for Views {
    async fn handle(&mut self, _: Viewed, _ctx: &mut Context<Self>) -> u32 {
        self.0 += 1;
        self.0
    }
}

#[derive(Message, actix::Message)]
#[message(reply = String)]
#[rtype(result = "String")]
struct Title(String);

struct Titles;

impl actix::Actor for Titles {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Title> for Titles {
    type Result = String;

    fn handle(&mut self, Title(lesson): Title, _: &mut Self::Context) -> String {
        assert_ne!(lesson, "13", "nobody reads lesson 13");
        format!("Lesson {lesson}")
    }
}

// ANCHOR: handler
/// What every worker of the server knows: references, which work from any thread and any runtime.
struct Actors {
    views: ActorRef<Views>,
    titles: ActorRef<Adopted<Titles>>,
}

async fn lesson(actors: web::Data<Actors>, lesson: web::Path<String>) -> HttpResponse {
    let page = async {
        let title = Title(lesson.into_inner());
        let title = actors.titles.ask(title).deadline(PATIENCE).await?;
        let views = actors.views.ask(Viewed).deadline(PATIENCE).await?;
        Ok::<_, callboard::Failure>(format!("{title}, views: {views}"))
    };
    match page.await {
        Ok(page) => HttpResponse::Ok().body(page),
        Err(failure) => match failure.verdict() {
            // Nothing has happened: whoever asked may do so again.
            Verdict::NotSent | Verdict::NotExecuted => HttpResponse::ServiceUnavailable(),
            Verdict::MaybeExecuted | Verdict::Executed => HttpResponse::InternalServerError(),
        }
        .body(failure.to_string()),
    }
}
// ANCHOR_END: handler

async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let titles = system.actor(adopt(|| Titles)).start();
    let views = system.start(Views(0));
    let actors = web::Data::new(Actors { views, titles });
    let app = move || {
        let app = App::new().app_data(actors.clone());
        app.route("/{lesson}", web::get().to(lesson))
    };
    let server = HttpServer::new(app).workers(1).disable_signals();
    let server = server.bind(("127.0.0.1", 0))?;
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let requests = async {
        for lesson in ["1", "2", "13", "3"] {
            writeln!(out, "GET /{lesson}: {}", get(address, lesson).await?)?;
        }
        handle.stop(true).await;
        Ok(())
    };
    let (served, told) = futures::join!(server, requests);
    served.and(told).map_err(Into::into)
}

/// One request by hand: the status and the body.
async fn get(server: SocketAddr, lesson: &str) -> std::io::Result<String> {
    let request = format!("GET /{lesson} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(format!("{}: {body}", head.lines().next().unwrap_or(head)))
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
