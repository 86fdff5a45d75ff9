use super::*;
use crate::crash::{Plan, Point};

fn parsed(args: &[&str]) -> Result<Command, String> {
    parse(args.iter().map(OsString::from))
}

#[test]
fn a_run_is_what_the_options_say() {
    let Ok(Command::Run(run)) = parsed(&[]) else {
        panic!("no run");
    };
    assert_eq!(run.modes, Mode::ALL);
    let given = [
        "--mode",
        "no-keys",
        "--payments",
        "9",
        "--clients",
        "2",
        "--kills",
        "0",
        "--seed",
        "5",
        "--trace",
    ];
    let expected = Run {
        modes: vec![Mode::NoKeys],
        payments: 9,
        clients: 2,
        kills: 0,
        seed: 5,
        trace: true,
    };
    assert_eq!(parsed(&given), Ok(Command::Run(expected)));
    assert_eq!(parsed(&["--trace", "--help"]), Ok(Command::Help));
    for mode in Mode::ALL {
        assert!(HELP.contains(mode.name()), "--help doesn't name {mode:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let wrong = |args: &[&str], why: &str| assert_eq!(parsed(args).unwrap_err(), why);
    wrong(&["--fast"], "unknown argument \"--fast\"");
    wrong(&["--kills"], "--kills needs a value");
    wrong(&["--kills", "x"], "--kills needs a number, not \"x\"");
    let most = "--kills is 1001, which isn't from 0 to 1000";
    wrong(&["--kills", "1001"], most);
    let least = "--payments is 0, which isn't from 1 to 100000";
    wrong(&["--payments", "0"], least);
    let names: Vec<&str> = Mode::ALL.into_iter().map(Mode::name).collect();
    let mode = format!("--mode is \"x\", and not one of {}", names.join(", "));
    wrong(&["--mode", "x"], &mode);
    wrong(&["--bank", "folder"], "--bank needs four arguments");
}

#[test]
fn a_bank_reads_back_what_it_is_started_with() {
    for mode in Mode::ALL {
        let role = || Role {
            folder: Folder("some where".into()),
            mode,
            incarnation: Incarnation(3),
            plan: Plan::At(Point::Stored, 12),
        };
        assert_eq!(parse(role().to_args()), Ok(Command::Bank(role())));
    }
}
