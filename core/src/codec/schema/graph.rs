//! What a type consists of, and the number that stands for it.

use std::collections::{BTreeMap, BTreeSet};

/// A value without parts. The number of each is part of the hash and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    Bool = 1,
    I8 = 2,
    I16 = 3,
    I32 = 4,
    I64 = 5,
    I128 = 6,
    U8 = 7,
    U16 = 8,
    U32 = 9,
    U64 = 10,
    U128 = 11,
    F32 = 12,
    F64 = 13,
    Char = 14,
    Text = 15,
    Bytes = 16,
    Unit = 17,
    UnitStruct = 18,
}

/// A part of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Leaf(Leaf),
    /// One with parts of its own, by its place in the graph.
    Node(usize),
}

/// A value with parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Option,
    List,
    Map,
    Tuple(usize),
    Struct(&'static [&'static str]),
    Enum(&'static [&'static str]),
}

/// What a variant has beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    Value,
    Tuple(usize),
    Struct(&'static [&'static str]),
}

/// The parts of a node, or of one variant of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) content: Option<Content>,
    pub(super) parts: Vec<Part>,
}

/// What can be gone into: a node, and which variant of it.
pub(super) type Slot = (usize, usize);

struct Node {
    kind: Kind,
    /// By variant; for all others there is only one.
    parts: BTreeMap<usize, Parts>,
}

/// Types, and what they consist of.
#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    /// By who visits them: a visitor's type says of which type it makes a value, its parameters included. Only
    /// for telling types apart within this process.
    by_visitor: BTreeMap<(Kind, &'static str), usize>,
}

impl Graph {
    pub(super) fn node(&mut self, kind: Kind, visitor: &'static str) -> usize {
        let next = self.nodes.len();
        let at = *self.by_visitor.entry((kind, visitor)).or_insert(next);
        if at == next {
            self.nodes.push(Node {
                kind,
                parts: BTreeMap::new(),
            });
        }
        at
    }

    /// Notes the parts; `false` if others were seen before.
    pub(super) fn note(&mut self, at: usize, variant: usize, parts: &Parts) -> bool {
        match self.nodes.get_mut(at) {
            Some(node) => *node.parts.entry(variant).or_insert_with(|| parts.clone()) == *parts,
            None => false,
        }
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.nodes.get(at).map(|node| node.kind)
    }

    pub(super) fn parts(&self, at: usize, variant: usize) -> Option<&Parts> {
        self.nodes.get(at)?.parts.get(&variant)
    }

    /// Whether everything was gone into.
    pub(super) fn is_whole(&self, seen: &BTreeSet<Slot>) -> bool {
        (0..self.nodes.len()).all(|at| self.is_seen(at, seen))
    }

    /// Whether all of that node was gone into.
    fn is_seen(&self, at: usize, seen: &BTreeSet<Slot>) -> bool {
        let variants = match self.nodes.get(at).map(|node| node.kind) {
            Some(Kind::Option | Kind::List | Kind::Map) => 1,
            Some(Kind::Enum(variants)) => variants.len(),
            Some(Kind::Tuple(_) | Kind::Struct(_)) | None => 0,
        };
        (0..variants).all(|variant| seen.contains(&(at, variant)))
    }

    /// What leads to a node that was not wholly gone into, and over how many others.
    pub(super) fn leads_on(&self, seen: &BTreeSet<Slot>) -> BTreeMap<Slot, usize> {
        let mut known: Vec<bool> = (0..self.nodes.len())
            .map(|at| !self.is_seen(at, seen))
            .collect();
        let mut slots = BTreeMap::new();
        for distance in 1.. {
            let mut found = Vec::new();
            for (at, node) in self.nodes.iter().enumerate() {
                for (variant, parts) in &node.parts {
                    let leads = parts.parts.iter().any(|part| match part {
                        Part::Node(to) => known.get(*to).copied().unwrap_or(false),
                        Part::Leaf(_) => false,
                    });
                    if leads && !slots.contains_key(&(at, *variant)) {
                        found.push((at, *variant));
                    }
                }
            }
            if found.is_empty() {
                break;
            }
            for slot in found {
                known[slot.0] = true;
                slots.insert(slot, distance);
            }
        }
        slots
    }

    /// The number that stands for all that is reached from there: nodes are numbered in the order in which they
    /// are met, so that nothing of this process is in it.
    pub(super) fn hash(&self, root: Part) -> u64 {
        let mut hash = Hash::new();
        let mut met = BTreeMap::new();
        self.put(root, &mut hash, &mut met);
        hash.finish()
    }

    fn put(&self, part: Part, hash: &mut Hash, met: &mut BTreeMap<usize, u64>) {
        let at = match part {
            Part::Leaf(leaf) => return hash.number(leaf as u64),
            Part::Node(at) => at,
        };
        if let Some(number) = met.get(&at) {
            hash.number(32);
            return hash.number(*number);
        }
        met.insert(at, met.len() as u64);
        let Some(node) = self.nodes.get(at) else {
            return;
        };
        match node.kind {
            Kind::Option => hash.number(33),
            Kind::List => hash.number(34),
            Kind::Map => hash.number(35),
            Kind::Tuple(len) => {
                hash.number(36);
                hash.number(len as u64);
            }
            Kind::Struct(fields) => {
                hash.number(37);
                hash.names(fields);
            }
            Kind::Enum(variants) => {
                hash.number(38);
                hash.names(variants);
            }
        }
        for (variant, parts) in &node.parts {
            hash.number(*variant as u64);
            match parts.content {
                None => {}
                Some(Content::Nothing) => hash.number(48),
                Some(Content::Value) => hash.number(49),
                Some(Content::Tuple(len)) => {
                    hash.number(50);
                    hash.number(len as u64);
                }
                Some(Content::Struct(fields)) => {
                    hash.number(51);
                    hash.names(fields);
                }
            }
            hash.number(parts.parts.len() as u64);
            for part in &parts.parts {
                self.put(*part, hash, met);
            }
        }
        hash.number(63);
    }
}

/// FNV-1a of 64 bits, and a last stir: the same everywhere, for ever. Not against forgery: a peer that tells a
/// wrong number could send wrong bytes as well.
struct Hash(u64);

impl Hash {
    /// Begins with the version of this description.
    fn new() -> Self {
        let mut hash = Hash(0xCBF2_9CE4_8422_2325);
        hash.number(1);
        hash
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }

    fn number(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.byte(byte);
        }
    }

    fn names(&mut self, names: &[&str]) {
        self.number(names.len() as u64);
        for name in names {
            self.number(name.len() as u64);
            for byte in name.bytes() {
                self.byte(byte);
            }
        }
    }

    fn finish(self) -> u64 {
        let hash = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        hash ^ (hash >> 32)
    }
}
