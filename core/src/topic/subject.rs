//! Subjects with levels, and patterns over them.

/// Why a subject or a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// It is empty, or has an empty level (`a..b`).
    #[error("subject `{0}` has an empty level")]
    EmptyLevel(String),
    /// A subject to publish to has a wildcard.
    #[error("subject `{0}` has a wildcard; only patterns may")]
    Wildcard(String),
    /// `>` stands before the last level.
    #[error("pattern `{0}` has `>` before its last level")]
    RestNotLast(String),
    /// It is longer than [`MAX_SUBJECT`] bytes.
    #[error("a subject of {0} bytes is longer than {MAX_SUBJECT}")]
    TooLong(usize),
}

/// The longest subject or pattern, in bytes.
pub const MAX_SUBJECT: usize = 255;

/// Checks a subject to publish to: levels separated by `.`, none empty, no wildcards.
pub(crate) fn check_subject(subject: &str) -> Result<(), SubjectError> {
    check_levels(subject)?;
    if subject.split('.').any(|level| level == "*" || level == ">") {
        return Err(SubjectError::Wildcard(subject.to_owned()));
    }
    Ok(())
}

/// Checks a pattern: like a subject, with `*` for one level and a last `>` for one or more.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), SubjectError> {
    check_levels(pattern)?;
    let mut levels = pattern.split('.').rev();
    levels.next();
    if levels.any(|level| level == ">") {
        return Err(SubjectError::RestNotLast(pattern.to_owned()));
    }
    Ok(())
}

fn check_levels(text: &str) -> Result<(), SubjectError> {
    if text.len() > MAX_SUBJECT {
        return Err(SubjectError::TooLong(text.len()));
    }
    if text.split('.').any(str::is_empty) {
        return Err(SubjectError::EmptyLevel(text.to_owned()));
    }
    Ok(())
}

/// Whether a checked pattern ends in `>`.
pub(super) fn ends_in_rest(pattern: &str) -> bool {
    pattern == ">" || pattern.ends_with(".>")
}

/// A text for people as one level of a subject: `_` stands for what a level can't have (dots, wildcards,
/// white space), and what is longer than `longest` bytes is cut.
pub(crate) fn as_level(text: &str, longest: usize) -> String {
    let mut level = String::with_capacity(text.len().min(longest));
    for c in text.chars() {
        let c = match c {
            '.' | '*' | '>' => '_',
            c if c.is_whitespace() || c.is_control() => '_',
            c => c,
        };
        if level.len() + c.len_utf8() > longest {
            break;
        }
        level.push(c);
    }
    if level.is_empty() {
        level.push('_');
    }
    level
}

/// Whether a checked pattern matches a checked subject.
pub(crate) fn matches(pattern: &str, subject: &str) -> bool {
    let mut levels = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, levels.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, subject: &str, expected: bool) {
        assert_eq!(
            matches(pattern, subject),
            expected,
            "{pattern} on {subject}"
        );
    }

    #[test]
    fn patterns_match_by_level() {
        check("lesson.viewed", "lesson.viewed", true);
        check("lesson.viewed", "lesson", false);
        check("lesson", "lesson.viewed", false);
        check("lesson.*", "lesson.viewed", true);
        check("lesson.*", "lesson.viewed.twice", false);
        check("*.viewed", "lesson.viewed", true);
        check("lesson.>", "lesson.viewed.twice", true);
        check("lesson.>", "lesson", false);
        check(">", "anything.at.all", true);
    }

    #[test]
    fn any_text_becomes_a_level() {
        assert_eq!(as_level("cart", 10), "cart");
        assert_eq!(as_level("topic a.b*>\n", 20), "topic_a_b___");
        assert_eq!(as_level("", 10), "_");
        assert_eq!(as_level("abcdef", 3), "abc");
        let cut = as_level("\u{e9}\u{e9}", 3);
        assert_eq!(cut, "\u{e9}", "cut between characters");
        for text in ["", ".", "a b", "*", "\u{e9}.\u{e9}"] {
            assert_eq!(
                check_subject(&format!("dead.{}", as_level(text, 64))),
                Ok(())
            );
        }
    }

    #[test]
    fn bad_subjects_and_patterns_say_what_is_wrong() {
        assert_eq!(
            check_subject("a..b"),
            Err(SubjectError::EmptyLevel("a..b".into()))
        );
        assert_eq!(
            check_subject(""),
            Err(SubjectError::EmptyLevel(String::new()))
        );
        assert_eq!(
            check_subject("a.*"),
            Err(SubjectError::Wildcard("a.*".into()))
        );
        assert_eq!(
            check_pattern("a.>.b"),
            Err(SubjectError::RestNotLast("a.>.b".into()))
        );
        assert_eq!(check_pattern("a.*.>"), Ok(()));
        assert_eq!(
            check_subject(&"a".repeat(256)),
            Err(SubjectError::TooLong(256))
        );
    }
}
