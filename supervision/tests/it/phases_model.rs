//! Random plans against a small model of what a shutdown does.

use std::time::Duration;

use callboard::Simulation;
use callboard_supervision::{Phase, Shutdown, WorkEnd};
use proptest::prelude::*;

use crate::common::ms;

/// A task: its phase, and how long it needs.
type Task = (usize, u64);

/// What the model says of a phase: the end of each task, in the order in which the report has them, and how long the
/// phase takes.
fn model(phase: Phase, tasks: &[Task], deadline: u64) -> (Vec<(String, WorkEnd)>, u64) {
    let mine: Vec<(String, u64)> = tasks
        .iter()
        .enumerate()
        .filter(|(_, (at, _))| Phase::ALL[*at] == phase)
        .map(|(number, (_, needs))| (number.to_string(), *needs))
        .collect();
    if phase != Phase::Stop {
        let ends = mine.iter().map(|(name, needs)| {
            let end = if *needs < deadline {
                WorkEnd::Done
            } else {
                WorkEnd::CutOff
            };
            (name.clone(), end)
        });
        let took = mine.iter().map(|(_, needs)| *needs).max().unwrap_or(0);
        return (ends.collect(), took.min(deadline));
    }
    let (mut ends, mut at) = (Vec::new(), 0);
    for (index, (name, needs)) in mine.into_iter().rev().enumerate() {
        // The first is begun also in no time.
        let end = if at >= deadline && index > 0 {
            WorkEnd::NotBegun
        } else if at + needs < deadline {
            WorkEnd::Done
        } else {
            WorkEnd::CutOff
        };
        at = (at + needs).min(deadline);
        ends.push((name, end));
    }
    (ends, at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn g11_every_plan_does_what_the_model_says(
        tasks in prop::collection::vec((0..3_usize, 1..60_u64), 0..12),
        deadlines in prop::array::uniform3(0..80_u64),
        seed in any::<u64>(),
    ) {
        // A little more, so that no sum of them is a deadline.
        let needs = |n: u64| ms(n) + Duration::from_micros(10);
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        let mut shutdown = Shutdown::new(&system);
        for (phase, deadline) in Phase::ALL.into_iter().zip(deadlines) {
            shutdown = shutdown.deadline(phase, ms(deadline));
        }
        for (number, (at, span)) in tasks.iter().enumerate() {
            let (clock, span) = (system.clock().clone(), needs(*span));
            shutdown.on(Phase::ALL[*at], number.to_string(), move || async move {
                clock.sleep(span).await;
            });
        }
        let report = simulation.block_on(async move { shutdown.run().await });
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            let in_micros: Vec<Task> = tasks.iter().map(|(at, n)| (*at, n * 1_000 + 10)).collect();
            let (ends, took) = model(phase, &in_micros, deadlines[index] * 1_000);
            let found = &report.phases[index];
            let found_ends: Vec<_> =
                found.parts.iter().map(|part| (part.name.clone(), part.end.clone())).collect();
            prop_assert_eq!(found_ends, ends, "{}\n{}", phase, &report);
            prop_assert_eq!(found.took, Duration::from_micros(took), "{}\n{}", phase, &report);
        }
        prop_assert!(report.system.late.is_empty());
    }
}
