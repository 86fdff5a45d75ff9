//! How deep a text is nested, without recursion: a parser and the tree that it makes take stack for each level, and
//! that of a thread has an end.

/// Brackets inside brackets. Settings need three.
const BRACKETS: usize = 8;
/// Dots of one key. Settings need three.
const DOTS: usize = 8;

/// The byte from which on a text is nested deeper than any policy.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut brackets, mut dots, mut at) = (0_usize, 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => {
                at = end_of_line(bytes, at);
                continue;
            }
            b'"' | b'\'' => {
                at = end_of_string(bytes, at, *byte);
                continue;
            }
            b'{' | b'[' => {
                brackets += 1;
                dots = 0;
            }
            b'}' | b']' => {
                brackets = brackets.saturating_sub(1);
                dots = 0;
            }
            b'.' => dots += 1,
            b'=' | b',' | b'\n' => dots = 0,
            _ => {}
        }
        if brackets > BRACKETS || dots > DOTS {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The end of the line: its LF, or that of the text.
fn end_of_line(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'\n');
    from + end.unwrap_or(rest.len())
}

/// The first byte after the string that begins at `from`: after its quotes, or where the parser gives it up.
fn end_of_string(bytes: &[u8], from: usize, quote: u8) -> usize {
    let triple = [quote; 3];
    let starts = |at: usize| {
        bytes
            .get(at..)
            .is_some_and(|rest| rest.starts_with(&triple))
    };
    let is_triple = starts(from);
    let mut at = from + if is_triple { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' if !is_triple => return at,
            b'\\' if quote == b'"' => {
                // What is escaped, but no end of a line that ends the string.
                at += 1;
                at += usize::from(is_triple || bytes.get(at) != Some(&b'\n'));
            }
            // Up to two quotes more belong to the text; they look like another string, an empty one.
            _ if is_triple && starts(at) => return at + 3,
            byte if !is_triple && *byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}
