//! A state as text and as bytes, within bounds, and behind a fence.

use std::fmt::{self, Debug, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::ObservedState;
use crate::clock::Instant;
use crate::codec::{self, CodecError};
use crate::panics::panic_text;

/// How many bytes of text an observation shows of a state; the rest is cut, and ends in `...`.
pub const OBSERVED_TEXT: usize = 64 * 1_024;
/// How many bytes of MessagePack an observation shows of a state; there is no cutting these.
pub const OBSERVED_BYTES: usize = 256 * 1_024;

/// What stands where a text was cut.
const CUT: &str = "...";

pub(super) fn show<T: Debug + Serialize>(at: Instant, state: T) -> ObservedState {
    // `Debug`, `Serialize` and `Drop` are the user's: who observes many must not end with one of them.
    let text = fenced(|| text_of(&state)).unwrap_or_else(|panic| format!("(panicked: {panic})"));
    let encoded = fenced(|| codec::encode_within(&state, OBSERVED_BYTES))
        .unwrap_or_else(|panic| Err(CodecError::new(format!("panicked: {panic}"))));
    let _ = fenced(|| drop(state));
    ObservedState { at, text, encoded }
}

fn fenced<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| panic_text(payload.as_ref()))
}

fn text_of(state: &impl Debug) -> String {
    let mut text = Bounded(String::new());
    // An error is the bound, or a `Debug` that gives up: what is there is shown.
    if write!(text, "{state:#?}").is_err() {
        text.0.push_str(CUT);
    }
    text.0
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = OBSERVED_TEXT - CUT.len() - self.0.len();
        if part.len() <= room {
            self.0.push_str(part);
            return Ok(());
        }
        self.0.push_str(&part[..part.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Instant {
        Instant::default()
    }

    #[test]
    fn a_state_is_shown_over_several_lines_and_encoded_with_field_names() {
        #[derive(Debug, Serialize, serde::Deserialize, PartialEq)]
        struct State {
            items: u32,
        }
        let shown = show(at(), State { items: 3 });
        assert_eq!(shown.text, "State {\n    items: 3,\n}");
        let bytes = shown.encoded.unwrap();
        assert_eq!(codec::decode::<State>(&bytes), Ok(State { items: 3 }));
    }

    #[test]
    fn what_is_too_large_is_cut_or_refused() {
        let text = "\u{e9}".repeat(OBSERVED_TEXT);
        let shown = show(at(), text);
        assert!(shown.text.len() <= OBSERVED_TEXT, "{}", shown.text.len());
        assert!(shown.text.len() > OBSERVED_TEXT - 8);
        assert!(shown.text.ends_with("\u{e9}..."));
        assert_eq!(
            shown.encoded.map(|bytes| bytes.len()),
            Ok(2 * OBSERVED_TEXT + 5)
        );
        let error = show(at(), vec![0_u16; OBSERVED_BYTES]).encoded.unwrap_err();
        assert!(error.to_string().contains("262144"), "{error}");
    }

    #[test]
    fn a_state_that_panics_is_shown_as_such() {
        struct Bad;
        impl Debug for Bad {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("in debug")
            }
        }
        impl Serialize for Bad {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                panic!("in serialize")
            }
        }
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("in drop")
            }
        }
        let shown = show(at(), Bad);
        assert_eq!(shown.text, "(panicked: in debug)");
        let error = shown.encoded.unwrap_err();
        assert!(error.to_string().contains("in serialize"), "{error}");
    }
}
