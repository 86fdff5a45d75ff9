use super::*;

fn report() -> ShutdownReport {
    let part = |name: &str, kind, end, took| PartReport {
        end,
        took: Duration::from_millis(took),
        ..PartReport::new(name.to_owned(), kind)
    };
    let mut academy = part("academy", PartKind::Tree, WorkEnd::Done, 5_200);
    academy.late.push(LateChild {
        path: "academy/pages".into(),
        ended: true,
    });
    academy.late.push(LateChild {
        path: "academy/pages/old".into(),
        ended: false,
    });
    let mut jobs = part("jobs", PartKind::Drain, WorkEnd::CutOff, 10_000);
    jobs.messages_left = 3;
    let listener = WorkEnd::Failed("panicked: no\nluck".into());
    let phase = |phase: Phase, took, parts| PhaseReport {
        phase,
        deadline: phase.default_deadline(),
        took: Duration::from_millis(took),
        parts,
    };
    ShutdownReport {
        cause: ShutdownCause::Signal(Signal::Terminate),
        second_signal: None,
        cut_short: false,
        took: Duration::from_millis(15_300),
        phases: vec![
            phase(
                Phase::StopTakingWork,
                20,
                vec![part("listener", PartKind::Task, listener, 20)],
            ),
            phase(Phase::FinishWork, 10_000, vec![jobs]),
            phase(Phase::Stop, 5_200, vec![academy]),
        ],
        system: SystemEnd {
            took: Duration::from_millis(80),
            late: vec!["clerk".into()],
        },
        given_up: BTreeMap::from([(DropReason::Stopped, 3), (DropReason::LateReply, 1)]),
    }
}

fn clean() -> ShutdownReport {
    let mut report = report();
    for part in report.phases.iter_mut().flat_map(|phase| &mut phase.parts) {
        part.end = WorkEnd::Done;
        part.late.clear();
    }
    report.system.late.clear();
    report
}

#[test]
fn it_is_written_for_people() {
    let expected = "\
shut down in 15.3s after SIGTERM: with losses
  stop taking work: 20.0ms of 5.0s
    task  listener  failed: panicked: no / luck, 20.0ms
  finish work: 10.0s of 10.0s
    drain jobs      cut off, 10.0s, 3 messages left
  stop: 5.2s of 10.0s
    tree  academy   done, 5.2s
          academy/pages: killed
          academy/pages/old: still running
  system: 80.0ms
    clerk: killed
  messages given up: 3 stopped, 1 late_reply";
    assert_eq!(report().to_string(), expected);
}

#[test]
fn it_is_data() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["cause"]["signal"], "SIGTERM");
    assert_eq!(json["took_ms"], 15_300);
    assert_eq!(json["phases"][0]["phase"], "stop_taking_work");
    assert_eq!(json["phases"][1]["parts"][0]["end"], "cut_off");
    assert_eq!(json["phases"][1]["parts"][0]["messages_left"], 3);
    assert_eq!(json["given_up"]["Stopped"], 3);
}

#[test]
fn what_is_clean_exits_with_0_and_the_rest_as_after_its_signal() {
    assert!(clean().is_clean());
    assert_eq!(clean().exit_code(), 0, "also after a signal");
    let mut report = report();
    assert!(!report.is_clean());
    assert_eq!(report.exit_code(), 143);
    report.second_signal = Some(Signal::Interrupt);
    assert_eq!(report.exit_code(), 130);
    report.second_signal = None;
    report.cause = ShutdownCause::Call;
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn each_loss_alone_is_not_clean() {
    let losses: [fn(&mut ShutdownReport); 5] = [
        |report| report.cut_short = true,
        |report| report.system.late.push("clerk".into()),
        |report| report.phases[0].parts[0].end = WorkEnd::Failed("no".into()),
        |report| report.phases[1].parts[0].end = WorkEnd::NotBegun,
        |report| {
            report.phases[2].parts[0].late.push(LateChild {
                path: "a/b".into(),
                ended: true,
            });
        },
    ];
    for lose in losses {
        let mut report = clean();
        lose(&mut report);
        assert!(!report.is_clean(), "{report}");
    }
}

#[test]
fn parts_are_found_by_name() {
    let report = report();
    assert_eq!(report.part("jobs").unwrap().messages_left, 3);
    assert_eq!(report.part("nobody"), None);
    let phases: Vec<Phase> = report.parts().map(|(phase, _)| phase).collect();
    assert_eq!(phases, Phase::ALL);
}
