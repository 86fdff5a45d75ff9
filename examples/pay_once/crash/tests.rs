use std::collections::BTreeMap;

use super::*;

fn plans(seed: u64, kills: u32, payments: u32) -> Vec<Plan> {
    let incarnations = (1..=u64::from(kills) + 1).map(Incarnation);
    let plans = incarnations.map(|it| Plan::draw(seed, it, kills, payments));
    plans.collect()
}

#[test]
fn the_points_take_turns_and_leave_payments_for_the_last_incarnation() {
    for seed in 0..50 {
        let plans = plans(seed, 40, 1_000);
        assert_eq!(plans[40], Plan::Lives);
        let mut turns: BTreeMap<&str, u32> = BTreeMap::new();
        let mut visits = 0;
        for plan in &plans[..40] {
            *turns.entry(plan.text()).or_default() += 1;
            match plan {
                Plan::At(_, visit) => {
                    assert!(*visit > 0, "a point is never come to for the 0th time");
                    visits += visit;
                }
                Plan::Outside(after) => assert!(*after <= LONGEST),
                Plan::Lives => panic!("an incarnation that was to be killed lives"),
            }
        }
        assert_eq!(turns.len(), 5);
        assert!(turns.values().all(|turns| *turns == 8), "{turns:?}");
        assert!(visits <= 500, "{visits}");
    }
    assert_eq!(plans(3, 40, 1_000), plans(3, 40, 1_000));
    assert_ne!(plans(3, 40, 1_000), plans(4, 40, 1_000));
    // More kills than payments: each comes at its first chance.
    let greedy = plans(1, 40, 10);
    let first = |plan: &&Plan| matches!(plan, Plan::At(_, 1));
    assert_eq!(greedy.iter().filter(first).count(), 32);
}

#[test]
fn a_plan_is_an_argument_of_a_process() {
    for point in Point::ALL {
        let plan = Plan::At(point, 17);
        assert_eq!(plan.to_string().parse(), Ok(plan));
    }
    // Who is killed from outside isn't told.
    let outside = Plan::Outside(LONGEST).to_string();
    assert_eq!(outside.parse(), Ok(Plan::Lives));
    for wrong in ["", "effect", "effect:", "effect:x", "later:1"] {
        let error = wrong.parse::<Plan>().unwrap_err();
        assert_eq!(error, format!("{wrong:?} is no plan"));
    }
}

#[test]
fn other_points_and_other_visits_kill_nobody() {
    // Or this test would be dead.
    let crash = Crash::new(Plan::At(Point::Effect, 3));
    for point in [Point::Effect, Point::Stored, Point::Effect] {
        crash.at(point, || panic!("it would have"));
    }
    Crash::new(Plan::Lives).at(Point::Effect, || panic!("it would have"));
}
