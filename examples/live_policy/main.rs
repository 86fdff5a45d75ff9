//! A callee that becomes slow, and the file that says how it is called, edited while the load runs.
//!
//! ```text
//! cargo run --example live_policy                # in virtual time: at once
//! cargo run --example live_policy -- --live      # the same by a real clock
//! cargo run --example live_policy -- --by-hand   # prints the path of the file, and you edit it
//! ```
//!
//! The load is the same all the time; what its requests do is in the file: wait for as long as it takes, give up after
//! a time and go on with less, or not ask who doesn't answer anyway. A file with a slip in it is refused, with line and
//! column, and changes nothing.
//!
//! Read [`load`] for how a policy is used, [`script`] for what is written to the file and what is checked.

mod args;
mod callee;
mod load;
mod script;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use callboard::Simulation;
use callboard::prelude::*;
use callboard::supervision::{CallPolicy, PolicyFile, PolicyFileEvent};
use futures::StreamExt;
use futures::channel::mpsc;

use args::{Command, HELP};
use callee::{Health, Librarian, Shelf};
use load::{ROW, Row};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// So many news of the file wait to be told.
const NEWS: usize = 64;

/// A folder of its own for the file, gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> std::io::Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    fn file(&self) -> PathBuf {
        self.0.join("policies.toml")
    }

    /// Beside it first, so that nobody ever sees half of it.
    fn write(&self, text: &str) -> std::io::Result<()> {
        let beside = self.0.join("policies.toml.new");
        fs::write(&beside, text)?;
        fs::rename(beside, self.file())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // An error: somebody looks into it just now.
        let _ = fs::remove_dir_all(&self.0);
    }
}

// ANCHOR: desk
/// What asks, what is asked, and the file between them.
struct Desk {
    system: System,
    folder: Folder,
    shelf: Shelf,
    callee: ActorRef<Librarian>,
    policy: CallPolicy,
    news: mpsc::Receiver<PolicyFileEvent>,
    /// Keeps looking at the file for as long as it is held.
    _policies: PolicyFile,
}

impl Desk {
    async fn open(system: System, folder: &Path) -> callboard::Result<Self> {
        let folder = Folder::make(folder.to_path_buf())?;
        folder.write(script::OPEN)?;
        let (tell, mut news) = mpsc::channel(NEWS);
        let policies = PolicyFile::builder(folder.file())
            .every(LOOK)
            .on_change(move |event| {
                // An error: more news than anybody wants to read.
                let _ = tell.clone().try_send(event.clone());
            })
            .watch(&system)
            .await?;
        news.next().await; // the first content
        let shelf = Shelf::new();
        let librarian = {
            let shelf = shelf.clone();
            move || Librarian(shelf.clone())
        };
        let callee = system.actor(librarian).label("librarian").start();
        Ok(Desk {
            callee,
            policy: policies.get("related")?,
            system,
            folder,
            shelf,
            news,
            _policies: policies,
        })
    }

    async fn row(&self) -> Row {
        load::row(&self.system, &self.callee, &self.policy, &self.shelf).await
    }

    /// What became of the file, without the folder that it is in.
    fn tell(&self, event: &PolicyFileEvent, out: &mut impl Write) -> std::io::Result<()> {
        let folder = format!("{}/", self.folder.0.display());
        match event {
            PolicyFileEvent::Loaded(change) => writeln!(out, "   the file: {change}"),
            PolicyFileEvent::Refused(error) => {
                let error = error.to_string().replace(&folder, "");
                writeln!(out, "   the file is refused:\n     {error}")
            }
            _ => Ok(()),
        }
    }
}
// ANCHOR_END: desk

// ANCHOR: story
/// The whole story, told to `out`. Answers whether what is said of it holds.
pub async fn story(
    system: System,
    folder: PathBuf,
    out: &mut impl Write,
) -> callboard::Result<bool> {
    let is_virtual = system.clock().is_manual();
    let mut desk = Desk::open(system, &folder).await?;
    let time = if is_virtual { "virtual" } else { "real" };
    let (rate, seconds) = (load::RATE, ROW.as_secs());
    writeln!(
        out,
        "{rate} requests a second, {seconds} s for each row, in {time} time.\n"
    )?;
    writeln!(out, "{}", desk.policy.explain())?;
    Row::head(out)?;
    let mut claims = Vec::new();
    for (number, step) in (1..).zip(script::steps()) {
        desk.shelf.turn(step.health);
        if let Some(text) = step.file {
            desk.folder.write(text)?;
            // Others would go on meanwhile. Here each row is to be of one policy.
            if let Some(event) = desk.news.next().await {
                desk.tell(&event, out)?;
            }
        }
        let row = desk.row().await;
        row.write(&format!("{number}  {}", step.title), out)?;
        let settings = desk.policy.settings();
        let (holds, text) = script::claim(step.part, &row, &settings, is_virtual);
        claims.push((holds, format!("{number}  {text}")));
    }
    writeln!(out, "\n{}", desk.policy.explain())?;
    for (holds, text) in &claims {
        writeln!(out, "{:<7} {text}", if *holds { "holds" } else { "BROKEN" })?;
    }
    Ok(claims.iter().all(|(holds, _)| *holds))
}
// ANCHOR_END: story

/// Somebody else edits the file.
pub async fn by_hand(
    system: System,
    folder: PathBuf,
    seconds: u64,
    out: &mut impl Write,
) -> callboard::Result<()> {
    let mut desk = Desk::open(system, &folder).await?;
    let file = desk.folder.file();
    writeln!(
        out,
        "Edit {} for {seconds} s. It says:\n\n{}",
        file.display(),
        script::OPEN
    )?;
    Row::head(out)?;
    let clock = desk.system.clock().clone();
    let opened = clock.now();
    loop {
        let at = clock.now().since(opened);
        if at.as_secs() + ROW.as_secs() > seconds {
            break;
        }
        let row = desk.row().await;
        // The first one is there to compare with.
        desk.shelf.turn(Health::Slow);
        while let Ok(event) = desk.news.try_recv() {
            desk.tell(&event, out)?;
        }
        row.write(
            &format!("{:>4} s", clock.now().since(opened).as_secs()),
            out,
        )?;
    }
    writeln!(out, "\n{}", desk.policy.explain())?;
    Ok(())
}

/// The story in virtual time: the seed says how long answers take, and whose turn it is.
pub fn simulated(seed: u64, folder: PathBuf, out: &mut impl Write) -> callboard::Result<bool> {
    let mut simulation = Simulation::new(seed);
    let system = simulation.system().clone();
    simulation.block_on(story(system, folder, out))
}

/// What the program does with these arguments: answers its exit status.
pub fn program(
    arguments: impl Iterator<Item = String>,
    folder: PathBuf,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> callboard::Result<u8> {
    let good = match args::parse(arguments) {
        Ok(Command::Help) => {
            writeln!(out, "{HELP}")?;
            return Ok(0);
        }
        Ok(Command::Simulated { seed }) => simulated(seed, folder, out)?,
        Ok(Command::Live) => callboard::run(|system| story(system, folder, out))??,
        Ok(Command::ByHand { seconds }) => {
            callboard::run(|system| by_hand(system, folder, seconds, out))??;
            true
        }
        Err(wrong) => {
            writeln!(errors, "{wrong}\n\n{HELP}")?;
            return Ok(2);
        }
    };
    Ok(u8::from(!good))
}

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1);
    let folder = format!("callboard-live-policy-{}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
    match program(arguments, folder, &mut out, &mut errors) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("no load: {error}");
            ExitCode::from(2)
        }
    }
}
