//! The `saveos` command.
fn main() {}
