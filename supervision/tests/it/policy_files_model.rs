//! A policy file under random edits, good and bad, against a model: whatever is read is all of a content that was
//! there, or nothing of it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callboard::{Simulation, System, testing};
use callboard_store::{Disk, Op, SimDisk};
use callboard_supervision::{CallSettings, PolicyFile, PolicyProblemKind};
use proptest::prelude::*;

use crate::common::{ms, secs};
use crate::policy_files::PATH;

type Policies = BTreeMap<String, CallSettings>;

/// What somebody does to the file.
#[derive(Debug, Clone)]
enum Step {
    /// Writes a good file, whole.
    Write(Vec<(u8, u32)>),
    /// Writes half of it, and the rest so many milliseconds later.
    WriteInHalves(Vec<(u8, u32)>, u64),
    /// Replaces a byte.
    Slip(prop::sample::Index, u8),
    /// Takes it away.
    Remove,
    /// Makes it unreadable for some milliseconds.
    Trouble(u64),
    /// Asks for a look.
    Reload,
    /// Does nothing for some milliseconds.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let policies = || prop::collection::vec((0..4_u8, 1..=10_u32), 0..4);
    let byte = prop::sample::select(b"[]=.\"# 019a\n\xff".to_vec());
    prop_oneof![
        3 => policies().prop_map(Step::Write),
        2 => (policies(), 0..300_u64).prop_map(|(p, span)| Step::WriteInHalves(p, span)),
        3 => (any::<prop::sample::Index>(), byte).prop_map(|(at, byte)| Step::Slip(at, byte)),
        1 => Just(Step::Remove),
        1 => (0..3_000_u64).prop_map(Step::Trouble),
        2 => Just(Step::Reload),
        6 => (0..3_000_u64).prop_map(Step::Wait),
    ]
}

fn text(policies: &[(u8, u32)]) -> Vec<u8> {
    let of_each: BTreeMap<_, _> = policies.iter().copied().collect();
    let tables = of_each.iter();
    let text: String = tables
        .map(|(name, attempts)| format!("[p{name}]\nretry.attempts = {attempts}\n"))
        .collect();
    text.into_bytes()
}

fn parse(bytes: &[u8]) -> Option<Policies> {
    PolicyFile::parse(PATH, std::str::from_utf8(bytes).ok()?).ok()
}

/// The file, and what it held.
struct Edited {
    system: System,
    disk: SimDisk,
    policies: PolicyFile,
    /// Each good content there ever was.
    contents: Vec<Policies>,
}

impl Edited {
    fn put(&mut self, bytes: Vec<u8>) {
        self.contents.extend(parse(&bytes));
        self.disk.put_bytes(Path::new(PATH), bytes);
    }

    /// What those policies are set to that the file has, as far as the watcher knows.
    fn held(&self) -> Policies {
        let is_in_file = self.policies.status().policies;
        let policies = self.policies.policies().into_iter();
        policies
            .filter(|(name, _)| is_in_file[name])
            .map(|(name, policy)| (name, policy.settings()))
            .collect()
    }

    async fn pass(&self, millis: u64) {
        testing::advance(&self.system, ms(millis)).await.unwrap();
        let held = self.held();
        assert!(self.contents.contains(&held), "never written: {held:?}");
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Write(policies) => self.put(text(policies)),
            Step::WriteInHalves(policies, span) => {
                let whole = text(policies);
                self.put(whole[..whole.len() / 2].to_vec());
                self.pass(*span).await;
                self.put(whole);
            }
            Step::Slip(at, byte) => {
                let bytes = self.disk.bytes(Path::new(PATH));
                if let Some(mut bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                    self.put(bytes);
                }
            }
            Step::Remove => {
                // An error: it is gone already.
                let _ = self.disk.remove(Path::new(PATH));
            }
            Step::Trouble(span) => {
                self.disk.fail_always(Op::Open, ErrorKind::PermissionDenied);
                self.pass(*span).await;
                self.disk.heal();
            }
            Step::Reload => {
                let before = self.held();
                let bytes = self.disk.bytes(Path::new(PATH));
                let expected = bytes.as_deref().and_then(parse);
                match (self.policies.reload().await, expected) {
                    (Ok(_), Some(expected)) => assert_eq!(self.held(), expected),
                    (Err(_), None) => assert_eq!(self.held(), before),
                    (answer, expected) => panic!("{answer:?}, but it has {expected:?}"),
                }
            }
            Step::Wait(span) => self.pass(*span).await,
        }
    }
}

async fn run(system: System, steps: &[Step]) {
    let disk = SimDisk::new(3);
    disk.put_bytes(Path::new(PATH), Vec::new());
    let policies = PolicyFile::builder(PATH)
        .on(Arc::new(disk.clone()))
        .watch(&system)
        .await
        .unwrap();
    let mut edited = Edited {
        system,
        disk,
        policies,
        contents: vec![Policies::new()],
    };
    for step in steps {
        edited.step(step).await;
    }
    // When all is quiet it stands as the file does, or as before with a reason.
    let before = edited.held();
    edited.pass(3_000).await;
    let bytes = edited.disk.bytes(Path::new(PATH));
    let error = edited.policies.last_error();
    match bytes.as_deref().map(parse) {
        Some(Some(policies)) => {
            assert_eq!(edited.held(), policies);
            assert_eq!(error, None);
        }
        Some(None) => {
            assert_eq!(edited.held(), before);
            assert!(error.is_some_and(|error| error.at().is_some()));
        }
        None => {
            assert_eq!(edited.held(), before);
            assert_eq!(
                error.map(|error| error.kind()),
                Some(PolicyProblemKind::Missing)
            );
        }
    }
}

proptest! {
    #[test]
    fn it_is_always_all_of_one_content(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async move { run(system, &steps).await });
    }
}

/// The same seed and the same edits at the same times give the same looks and the same versions (G38).
#[test]
fn g38_the_same_seed_has_the_same_looks() {
    let run = |seed| {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            let disk = SimDisk::new(seed);
            disk.put_bytes(Path::new(PATH), text(&[(1, 1)]));
            let times = Arc::new(parking_lot::Mutex::new(Vec::<Duration>::new()));
            let (seen, clock) = (Arc::clone(&times), system.clock().clone());
            let policies = PolicyFile::builder(PATH)
                .on(Arc::new(disk.clone()))
                .on_change(move |_| seen.lock().push(clock.unix()))
                .watch(&system)
                .await
                .unwrap();
            for attempts in 1..=10 {
                disk.put_bytes(Path::new(PATH), text(&[(1, attempts)]));
                let span = ms(system.entropy().below(3_000));
                testing::advance(&system, span).await.unwrap();
            }
            testing::advance(&system, secs(3)).await.unwrap();
            let times = times.lock().clone();
            (times, policies.status())
        })
    };
    let first = run(5);
    assert_eq!(run(5), first);
    assert_ne!(run(6).0, first.0);
}
