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
    strategies: "../../examples/strategies.rs",
    queues_hello: "../../examples/queues/hello.rs",
    queues_work_queue: "../../examples/queues/work_queue.rs",
    queues_publish_subscribe: "../../examples/queues/publish_subscribe.rs",
    queues_routing: "../../examples/queues/routing.rs",
    queues_topics: "../../examples/queues/topics.rs",
    queues_rpc: "../../examples/queues/rpc.rs",
}

/// Those with actix or signals in them, which no simulation has (G38), or with a runtime and sockets of their own, run
/// as the programs they are, and nowhere else.
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
    graceful: "../../examples/graceful.rs",
    tls: "../../examples/tls.rs",
    admin: "../../examples/admin.rs",
    queues_publisher_confirms: "../../examples/queues/publisher_confirms.rs",
}

#[path = "../../examples/coffee_shop/main.rs"]
#[allow(dead_code, unreachable_pub)] // a program, so with a `main`
mod coffee_shop;

#[test]
fn g22_the_coffee_shop_has_the_same_day_whosever_turn_it_is() {
    let expected = text_of("tests/fixtures/coffee_shop.out");
    for turns in 0..SEEDS {
        let mut out = Vec::new();
        let day = coffee_shop::Run::default();
        let good = coffee_shop::simulated(&day, turns, &mut out).expect("it works");
        assert_eq!(text(out), expected, "under seed {turns}");
        assert!(good);
    }
}

#[test]
fn g21_the_coffee_shop_loses_no_order_on_other_days_and_by_a_real_clock() {
    for seed in 0..60 {
        let mut out = Vec::new();
        let day = coffee_shop::Run::simulated(seed, 20);
        let good = coffee_shop::run(&day, &mut out).expect("it works");
        assert!(good, "seed {seed}:\n{}", text(out));
    }
    for seed in 0..3 {
        let mut out = Vec::new();
        let day = coffee_shop::Run::live(seed, 8);
        let good = coffee_shop::run(&day, &mut out).expect("it works");
        assert!(good, "live, seed {seed}:\n{}", text(out));
    }
}

#[test]
fn the_coffee_shop_says_what_it_does_not_understand() {
    let check = |arguments: &[&str], status, on_out: &str, on_errors: &str| {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let found = coffee_shop::program(arguments, &mut out, &mut errors);
        let (out, errors) = (text(out), text(errors));
        assert_eq!(found.expect("it works"), status, "{out}{errors}");
        assert!(out.contains(on_out), "{out}");
        assert!(errors.contains(on_errors), "{errors}");
        assert_eq!(errors.is_empty(), on_errors.is_empty(), "{errors}");
    };
    check(&["--help"], 0, "Usage: coffee_shop", "");
    check(
        &["--seed", "1", "--customers", "5"],
        0,
        "no order was lost",
        "",
    );
    check(&["--customers", "3"], 2, "", "--customers is 3");
    check(&["--seed", "today"], 2, "", "not \"today\"");
    check(&["--seed"], 2, "", "--seed needs a number");
    check(&["--closed"], 2, "", "unknown argument \"--closed\"");
}

#[path = "../../examples/self_healing/main.rs"]
#[allow(dead_code, unreachable_pub)] // a program, so with a `main`
mod self_healing;

#[test]
fn g15_the_tour_of_the_bakery_is_the_same_whosever_turn_it_is() {
    let expected = text_of("tests/fixtures/self_healing.out");
    for turns in 0..SEEDS {
        let mut out = Vec::new();
        let good = self_healing::simulated_tour(turns, &mut out).expect("it works");
        assert_eq!(text(out), expected, "under seed {turns}");
        assert!(good);
    }
}

#[test]
fn g13_the_bakery_loses_nothing_that_was_queued_whatever_happens() {
    for seed in 0..12 {
        let mut out = Vec::new();
        let run = self_healing::Run::plain(5, seed);
        let good = self_healing::simulated(&run, seed, &mut out).expect("it works");
        assert!(good, "seed {seed}:\n{}", text(out));
    }
}

#[test]
fn g38_the_bakery_has_the_same_day_under_the_same_seed() {
    let day = |turns| {
        let mut out = Vec::new();
        let run = self_healing::Run::plain(3, 7);
        self_healing::simulated(&run, turns, &mut out).expect("it works");
        text(out)
    };
    let first = day(3);
    assert_eq!(first, day(3));
    assert_ne!(first, day(4), "chance has no part in it");
}

#[test]
fn the_bakery_works_by_a_real_clock_and_says_what_it_does_not_understand() {
    let check = |arguments: &[&str], status, on_out: &[&str], on_errors: &str| {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let found = self_healing::program(arguments, true, &mut out, &mut errors);
        let (out, errors) = (text(out), text(errors));
        assert_eq!(found.expect("it works"), status, "{out}{errors}");
        for wanted in on_out {
            assert!(out.contains(wanted), "no {wanted:?} in {out}");
        }
        assert!(errors.contains(on_errors), "{errors}");
        assert_eq!(errors.is_empty(), on_errors.is_empty(), "{errors}");
    };
    let good = "nothing that was queued was lost";
    check(
        &["--seconds", "2", "--plain"],
        0,
        &["radio started", good],
        "",
    );
    // Drawn in place: each picture begins where the last one did.
    let picture = "A\u{1b}[J";
    check(&["--seconds", "1", "--seed", "3"], 0, &[picture, good], "");
    check(&["--tour"], 0, &[good], "");
    check(&["--help"], 0, &["Usage: self_healing"], "");
    check(&["--seconds", "0"], 2, &[], "--seconds is 0");
    check(&["--seed", "today"], 2, &[], "not \"today\"");
    check(&["--closed"], 2, &[], "unknown argument \"--closed\"");
}

#[path = "../../examples/retry_storm/main.rs"]
#[allow(dead_code, unreachable_pub)] // a program, so with a `main`
mod retry_storm;

#[test]
fn g18_the_retry_storm_is_what_its_transcript_and_the_guides_picture_say() {
    let mut out = Vec::new();
    let (good, picture) = retry_storm::run(&Default::default(), &mut out).expect("it works");
    assert_eq!(text(out), text_of("tests/fixtures/retry_storm.out"));
    assert_eq!(
        picture,
        text_of("guide/src/retry-storm.svg"),
        "write it anew: cargo run --example retry_storm -- --svg guide/src/retry-storm.svg"
    );
    assert!(good);
}

#[test]
fn g17_no_retry_storm_leaves_its_budget_whatever_the_waits() {
    for seed in 2..6 {
        let storm = retry_storm::Storm::seeded(seed);
        let good = retry_storm::polite_ones_hold(&storm).expect("it works");
        assert!(good, "under seed {seed}");
    }
}

#[test]
fn the_retry_storm_does_what_it_is_told_and_says_what_it_does_not_understand() {
    let check = |arguments: &[&str], status, on_out: &[&str], on_errors: &str| {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let found = retry_storm::program(arguments, &mut out, &mut errors);
        let (out, errors) = (text(out), text(errors));
        assert_eq!(found.expect("it works"), status, "{out}{errors}");
        for wanted in on_out {
            assert!(out.contains(wanted), "no {wanted:?} in {out}");
        }
        assert!(errors.contains(on_errors), "{errors}");
        assert_eq!(errors.is_empty(), on_errors.is_empty(), "{errors}");
    };
    let picture = concat!(env!("CARGO_TARGET_TMPDIR"), "/storm.svg");
    let small = ["--layers", "2", "--attempts", "2", "--seed", "9"];
    let drawn = [&small[..], &["--svg", picture]].concat();
    check(&drawn, 0, &["2 layers", "of 4 that are possible"], "");
    let picture = std::fs::read_to_string(picture).expect("it is there");
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    // Nothing is too much for that one: it is well as soon as it is well.
    let strong = [&small[..], &["--capacity", "1000000"]].concat();
    check(&strong, 0, &["0 %    100 %"], "");
    check(&["--help"], 0, &["Usage: retry_storm"], "");
    check(&["--layers", "7"], 2, &[], "--layers is 7");
    check(&["--attempts", "1"], 2, &[], "--attempts is 1");
    check(&["--attempts", "5"], 2, &[], "is 3125 for each request");
    check(&["--capacity", "50"], 2, &[], "--capacity is 50");
    check(&["--seed", "today"], 2, &[], "not \"today\"");
    check(&["--svg"], 2, &[], "--svg needs the name of a file");
    check(&["--calm"], 2, &[], "unknown argument \"--calm\"");
}

#[path = "../../examples/live_policy/main.rs"]
#[allow(dead_code, unreachable_pub)] // a program, so with a `main`
mod live_policy;

/// A folder for the file of one run.
fn folder(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_policy_that_is_edited_under_load_does_what_its_transcript_says() {
    let mut out = Vec::new();
    let place = folder("live_policy");
    let good = live_policy::simulated(1, place.clone(), &mut out).expect("it works");
    assert_eq!(text(out), text_of("tests/fixtures/live_policy.out"));
    assert!(good);
    assert!(!place.exists(), "it leaves nothing behind");
    for seed in 2..8 {
        let mut out = Vec::new();
        let good = live_policy::simulated(seed, place.clone(), &mut out).expect("it works");
        assert!(good, "under seed {seed}:\n{}", text(out));
    }
}

#[test]
fn a_policy_can_be_edited_by_hand() {
    let mut out = Vec::new();
    let mut simulation = callboard::Simulation::new(3);
    let (system, place) = (simulation.system().clone(), folder("live_policy_by_hand"));
    let clock = system.clock().clone();
    let hand = async {
        clock.sleep(std::time::Duration::from_secs(4)).await;
        let slip = "[related]\nretry = maybe\n";
        std::fs::write(place.join("policies.toml"), slip).expect("it can be written");
        clock.sleep(std::time::Duration::from_secs(3)).await;
        let limited = "[related]\nretry = false\nattempt.limit = \"20ms\"\n";
        std::fs::write(place.join("policies.toml"), limited).expect("it can be written");
    };
    let program = live_policy::by_hand(system, place.clone(), 15, &mut out);
    let (ended, ()) = simulation.block_on(async { futures::join!(program, hand) });
    ended.expect("it works");
    let out = text(out);
    let path = place.join("policies.toml");
    for wanted in [
        path.to_str().expect("the path is text"),
        "the file is refused:\n     policies.toml:2:9: ",
        "attempt.limit false -> \"20ms\"",
        "20 ms",
    ] {
        assert!(out.contains(wanted), "no {wanted:?} in {out}");
    }
}

#[test]
fn the_live_policy_says_what_it_does_not_understand() {
    let check = |arguments: &[&str], status, on_out: &str, on_errors: &str| {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let given = arguments.iter().map(|argument| (*argument).to_owned());
        let place = folder("live_policy_arguments");
        let found = live_policy::program(given, place, &mut out, &mut errors);
        let (out, errors) = (text(out), text(errors));
        assert_eq!(found.expect("it works"), status, "{out}{errors}");
        assert!(out.contains(on_out), "no {on_out:?} in {out}");
        assert!(errors.contains(on_errors), "{errors}");
        assert_eq!(errors.is_empty(), on_errors.is_empty(), "{errors}");
    };
    check(&["--help"], 0, "Usage: live_policy", "");
    check(&["--seed", "9"], 0, "in virtual time", "");
    check(&["--seed", "today"], 2, "", "not \"today\"");
    check(&["--live", "--by-hand"], 2, "", "one of them");
    check(&["--live", "--seed", "1"], 2, "", "repeats nothing");
    check(&["--seconds", "9"], 2, "", "--seconds needs --by-hand");
    check(&["--by-hand", "--seconds", "5"], 2, "", "--seconds is 5");
    check(&["--quick"], 2, "", "unknown argument \"--quick\"");
}

fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).expect("examples print UTF-8")
}

#[test]
fn every_small_example_has_a_transcript() {
    let names = files().iter().filter_map(|file| {
        let name = file.path.strip_prefix("examples/")?.strip_suffix(".rs")?;
        // One idea a file, also in the folder of the queues.
        let name = name.replace("queues/", "queues_");
        // The hello example is the README's: a doctest asserts what it does.
        (!name.contains('/') && name != "hello").then_some(name)
    });
    let without: Vec<String> = names
        .filter(|name| ![SIMULATED, PROGRAMS].concat().contains(&name.as_str()))
        .collect();
    assert_none("examples whose output nobody checks:", &without);
}
