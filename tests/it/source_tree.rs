//! The repository's own files, as the tests that read them see them.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// A text file of the repository.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A Rust file of the repository.
pub(crate) struct RustFile {
    pub(crate) path: &'static str,
    pub(crate) text: &'static str,
    /// The text with comments and the contents of literals blanked out: what is left is code.
    pub(crate) code: String,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files, in the order of their paths. Build output and hidden directories, `.ci` apart, are none
/// of ours.
pub(crate) fn files() -> &'static [File] {
    static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
        let mut files = Vec::new();
        walk(root(), "", &mut files);
        files
    });
    &FILES
}

/// All Rust files.
pub(crate) fn rust_files() -> &'static [RustFile] {
    static FILES: LazyLock<Vec<RustFile>> = LazyLock::new(|| {
        let rust = files().iter().filter(|file| file.path.ends_with(".rs"));
        rust.map(|file| RustFile {
            path: &file.path,
            text: &file.text,
            code: code_only(&file.text),
        })
        .collect()
    });
    &FILES
}

/// The text of a file that must be there.
pub(crate) fn text_of(path: &str) -> &'static str {
    let file = files().iter().find(|file| file.path == path);
    &file
        .unwrap_or_else(|| panic!("{path} is missing or no text"))
        .text
}

pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// Fails with all problems at once.
#[track_caller]
pub(crate) fn assert_none(rule: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{rule}\n  {}", problems.join("\n  "));
}

fn walk(directory: &Path, prefix: &str, files: &mut Vec<File>) {
    let entries = fs::read_dir(directory).expect("the repository can be read");
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    for name in names {
        let path = format!("{prefix}{name}");
        let full = directory.join(&name);
        let hidden = name.starts_with('.') && name != ".ci";
        if full.is_dir() {
            if !hidden && name != "target" && path != "guide/book" {
                walk(&full, &format!("{path}/"), files);
            }
        } else if let Ok(text) = fs::read_to_string(&full) {
            files.push(File { path, text });
        }
    }
}

/// The numbers of the lines of `code` that hold `needle` as a word: not as a part of a longer name.
pub(crate) fn lines_with(code: &str, needle: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for (at, found) in code.match_indices(needle) {
        let before = code[..at].chars().next_back();
        let after = code[at + found.len()..].chars().next();
        let starts = !needle.starts_with(is_word) || !before.is_some_and(is_word);
        let ends = !needle.ends_with(is_word) || !after.is_some_and(is_word);
        if starts && ends {
            lines.push(line_of(code, at));
        }
    }
    lines.dedup();
    lines
}

/// The number of the line that holds the byte `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Blanks out comments and the contents of string and character literals. Lines stay where they are.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => end_of_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_block_comment(&chars, at),
            '"' => end_of_string(&chars, at),
            'r' if at == 0 || !is_word(chars[at - 1]) || matches!(chars[at - 1], 'b' | 'c') => {
                end_of_raw_string(&chars, at).unwrap_or(at)
            }
            '\'' => end_of_char(&chars, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            let blank = |c: &char| if *c == '\n' { '\n' } else { ' ' };
            code.extend(chars[at..end].iter().map(blank));
            at = end;
        }
    }
    code
}

fn end_of_line(chars: &[char], from: usize) -> usize {
    let rest = chars[from..].iter().position(|c| *c == '\n');
    rest.map_or(chars.len(), |length| from + length)
}

fn end_of_block_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `r"..."` or `r#"..."#`; `None` for a name that starts with `r`.
fn end_of_raw_string(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    let open = from + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut at = open + 1;
    while at < chars.len() {
        let closes =
            chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(chars.len())
}

/// The end of a character literal; `None` for a lifetime.
fn end_of_char(chars: &[char], from: usize) -> Option<usize> {
    let close = match chars.get(from + 1)? {
        '\\' => from + 3 + chars.get(from + 3..)?.iter().position(|c| *c == '\'')?,
        _ => from + 2,
    };
    (chars.get(close) == Some(&'\'')).then_some(close + 1)
}

#[test]
fn code_is_what_is_left_without_comments_and_literals() {
    let check = |text: &str, code: &str| assert_eq!(code_only(text), code, "{text}");
    check("let a = 1; // two\nlet b;", "let a = 1;       \nlet b;");
    check("a /* b /* c */ d */ e", "a                   e");
    check(r#"f("x\"y", z)"#, "f(      , z)");
    check("f(r#\"x\"y\"#, z)", "f(        , z)");
    check("r#type + bar", "r#type + bar");
    check(
        "fn f<'a>(c: &'a str) { '\\''; 'x' }",
        "fn f<'a>(c: &'a str) {     ;     }",
    );
}

#[test]
fn words_are_found_whole() {
    assert_eq!(lines_with("unsafe_code\nx unsafe {", "unsafe"), [2]);
    assert_eq!(lines_with("my_fs::a\nfs::b", "fs::"), [2]);
}
