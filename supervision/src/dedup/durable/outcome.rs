//! How an outcome is written: by name, so that it can be read by later versions (G37).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use callboard_core::{Failure, FailureKind, Outcome, Verdict, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form<R> {
    Reply(R),
    Failure(FailureForm),
}

#[derive(Serialize, Deserialize)]
struct FailureForm {
    kind: FailureKind,
    verdict: Verdict,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    retry_after: Option<Duration>,
}

/// For `#[serde(with)]`.
pub(in crate::dedup) fn serialize<R: Serialize, S: Serializer>(
    outcome: &Outcome<R>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let form = match outcome {
        Ok(reply) => Form::Reply(reply),
        Err(failure) => Form::Failure(FailureForm {
            kind: failure.kind(),
            verdict: failure.verdict(),
            detail: failure.detail().map(str::to_owned),
            retry_after: failure.retry_after(),
        }),
    };
    form.serialize(serializer)
}

/// For `#[serde(with)]`.
pub(in crate::dedup) fn deserialize<'de, R: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Outcome<R>, D::Error> {
    Ok(match Form::deserialize(deserializer)? {
        Form::Reply(reply) => Ok(reply),
        Form::Failure(form) => {
            let mut failure = Failure::new(form.kind, form.verdict);
            if let Some(detail) = form.detail {
                failure = failure.with_detail(detail);
            }
            if let Some(span) = form.retry_after {
                failure = failure.with_retry_after(span);
            }
            Err(failure)
        }
    })
}

#[derive(Serialize)]
#[serde(transparent, bound = "R: Serialize")]
struct Written<'a, R>(#[serde(serialize_with = "serialize_ref")] &'a Outcome<R>);

fn serialize_ref<R: Serialize, S: Serializer>(
    outcome: &&Outcome<R>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serialize(outcome, serializer)
}

#[derive(Deserialize)]
#[serde(transparent, bound = "R: DeserializeOwned")]
struct Read<R>(#[serde(deserialize_with = "deserialize")] Outcome<R>);

/// The bytes of an outcome. A `Serialize` of the program that panics says so here.
pub(super) fn encode<R: Serialize>(outcome: &Outcome<R>) -> Result<Vec<u8>, String> {
    match catch_unwind(AssertUnwindSafe(|| codec::encode(&Written(outcome)))) {
        Ok(encoded) => encoded.map_err(|error| format!("it could not be encoded: {error}")),
        Err(_) => Err("encoding it panicked".to_owned()),
    }
}

/// The outcome of bytes.
pub(super) fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<Outcome<R>, String> {
    match catch_unwind(AssertUnwindSafe(|| codec::decode::<Read<R>>(bytes))) {
        Ok(Ok(Read(outcome))) => Ok(outcome),
        Ok(Err(error)) => Err(format!("it could not be decoded: {error}")),
        Err(_) => Err("decoding it panicked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_back_as_they_were() {
        let failure = Failure::new(FailureKind::Overloaded, Verdict::Executed)
            .with_detail("no paper")
            .with_retry_after(Duration::from_secs(3));
        for outcome in [Ok(Some(7_u64)), Ok(None), Err(failure)] {
            let bytes = encode(&outcome).unwrap();
            assert_eq!(decode::<Option<u64>>(&bytes), Ok(outcome));
        }
        assert!(decode::<u64>(&encode(&Ok("seven")).unwrap()).is_err());
        assert!(decode::<u64>(&[]).is_err());
    }
}
