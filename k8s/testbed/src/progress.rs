//! Progress lines for work that takes long enough to be doubted.
//!
//! They go straight to standard error, so that they show under `cargo test` too, which captures
//! what `eprintln!` writes.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

/// How often a long step says that it is still going on.
const STILL: Duration = Duration::from_secs(20);

/// Writes one line.
pub(crate) fn say(line: impl AsRef<str>) {
    // A closed standard error must not end the work.
    let _ = writeln!(io::stderr(), "testbed: {}", line.as_ref());
}

/// Runs `work`, saying every now and then that it is still going on.
pub(crate) async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    say(what);
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(STILL, &mut work).await {
            Ok(done) => return done,
            Err(_) => say(format!("{what} ({} s so far)", began.elapsed().as_secs())),
        }
    }
}
