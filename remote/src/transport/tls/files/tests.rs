use super::*;
use crate::transport::tls::{Authority, Identity};

#[test]
fn what_is_no_pem_is_told_with_its_place_and_without_its_content() {
    let secret = "MIGHAgEAMBMGByqGSM49";
    let cases = [
        (String::new(), "no private key in it"),
        ("hello".to_owned(), "no private key in it"),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{secret}\n"),
            "a PEM section has no end",
        ),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{secret}!\n-----END PRIVATE KEY-----\n"),
            "a PEM section is not in base64",
        ),
    ];
    for (text, why) in cases {
        let error = key("key.pem", &text).unwrap_err().to_string();
        assert_eq!(error, format!("key.pem: {why}"));
        assert!(!error.contains(secret));
    }
    assert_eq!(
        certificates("chain.pem", "hello"),
        Err(TlsError::NoCertificate("chain.pem".into()))
    );
}

#[test]
fn a_certificate_that_cannot_be_read_is_told_here_and_not_at_the_first_connection() {
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = certificates("chain.pem", text).unwrap_err().to_string();
    assert!(
        error.starts_with("chain.pem: holds a certificate that can't be read"),
        "{error}"
    );
}

#[test]
fn a_key_of_no_known_kind_is_told_without_its_content() {
    let identity = Identity::self_signed("shop").unwrap();
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let error = Identity::from_pem(&identity.chain_pem(), key).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the text of the key: holds a private key of a kind that can't be used"
    );
    let other = Identity::self_signed("shop").unwrap();
    let error = Identity::from_pem(&identity.chain_pem(), &other.secret_key_pem()).unwrap_err();
    assert_eq!(error, TlsError::KeyMismatch(identity.fingerprint()));
}

#[test]
fn a_missing_file_and_a_giant_one_are_named() {
    let folder = std::env::temp_dir().join(format!("callboard-tls-files-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("giant.pem");
    let error = read(&path).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}: has more than 1048576 bytes", path.display())
    );
    // Where no file can be written the old one stays.
    let missing = folder.join("nowhere").join("key.pem");
    assert!(matches!(
        write_key(&missing, "x"),
        Err(TlsError::File { .. })
    ));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_an_interrupted_writer_left_behind_does_not_open_the_key() {
    let folder = std::env::temp_dir().join(format!("callboard-tls-left-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("key.pem");
    fs::write(folder.join("key.pem.new"), "half").unwrap();
    let authority = Authority::new("our system").unwrap();
    authority.save(folder.join("ca.pem"), &path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(!folder.join("key.pem.new").exists());
    fs::remove_dir_all(&folder).unwrap();
}
