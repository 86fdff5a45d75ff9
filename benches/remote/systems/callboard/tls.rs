//! Mutual TLS 1.3: an authority of the run's own, and what both sides show and trust, in a folder that both know.

use std::path::Path;

use callboard_remote::{Authority, Expect, Identity, Tls, Trust};
use common::run::Result;

const SERVER: &str = "server";
const CLIENT: &str = "client";
/// Who that is for rights.
pub(super) const CLIENT_PRINCIPAL: &str = "cert:client";
const AUTHORITY: &str = "authority.pem";

/// Makes all there is to make, before the server starts.
pub(super) fn make(folder: &Path) -> Result<()> {
    let authority = Authority::new("bench")?;
    std::fs::write(folder.join(AUTHORITY), authority.certificate_pem())?;
    for name in [SERVER, CLIENT] {
        let (chain, key) = files(name);
        let identity = authority.issue(name, &[])?;
        identity.save(folder.join(chain), folder.join(key))?;
    }
    Ok(())
}

pub(super) fn of_server(folder: &Path) -> Result<Tls> {
    read(folder, SERVER)
}

/// With whom it expects to find.
pub(super) fn of_client(folder: &Path) -> Result<(Tls, Expect)> {
    Ok((read(folder, CLIENT)?, Expect::name(SERVER)))
}

fn read(folder: &Path, name: &str) -> Result<Tls> {
    let (chain, key) = files(name);
    let identity = Identity::from_files(folder.join(chain), folder.join(key))?;
    let trust = Trust::nobody().authority_file(folder.join(AUTHORITY))?;
    Ok(Tls::new(identity, trust))
}

fn files(name: &str) -> (String, String) {
    (format!("{name}.pem"), format!("{name}.key"))
}
