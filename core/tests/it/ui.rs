//! What the compiler says about programs that don't compile.
//!
//! The expected texts are those of one compiler; `TRYBUILD=overwrite` writes them anew for the next one. Where a
//! text lists "other types" that implement a trait, and a type of this crate is new among them: that list helps
//! nobody, and `#[diagnostic::do_not_recommend]` on the implementation keeps it off.

use std::process::Command;

/// Whose texts are expected.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn mistakes_of_newcomers_are_named() {
    let version = Command::new("rustc").arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    if !version.starts_with(COMPILER) {
        eprintln!("SKIPPED: the expected texts are those of {COMPILER}x, and this is {version}");
        return;
    }
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
