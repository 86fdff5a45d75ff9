//! Options that `#[derive(Fingerprint)]` doesn't know, or that make no sense.
extern crate callboard_core as callboard;

use callboard::Fingerprint;

#[derive(Fingerprint)]
struct Unknown {
    #[fingerprint(ignore)]
    sent_at: u64,
}

#[derive(Fingerprint)]
#[fingerprint(skip)]
struct Type;

#[derive(Fingerprint)]
struct Twice {
    #[fingerprint(name = "a", name = "b")]
    cents: u64,
}

#[derive(Fingerprint)]
struct SameName {
    cents: u64,
    #[fingerprint(name = "cents")]
    euros: u64,
}

#[derive(Fingerprint)]
struct LeftOutAndNamed {
    #[fingerprint(skip, name = "at")]
    sent_at: u64,
}

#[derive(Fingerprint)]
enum Variant {
    #[fingerprint(skip)]
    Old,
}

#[derive(Fingerprint)]
struct NoName(#[fingerprint(name = "")] u64);

#[derive(Fingerprint)]
union Bits {
    a: u32,
    b: f32,
}

fn main() {}
