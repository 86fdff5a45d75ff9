//! A callee that fails for five seconds under five layers of callers, and what their retries make of it.
//!
//! ```text
//! cargo run --example retry_storm                           # a table, and the load over time
//! cargo run --example retry_storm -- --svg storm.svg        # the same as a picture
//! cargo run --example retry_storm -- --capacity 100000      # a callee to which no storm is too much
//! ```
//!
//! Each layer is an actor that asks the next and makes three attempts, as all good advice has it. Where each layer
//! does so by itself, the callee gets up to 3^5 = 243 attempts for each request, and is kept down by them long after
//! it is well. Where the request says that somebody retries already (G18), and all retries stay inside a budget (G17),
//! which is what a [`CallPolicy`](callboard::supervision::CallPolicy) does when nobody says anything, it isn't.
//!
//! Read [`storm`] for the layers and the callee, and [`claims`] for what is checked.

mod args;
mod chart;
mod claims;
mod load;
mod storm;
mod svg;

use std::io::Write;
use std::process::ExitCode;

use args::{Command, HELP};
use load::Measured;
pub use storm::Storm;
use storm::{OUTAGE, RATE, Variant};

/// The four storms, told to `out`. Answers whether what is said of them holds, and their picture.
pub fn run(storm: &Storm, out: &mut impl Write) -> callboard::Result<(bool, String)> {
    let variants = Variant::ALL.into_iter();
    let measured = variants.map(|variant| storm::run(storm, variant));
    let measured = measured.collect::<callboard::Result<Vec<_>>>()?;
    let good = tell(storm, &measured, out)?;
    Ok((good, svg::draw(storm, &measured)))
}

/// Whether what is said holds of all but the worst storm, which takes longest to count and has no chance in it.
pub fn polite_ones_hold(storm: &Storm) -> callboard::Result<bool> {
    let variants = Variant::ALL.into_iter();
    let polite = variants.filter(|variant| *variant != Variant::Loops);
    let measured = polite.map(|variant| storm::run(storm, variant));
    let measured = measured.collect::<callboard::Result<Vec<_>>>()?;
    let claims = claims::of(storm, &measured);
    Ok(claims.iter().all(|claim| claim.holds))
}

fn tell(storm: &Storm, measured: &[Measured], out: &mut impl Write) -> callboard::Result<bool> {
    let Storm {
        layers,
        attempts,
        capacity,
        ..
    } = storm;
    writeln!(
        out,
        "{RATE} requests a second through {layers} layers with {attempts} attempts each, in virtual time.\n\
         The callee can answer {capacity} a second; to refuse one costs it a hundredth of that. It fails for {} s.\n",
        OUTAGE.as_secs()
    )?;
    chart::table(measured, out)?;
    chart::over_time(storm, measured, out)?;
    let claims = claims::of(storm, measured);
    for claim in &claims {
        let word = if claim.holds { "holds" } else { "BROKEN" };
        writeln!(out, "{word:<7} {}", claim.text)?;
    }
    Ok(claims.iter().all(|claim| claim.holds))
}

/// What the program does with these arguments: answers its exit status.
pub fn program(
    arguments: impl Iterator<Item = String>,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> callboard::Result<u8> {
    let (storm, file) = match args::parse(arguments) {
        Ok(Command::Help) => {
            writeln!(out, "{HELP}")?;
            return Ok(0);
        }
        Ok(Command::Run { storm, svg }) => (storm, svg),
        Err(wrong) => {
            writeln!(errors, "{wrong}\n\n{HELP}")?;
            return Ok(2);
        }
    };
    let (good, picture) = run(&storm, out)?;
    if let Some(file) = file {
        let written = std::fs::write(&file, picture);
        written.map_err(|error| format!("{file} can't be written: {error}"))?;
    }
    Ok(u8::from(!good))
}

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1);
    match program(arguments, &mut std::io::stdout(), &mut std::io::stderr()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("no storm: {error}");
            ExitCode::from(2)
        }
    }
}
