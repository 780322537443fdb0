//! All that a test's process logs, to be searched for what must be there, and for secrets.

use std::{
    io,
    sync::{Mutex, Once, PoisonError},
};

pub use tracing_subscriber::filter::LevelFilter;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static INSTALL: Once = Once::new();

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Captures lines of this level and above from now on. The first call in a process decides.
pub fn capture(level: LevelFilter) {
    INSTALL.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(|| Writer)
            .with_ansi(false)
            .init();
    });
}

/// What was captured.
pub fn text() -> String {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&lines).into_owned()
}

/// Lines of the audit log in which `text` stands, such as an operation's id.
pub fn audit(text: &str) -> Vec<String> {
    self::text()
        .lines()
        .filter(|line| line.contains(" audit: ") && line.contains(text))
        .map(str::to_owned)
        .collect()
}
