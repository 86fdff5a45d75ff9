//! What a child says, line by line to `tracing`.

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::executor::yield_now;

/// Longer lines are cut into pieces of this size, in bytes: the buffer has a bound (G3).
const MAX_LINE: usize = 8 * 1024;

/// How much is read at a time, in bytes. Then others have their turn: a child that never stops talking must
/// not hold up the supervisors of its thread (G5).
const CHUNK: usize = 4 * 1024;

/// Whose output it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) label: &'a str,
    pub(super) pid: u32,
    /// `stdout` or `stderr`.
    pub(super) stream: &'static str,
}

/// Reads until the end. Ends silently on an error: the child has closed it.
pub(super) async fn pump(mut pipe: impl AsyncRead + Unpin, source: Source<'_>) {
    let mut line = Vec::new();
    let mut chunk = vec![0u8; CHUNK];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        split(&mut line, &chunk[..count], |line| trace(line, source));
        yield_now().await;
    }
    if !line.is_empty() {
        trace(&line, source);
    }
}

/// Adds bytes to the unfinished line and hands over what is finished.
fn split(line: &mut Vec<u8>, bytes: &[u8], mut emit: impl FnMut(&[u8])) {
    for byte in bytes {
        if *byte == b'\n' || line.len() >= MAX_LINE {
            emit(line);
            line.clear();
        }
        if *byte != b'\n' {
            line.push(*byte);
        }
    }
}

fn trace(line: &[u8], source: Source<'_>) {
    let Source { label, pid, stream } = source;
    let line = String::from_utf8_lossy(line);
    tracing::info!(target: "callboard::process", child = label, pid, stream, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g03_lines_are_split_and_long_ones_cut() {
        let mut line = Vec::new();
        let mut seen = Vec::new();
        split(&mut line, b"a\nbc", |text| seen.push(text.len()));
        split(&mut line, b"d\n\n", |text| seen.push(text.len()));
        split(&mut line, &vec![b'x'; MAX_LINE + 1], |text| {
            seen.push(text.len());
        });
        assert_eq!(seen, [1, 3, 0, MAX_LINE]);
        assert_eq!(line, b"x");
    }
}
