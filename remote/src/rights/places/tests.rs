use callboard::Principal;
use proptest::prelude::*;

use super::*;
use crate::rights::subject::own_user;
use crate::transport::Proof;

fn cert(name: &str) -> Subject {
    Subject::new(&Proof::encrypted(Some(Principal::new(format!(
        "cert:{name}"
    )))))
}

fn limits(sessions: usize, subscriptions: usize) -> PeerLimits {
    PeerLimits {
        sessions,
        subscriptions,
        ..PeerLimits::default()
    }
}

#[test]
fn g35_a_freed_place_is_free_at_once() {
    let places = Places::new(limits(2, 1));
    let first = places.open(&cert("a")).unwrap();
    let second = places.open(&cert("a")).unwrap();
    for _ in 0..100 {
        let error = places.open(&cert("a")).unwrap_err();
        assert_eq!(error.to_string(), "cert:a has its 2 sessions");
        drop(second.clone());
        assert!(places.open(&cert("a")).is_err(), "a clone is no session");
        // Others have places of their own.
        drop(places.open(&cert("b")).unwrap());
    }
    drop(second);
    let second = places.open(&cert("a")).unwrap();
    assert!(places.open(&cert("a")).is_err());
    assert_eq!(places.refused(), [(PlaceKind::Session, 201)]);
    drop((first, second));
    assert!(places.accounts().is_empty(), "nobody is kept for nothing");
    assert!(places.shared.accounts.lock().is_empty());
}

#[test]
fn g35_more_sessions_give_a_principal_no_more_of_the_rest() {
    let places = Places::new(limits(2, 1));
    let first = places.open(&cert("a")).unwrap();
    let second = places.open(&cert("a")).unwrap();
    let subscription = first.take(PlaceKind::Subscription).unwrap();
    let none = second.take(PlaceKind::Subscription).unwrap_err();
    assert_eq!((none.kind(), none.most()), (PlaceKind::Subscription, 1));
    let failure = Failure::from(none);
    assert_eq!(
        failure.to_string(),
        "no room (not executed): cert:a has its 1 subscriptions"
    );
    // It outlives its session, as what it stands for may.
    drop(first);
    assert!(second.take(PlaceKind::Subscription).is_err());
    drop(second);
    let third = places.open(&cert("a")).unwrap();
    assert!(third.take(PlaceKind::Subscription).is_err());
    drop(subscription);
    assert!(third.take(PlaceKind::Subscription).is_ok());
}

#[test]
fn our_own_user_is_counted_and_not_limited_and_the_unproved_stand_alone() {
    let places = Places::new(limits(1, 0));
    let own = Subject::new(&Proof::local(Some(own_user())));
    let accounts: Vec<_> = (0..10).map(|_| places.open(&own).unwrap()).collect();
    assert_eq!(
        accounts[0].narrow(LinkConfig::default()),
        LinkConfig::default()
    );
    let taken = accounts[0].snapshot().taken;
    assert_eq!(taken, [(PlaceKind::Session, 10)]);
    // The same name over a network isn't our own user.
    let pretender = Subject::new(&Proof::encrypted(Some(own_user())));
    let account = places.open(&pretender).unwrap();
    assert!(account.take(PlaceKind::Subscription).is_err());
    assert!(places.open(&pretender).is_err());
    let pipe = Subject::new(&Proof::local(None));
    let pipes: Vec<_> = (0..10).map(|_| places.open(&pipe).unwrap()).collect();
    assert!(pipes[0].take(PlaceKind::Subscription).is_err());
}

#[test]
fn limits_change_while_places_are_taken() {
    let places = Places::new(limits(1, 3));
    let account = places.open(&cert("a")).unwrap();
    let taken: Vec<_> = (0..3)
        .map(|_| account.take(PlaceKind::Subscription))
        .collect();
    places.set_limits(PeerLimits {
        message_bytes: 5_000,
        ..limits(1, 2)
    });
    assert_eq!(account.narrow(LinkConfig::default()).max_message, 5_000);
    assert!(taken.iter().all(Result::is_ok), "what is taken stays");
    let mut taken = taken.into_iter();
    taken.next();
    assert!(account.take(PlaceKind::Subscription).is_err());
    taken.next();
    assert!(account.take(PlaceKind::Subscription).is_ok());
}

#[test]
fn limits_come_from_a_file() {
    let limits: PeerLimits = toml::from_str("sessions = 3").unwrap();
    assert_eq!(
        limits,
        PeerLimits {
            sessions: 3,
            ..PeerLimits::default()
        }
    );
    let error = toml::from_str::<PeerLimits>("session = 3").unwrap_err();
    assert!(error.to_string().contains("unknown field `session`"));
}

#[test]
fn g35_threads_that_race_for_places_get_no_more_than_there_are() {
    let places = Places::new(limits(1, 3));
    let account = places.open(&cert("a")).unwrap();
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let Ok(_place) = account.take(PlaceKind::Subscription) else {
                        continue;
                    };
                    let taken = account.snapshot().taken;
                    let subscriptions = taken
                        .iter()
                        .find(|(kind, _)| *kind == PlaceKind::Subscription);
                    most.fetch_max(
                        subscriptions.map_or(0, |(_, count)| *count),
                        Ordering::Relaxed,
                    );
                }
            });
        }
    });
    assert!((1..=3).contains(&most.into_inner()));
    assert_eq!(account.snapshot().taken, [(PlaceKind::Session, 1)]);
}

proptest! {
    #[test]
    fn g35_places_are_counted_as_a_model_counts(
        steps in proptest::collection::vec((0..2usize, 0..PlaceKind::ALL.len(), any::<bool>()), 0..60),
    ) {
        let limits = PeerLimits { queues: 1, topics: 2, ..limits(2, 3) };
        let places = Places::new(limits);
        let subjects = [cert("a"), cert("b")];
        let mut accounts: [Vec<Account>; 2] = Default::default();
        let mut held: [[Vec<Place>; PlaceKind::ALL.len()]; 2] = Default::default();
        for (who, kind, gives_back) in steps {
            let kind = PlaceKind::ALL[kind];
            let (accounts, held) = (&mut accounts[who], &mut held[who][kind as usize]);
            match (kind, gives_back) {
                (PlaceKind::Session, true) => { accounts.pop(); }
                (PlaceKind::Session, false) => {
                    let opened = places.open(&subjects[who]);
                    prop_assert_eq!(opened.is_ok(), accounts.len() < limits.sessions);
                    accounts.extend(opened);
                }
                (_, true) => { held.pop(); }
                (_, false) => {
                    if let Some(account) = accounts.last() {
                        let taken = account.take(kind);
                        prop_assert_eq!(taken.is_ok(), held.len() < limits.of(kind));
                        held.extend(taken);
                    }
                }
            }
            let known = places.accounts().len();
            prop_assert!(known <= 2);
        }
        for who in 0..2 {
            if let Some(account) = accounts[who].last() {
                let mut expected = vec![(PlaceKind::Session, accounts[who].len())];
                expected.extend(PlaceKind::ALL[1..].iter().map(|kind| (*kind, held[who][*kind as usize].len())));
                expected.retain(|(_, count)| *count > 0);
                prop_assert_eq!(account.snapshot().taken, expected);
            }
        }
        drop((accounts, held));
        prop_assert!(places.accounts().is_empty());
    }
}
