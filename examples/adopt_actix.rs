//! A program on actix moves to Callboard one actor at a time: the renderer is adopted as it is and gets a
//! supervisor, the archive is rewritten, and the editor, which nobody has touched, goes on to talk to both.

use std::io::Write;

use actix::ResponseFuture;
use callboard::actix::{adopt, to_actix};
use callboard::prelude::*;
use callboard::supervision::{Backoff, Supervisor};

// ANCHOR: messages
/// As before, but for the first derive and the line below it.
#[derive(Message, actix::Message)]
#[message(reply = String)]
#[rtype(result = "String")]
struct Render(&'static str);

#[derive(Message, actix::Message)]
#[message(reply = usize)]
#[rtype(result = "usize")]
struct Keep(String);
// ANCHOR_END: messages

// ANCHOR: renderer
/// An actor of actix, as it always was: it panics at a lesson without a title.
struct Renderer {
    rendered: u32,
}

impl actix::Actor for Renderer {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Render> for Renderer {
    type Result = String;

    fn handle(&mut self, Render(title): Render, _: &mut Self::Context) -> String {
        assert!(!title.is_empty(), "no title");
        self.rendered += 1;
        format!("{} <h1>{title}</h1>", self.rendered)
    }
}
// ANCHOR_END: renderer

// ANCHOR: archive
/// Rewritten for Callboard.
struct Archive(Vec<String>);

impl Actor for Archive {}

impl Handler<Keep> for Archive {
    async fn handle(&mut self, Keep(page): Keep, _ctx: &mut Context<Self>) -> usize {
        self.0.push(page);
        self.0.len()
    }
}
// ANCHOR_END: archive

// ANCHOR: editor
/// Not moved yet: it speaks actix to everybody.
struct Editor {
    renderer: actix::Recipient<Render>,
    archive: actix::Recipient<Keep>,
}

impl actix::Actor for Editor {
    type Context = actix::Context<Self>;
}

#[derive(actix::Message)]
#[rtype(result = "Result<usize, actix::MailboxError>")]
struct Publish(&'static str);

impl actix::Handler<Publish> for Editor {
    type Result = ResponseFuture<Result<usize, actix::MailboxError>>;

    fn handle(&mut self, Publish(title): Publish, _: &mut Self::Context) -> Self::Result {
        let rendering = self.renderer.send(Render(title));
        let archive = self.archive.clone();
        Box::pin(async move { archive.send(Keep(rendering.await?)).await })
    }
}
// ANCHOR_END: editor

// ANCHOR: story
async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let (renderer, place) = system.actor(adopt(|| Renderer { rendered: 0 })).place();
    let pages = Supervisor::builder("pages").backoff(Backoff::none());
    let pages = pages.child(place).start(&system)?;
    let archive = system.start(Archive(Vec::new()));

    let editor = actix::Actor::start(Editor {
        renderer: to_actix(&renderer.recipient())?,
        archive: to_actix(&archive.recipient())?,
    });
    for title in ["Hello, actor", "", "Mailboxes"] {
        match editor.send(Publish(title)).await? {
            Ok(pages) => writeln!(out, "{title:?} is out, pages in the archive: {pages}")?,
            Err(error) => writeln!(out, "{title:?} is not: {error}")?,
        }
    }

    // Who asks by a Callboard reference is told more.
    if let Err(e) = renderer.ask(Render("")).await {
        writeln!(out, "asked directly: {} ({})", e.kind(), e.verdict())?;
    }
    let page = renderer.ask(Render("Verdicts")).await?;
    writeln!(out, "again: {page}, restarts: {}", pages.restarts())?;
    Ok(())
}
// ANCHOR_END: story

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
