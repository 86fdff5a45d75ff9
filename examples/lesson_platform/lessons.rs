//! The lessons: a folder of Markdown files, with their pictures in `images/` beside them.
//!
//! Loading is where bad input is met, and it is met file by file. A folder that is missing or holds no
//! lesson at all stops the start, with its name in the message. A broken file costs itself only: its
//! lesson is listed as not available, the [`Problem`] says which file and why, and the others are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::markdown;

/// A lesson larger than this is a mistake, and not read.
const LARGEST_LESSON: u64 = 1024 * 1024;
/// A picture larger than this is not sent through the pipe.
const LARGEST_IMAGE: u64 = 16 * 1024 * 1024;

/// Everything that could be loaded, and what could not.
#[derive(Debug, Default)]
pub(crate) struct Library {
    lessons: BTreeMap<String, Lesson>,
    images: BTreeSet<String>,
    unavailable: BTreeMap<String, Problem>,
    problems: Vec<Problem>,
}

/// One lesson as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Lesson {
    /// Its part of the address: the file's name without number and ending.
    pub(crate) slug: String,
    pub(crate) title: String,
    /// The third line of the file: what the lesson is about, in a sentence or two.
    pub(crate) teaser: String,
    /// All of the file.
    pub(crate) markdown: String,
    /// The pictures it shows that are there, in the order of the text.
    pub(crate) images: Vec<String>,
}

/// What is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Relative to the folder.
    pub(crate) file: String,
    pub(crate) why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.why)
    }
}

/// Why there is nothing to show at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("the lessons folder {} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("{} is a file; the lessons folder was expected", .0.display())]
    NotAFolder(PathBuf),
    #[error("the lessons folder {} can't be read: {}", .0.display(), plain(.1))]
    Unreadable(PathBuf, io::Error),
    #[error("the lessons folder {} holds no lesson (no file that ends in .md)", .0.display())]
    Empty(PathBuf),
    #[error("none of the lessons in {} can be shown; the first one: {}", .0.display(), .1)]
    AllBroken(PathBuf, Problem),
}

impl Library {
    /// Reads a folder. Files are taken in the order of their names.
    pub(crate) fn load(folder: &Path) -> Result<Self, FolderError> {
        let files = list(folder)?;
        let mut library = Library::default();
        for file in files {
            library.take(folder, &file);
        }
        match (library.lessons.is_empty(), library.problems.first()) {
            (true, None) => Err(FolderError::Empty(folder.to_owned())),
            (true, Some(first)) => Err(FolderError::AllBroken(folder.to_owned(), first.clone())),
            (false, _) => Ok(library),
        }
    }

    /// The lessons in the order of their files.
    pub(crate) fn lessons(&self) -> impl Iterator<Item = &Lesson> {
        self.lessons.values()
    }

    pub(crate) fn lesson(&self, slug: &str) -> Option<&Lesson> {
        self.lessons.values().find(|lesson| lesson.slug == slug)
    }

    /// Why the lesson of that name can't be shown, if its file is there but broken.
    pub(crate) fn unavailable(&self, slug: &str) -> Option<&Problem> {
        self.unavailable.get(slug)
    }

    /// The pictures that lessons show. A name that isn't in here is never looked for on disk.
    pub(crate) fn images(&self) -> &BTreeSet<String> {
        &self.images
    }

    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn take(&mut self, folder: &Path, file: &Path) {
        let name = file.to_string_lossy().into_owned();
        let slug = slug_of(file);
        let read = read_lesson(&folder.join(file), &slug).and_then(|lesson| {
            match self.lessons.iter().find(|(_, other)| other.slug == slug) {
                Some((first, _)) => {
                    Err(format!("has the same address as {first}: /lessons/{slug}"))
                }
                None => Ok(lesson),
            }
        });
        match read {
            Ok(mut lesson) => {
                lesson
                    .images
                    .retain(|image| match check_image(folder, image) {
                        Ok(()) => true,
                        Err(why) => {
                            let file = format!("images/{image}");
                            let why = format!("{why} (shown in {name})");
                            self.problems.push(Problem { file, why });
                            false
                        }
                    });
                self.images.extend(lesson.images.iter().cloned());
                self.lessons.insert(name, lesson);
            }
            Err(why) => {
                let problem = Problem { file: name, why };
                self.unavailable
                    .entry(slug)
                    .or_insert_with(|| problem.clone());
                self.problems.push(problem);
            }
        }
    }
}

/// Where a picture lies. `image` is a plain name, as [`Library::images`] holds them.
pub(crate) fn image_path(folder: &Path, image: &str) -> PathBuf {
    folder.join("images").join(image)
}

fn list(folder: &Path) -> Result<BTreeSet<PathBuf>, FolderError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FolderError::Missing(folder.to_owned()),
        io::ErrorKind::NotADirectory => FolderError::NotAFolder(folder.to_owned()),
        _ => FolderError::Unreadable(folder.to_owned(), error),
    };
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let name = PathBuf::from(entry.map_err(unreadable)?.file_name());
        if name.extension().is_some_and(|ending| ending == "md") {
            files.insert(name);
        }
    }
    Ok(files)
}

/// `08-paying-john-once.md` is `paying-john-once`. Whatever an address can't hold becomes a dash.
fn slug_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let clean: String = stem
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let name = clean.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    match name.trim_end_matches('-') {
        "" => clean,
        name => name.to_owned(),
    }
}

fn read_lesson(path: &Path, slug: &str) -> Result<Lesson, String> {
    let markdown = read_text(path)?;
    let mut lines = markdown.trim_start_matches('\u{feff}').lines();
    let title = lines
        .next()
        .and_then(|first| first.strip_prefix("# "))
        .map(str::trim)
        .filter(|title| !title.is_empty())
        .ok_or("has no title: its first line should be `# Title`")?
        .to_owned();
    let teaser = lines.nth(1).unwrap_or_default().trim().to_owned();
    let images = markdown::images(&markdown);
    Ok(Lesson {
        slug: slug.to_owned(),
        title,
        teaser,
        markdown,
        images,
    })
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| cannot_read(&error))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_LESSON + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot_read(&error))?;
    if bytes.len() as u64 > LARGEST_LESSON {
        return Err(format!("is larger than {} KiB", LARGEST_LESSON / 1024));
    }
    if bytes.trim_ascii().is_empty() {
        return Err("is empty".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        format!("is not UTF-8 text (line {line}, byte {at})")
    })
}

/// A cheap look: that the file is there and begins as a PNG or JPEG does. Damage further inside is met
/// by the process that decodes it.
fn check_image(folder: &Path, image: &str) -> Result<(), String> {
    let path = image_path(folder, image);
    let file = std::fs::File::open(path).map_err(|error| cannot_read(&error))?;
    let size = file.metadata().map_err(|error| cannot_read(&error))?.len();
    if size > LARGEST_IMAGE {
        return Err(format!("is larger than {} MiB", LARGEST_IMAGE >> 20));
    }
    let mut start = Vec::new();
    file.take(8)
        .read_to_end(&mut start)
        .map_err(|error| cannot_read(&error))?;
    if start.starts_with(b"\x89PNG\r\n\x1a\n") || start.starts_with(b"\xff\xd8\xff") {
        Ok(())
    } else if start.is_empty() {
        Err("is empty".to_owned())
    } else {
        Err("is neither a PNG nor a JPEG".to_owned())
    }
}

fn cannot_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        io::ErrorKind::IsADirectory => "is a folder".to_owned(),
        _ => format!("can't be read: {}", plain(error)),
    }
}

/// The system's words without `(os error 13)`.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder of its own for one test, gone at its end.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let unique = format!("callboard-{}-{number}-{name}", std::process::id());
            let path = std::env::temp_dir().join(unique);
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("images")).unwrap();
            Folder(path)
        }

        pub(crate) fn with(self, file: &str, content: &[u8]) -> Self {
            std::fs::write(self.0.join(file), content).unwrap();
            self
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const GOOD: &[u8] = b"# Good\n\nA teaser.\n\nText.\n";
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n...";

    #[track_caller]
    fn problem_with(content: &[u8]) -> String {
        let folder = Folder::new("problem")
            .with("1-good.md", GOOD)
            .with("2-bad.md", content);
        let library = Library::load(&folder.0).unwrap();
        assert_eq!(library.lessons().count(), 1, "the other lesson is there");
        assert_eq!(library.unavailable("bad"), library.problems().first());
        library.problems()[0].to_string()
    }

    #[test]
    fn a_broken_file_is_named_and_costs_itself_only() {
        assert_eq!(problem_with(b""), "2-bad.md: is empty");
        assert_eq!(
            problem_with(b"# Bad\n\nCaf\xe9"),
            "2-bad.md: is not UTF-8 text (line 3, byte 10)"
        );
        let no_title = "2-bad.md: has no title: its first line should be `# Title`";
        assert_eq!(problem_with(b"Just text"), no_title);
        assert_eq!(problem_with(b"# \n\nText"), no_title);
        let large = vec![b'x'; LARGEST_LESSON as usize + 1];
        assert_eq!(problem_with(&large), "2-bad.md: is larger than 1024 KiB");
    }

    #[test]
    fn a_lesson_has_a_title_a_teaser_and_its_pictures() {
        let text = b"# One\n\nWhat it is.\n\n![a](images/a.png) ![b](images/b.png)";
        let folder = Folder::new("one")
            .with("01-one.md", text)
            .with("images/a.png", PNG);
        let library = Library::load(&folder.0).unwrap();
        let lesson = library.lesson("one").unwrap();
        assert_eq!((&*lesson.title, &*lesson.teaser), ("One", "What it is."));
        assert_eq!(lesson.images, ["a.png"]);
        assert_eq!(
            library.problems()[0].to_string(),
            "images/b.png: is missing (shown in 01-one.md)"
        );
    }

    #[test]
    fn what_only_looks_like_a_picture_is_not_shown() {
        let folder = Folder::new("fake")
            .with("1.md", b"# One\n\n![a](images/a.png)")
            .with("images/a.png", b"<svg>");
        let library = Library::load(&folder.0).unwrap();
        assert!(library.images().is_empty());
        assert_eq!(
            library.problems()[0].to_string(),
            "images/a.png: is neither a PNG nor a JPEG (shown in 1.md)"
        );
    }

    #[test]
    fn two_files_with_one_address_are_told_apart_by_their_names() {
        let folder = Folder::new("same")
            .with("1-same.md", GOOD)
            .with("2-same.md", GOOD);
        let library = Library::load(&folder.0).unwrap();
        assert_eq!(
            library.problems()[0].to_string(),
            "2-same.md: has the same address as 1-same.md: /lessons/same"
        );
        assert!(library.lesson("same").is_some());
    }

    #[test]
    fn a_folder_without_lessons_is_an_error_that_names_it() {
        let folder = Folder::new("empty");
        let message = Library::load(&folder.0).unwrap_err().to_string();
        assert!(message.contains("holds no lesson"), "{message}");
        assert!(message.contains(&*folder.0.to_string_lossy()), "{message}");

        let missing = folder.0.join("not-here");
        let message = Library::load(&missing).unwrap_err().to_string();
        assert!(message.ends_with("not-here does not exist"), "{message}");

        let folder = folder.with("one.md", b"no title");
        let message = Library::load(&folder.0.join("one.md")).unwrap_err();
        assert!(message.to_string().contains("is a file"), "{message}");
        let message = Library::load(&folder.0).unwrap_err().to_string();
        assert!(message.contains("one.md: has no title"), "{message}");
    }

    #[test]
    fn a_slug_is_the_files_name_without_its_number() {
        let slug = |name: &str| slug_of(Path::new(name));
        assert_eq!(slug("08-paying-john-once.md"), "paying-john-once");
        assert_eq!(slug("Caf\u{e9} & more.md"), "caf----more");
        assert_eq!(slug("42.md"), "42");
    }
}
