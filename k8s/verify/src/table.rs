//! What was tried and what came of it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The rows of the whole run.
#[derive(Default)]
pub(crate) struct Table {
    rows: Mutex<Vec<Row>>,
}

struct Row {
    phase: &'static str,
    what: String,
    tried: usize,
    made: String,
    took: Duration,
    faults: Vec<String>,
}

/// A row under way.
pub(crate) struct Open {
    phase: &'static str,
    what: String,
    began: Instant,
    tried: usize,
    faults: Vec<String>,
}

impl Open {
    /// Begins a row.
    pub(crate) fn begin(phase: &'static str, what: impl Into<String>) -> Self {
        Self {
            phase,
            what: what.into(),
            began: Instant::now(),
            tried: 0,
            faults: Vec::new(),
        }
    }

    /// One more try, with its outcome; `of` names it where there are several.
    pub(crate) fn add(&mut self, of: &str, outcome: anyhow::Result<()>) {
        self.tried += 1;
        if let Err(error) = outcome {
            let text = format!("{of}: {error:#}");
            println!("  FAULT {}: {text}", self.what);
            self.faults.push(text);
        }
    }

    /// Something that must hold at the end of the row.
    pub(crate) fn expect(&mut self, what: &str, found: anyhow::Result<()>) {
        if let Err(error) = found {
            let text = format!("{what}: {error:#}");
            println!("  FAULT {}: {text}", self.what);
            self.faults.push(text);
        }
    }

    /// How many faults it has by now.
    pub(crate) fn faults(&self) -> usize {
        self.faults.len()
    }
}

impl Table {
    /// Ends a row; `made` tells what was done to the broker.
    pub(crate) fn end(&self, open: Open, made: impl Into<String>) {
        let row = Row {
            phase: open.phase,
            what: open.what,
            tried: open.tried,
            made: made.into(),
            took: open.began.elapsed(),
            faults: open.faults,
        };
        println!("{}", row.line());
        self.rows().push(row);
    }

    /// How many faults were found.
    pub(crate) fn faults(&self) -> usize {
        self.rows().iter().map(|row| row.faults.len()).sum()
    }

    /// Prints all rows, then the faults.
    pub(crate) fn print(&self) {
        println!("\n{}", header());
        let rows = self.rows();
        for row in rows.iter() {
            println!("{}", row.line());
        }
        for row in rows.iter() {
            for fault in &row.faults {
                println!("FAULT {} / {}: {fault}", row.phase, row.what);
            }
        }
        let faults: usize = rows.iter().map(|row| row.faults.len()).sum();
        println!("{} rows, {faults} faults", rows.len());
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header() -> String {
    format!(
        "{:<6} {:<52} {:>6} {:<22} {:>7}  {}",
        "phase", "what", "tried", "made", "took", "result"
    )
}

impl Row {
    fn line(&self) -> String {
        let result = match self.faults.len() {
            0 => "ok".to_owned(),
            1 => "1 fault".to_owned(),
            several => format!("{several} faults"),
        };
        format!(
            "{:<6} {:<52} {:>6} {:<22} {:>5} s  {result}",
            self.phase,
            self.what,
            self.tried,
            self.made,
            self.took.as_secs()
        )
    }
}
