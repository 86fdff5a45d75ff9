//! Sets `cfg(loom)` for this package alone: its dependencies would change under it, too.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
