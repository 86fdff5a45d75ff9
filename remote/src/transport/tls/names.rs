//! Who a certificate says somebody is.

use callboard::Principal;
use rustls::pki_types::CertificateDer;

use super::{TlsError, TlsFault};

/// The scheme of the name that [`Authority`](super::Authority) writes into certificates.
const SCHEME: &str = "callboard:";

/// The longest name, in bytes: what a common name may have.
const MAX: usize = 64;

/// Whether it can be the name of a process: nothing that means something in a rule or a URI.
pub(super) fn check(name: &str) -> Result<(), TlsError> {
    if is_name(name) {
        Ok(())
    } else {
        Err(TlsError::BadName(name.chars().take(MAX).collect()))
    }
}

/// The same for an authority, whose name is for people.
pub(super) fn check_authority(name: &str) -> Result<(), TlsError> {
    check(&name.replace(' ', "-")).map_err(|_| TlsError::BadName(name.chars().take(MAX).collect()))
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// The name as a URI in a certificate.
pub(super) fn uri(name: &str) -> String {
    format!("{SCHEME}{name}")
}

/// The principal of who has that name.
pub(super) fn principal(name: &str) -> Principal {
    Principal::new(format!("cert:{name}"))
}

/// The principal that a certificate names. The common name is not looked at: what is no alternative name
/// is not checked against the limits of an authority.
pub(super) fn principal_of(certificate: &CertificateDer<'_>) -> Result<Principal, TlsFault> {
    let certificate = webpki::EndEntityCert::try_from(certificate)
        .map_err(|error| TlsFault::BadCertificate(error.to_string()))?;
    let uris: Vec<&str> = certificate.valid_uri_names().collect();
    let dns: Vec<&str> = certificate.valid_dns_names().collect();
    choose(&uris, &dns)
}

/// See [`Tls`](super::Tls), "Who somebody is".
fn choose(uris: &[&str], dns: &[&str]) -> Result<Principal, TlsFault> {
    let mut own = uris.iter().filter_map(|uri| uri.strip_prefix(SCHEME));
    match (own.next(), own.next()) {
        (Some(_), Some(_)) => return Err(TlsFault::Nameless("it has several callboard names")),
        (Some(name), None) if is_name(name) => return Ok(principal(name)),
        (Some(_), None) => return Err(TlsFault::Nameless("its callboard name is malformed")),
        (None, _) => {}
    }
    match (uris, dns) {
        ([uri], _) if is_printable(uri) => Ok(principal(uri)),
        ([_], _) => Err(TlsFault::Nameless(
            "its URI has characters that none may have",
        )),
        ([_, ..], _) => Err(TlsFault::Nameless("it has several URIs")),
        ([], [name]) if name.contains('*') => {
            Err(TlsFault::Nameless("its host name is a wildcard"))
        }
        // Host names have no case; principals do.
        ([], [name]) => Ok(principal(&format!("dns:{}", name.to_ascii_lowercase()))),
        ([], [_, ..]) => Err(TlsFault::Nameless("it has several host names and no URI")),
        ([], []) => Err(TlsFault::Nameless("it has neither a URI nor a host name")),
    }
}

/// Whether it may stand in logs and rules as it is.
fn is_printable(uri: &str) -> bool {
    uri.contains(':')
        && uri.len() <= 255
        && uri
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn chosen(uris: &[&str], dns: &[&str]) -> Result<String, String> {
        choose(uris, dns)
            .map(|principal| principal.to_string())
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn g35_a_callboard_name_wins_and_must_be_alone_and_well_formed() {
        let both = chosen(&["spiffe://corp/x", "callboard:billing"], &["a", "b"]);
        assert_eq!(both, Ok("cert:billing".into()));
        for uris in [
            &["callboard:a", "callboard:b"][..],
            &["callboard:"],
            &["callboard:a b"],
            &["callboard:*"],
            &["callboard:dns:x"],
            &["callboard:a", "callboard:a"],
        ] {
            assert!(chosen(uris, &[]).is_err(), "{uris:?}");
        }
    }

    #[test]
    fn g35_without_one_a_single_uri_or_host_names_it_in_words_no_callboard_name_can_have() {
        assert_eq!(
            chosen(&["spiffe://corp/billing"], &["h"]),
            Ok("cert:spiffe://corp/billing".into())
        );
        assert_eq!(
            chosen(&[], &["Billing.Internal"]),
            Ok("cert:dns:billing.internal".into())
        );
    }

    #[test]
    fn g35_what_is_ambiguous_or_a_wildcard_names_nobody() {
        for (uris, dns) in [
            (&[][..], &[][..]),
            (&[], &["a", "b"]),
            (&[], &["*.internal"]),
            (&["spiffe://a/b", "spiffe://a/c"], &[]),
            (&["spiffe://a/*"], &[]),
            (&["spiffe://a/\n"], &[]),
            (&["billing"], &[]),
        ] {
            assert!(chosen(uris, dns).is_err(), "{uris:?} {dns:?}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(check("billing-2.eu_west"), Ok(()));
        assert_eq!(check_authority("lesson platform"), Ok(()));
        for name in ["", "a b", "a:b", "a/b", "*", "\u{e9}", &"x".repeat(65)] {
            assert_eq!(
                check(name),
                Err(TlsError::BadName(name.chars().take(64).collect()))
            );
        }
    }

    proptest! {
        #[test]
        fn g35_a_principal_is_plain_text_and_only_a_callboard_name_has_no_colon_in_it(
            uris in vec(uri_like(), 0..3),
            dns in vec("[a-zA-Z*.-]{1,12}", 0..3),
        ) {
            let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
            let dns: Vec<&str> = dns.iter().map(String::as_str).collect();
            let Ok(principal) = chosen(&uris, &dns) else {
                return Ok(());
            };
            let name = principal.strip_prefix("cert:").expect("a certificate's");
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*'), "{name:?}");
            let own: Vec<&str> = uris.iter().filter_map(|uri| uri.strip_prefix(SCHEME)).collect();
            if name.contains(':') {
                prop_assert!(own.is_empty());
            } else {
                prop_assert_eq!(own, [name]);
            }
        }
    }

    fn uri_like() -> impl Strategy<Value = String> {
        prop_oneof![
            "callboard:[a-z:* ]{0,6}",
            "[a-z]{0,5}:?/{0,2}[a-z*:\\x00-\\x20]{0,6}",
            ".*"
        ]
    }
}
