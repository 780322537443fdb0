//! The command `testbed`.

fn main() {}
