//! Identities and authorities on disk, and what is changed there while a process runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::System;
use callboard_remote::{Authority, Identity, Tls, TlsError, TlsFault, TlsFiles};

use super::{House, dial, fault, listen};
use crate::actors::tester;

/// A directory of its own, which goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("callboard-tls-tests-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            chain: self.path("chain.pem"),
            key: self.path("key.pem"),
            authorities: self.path("authorities.pem"),
        }
    }

    /// What a process of that house finds there.
    fn fill(&self, house: &House, name: &str) -> TlsFiles {
        let files = self.files();
        house.identity(name).save(&files.chain, &files.key).unwrap();
        fs::write(&files.authorities, house.authority.certificate_pem()).unwrap();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn g35_keys_are_written_for_their_owner_only_and_read_from_no_other_file() {
    let folder = Folder::new();
    let house = House::new();
    let files = folder.fill(&house, "shop");
    assert_eq!((mode(&files.chain), mode(&files.key)), (0o644, 0o600));
    let read = Identity::from_files(&files.chain, &files.key).unwrap();
    assert_eq!(read.principal().unwrap().to_string(), "cert:shop");
    for open in [0o640, 0o604, 0o620, 0o601, 0o777] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(open)).unwrap();
        let error = Identity::from_files(&files.chain, &files.key).unwrap_err();
        let path = files.key.clone();
        assert_eq!(error, TlsError::OpenKey { path, mode: open });
        assert!(Identity::from_files_with_readable_key(&files.chain, &files.key).is_ok());
    }
    assert_eq!(
        Identity::from_files(&files.chain, &files.key)
            .unwrap_err()
            .to_string(),
        format!(
            "{}: the private key has mode 0777, so that others than its owner can use it; it should have 0600",
            files.key.display()
        )
    );
    // Written over, it is the owner's again.
    read.save(&files.chain, &files.key).unwrap();
    assert_eq!(mode(&files.key), 0o600);
}

#[test]
fn an_authority_is_kept_and_goes_on() {
    let folder = Folder::new();
    let (certificate, key) = (folder.path("ca.pem"), folder.path("ca-key.pem"));
    let first = Authority::new("our system").unwrap();
    first.save(&certificate, &key).unwrap();
    assert_eq!((mode(&certificate), mode(&key)), (0o644, 0o600));
    let second = Authority::from_files(&certificate, &key).unwrap();
    assert_eq!(second.name(), "our system");
    assert_eq!(second.certificate_pem(), first.certificate_pem());
    // The key of another is noticed.
    Authority::new("other")
        .unwrap()
        .save(folder.path("x.pem"), &key)
        .unwrap();
    let error = Authority::from_files(&certificate, &key).unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch(_)), "{error:?}");
    // What isn't one is no authority.
    let files = folder.fill(&House::new(), "shop");
    fs::write(
        &certificate,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let error = Authority::from_files(&certificate, &files.key).unwrap_err();
    assert!(matches!(error, TlsError::Malformed { .. }), "{error:?}");
}

#[callboard::test(arbiters)]
async fn g35_what_a_kept_authority_issues_is_trusted_like_before(system: System) {
    let folder = Folder::new();
    let (certificate, key) = (folder.path("ca.pem"), folder.path("ca-key.pem"));
    let house = House::new();
    house.authority.save(&certificate, &key).unwrap();
    let later = House {
        authority: Authority::from_files(&certificate, &key).unwrap(),
    };
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &house.tls("node")).await;
    let peer = dial(
        &system,
        &listener,
        &Tls::new(later.identity("shop"), house.trust()),
    );
    peer.attempted().await.unwrap();
    let peer = dial(
        &system,
        &listener,
        &Tls::new(house.identity("shop"), later.trust()),
    );
    peer.attempted().await.unwrap();
}

#[callboard::test(arbiters)]
async fn g35_files_are_read_again_whole_or_not_at_all(system: System) {
    let folder = Folder::new();
    let (old, new) = (House::new(), House::new());
    let files = folder.fill(&old, "node");
    let here = Tls::from_files(files.clone()).unwrap();
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &here).await;
    let shop = old.tls("shop");
    dial(&system, &listener, &shop).attempted().await.unwrap();
    assert_eq!(here.reload(), Ok(false));

    // Half of the new content: a chain without its key.
    new.identity("node")
        .save(&files.chain, folder.path("elsewhere.pem"))
        .unwrap();
    let error = here.reload().unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch(_)), "{error:?}");
    fs::write(&files.authorities, "nothing").unwrap();
    assert!(here.reload().is_err());
    dial(&system, &listener, &shop).attempted().await.unwrap();

    folder.fill(&new, "node");
    assert_eq!(here.reload(), Ok(true));
    assert_eq!(
        fault(&dial(&system, &listener, &shop)).await,
        TlsFault::Untrusted
    );
    dial(&system, &listener, &new.tls("shop"))
        .attempted()
        .await
        .unwrap();
}

#[test]
fn what_was_made_in_memory_has_no_files() {
    assert_eq!(House::new().tls("shop").reload(), Err(TlsError::NoFiles));
}
