//! What random runs found, as plain cases.

use super::*;

/// In one turn, or while another of its group ends first: it is up, and to be started again all the same.
#[test]
fn g15_a_child_that_comes_up_while_its_group_is_to_end_is_started_again() {
    let children = vec![child(), child(), child()];
    let mut run = Run::plain(Strategy::OneForAll, children);
    let id = run.lives[1].id.unwrap();
    let mut again = run.ask(Order::Restart(id));
    run.says(1, ChildEvent::Ended(ExitReason::Stopped));
    assert_eq!(run.stage(1), Stage::Starting);
    // The last one is asked first, so this one still starts when its turn to end comes.
    run.says(0, failed());
    assert_eq!(
        (run.stage(1), run.stage(2)),
        (Stage::Starting, Stage::Stopping)
    );
    run.says(1, ChildEvent::Started);
    assert_eq!(again.try_recv(), Ok(Some(Ok(id))));
    run.says(2, ChildEvent::Ended(ExitReason::Stopped));
    assert_eq!(run.stage(1), Stage::Stopping);
    run.says(1, ChildEvent::Ended(ExitReason::Stopped));
    for which in 0..3 {
        assert_eq!(run.stage(which), Stage::Starting);
        run.says(which, ChildEvent::Started);
    }
    let starts: Vec<_> = run.lives.iter().map(|life| life.starts).collect();
    assert_eq!(starts, [2, 3, 2]);
}

/// The one whose turn to end it was is started again in the same turn: the next group doesn't wait for its end.
#[test]
fn g15_a_child_that_was_started_again_by_order_holds_no_group_up() {
    let mut run = Run::plain(Strategy::OneForAll, vec![child(), child()]);
    let (a, b) = (run.lives[0].id.unwrap(), run.lives[1].id.unwrap());
    run.says(0, failed());
    assert_eq!(run.stage(1), Stage::Stopping);
    let _held = [run.ask(Order::Stop(a)), run.ask(Order::Stop(b))];
    let _again = run.ask(Order::Restart(b));
    run.says(1, ChildEvent::Ended(ExitReason::Stopped));
    run.says(1, ChildEvent::Started);
    let _again = run.ask(Order::Restart(a));
    run.says(0, ChildEvent::Started);
    run.says(0, failed());
    assert_eq!(run.stage(1), Stage::Stopping);
    run.says(1, ChildEvent::Ended(ExitReason::Stopped));
    assert_eq!(run.stage(0), Stage::Starting);
}

#[test]
fn g15_who_waits_for_a_temporary_child_is_told_when_its_group_ends_it() {
    let children = vec![child(), child().restart(Restart::Temporary)];
    let mut run = Run::plain(Strategy::OneForAll, children);
    let id = run.lives[1].id.unwrap();
    let mut again = run.ask(Order::Restart(id));
    run.says(0, failed());
    run.says(1, ChildEvent::Ended(ExitReason::Stopped));
    let told = ChildErrorKind::Failed(ExitReason::Stopped);
    assert_eq!(again.try_recv(), Ok(Some(Err(told))));
    assert!(run.lives[1].closed);
}

#[test]
fn g16_who_waits_for_a_child_is_told_when_that_is_once_too_often() {
    let mut run = Run::plain(
        Strategy::OneForOne,
        vec![child(), child().shutdown_unlimited()],
    );
    let id = run.lives[0].id.unwrap();
    let mut again = run.ask(Order::Restart(id));
    run.says(0, ChildEvent::Ended(ExitReason::Stopped));
    for _ in 0..=10 {
        assert_eq!(again.try_recv(), Ok(None));
        run.says(0, ChildEvent::StartFailed("no".into()));
    }
    let told = ChildErrorKind::Failed(ExitReason::Failed("no".into()));
    assert_eq!(again.try_recv(), Ok(Some(Err(told))));
    assert_eq!(
        run.stage(1),
        Stage::Stopping,
        "it may take as long as it likes"
    );
}

/// A place that says the last word of a life twice, the second time during the next one.
#[test]
fn g13_what_is_said_of_an_earlier_life_ends_no_later_one() {
    let mut run = Run::plain(Strategy::OneForOne, vec![child()]);
    let id = run.lives[0].id.unwrap();
    run.says(0, failed());
    run.says(0, ChildEvent::Started);
    run.engine.event(id, 1, failed(), Incarnation(1), run.now);
    run.go_on();
    assert_eq!((run.stage(0), run.lives[0].starts), (Stage::Running, 2));
}
