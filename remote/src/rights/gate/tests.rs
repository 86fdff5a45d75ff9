use callboard::{FailureKind, Principal};

use super::*;
use crate::rights::{Secret, SecretsConfig, Verb};

const ALICES: &str = "alice's own secret";

fn encrypted() -> Proof {
    Proof::encrypted(Some(Principal::new("cert:gateway")))
}

async fn with_alice(system: &System) -> Gate {
    let config = SecretsConfig {
        rounds: 1_000,
        ..SecretsConfig::default()
    };
    let secrets = Secrets::with(system, config).unwrap();
    let secret = Secret::new(ALICES).unwrap();
    secrets.add("alice", secret).await.unwrap();
    let gate = Gate::new(system);
    gate.set_secrets(Some(secrets));
    gate
}

#[callboard::test(both)]
async fn g35_a_login_says_who_a_peer_is(system: System) {
    let gate = with_alice(&system).await;
    let login = Some(("alice", ALICES.as_bytes()));
    let proof = gate.prove(encrypted(), login, "here").await.unwrap();
    assert_eq!(proof.principal, Some(Principal::new("secret:alice")));
    let proof = gate.prove(encrypted(), None, "here").await.unwrap();
    assert_eq!(proof, encrypted());
}

#[callboard::test]
async fn g35_a_login_that_fails_keeps_out_also_who_has_a_certificate(system: System) {
    let gate = with_alice(&system).await;
    for login in [("alice", "a wrong secret of hers"), ("a:b", "x")] {
        let login = Some((login.0, login.1.as_bytes()));
        let refused = gate.prove(encrypted(), login, "here").await.unwrap_err();
        assert_eq!(refused, NotAdmitted::Login(LoginRefused::Wrong));
    }
    let login = Some(("alice", ALICES.as_bytes()));
    let refused = gate.prove(Proof::plain(), login, "here").await.unwrap_err();
    assert_eq!(refused.to_string(), "secrets are taken over TLS only");
    gate.set_secrets(None);
    let refused = gate.prove(encrypted(), login, "here").await.unwrap_err();
    assert_eq!(refused.to_string(), "logins aren't taken here");
}

/// Who is locked out at one address isn't at another.
#[callboard::test]
async fn g35_failed_logins_count_by_the_address_they_come_from(system: System) {
    let gate = with_alice(&system).await;
    let from = |address: &str| encrypted().from_address(address.parse().unwrap());
    let wrong = Some(("alice", &b"a wrong secret of hers"[..]));
    let right = Some(("alice", ALICES.as_bytes()));
    for port in 1..=5 {
        let proof = from(&format!("192.0.2.1:{port}"));
        assert!(gate.prove(proof, wrong, "here").await.is_err());
    }
    let refused = gate.prove(from("192.0.2.1:6"), right, "here").await;
    let wait = matches!(refused, Err(NotAdmitted::Login(LoginRefused::Wait(_))));
    assert!(wait, "{refused:?}");
    assert!(gate.prove(from("192.0.2.2:6"), right, "here").await.is_ok());
}

#[callboard::test]
async fn g35_the_message_type_says_which_verb_it_takes(system: System) {
    let gate = Gate::new(&system);
    let subject = Subject::new(&encrypted());
    let may = |type_name: &str| {
        let mut decision = Decision::default();
        gate.check(&mut decision, &subject, type_name, "orders")
    };
    let types = [
        ("shop.add", Verb::Execute),
        ("callboard.queue.offer", Verb::Offer),
        ("callboard.queue.poll", Verb::Poll),
        ("callboard.topic.publish", Verb::Publish),
        ("callboard.queue.admin", Verb::Admin),
        ("callboard.lock", Verb::Execute),
    ];
    for (type_name, verb) in types {
        let failure = may(type_name).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::NotAuthorised);
        let expected = format!("cert:gateway may not {verb} \"orders\"");
        assert_eq!(failure.detail(), Some(&*expected));
        gate.rights().grant("*", verb.into(), "orders").unwrap();
        assert!(may(type_name).is_ok());
        for (other, _) in types.iter().filter(|(_, other)| *other != verb) {
            assert!(may(other).is_err(), "{verb} is not enough for {other}");
        }
        gate.rights().revoke("*", verb.into(), "orders").unwrap();
    }
    for unknown in [
        "callboard.queue.new",
        "callboard.topic.new",
        "callboard.admin.list",
    ] {
        let detail = may(unknown).unwrap_err().detail().map(ToOwned::to_owned);
        assert_eq!(
            detail.as_deref(),
            Some("cert:gateway may not admin \"orders\"")
        );
    }
    // A queue is opened by who may do anything with it.
    for verb in [Verb::Offer, Verb::Poll, Verb::Admin] {
        assert!(may("callboard.queue.look").is_err());
        gate.rights().grant("*", verb.into(), "orders").unwrap();
        assert!(may("callboard.queue.look").is_ok());
        gate.rights().revoke("*", verb.into(), "orders").unwrap();
    }
}
