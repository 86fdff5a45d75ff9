//! The one order in which it is right: find, effect, keep, commit.

use std::convert::Infallible;

use callboard_core::codec::{self, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::OnceError;
use super::id::RequestId;
use super::{OutcomeStore, OutcomeTx};
use crate::dedup::print::{PrintKey, Printer};

/// The key of all prints. Fixed, because processes and versions that share a database must agree. So a client can make
/// two payloads of the same print, with effort; what it gains is its own first answer for its own second payload,
/// since nobody else's are under its principal.
const PRINT_KEY: PrintKey = *b"callboard/once/1";

/// The first byte of what is kept: a print and an answer follow.
const ANSWER: u8 = 1;
/// The first byte, and the only one, of a request that never runs.
const SEALED: u8 = 2;
/// What stands before an answer.
const HEAD: usize = 1 + size_of::<u128>();

/// An answer, and whether this call has had the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Once<R> {
    /// The effect is committed, by this call.
    First(R),
    /// It was committed before, and this is the answer that was kept.
    Again(R),
}

impl<R> Once<R> {
    /// The answer.
    #[must_use]
    pub fn into_inner(self) -> R {
        match self {
            Once::First(answer) | Once::Again(answer) => answer,
        }
    }

    /// Whether this call has had the effect.
    #[must_use]
    pub fn is_first(&self) -> bool {
        matches!(self, Once::First(_))
    }
}

pub(super) async fn run<'s, S, P, R, E, F>(
    store: &'s mut S,
    id: &RequestId,
    payload: &P,
    effect: F,
) -> Result<Once<R>, OnceError<E, S::Error>>
where
    S: OutcomeStore + ?Sized,
    P: Serialize + ?Sized,
    R: Serialize + DeserializeOwned,
    F: AsyncFnOnce(&mut S::Tx<'s>) -> Result<R, E>,
{
    let print = print_of(payload).map_err(OnceError::Payload)?;
    let limit = store.outcome_limit();
    let mut tx = store.begin().await.map_err(OnceError::Store)?;
    let kept = tx.find(id).await.map_err(OnceError::Store)?;
    if let Some(kept) = &kept {
        let kept = Kept::read(kept).map_err(OnceError::Unreadable)?;
        let answer = match kept {
            Kept::Sealed => return Err(OnceError::Sealed(id.key())),
            Kept::Answer { print: other, .. } if other != print => {
                return Err(OnceError::KeyReused(id.key()));
            }
            Kept::Answer { answer, .. } => read_answer(answer).map_err(OnceError::Unreadable)?,
        };
        return Ok(Once::Again(answer));
    }
    let answer = effect(&mut tx).await.map_err(OnceError::Effect)?;
    let kept = write_answer(print, &answer, limit).map_err(OnceError::Answer)?;
    tx.keep(id, &kept).await.map_err(OnceError::Store)?;
    tx.commit().await.map_err(OnceError::InDoubt)?;
    Ok(Once::First(answer))
}

pub(super) async fn resolve<S, R>(
    store: &mut S,
    id: &RequestId,
) -> Result<Option<R>, OnceError<Infallible, S::Error>>
where
    S: OutcomeStore + ?Sized,
    R: DeserializeOwned,
{
    let mut tx = store.begin().await.map_err(OnceError::Store)?;
    if let Some(kept) = tx.find(id).await.map_err(OnceError::Store)? {
        return answer_in(&kept).map_err(OnceError::Unreadable);
    }
    tx.keep(id, &[SEALED]).await.map_err(OnceError::Store)?;
    tx.commit().await.map_err(OnceError::InDoubt)?;
    Ok(None)
}

pub(super) async fn peek<S, R>(
    store: &mut S,
    id: &RequestId,
) -> Result<Option<R>, OnceError<Infallible, S::Error>>
where
    S: OutcomeStore + ?Sized,
    R: DeserializeOwned,
{
    let mut tx = store.begin().await.map_err(OnceError::Store)?;
    match tx.find(id).await.map_err(OnceError::Store)? {
        Some(kept) => answer_in(&kept).map_err(OnceError::Unreadable),
        None => Ok(None),
    }
}

fn print_of<P: Serialize + ?Sized>(payload: &P) -> Result<u128, CodecError> {
    let mut printer = Printer::new(&PRINT_KEY);
    printer.hasher().write(&codec::encode(payload)?);
    Ok(printer.finish())
}

/// What lies in the database.
enum Kept<'a> {
    /// The print of the payload, and the answer.
    Answer { print: u128, answer: &'a [u8] },
    /// It never runs.
    Sealed,
}

impl<'a> Kept<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let none = || format!("{} bytes are no outcome", bytes.len());
        let (form, rest) = bytes.split_first().ok_or_else(none)?;
        match *form {
            ANSWER => {
                let (print, answer) = rest.split_first_chunk().ok_or_else(none)?;
                let print = u128::from_be_bytes(*print);
                Ok(Kept::Answer { print, answer })
            }
            SEALED if rest.is_empty() => Ok(Kept::Sealed),
            SEALED => Err(none()),
            other => Err(format!("its form is {other}, which is of a later version")),
        }
    }
}

fn write_answer<R: Serialize>(
    print: u128,
    answer: &R,
    limit: usize,
) -> Result<Vec<u8>, CodecError> {
    let answer = codec::encode_within(answer, limit)?;
    let mut bytes = Vec::with_capacity(HEAD + answer.len());
    bytes.push(ANSWER);
    bytes.extend_from_slice(&print.to_be_bytes());
    bytes.extend_from_slice(&answer);
    Ok(bytes)
}

/// The answer in what was kept; none, if it is sealed.
fn answer_in<R: DeserializeOwned>(kept: &[u8]) -> Result<Option<R>, String> {
    match Kept::read(kept)? {
        Kept::Answer { answer, .. } => read_answer(answer).map(Some),
        Kept::Sealed => Ok(None),
    }
}

fn read_answer<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, String> {
    codec::decode(bytes).map_err(|error| error.to_string())
}
