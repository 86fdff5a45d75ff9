//! A child's standard error, line by line to `tracing`.

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

/// Longer lines are cut into pieces of this size, in bytes: the buffer has a bound (G3).
const MAX_LINE: usize = 8 * 1024;

/// Reads until the end. Ends silently on an error: the child has closed it.
pub(super) async fn pump(mut stderr: ChildStderr, label: &str, pid: u32) {
    let mut line = Vec::new();
    let mut chunk = [0u8; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        split(&mut line, &chunk[..count], |line| trace(line, label, pid));
    }
    if !line.is_empty() {
        trace(&line, label, pid);
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

fn trace(line: &[u8], label: &str, pid: u32) {
    let line = String::from_utf8_lossy(line);
    tracing::info!(target: "callboard::process", child = label, pid, "{}", line.trim_end());
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
