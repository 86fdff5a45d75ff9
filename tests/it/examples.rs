//! Examples say what the guide says they say.
//!
//! Each runs as the program it is, on real arbiters, and in virtual time under several seeds (unless it has a
//! runtime of its own), and must print its transcript in `tests/fixtures/` every time.

use crate::source_tree::{assert_none, files, text_of};

/// Under how many seeds each transcript must come out the same.
const SEEDS: u64 = 16;
/// How often on arbiters alone, where no seed makes a difference.
const RUNS: u32 = 4;

macro_rules! transcripts {
    ($($name:ident: $path:literal),* $(,)?) => {
        $(
            #[path = $path]
            #[allow(dead_code, unreachable_pub)] // a program, so with a `main`
            mod $name;

            #[test]
            fn $name() {
                let expected = text_of(concat!("tests/fixtures/", stringify!($name), ".out"));
                let mut out = Vec::new();
                $name::run(&mut out).expect("the example ends well");
                assert_eq!(text(out), expected, "on arbiters");
                for seed in 0..SEEDS {
                    let mut out = Vec::new();
                    let mut simulation = callboard::Simulation::new(seed);
                    let system = simulation.system().clone();
                    let story = $name::story(system, &mut out);
                    simulation.block_on(story).expect("the example ends well");
                    assert_eq!(text(out), expected, "under seed {seed}");
                }
            }
        )*

        const SIMULATED: &[&str] = &[$(stringify!($name)),*];
    };
}

transcripts! {
    first_actor: "../../examples/first_actor.rs",
    first_failure: "../../examples/first_failure.rs",
    bookmarks: "../../examples/bookmarks.rs",
    flood: "../../examples/flood.rs",
    verdicts: "../../examples/verdicts.rs",
    ping_pong: "../../examples/ping_pong.rs",
    deferred: "../../examples/deferred.rs",
    streamed_answer: "../../examples/streamed_answer.rs",
    timers: "../../examples/timers.rs",
    lifecycle: "../../examples/lifecycle.rs",
    registry: "../../examples/registry.rs",
    pool: "../../examples/pool.rs",
    scatter_gather: "../../examples/scatter_gather.rs",
    fencing: "../../examples/fencing.rs",
}

/// Those with actix in them, which no simulation has (G38), or with a runtime and sockets of their own, run as
/// the programs they are, and nowhere else.
macro_rules! programs {
    ($($name:ident: $path:literal),* $(,)?) => {
        $(
            #[path = $path]
            #[allow(dead_code, unreachable_pub)] // a program, so with a `main`
            mod $name;

            #[test]
            fn $name() {
                let expected = text_of(concat!("tests/fixtures/", stringify!($name), ".out"));
                for _ in 0..RUNS {
                    let mut out = Vec::new();
                    $name::run(&mut out).expect("the example ends well");
                    assert_eq!(text(out), expected);
                }
            }
        )*

        const PROGRAMS: &[&str] = &[$(stringify!($name)),*];
    };
}

programs! {
    adopt_actix: "../../examples/adopt_actix.rs",
    in_actix_web: "../../examples/in_actix_web.rs",
    in_axum: "../../examples/in_axum.rs",
}

fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).expect("examples print UTF-8")
}

#[test]
fn every_small_example_has_a_transcript() {
    let names = files().iter().filter_map(|file| {
        let name = file.path.strip_prefix("examples/")?.strip_suffix(".rs")?;
        // The hello example is the README's: a doctest asserts what it does.
        (!name.contains('/') && name != "hello").then(|| name.to_owned())
    });
    let without: Vec<String> = names
        .filter(|name| ![SIMULATED, PROGRAMS].concat().contains(&name.as_str()))
        .collect();
    assert_none("examples whose output nobody checks:", &without);
}
