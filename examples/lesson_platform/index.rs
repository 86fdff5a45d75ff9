//! The keyword index. Workers prepare [`Entry`] after entry from the jobs that page views offer; the index
//! takes them in and answers searches. Taking the same lesson in twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::lessons::Lesson;
use crate::markdown;
use crate::words::{is_keyword, words};

/// Longer snippets are cut, in characters.
const SNIPPET: usize = 220;

/// One lesson as the index holds it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    slug: String,
    title: String,
    /// How often each keyword occurs.
    counts: BTreeMap<String, u32>,
    /// The text's lines, for snippets.
    lines: Vec<String>,
}

/// A lesson that holds all words of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) slug: String,
    pub(crate) title: String,
    /// How often the words occur in it, together.
    pub(crate) count: u32,
    /// The first line with one of the words.
    pub(crate) snippet: String,
}

impl Entry {
    /// The work that a page view leaves to the workers.
    pub(crate) fn of(lesson: &Lesson) -> Self {
        let text = markdown::plain_text(&lesson.markdown);
        let mut counts = BTreeMap::new();
        for word in words(&text).filter(|word| is_keyword(word)) {
            *counts.entry(word).or_insert(0) += 1;
        }
        Entry {
            slug: lesson.slug.clone(),
            title: lesson.title.clone(),
            counts,
            lines: text.lines().skip(1).map(str::to_owned).collect(),
        }
    }

    fn snippet(&self, terms: &[String]) -> String {
        let line = self
            .lines
            .iter()
            .find(|line| words(line).any(|word| terms.contains(&word)));
        let Some(line) = line else {
            return String::new();
        };
        match line.char_indices().nth(SNIPPET) {
            None => line.clone(),
            Some((end, _)) => {
                let end = line[..end].rfind(' ').unwrap_or(end);
                format!("{} ...", &line[..end])
            }
        }
    }
}

/// All lessons that have been viewed, by keyword.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: BTreeMap<String, Entry>,
}

impl Index {
    /// Takes a lesson in, in place of what was known of it.
    pub(crate) fn put(&mut self, entry: Entry) {
        self.entries.insert(entry.slug.clone(), entry);
    }

    /// How many lessons it knows.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many different keywords they hold.
    pub(crate) fn keywords(&self) -> usize {
        let all = self.entries.values().flat_map(|entry| entry.counts.keys());
        all.collect::<BTreeSet<_>>().len()
    }

    /// The lessons that hold every keyword of the query, the one with most of them first.
    pub(crate) fn search(&self, query: &str) -> Vec<Hit> {
        let terms = terms(query);
        if terms.is_empty() {
            return Vec::new();
        }
        let mut hits: Vec<Hit> = self
            .entries
            .values()
            .filter_map(|entry| {
                let counts: Option<Vec<u32>> = terms
                    .iter()
                    .map(|term| entry.counts.get(term).copied())
                    .collect();
                Some(Hit {
                    slug: entry.slug.clone(),
                    title: entry.title.clone(),
                    count: counts?.iter().sum(),
                    snippet: entry.snippet(&terms),
                })
            })
            .collect();
        hits.sort_by(|a, b| b.count.cmp(&a.count).then(a.slug.cmp(&b.slug)));
        hits
    }
}

/// The words of a query that the index knows.
pub(crate) fn terms(query: &str) -> Vec<String> {
    words(query).filter(|word| is_keyword(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::Library;
    use crate::lessons::tests::Folder;

    fn index() -> Index {
        let folder = Folder::new("index")
            .with("a.md", b"# Mailboxes\n\nA mailbox, and a mailbox again.")
            .with("b.md", b"# Leases\n\nA lease. Its mailbox is small.");
        let mut index = Index::default();
        for lesson in Library::load(&folder.0).unwrap().lessons() {
            index.put(Entry::of(lesson));
            index.put(Entry::of(lesson));
        }
        index
    }

    #[test]
    fn a_search_finds_the_lessons_that_hold_every_word() {
        let index = index();
        let found = |query: &str| -> Vec<String> {
            index
                .search(query)
                .into_iter()
                .map(|hit| hit.slug)
                .collect()
        };
        assert_eq!(
            found("Mailbox"),
            ["a", "b"],
            "the one with most comes first"
        );
        assert_eq!(found("mailbox lease"), ["b"]);
        assert_eq!(found("the lease"), ["b"], "common words don't matter");
        assert!(found("theatre").is_empty());
        assert!(found("the of").is_empty());
        assert!(found("").is_empty());
        assert_eq!(index.len(), 2);
        // mailboxes, mailbox, leases, lease, small: each once, however often and wherever it occurs.
        assert_eq!(index.keywords(), 5);
    }

    #[test]
    fn a_hit_shows_where() {
        let hit = &index().search("lease")[0];
        assert_eq!(hit.snippet, "A lease. Its mailbox is small.");
        assert_eq!(hit.count, 1);
    }
}
