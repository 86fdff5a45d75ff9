use super::*;
use crate::transport::tls::{Authority, Trust};

fn secret_of(identity: &Identity) -> String {
    let pem = identity.secret_key_pem();
    let lines: Vec<&str> = pem.lines().collect();
    // The first line is the same for all keys of a kind.
    lines[2].to_owned()
}

#[test]
fn g35_nothing_of_a_key_is_shown() {
    let authority = Authority::new("our system").unwrap();
    let identity = authority.issue("shop", &[]).unwrap();
    let tls = super::super::Tls::new(identity.clone(), Trust::nobody().authority(&authority));
    let shown = format!("{identity:?} {authority:?} {tls:?} {:?}", tls.trusted());
    assert!(
        shown.contains(&identity.fingerprint().to_string()),
        "{shown}"
    );
    assert!(!shown.contains(&secret_of(&identity)), "{shown}");
    let der = identity.secret.secret_der();
    let bytes = format!("{:?}", &der[der.len() / 2..][..8]);
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn it_comes_back_from_its_text() {
    for identity in [
        Identity::self_signed("shop").unwrap(),
        Authority::new("our system")
            .unwrap()
            .issue("shop", &["localhost", "::1"])
            .unwrap(),
    ] {
        let chain = identity.chain_pem();
        assert!(
            chain.starts_with("-----BEGIN CERTIFICATE-----\n"),
            "{chain}"
        );
        assert!(chain.lines().all(|line| line.len() <= 64), "{chain}");
        let back = Identity::from_pem(&chain, &identity.secret_key_pem()).unwrap();
        assert_eq!(back.fingerprint(), identity.fingerprint());
        assert_eq!(back.principal().unwrap().to_string(), "cert:shop");
        assert_eq!(back.secret_key_pem(), identity.secret_key_pem());
    }
}

#[test]
fn names_and_hosts_are_checked_before_anything_is_signed() {
    let authority = Authority::new("our system").unwrap();
    for name in ["", "a b", "cert:a", "a\n", "*"] {
        let error = authority.issue(name, &[]).unwrap_err();
        assert_eq!(error, TlsError::BadName(name.into()));
        assert_eq!(Identity::self_signed(name).unwrap_err(), error);
    }
    for host in ["", "a b", "*.internal", "http://a"] {
        let error = authority.issue("shop", &[host]).unwrap_err();
        assert_eq!(error, TlsError::BadHost(host.into()));
    }
    assert!(Authority::new("a/b").is_err());
}

#[test]
fn two_identities_have_nothing_in_common() {
    let authority = Authority::new("our system").unwrap();
    let (one, other) = (
        authority.issue("shop", &[]).unwrap(),
        authority.issue("shop", &[]).unwrap(),
    );
    assert_ne!(one.fingerprint(), other.fingerprint());
    assert_ne!(secret_of(&one), secret_of(&other));
}
