//! Ratios of what was measured in one run, with their spread.

use std::fmt::Write as _;

/// The rows of the run.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    details: Vec<String>,
    condition: String,
}

#[derive(Debug)]
struct Row {
    what: String,
    baseline: String,
    ours: String,
    ratio: String,
    aim: &'static str,
}

/// One measurement of the baseline and of ours, back to back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) baseline: f64,
    pub(crate) ours: f64,
}

impl Pair {
    /// Of two times, in milliseconds.
    pub(crate) fn of_times(baseline: std::time::Duration, ours: std::time::Duration) -> Self {
        Self {
            baseline: baseline.as_secs_f64() * 1e3,
            ours: ours.as_secs_f64() * 1e3,
        }
    }

    fn ratio(self) -> f64 {
        self.ours / self.baseline
    }
}

impl Table {
    /// Adds what was measured several times. `unit` follows both numbers.
    pub(crate) fn compare(&mut self, what: &str, unit: &str, aim: &'static str, pairs: &[Pair]) {
        let median = |of: fn(&Pair) -> f64| middle(pairs.iter().map(of).collect());
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.ratio()).collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        self.add(Row {
            what: what.to_owned(),
            baseline: format!("{} {unit}", short(median(|pair| pair.baseline))),
            ours: format!("{} {unit}", short(median(|pair| pair.ours))),
            ratio: match pairs.len() {
                1 => format!("{}x", short(low)),
                _ => format!(
                    "{}x ({}–{})",
                    short(middle(ratios)),
                    short(low),
                    short(high)
                ),
            },
            aim,
        });
    }

    /// Adds what has nothing beside it.
    pub(crate) fn note(&mut self, what: &str, ours: String, aim: &'static str) {
        self.add(Row {
            what: what.to_owned(),
            baseline: "–".to_owned(),
            ours,
            ratio: "–".to_owned(),
            aim,
        });
    }

    /// Adds a number; what it is the sum of stands below the table.
    pub(crate) fn detail(&mut self, what: &str, (sum, parts): &(u64, String)) {
        self.note(what, sum.to_string(), "–");
        self.details.push(format!("{what}: {parts}"));
    }

    /// What is true of all that is added from now on; shown behind each name.
    pub(crate) fn under(&mut self, condition: &str) {
        condition.clone_into(&mut self.condition);
    }

    fn add(&mut self, mut row: Row) {
        if !self.condition.is_empty() {
            row.what = format!("{}, {}", row.what, self.condition);
        }
        println!(
            "  {}: {} | {} | {} | aim {}",
            row.what, row.baseline, row.ours, row.ratio, row.aim
        );
        self.rows.push(row);
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| what | baseline | broker | ratio: median (lowest–highest) | aim |\n|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let Row {
                what,
                baseline,
                ours,
                ratio,
                aim,
            } = row;
            // Writing into a String cannot fail.
            let _ = writeln!(text, "| {what} | {baseline} | {ours} | {ratio} | {aim} |");
        }
        for detail in &self.details {
            let _ = writeln!(text, "\n{detail}");
        }
        text
    }
}

/// The median, of the upper one of two.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Three digits that mean something.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_median_of_the_ratios_and_their_spread() {
        let mut table = Table::default();
        let pair = |baseline, ours| Pair { baseline, ours };
        table.compare(
            "bind",
            "ms",
            "≤ 1.6x",
            &[pair(10.0, 15.0), pair(10.0, 30.0), pair(20.0, 40.0)],
        );
        assert!(
            table
                .markdown()
                .ends_with("| bind | 10.0 ms | 30.0 ms | 2.00x (1.50–3.00) | ≤ 1.6x |\n")
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [(0.123, "0.12"), (12.34, "12.3"), (1234.5, "1234")] {
            assert_eq!(short(value), text);
        }
    }
}
