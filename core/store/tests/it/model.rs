//! A journal beside a map in memory, which is what it should be.

use std::collections::BTreeMap;

use callboard_core::Simulation;
use callboard_core::journal::{Change, Durability};
use callboard_store::SimDisk;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{Home, Owner};

#[derive(Debug, Clone)]
enum Step {
    Put(u64, Vec<u8>, usize),
    Note(u64, Vec<u8>),
    Drop(u64),
    /// Several at once, under one ticket.
    Move(u64, u64),
    Read(u64),
    Reopen,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..20_u64;
    prop_oneof![
        8 => (id(), vec(any::<u8>(), 0..40), 0..1_200_usize).prop_map(|(id, head, len)| Step::Put(id, head, len)),
        4 => (id(), vec(any::<u8>(), 0..60)).prop_map(|(id, note)| Step::Note(id, note)),
        5 => id().prop_map(Step::Drop),
        2 => (id(), id()).prop_map(|(from, to)| Step::Move(from, to)),
        3 => id().prop_map(Step::Read),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

/// Head, body and note.
type Model = BTreeMap<u64, (Vec<u8>, Vec<u8>, Option<Vec<u8>>)>;

async fn agree(owner: &Owner, model: &Model) {
    let expected: Vec<_> = model
        .iter()
        .map(|(id, (head, body, note))| (*id, head.clone(), note.clone(), body.len()))
        .collect();
    let found: Vec<_> = owner
        .records
        .iter()
        .map(|record| {
            let len = record.body_len as usize;
            (record.id, record.head.clone(), record.note.clone(), len)
        })
        .collect();
    assert_eq!(found, expected);
    let ids: Vec<u64> = model.keys().copied().collect();
    let bodies = owner.read(&ids).await;
    for (body, (_, expected, _)) in bodies.iter().zip(model.values()) {
        assert_eq!(body.as_ref(), Ok(expected));
    }
}

fn run(seed: u64, steps: Vec<Step>) {
    let mut disk = SimDisk::new(seed);
    let mut model = Model::new();
    let mut steps = steps.into_iter().peekable();
    while steps.peek().is_some() {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        let mut killed = false;
        simulation.block_on(async {
            let home = Home::on(&disk);
            let options = home.options().segment_bytes(4 << 10);
            let store = options.open(&system, &home.dir).await.unwrap();
            let owner = Owner::open(&store).await;
            assert!(owner.report.is_sound() && owner.report.torn.is_none());
            agree(&owner, &model).await;
            let mut last = None;
            for step in steps.by_ref() {
                let journal = &owner.journal;
                match step {
                    Step::Put(id, head, len) => {
                        let body = vec![id as u8; len];
                        let (head, body) = (&head, &body);
                        let put = Change::Put { id, head, body };
                        last = Some(journal.append(&[put], Durability::Written).unwrap());
                        model.insert(id, (head.clone(), body.clone(), None));
                    }
                    Step::Note(id, note) => {
                        last = Some(owner.note(id, &note).unwrap());
                        if let Some(entry) = model.get_mut(&id) {
                            entry.2 = Some(note);
                        }
                    }
                    Step::Drop(id) => {
                        last = Some(owner.drop(id).unwrap());
                        model.remove(&id);
                    }
                    Step::Move(from, to) => {
                        let Some((head, body, _)) = model.remove(&from) else {
                            continue;
                        };
                        let put = Change::Put {
                            id: to,
                            head: &head,
                            body: &body,
                        };
                        let changes = [Change::Drop { id: from }, put];
                        last = Some(journal.append(&changes, Durability::Synced).unwrap());
                        model.insert(to, (head, body, None));
                    }
                    Step::Read(id) => {
                        let read = owner.read(&[id]).await.remove(0);
                        let expected = model.get(&id).map(|(_, body, _)| body.clone());
                        assert_eq!(read.ok(), expected);
                    }
                    Step::Reopen => break,
                    Step::Kill => {
                        killed = true;
                        break;
                    }
                }
            }
            if killed {
                if let Some(last) = last {
                    let written = owner.watcher.until(|progress| progress.written >= last);
                    written.await;
                }
            } else {
                let (count, live) = (model.len() as u64, owner.journal.state());
                store.close().await.unwrap();
                let state = owner.journal.state();
                assert_eq!(state.records, count);
                assert!(state.live_bytes <= state.disk_bytes, "{state:?} {live:?}");
            }
        });
        if killed {
            disk = disk.kill();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_is_a_map_that_survives(seed in any::<u64>(), steps in vec(step(), 1..160)) {
        run(seed, steps);
    }
}
