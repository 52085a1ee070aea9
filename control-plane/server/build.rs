//! Builds the program again when somebody built the dashboard, which it carries.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Always there: cargo would take a folder that is missing for one that changed.
    println!("cargo::rerun-if-changed=../dashboard/dist");
}
