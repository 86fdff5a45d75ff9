//! What the metadata service knows about a lesson, computed from the lessons themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lessons::Library;
use crate::markdown;
use crate::words::{is_keyword, words};

/// How fast people read, in words a minute.
const WORDS_A_MINUTE: usize = 230;
/// So many lessons are named as related.
const RELATED: usize = 3;

/// The facts about one lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) words: usize,
    pub(crate) minutes: usize,
    /// The lessons that share its keywords, the closest first.
    pub(crate) related: Vec<Related>,
}

/// A lesson close to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Related {
    pub(crate) slug: String,
    pub(crate) title: String,
    /// The keywords that bring them together, the weightiest first.
    pub(crate) shared: Vec<String>,
}

/// The facts about all lessons, by slug.
pub(crate) fn compute(library: &Library) -> BTreeMap<String, Metadata> {
    let texts: Vec<Text<'_>> = library
        .lessons()
        .map(|lesson| Text::new(&lesson.slug, &lesson.title, &lesson.markdown))
        .collect();
    let rarity = rarity(&texts);
    texts
        .iter()
        .map(|text| {
            let metadata = Metadata {
                words: text.length,
                minutes: text.length.div_ceil(WORDS_A_MINUTE).max(1),
                related: text.closest(&texts, &rarity),
            };
            (text.slug.to_owned(), metadata)
        })
        .collect()
}

struct Text<'a> {
    slug: &'a str,
    title: &'a str,
    length: usize,
    /// How often each keyword occurs.
    counts: BTreeMap<String, usize>,
}

impl<'a> Text<'a> {
    fn new(slug: &'a str, title: &'a str, markdown: &str) -> Self {
        let mut counts = BTreeMap::new();
        let mut length = 0;
        for word in words(&markdown::plain_text(markdown)) {
            length += 1;
            if is_keyword(&word) {
                *counts.entry(word).or_insert(0) += 1;
            }
        }
        Text {
            slug,
            title,
            length,
            counts,
        }
    }

    /// What a keyword weighs in this text: often here and rare elsewhere is what counts.
    fn weight(&self, word: &str, rarity: &BTreeMap<&str, f64>) -> f64 {
        let count = self.counts.get(word).copied().unwrap_or(0);
        let often = if count == 0 {
            0.0
        } else {
            1.0 + (count as f64).ln()
        };
        often * rarity.get(word).copied().unwrap_or(0.0)
    }

    fn norm(&self, rarity: &BTreeMap<&str, f64>) -> f64 {
        let squares = self
            .counts
            .keys()
            .map(|word| self.weight(word, rarity).powi(2));
        squares.sum::<f64>().sqrt().max(f64::MIN_POSITIVE)
    }

    fn closest(&self, all: &[Text<'_>], rarity: &BTreeMap<&str, f64>) -> Vec<Related> {
        let mut others: Vec<(f64, Related)> = all
            .iter()
            .filter(|other| other.slug != self.slug)
            .map(|other| self.compare(other, rarity))
            .filter(|(closeness, _)| *closeness > 0.0)
            .collect();
        // Equals by name, so that every start computes the same.
        others.sort_by(|(a, left), (b, right)| b.total_cmp(a).then(left.slug.cmp(&right.slug)));
        others.truncate(RELATED);
        others.into_iter().map(|(_, related)| related).collect()
    }

    /// The cosine of the angle between two texts, and the keywords that make it small.
    fn compare(&self, other: &Text<'_>, rarity: &BTreeMap<&str, f64>) -> (f64, Related) {
        let mine: BTreeSet<&String> = self.counts.keys().collect();
        let mut shared: Vec<(f64, &String)> = other
            .counts
            .keys()
            .filter(|word| mine.contains(word))
            .map(|word| (self.weight(word, rarity) * other.weight(word, rarity), word))
            .filter(|(weight, _)| *weight > 0.0)
            .collect();
        let product: f64 = shared.iter().map(|(weight, _)| weight).sum();
        shared.sort_by(|(a, left), (b, right)| b.total_cmp(a).then(left.cmp(right)));
        let related = Related {
            slug: other.slug.to_owned(),
            title: other.title.to_owned(),
            shared: shared
                .iter()
                .take(3)
                .map(|(_, word)| (*word).clone())
                .collect(),
        };
        (product / (self.norm(rarity) * other.norm(rarity)), related)
    }
}

/// How much a keyword tells texts apart: zero for one that all of them have.
fn rarity<'t>(texts: &'t [Text<'_>]) -> BTreeMap<&'t str, f64> {
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for word in texts.iter().flat_map(|text| text.counts.keys()) {
        *holders.entry(word).or_insert(0) += 1;
    }
    let all = texts.len() as f64;
    holders
        .into_iter()
        .map(|(word, count)| (word, (all / count as f64).ln()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::tests::Folder;

    #[test]
    fn words_are_counted_and_reading_time_is_rounded_up() {
        let long = format!("# Long\n\n{}", "word ".repeat(230));
        let folder = Folder::new("meta")
            .with("long.md", long.as_bytes())
            .with("short.md", b"# Short\n\nText");
        let facts = compute(&Library::load(&folder.0).unwrap());
        assert_eq!((facts["long"].words, facts["long"].minutes), (231, 2));
        assert_eq!((facts["short"].words, facts["short"].minutes), (2, 1));
        assert_eq!(facts["short"].related, []);
    }

    #[test]
    fn lessons_that_share_rare_words_are_related() {
        let folder = Folder::new("related")
            .with(
                "a.md",
                b"# A\n\nThe mailbox holds letters. A mailbox is bounded.",
            )
            .with("b.md", b"# B\n\nEach mailbox is bounded; letters wait.")
            .with("c.md", b"# C\n\nA lease ends by itself, letters or none.")
            .with("d.md", b"# D\n\nSomething unlike the rest.");
        let facts = compute(&Library::load(&folder.0).unwrap());
        let first = &facts["a"].related[0];
        assert_eq!((&*first.slug, &*first.shared[0]), ("b", "mailbox"));
        assert_eq!(facts["d"].related, []);
    }

    #[test]
    fn the_lessons_of_this_example_are_related_to_each_other() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/lesson_platform/lessons"
        );
        let library = Library::load(folder.as_ref()).unwrap();
        let facts = compute(&library);
        assert_eq!(facts, compute(&library), "every start computes the same");
        assert!(facts.values().all(|lesson| lesson.related.len() == RELATED));
        assert!(facts.values().all(|lesson| lesson.minutes >= 3));
    }
}
