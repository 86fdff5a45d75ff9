//! The lesson platform: one page whose parts come over four boundaries, and a drill that breaks them.
//!
//! ```text
//! cargo run --release --example lesson_platform             # the drill, about 20 seconds
//! cargo run --release --example lesson_platform -- --serve  # stay up, look at it in a browser
//! ```
//!
//! | part of a page | where it comes from | what is crossed |
//! |---|---|---|
//! | the text | a pool of actors of this process | nothing: a pointer moves |
//! | the thumbnails | a supervised child process | its pipe |
//! | the number of views | a process that subscribes to a topic | a Unix socket |
//! | reading time, related lessons | a service | TCP |
//!
//! While somebody reads a lesson, its number of views changes on the page: server-sent events, fed by the topic
//! ([`platform::live`]). `/system` shows the running system: who restarts whom, what actors say of themselves,
//! and where the time of the last page went ([`spans`]).
//!
//! How long each part is waited for, how often it is asked again, and when it is left alone for a while is in a file
//! that may be edited while all of it runs ([`platform::policies`]).
//!
//! Start reading at [`web`] (what a page asks for), go on with [`platform`] (what a late answer costs) and
//! [`platform::tree`] (who restarts whom).

mod actors;
mod args;
mod calls;
mod client;
mod drill;
mod index;
mod ledger;
mod lessons;
mod markdown;
mod messages;
mod metadata;
mod pages;
mod platform;
mod report;
mod services;
mod spans;
mod thumbnail;
mod web;
mod words;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use callboard::System;
use callboard::supervision::Phase;
use tokio::net::TcpListener;

use crate::args::{Command, HELP};
use crate::lessons::{Library, plain};
use crate::platform::Platform;
use crate::spans::Spans;

/// It did what it was asked for.
const DONE: u8 = 0;
/// The drill found a broken promise, or something failed on the way.
const BROKEN: u8 = 1;
/// It could not start: bad arguments, no lessons, the port in use.
const NOT_STARTED: u8 = 2;

#[callboard::main]
async fn main(system: System) -> ExitCode {
    let outcome = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            println!("{HELP}");
            Ok(DONE)
        }
        Ok(Command::Drill { lessons, spans }) => drill(&system, lessons, spans).await,
        Ok(Command::Serve {
            lessons,
            port,
            spans,
            policies,
        }) => serve(&system, lessons, port, spans, policies).await,
        Ok(Command::Role(role)) => services::run(&system, role).await.map(|()| DONE),
        Err(why) => Err(format!("{why}\ntry `--help`")),
    };
    ExitCode::from(outcome.unwrap_or_else(|why| {
        eprintln!("lesson_platform: {why}");
        NOT_STARTED
    }))
}

async fn drill(system: &System, lessons: PathBuf, spans: bool) -> Result<u8, String> {
    let listener = listen(0).await?;
    let address = listener.local_addr().map_err(|error| plain(&error))?;
    let platform = start(system, lessons, spans, None).await?;
    let shutdown = &platform.shutdown;
    let over = shutdown.on_signals().map_err(|error| error.to_string())?;
    open_doors(&platform, listener);
    let passed = tokio::select! {
        passed = drill::run(&platform, address) => passed,
        () = shutdown.begins() => {
            println!("\ninterrupted");
            false
        }
    };
    shutdown.run().await;
    let report = over.await;
    if !report.is_clean() {
        println!("{report}");
    }
    Ok(if passed { DONE } else { BROKEN })
}

async fn serve(
    system: &System,
    lessons: PathBuf,
    port: u16,
    spans: bool,
    policies: Option<PathBuf>,
) -> Result<u8, String> {
    // The port first: if it is taken, nothing needs to be started.
    let listener = listen(port).await?;
    let address = listener.local_addr().map_err(|error| plain(&error))?;
    let platform = start(system, lessons, spans, policies).await?;
    println!("serving at http://{address}/  (Ctrl-C ends it)");
    println!("{}", platform.tree());
    println!("kill one of its processes, and see what a page does without it");
    println!(
        "edit how its parts are asked: {}",
        platform.policies.path().display()
    );
    let over = platform.shutdown.on_signals();
    let over = over.map_err(|error| error.to_string())?;
    open_doors(&platform, listener);
    platform.shutdown.begins().await;
    println!("\nstopping");
    let report = over.await;
    println!("{report}");
    Ok(report.exit_code())
}

/// Serves pages until the shutdown begins; then those in hand are finished.
fn open_doors(platform: &Arc<Platform>, listener: TcpListener) {
    let begins = platform.shutdown.begins();
    let server = tokio::spawn(web::serve(Arc::clone(platform), listener, begins));
    platform
        .shutdown
        .on(Phase::FinishWork, "pages in hand", || async {
            match server.await {
                Ok(served) => served.map_err(|error| plain(&error)),
                Err(error) => Err(error.to_string()),
            }
        });
}

async fn listen(port: u16) -> Result<TcpListener, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("port {port} is in use by another program; choose one with `--port N`, 0 for a free one")
        }
        _ => format!("can't listen on {address}: {}", plain(&error)),
    })
}

async fn start(
    system: &System,
    folder: PathBuf,
    spans: bool,
    policies: Option<PathBuf>,
) -> Result<Arc<Platform>, String> {
    let library = Library::load(&folder).map_err(|error| error.to_string())?;
    for problem in library.problems() {
        eprintln!("not available: {problem}");
    }
    let spans = spans.then(|| Spans::install(system.clock())).flatten();
    let platform = Platform::start(system, folder, library, spans, policies).await;
    platform.map_err(|error| error.to_string())
}
