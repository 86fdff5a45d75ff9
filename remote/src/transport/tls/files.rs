//! Reading certificates and keys, and writing them so that nobody else can read the keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// The largest file that is read, in bytes: a certificate has one or two thousand.
const MAX_FILE: u64 = 1024 * 1024;

/// What a private key may have: nothing for others than its owner.
const OTHERS: u32 = 0o077;

fn failed(path: &Path, error: &io::Error) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<String, TlsError> {
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    read_open(path, file)
}

/// Reads a private key, unless others can too.
pub(super) fn read_key(path: &Path) -> Result<String, TlsError> {
    let failed = |error: io::Error| failed(path, &error);
    let file = File::open(path).map_err(failed)?;
    // Of the open file: what has its name may be another by now.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(TlsError::OpenKey {
            path: path.to_owned(),
            mode,
        });
    }
    read_open(path, file)
}

fn read_open(path: &Path, file: File) -> Result<String, TlsError> {
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    read.map_err(|error| failed(path, &error))?;
    if text.len() as u64 > MAX_FILE {
        return Err(TlsError::Malformed {
            at: path.display().to_string(),
            reason: format!("has more than {MAX_FILE} bytes"),
        });
    }
    Ok(text)
}

/// Writes a certificate, which anybody may read, in one step.
pub(super) fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    replace(path, text, 0o644)
}

/// Writes a private key, which nobody else can read at any moment, in one step.
pub(super) fn write_key(path: &Path, text: &str) -> Result<(), TlsError> {
    replace(path, text, 0o600)
}

/// A reader sees the old content or the new one, also if this process ends half-way.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = || {
        // What was left behind by a process that ended half-way could have other permissions.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|error| failed(path, &error))
}

/// All certificates of a text; at least one.
pub(super) fn certificates(at: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| malformed(at, &error))?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate(at.to_owned()));
    }
    for certificate in &found {
        // So that it is told here, with its place, and not at the first connection.
        webpki::EndEntityCert::try_from(certificate).map_err(|error| TlsError::Malformed {
            at: at.to_owned(),
            reason: format!("holds a certificate that can't be read: {error}"),
        })?;
    }
    Ok(found)
}

/// The private key of a text.
pub(super) fn key(at: &str, text: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey(at.to_owned())),
        Err(error) => Err(malformed(at, &error)),
    }
}

fn malformed(at: &str, error: &pem::Error) -> TlsError {
    // The library's text of an error can quote what it has read: a key must not get into a log.
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a PEM section has no end",
        pem::Error::IllegalSectionStart { .. } => "a PEM section has a malformed beginning",
        pem::Error::Base64Decode(_) => "a PEM section is not in base64",
        _ => "is no PEM",
    };
    TlsError::Malformed {
        at: at.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
