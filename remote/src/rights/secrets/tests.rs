use callboard::topic::{SubscriberOptions, TopicEvent};
use futures::{FutureExt, StreamExt};

use super::*;
use crate::rights::REFUSED_LOGINS;

const ALICES: &str = "alice's own secret";

fn quick() -> SecretsConfig {
    SecretsConfig {
        rounds: 1_000,
        ..SecretsConfig::default()
    }
}

fn here() -> Origin {
    Origin::named("here")
}

fn login(name: &str, secret: &str) -> Login {
    Login::new(name, secret).unwrap()
}

async fn with_alice(system: &System) -> Secrets {
    let secrets = Secrets::with(system, quick()).unwrap();
    let added = secrets.add("alice", Secret::new(ALICES).unwrap()).await;
    assert_eq!(added, Ok(false));
    secrets
}

/// Of an origin that nobody else has.
async fn try_login(secrets: &Secrets, name: &str, secret: &str) -> Result<String, LoginRefused> {
    let origin = Origin::named(&callboard::RequestKey::new().to_string());
    let done = secrets.login(login(name, secret), Channel::Encrypted, origin);
    done.await.map(|principal| principal.to_string())
}

#[callboard::test(both)]
async fn g35_a_secret_proves_a_principal(system: System) {
    let secrets = with_alice(&system).await;
    let right = Ok("secret:alice".to_owned());
    assert_eq!(try_login(&secrets, "alice", ALICES).await, right);
    // Now it is remembered, which makes no difference but in time.
    assert_eq!(try_login(&secrets, "alice", ALICES).await, right);
    let wrong = Err(LoginRefused::Wrong);
    assert_eq!(
        try_login(&secrets, "alice", "another secret as long").await,
        wrong
    );
    assert_eq!(try_login(&secrets, "bob", ALICES).await, wrong);
    let stats = secrets.stats();
    assert_eq!((stats.names, stats.logins, stats.wrong), (1, 2, 2));
}

#[callboard::test]
async fn g35_secrets_are_taken_over_tls_only(system: System) {
    let secrets = with_alice(&system).await;
    for channel in [Channel::Local, Channel::Plain] {
        for secret in [ALICES, "another secret as long"] {
            let refused = secrets.login(login("alice", secret), channel, here()).await;
            assert_eq!(refused, Err(LoginRefused::NotEncrypted));
        }
    }
    assert_eq!(secrets.stats().not_encrypted, 4);
    assert_eq!(secrets.stats().logins, 0);
}

#[callboard::test]
async fn g35_a_replaced_or_removed_secret_is_refused_also_if_it_is_remembered(system: System) {
    let secrets = with_alice(&system).await;
    assert!(try_login(&secrets, "alice", ALICES).await.is_ok());
    let newer = Secret::new("alice's newer secret").unwrap();
    assert_eq!(secrets.add("alice", newer).await, Ok(true));
    let wrong = Err(LoginRefused::Wrong);
    assert_eq!(try_login(&secrets, "alice", ALICES).await, wrong);
    assert!(
        try_login(&secrets, "alice", "alice's newer secret")
            .await
            .is_ok()
    );
    assert!(secrets.remove("alice"));
    assert!(!secrets.remove("alice"));
    assert_eq!(
        try_login(&secrets, "alice", "alice's newer secret").await,
        wrong
    );
}

/// What is remembered is bound to the name: nobody logs in with a secret of somebody else.
#[callboard::test]
async fn g35_what_is_remembered_of_one_name_is_good_for_no_other(system: System) {
    let secrets = with_alice(&system).await;
    let bobs = Secret::new("bob's own secret").unwrap();
    secrets.add("bob", bobs).await.unwrap();
    assert!(try_login(&secrets, "alice", ALICES).await.is_ok());
    assert!(try_login(&secrets, "bob", "bob's own secret").await.is_ok());
    let wrong = Err(LoginRefused::Wrong);
    assert_eq!(try_login(&secrets, "bob", ALICES).await, wrong);
    assert_eq!(try_login(&secrets, "carol", ALICES).await, wrong);
}

#[callboard::test]
async fn g35_an_unknown_name_costs_as_much_as_a_wrong_secret(system: System) {
    let secrets = with_alice(&system).await;
    let hashed = || secrets.stats().hashed;
    assert!(try_login(&secrets, "alice", ALICES).await.is_ok());
    assert_eq!(hashed(), 1);
    assert!(try_login(&secrets, "alice", ALICES).await.is_ok());
    assert_eq!(hashed(), 1, "what was right is remembered");
    let another = "another secret as long";
    assert!(try_login(&secrets, "alice", another).await.is_err());
    assert_eq!(hashed(), 2);
    assert!(try_login(&secrets, "nobody", another).await.is_err());
    assert_eq!(hashed(), 3);
    assert!(try_login(&secrets, "nobody", ALICES).await.is_err());
    assert_eq!(hashed(), 4, "also with what is right for somebody");
    // A name is compared with the same somebody each time, and names are spread over all there are.
    secrets
        .add("bob", Secret::new(ALICES).unwrap())
        .await
        .unwrap();
    let shared = &secrets.owner.shared;
    let everybody: Vec<_> = shared.table.read().values().cloned().collect();
    let mut found = vec![0; everybody.len()];
    for number in 0..64 {
        let name = format!("n{number}");
        let (once, twice) = (shared.somebody(&name), shared.somebody(&name));
        assert!(Arc::ptr_eq(&once, &twice));
        let at = everybody.iter().position(|one| Arc::ptr_eq(one, &once));
        found[at.unwrap()] += 1;
    }
    assert!(found.iter().all(|times| *times > 0), "{found:?}");
}

#[callboard::test]
async fn g35_failed_logins_lock_out_for_a_time(system: System) {
    let secrets = with_alice(&system).await;
    let clock = system.clock();
    let verify =
        |secret: &str| secrets.verify(&login("alice", secret), Channel::Encrypted, &here());
    for _ in 0..5 {
        let refused = verify("another secret as long");
        assert_eq!(refused, Err(LoginRefused::Wrong));
    }
    // The right one isn't looked at either: an attacker learns nothing while it waits.
    let second = Duration::from_secs(1);
    assert_eq!(verify(ALICES), Err(LoginRefused::Wait(second)));
    clock.sleep(second).await;
    assert!(verify(ALICES).is_ok());
    let refused = verify("another secret as long");
    assert_eq!(refused, Err(LoginRefused::Wrong));
    clock.sleep(second).await;
    assert_eq!(
        verify(ALICES),
        Err(LoginRefused::Wait(second)),
        "a success forgives nothing"
    );
    clock.sleep(second).await;
    assert!(verify(ALICES).is_ok());
    assert_eq!(secrets.stats().made_to_wait, 2);
}

#[callboard::test]
async fn g35_who_waits_does_so_from_the_refusal_however_long_the_hash_took(system: System) {
    let secrets = with_alice(&system).await;
    let shared = &secrets.owner.shared;
    let (second, start) = (Duration::from_secs(1), system.clock().now());
    let guess = login("alice", "another secret as long");
    // Looked at by a machine that needs a second for each hash.
    let looks = std::cell::Cell::new(0);
    let slow = || {
        looks.set(looks.get() + 1);
        start + second * (looks.get() - 1)
    };
    for _ in 0..5 {
        let refused = shared.verify(&guess, Channel::Encrypted, &here(), slow);
        assert_eq!(refused, Err(LoginRefused::Wrong));
    }
    let refused = start + second * 9;
    for (at, expected) in [
        (refused, Err(LoginRefused::Wait(second))),
        (refused + second, Err(LoginRefused::Wrong)),
    ] {
        let verified = shared.verify(&guess, Channel::Encrypted, &here(), || at);
        assert_eq!(verified.map(drop), expected);
    }
}

#[callboard::test(both)]
async fn g35_refused_logins_are_told_without_their_secret(system: System) {
    let secrets = with_alice(&system).await;
    let mut told = secrets
        .refusals()
        .subscribe(REFUSED_LOGINS, SubscriberOptions::default())
        .await
        .unwrap();
    let guess = login("alice", "a guess at the secret");
    let refused = secrets.login(guess, Channel::Encrypted, here()).await;
    assert_eq!(refused, Err(LoginRefused::Wrong));
    let Some(TopicEvent::Message(message)) = told.next().await else {
        panic!("no event");
    };
    assert_eq!(message.subject(), "login.wrong");
    assert_eq!(
        message.value().to_string(),
        "login of \"alice\" from here refused: wrong"
    );
    assert!(!format!("{:?}", message.value()).contains("guess"));
}

#[callboard::test]
async fn g03_logins_that_wait_are_bounded(system: System) {
    let config = SecretsConfig {
        waiting: 2,
        attempts: AttemptLimits {
            free_per_origin: 1_000,
            free_per_name: 1_000,
            ..AttemptLimits::default()
        },
        ..quick()
    };
    let secrets = Secrets::with(&system, config).unwrap();
    let name = login("alice", ALICES);
    let logins = (0..5).map(|_| secrets.login(name.clone(), Channel::Encrypted, here()));
    // All are polled once before the worker has its turn.
    let ends = futures::future::join_all(logins).await;
    let busy = |end: &&Result<_, _>| **end == Err(LoginRefused::Busy);
    assert_eq!(ends.iter().filter(busy).count(), 3);
    assert_eq!((secrets.stats().busy, secrets.stats().wrong), (3, 2));
    // Room is given back; who stops waiting has been looked at all the same.
    let dropped = secrets.login(name.clone(), Channel::Encrypted, here());
    assert!(dropped.now_or_never().is_none());
    let last = secrets.login(name, Channel::Encrypted, here()).await;
    assert_eq!(last, Err(LoginRefused::Wrong));
    assert_eq!(secrets.stats().wrong, 4);
}

#[callboard::test]
async fn hashes_are_stored_and_loaded(system: System) {
    let secrets = with_alice(&system).await;
    assert!(try_login(&secrets, "alice", ALICES).await.is_ok());
    let text = secrets.to_text();
    assert!(text.starts_with("alice:pbkdf2-sha256:1000:"), "{text}");
    assert!(!text.contains(ALICES));
    let others = Secrets::with(&system, quick()).unwrap();
    let commented = format!("# Who may log in.\n\n{text}");
    assert_eq!(others.load(&commented), Ok(1));
    assert!(try_login(&others, "alice", ALICES).await.is_ok());
    let wrong = try_login(&others, "alice", "another secret as long").await;
    assert_eq!(wrong, Err(LoginRefused::Wrong));
    // The same again keeps what is remembered; an empty one takes everybody away.
    assert_eq!(others.load(&text), Ok(1));
    let kept = others.owner.shared.table.read().get("alice").cloned();
    assert!(kept.is_some_and(|kept| {
        let message = format!("alice:{ALICES}");
        kept.was_right(&others.owner.shared.key, message.as_bytes())
    }));
    assert_eq!(others.load(""), Ok(0));
    assert!(try_login(&others, "alice", ALICES).await.is_err());
}

#[callboard::test]
async fn a_text_with_a_wrong_line_is_refused_whole_and_not_repeated(system: System) {
    let secrets = with_alice(&system).await;
    let text = secrets.to_text();
    let fields: Vec<&str> = text.trim().split(':').collect();
    let (salt, hash) = (fields[3], fields[4]);
    let refused = |line: String| {
        let error = secrets.load(&format!("{text}{line}\n")).unwrap_err();
        assert_eq!(secrets.names(), ["alice"], "nothing was loaded");
        let error = error.to_string();
        assert!(!error.contains("hush"), "{error}");
        error
    };
    assert_eq!(
        refused("bob:hush, a secret".into()),
        "line 2: the method isn't `pbkdf2-sha256`"
    );
    assert_eq!(
        refused("hush, a secret".into()),
        "line 2: the name of a login can't be so"
    );
    assert_eq!(
        refused("bob:pbkdf2-sha256:many".into()),
        "line 2: the number of rounds is no number"
    );
    assert_eq!(
        refused("bob:pbkdf2-sha256:4000000000".into()),
        "line 2: 4000000000 rounds of the hash: 1000 to 10000000 are allowed"
    );
    assert_eq!(
        refused("bob:pbkdf2-sha256:1000:hush".into()),
        "line 2: the salt isn't 32 hexadecimal digits"
    );
    assert_eq!(
        refused(format!("bob:pbkdf2-sha256:1000:{salt}:{hash}0")),
        "line 2: the hash isn't 64 hexadecimal digits"
    );
    assert_eq!(
        refused(format!("bob:pbkdf2-sha256:1000:{salt}:{hash}:hush")),
        "line 2: more than a name, a method, rounds, a salt and a hash"
    );
    assert_eq!(refused(text.clone()), "line 2: alice stands there twice");
}

#[callboard::test]
async fn bad_names_secrets_and_limits_are_clear_errors(system: System) {
    for name in ["", "a b", "a:b", "a*", "a\nb", &"x".repeat(65)] {
        let error = Login::new(name, ALICES).unwrap_err();
        assert!(matches!(error, SecretError::Name(_)), "{name:?}");
    }
    for length in [0, 15, 257] {
        let error = Secret::new("x".repeat(length)).unwrap_err();
        assert_eq!(error, SecretError::Length(length));
    }
    for rounds in [0, 999, 10_000_001] {
        let config = SecretsConfig { rounds, ..quick() };
        let error = Secrets::with(&system, config).unwrap_err();
        assert_eq!(error, SecretError::Rounds(rounds));
    }
    let config = SecretsConfig {
        names: 1,
        ..quick()
    };
    let secrets = Secrets::with(&system, config).unwrap();
    let secret = || Secret::new(ALICES).unwrap();
    assert_eq!(secrets.add("alice", secret()).await, Ok(false));
    let full = secrets.add("bob", secret()).await;
    assert_eq!(full, Err(SecretError::TooMany(1)));
    assert_eq!(secrets.add("alice", secret()).await, Ok(true));
}

#[test]
fn g35_secrets_show_in_no_debug_text() {
    let login = login("alice", "hush hush hush hush");
    assert_eq!(
        format!("{login:?}"),
        "Login { name: \"alice\", secret: Secret(..) }"
    );
}
