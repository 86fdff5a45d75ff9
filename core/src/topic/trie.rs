//! Which subscriptions a subject matches: a tree over the levels of their patterns.
//!
//! A subject is looked up level by level, so what that costs grows with its levels and not with the number of
//! subscriptions (the sublist of the NATS server is built like this). Each level is a look into a table, beside
//! the one branch for `*`; what ends in `>` is collected on the way.

use std::collections::HashMap;

use super::subject;

/// Who subscribed: a place in the hub's list.
pub(super) type Key = u32;

/// No node.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Trie {
    /// The first is the root.
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// How many nodes were looked at.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

/// What may follow the levels that lead here.
#[derive(Debug)]
struct Node {
    /// Only looked up, never walked over, so its order doesn't matter.
    children: HashMap<Box<str>, u32>,
    /// The branch of `*`.
    star: u32,
    /// Those whose patterns end here.
    here: Vec<Key>,
    /// Those whose patterns end in `>` behind this.
    rest: Vec<Key>,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            children: HashMap::new(),
            star: NONE,
            here: Vec::new(),
            rest: Vec::new(),
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.star == NONE
            && self.here.is_empty()
            && self.rest.is_empty()
    }

    fn child(&self, level: &str) -> Option<u32> {
        let child = match level {
            "*" => self.star,
            level => *self.children.get(level)?,
        };
        (child != NONE).then_some(child)
    }
}

impl Trie {
    pub(super) fn new() -> Self {
        Trie {
            nodes: vec![Node::default()],
            free: Vec::new(),
            #[cfg(test)]
            looks: std::cell::Cell::default(),
        }
    }

    /// Adds a subscription under a checked pattern. Answers its place among those with the same pattern, which
    /// [`remove`](Trie::remove) asks for.
    pub(super) fn insert(&mut self, pattern: &str, key: Key) -> usize {
        let (levels, is_rest) = split(pattern);
        let mut at = 0;
        for level in levels {
            at = match self.nodes[at as usize].child(level) {
                Some(child) => child,
                None => self.grow(at, level),
            };
        }
        let list = self.list(at, is_rest);
        list.push(key);
        list.len() - 1
    }

    /// Takes a subscription out, with the branches that lead nowhere then. Answers who has its place now.
    pub(super) fn remove(&mut self, pattern: &str, place: usize) -> Option<Key> {
        let (levels, is_rest) = split(pattern);
        let mut at = 0;
        let mut path = Vec::new();
        for level in levels {
            let child = self.nodes[at as usize].child(level)?;
            path.push((at, level));
            at = child;
        }
        let list = self.list(at, is_rest);
        if place >= list.len() {
            return None;
        }
        list.swap_remove(place);
        let moved = list.get(place).copied();
        if list.is_empty() {
            // The room of thousands that left is not kept for one that may come.
            *list = Vec::new();
        }
        while self.nodes[at as usize].is_empty()
            && let Some((parent, level)) = path.pop()
        {
            self.cut(parent, level, at);
            at = parent;
        }
        moved
    }

    /// Adds to `found` all whose pattern matches the subject, each once.
    pub(super) fn find(&self, subject: &str, found: &mut Vec<Key>) {
        self.walk(0, subject, found);
    }

    fn walk(&self, at: u32, subject: &str, found: &mut Vec<Key>) {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        let node = &self.nodes[at as usize];
        found.extend_from_slice(&node.rest);
        let (level, behind) = match subject.split_once('.') {
            Some((level, behind)) => (level, Some(behind)),
            None => (subject, None),
        };
        let literal = if node.children.is_empty() {
            NONE
        } else {
            node.children.get(level).copied().unwrap_or(NONE)
        };
        for child in [literal, node.star] {
            if child == NONE {
                continue;
            }
            match behind {
                Some(behind) => self.walk(child, behind, found),
                None => found.extend_from_slice(&self.nodes[child as usize].here),
            }
        }
    }

    /// How many nodes there are, the root among them.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    fn list(&mut self, at: u32, is_rest: bool) -> &mut Vec<Key> {
        let node = &mut self.nodes[at as usize];
        if is_rest {
            &mut node.rest
        } else {
            &mut node.here
        }
    }

    fn grow(&mut self, parent: u32, level: &str) -> u32 {
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
        });
        let node = &mut self.nodes[parent as usize];
        match level {
            "*" => node.star = child,
            level => {
                node.children.insert(level.into(), child);
            }
        }
        child
    }

    fn cut(&mut self, parent: u32, level: &str, child: u32) {
        let node = &mut self.nodes[parent as usize];
        match level {
            "*" => node.star = NONE,
            level => {
                node.children.remove(level);
            }
        }
        self.nodes[child as usize] = Node::default();
        self.free.push(child);
    }
}

/// The levels of a pattern that lead to its node, and whether a `>` follows.
fn split(pattern: &str) -> (impl Iterator<Item = &str>, bool) {
    let is_rest = subject::ends_in_rest(pattern);
    let levels = pattern.split('.');
    let count = levels.clone().count() - usize::from(is_rest);
    (levels.take(count), is_rest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn found(trie: &Trie, subject: &str) -> Vec<Key> {
        let mut found = Vec::new();
        trie.find(subject, &mut found);
        found.sort_unstable();
        found
    }

    #[test]
    fn a_rest_needs_one_level_at_least_and_a_star_exactly_one() {
        let mut trie = Trie::new();
        let patterns = ["a.>", "a", "a.*", "*.b", ">", "*", "a.*.>", "*.*.c"];
        for (key, pattern) in (0..).zip(patterns) {
            trie.insert(pattern, key);
        }
        assert_eq!(found(&trie, "a"), [1, 4, 5]);
        assert_eq!(found(&trie, "a.b"), [0, 2, 3, 4]);
        assert_eq!(found(&trie, "a.b.c"), [0, 4, 6, 7]);
        assert_eq!(found(&trie, "x.y.z"), [4]);
    }

    #[test]
    fn what_a_look_costs_grows_with_the_levels_and_not_with_the_subscriptions() {
        let looks = |subscriptions: u32, subject: &str| {
            let mut trie = Trie::new();
            for key in 0..subscriptions {
                trie.insert(&format!("course.{key}.lesson.*"), key);
                trie.insert(&format!("course.*.{key}.>"), subscriptions + key);
            }
            assert!(!found(&trie, subject).is_empty(), "{subject}");
            trie.looks.get()
        };
        let few = looks(100, "course.7.lesson.9") + looks(100, "course.7.7.9");
        let many = looks(100_000, "course.7.lesson.9") + looks(100_000, "course.7.7.9");
        assert_eq!(few, many);
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_behind() {
        let mut trie = Trie::new();
        for round in 0..3 {
            for key in 0..1_000 {
                assert_eq!(trie.insert(&format!("lesson.{key}.*.viewed.>"), key), 0);
            }
            assert_eq!(trie.len(), 1 + 1 + 3 * 1_000, "round {round}");
            for key in 0..1_000 {
                assert_eq!(trie.remove(&format!("lesson.{key}.*.viewed.>"), 0), None);
            }
            assert_eq!(trie.len(), 1);
        }
        assert!(trie.nodes.len() <= 3_002, "nodes are used again");
    }

    proptest! {
        /// Against the rule for one pattern, under subscriptions that come and go.
        #[test]
        fn the_trie_finds_what_the_patterns_match(
            steps in proptest::collection::vec(
                ("(a|b|\\*)(\\.(a|b|\\*)){0,3}(\\.>)?|>", any::<prop::sample::Index>(), 0..3_u8),
                1..60,
            ),
            subjects in proptest::collection::vec("(a|b|c)(\\.(a|b|c)){0,4}", 1..12),
        ) {
            let mut trie = Trie::new();
            // By key: the pattern, and its place in the trie.
            let mut model: BTreeMap<Key, (String, usize)> = BTreeMap::new();
            for (key, (pattern, index, action)) in (0..).zip(steps) {
                if action == 0 && !model.is_empty() {
                    let gone = *model.keys().nth(index.index(model.len())).unwrap();
                    let (pattern, place) = model.remove(&gone).unwrap();
                    if let Some(moved) = trie.remove(&pattern, place) {
                        model.get_mut(&moved).unwrap().1 = place;
                    }
                } else {
                    let place = trie.insert(&pattern, key);
                    model.insert(key, (pattern, place));
                }
                for subject in &subjects {
                    let expected: Vec<Key> = model
                        .iter()
                        .filter(|(_, (pattern, _))| subject::matches(pattern, subject))
                        .map(|(key, _)| *key)
                        .collect();
                    prop_assert_eq!(found(&trie, subject), expected, "{}", subject);
                }
            }
            while let Some((_, (pattern, place))) = model.pop_first() {
                if let Some(moved) = trie.remove(&pattern, place) {
                    model.get_mut(&moved).unwrap().1 = place;
                }
            }
            prop_assert_eq!(trie.len(), 1);
        }
    }
}
