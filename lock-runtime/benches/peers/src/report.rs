//! Results: tables for people, JSON for programs.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::figures::Spread;

/// A table of text: the first column to the left, all others to the right.
#[derive(Debug, Clone, Default)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads of its columns.
    #[must_use]
    pub fn new(title: &str, heads: &[&str]) -> Self {
        let mut table = Self { title: title.to_owned(), rows: Vec::new() };
        table.row(heads.iter().map(|&head| head.to_owned()));
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| self.rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
        let widths: Vec<usize> = (0..columns).filter_map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let (Some((first, others)), Some((first_width, other_widths))) = (row.split_first(), widths.split_first())
            else {
                continue;
            };
            write!(f, "| {first:first_width$} |")?;
            for (cell, width) in others.iter().zip(other_widths) {
                write!(f, " {cell:>width$} |")?;
            }
            writeln!(f)?;
            if number == 0 {
                write!(f, "|-{:-<first_width$}-|", "")?;
                for width in other_widths {
                    write!(f, "-{:-<width$}:|", "")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// One comparison.
#[derive(Debug, Clone)]
pub struct Line {
    /// What was measured, of whom, and in which unit.
    pub case: String,
    /// Our figure.
    pub ours: f64,
    /// The other's.
    pub other: f64,
    /// Ours in units of the other's.
    pub ratio: Spread,
}

impl Line {
    /// A comparison of two counts: a ratio without a spread.
    #[must_use]
    pub fn counted(case: String, ours: f64, other: f64) -> Self {
        let ratio = ours / other;
        Self { case, ours, other, ratio: Spread { low: ratio, median: ratio, high: ratio } }
    }

    fn json(&self) -> String {
        let Self { case, ours, other, ratio } = self;
        // Names of cases are of our making; `Debug` escapes what JSON wants escaped in them.
        format!(
            "{{\"case\": {case:?}, \"ours\": {}, \"other\": {}, \"ratio\": {}, \"ratio_low\": {}, \"ratio_high\": {}}}",
            number(*ours),
            number(*other),
            number(ratio.median),
            number(ratio.low),
            number(ratio.high),
        )
    }
}

/// JSON knows no infinities.
fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { "null".to_owned() }
}

/// The results of one scenario.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file's name, without an extension.
    pub name: &'static str,
    /// For people.
    pub tables: Vec<Table>,
    /// For programs.
    pub lines: Vec<Line>,
}

impl Report {
    /// The lines as a JSON array, one a line.
    #[must_use]
    pub fn json(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(Line::json).collect();
        format!("[\n  {}\n]\n", lines.join(",\n  "))
    }

    /// Writes the JSON into `target/benchmarks/` of the project, wherever cargo builds.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self) -> io::Result<PathBuf> {
        self.write_into(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/benchmarks"))
    }

    /// Writes the JSON into `directory`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_into(&self, directory: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let path = directory.canonicalize()?.join(self.name).with_extension("json");
        fs::write(&path, self.json())?;
        Ok(path)
    }

    /// Prints the tables and writes the JSON, as every benchmark ends.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn publish(&self) {
        for table in &self.tables {
            println!("\n{table}");
        }
        let path = self.write().expect("write the results");
        println!("written to {}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_is_markdown() {
        let mut table = Table::new("title", &["who", "µs"]);
        table.row(["somebody".to_owned(), "1.5".to_owned()]);
        assert_eq!(table.to_string(), "title\n\n| who      |  µs |\n|----------|----:|\n| somebody | 1.5 |\n");
    }

    #[test]
    fn the_json_has_a_line_for_each_comparison() {
        let lines = vec![Line::counted("a".to_owned(), 1.0, 2.0), Line::counted("b".to_owned(), 1.0, 0.0)];
        let json = Report { name: "test", tables: Vec::new(), lines }.json();
        let expected = "[\n  \
            {\"case\": \"a\", \"ours\": 1.0000, \"other\": 2.0000, \"ratio\": 0.5000, \"ratio_low\": 0.5000, \
            \"ratio_high\": 0.5000},\n  \
            {\"case\": \"b\", \"ours\": 1.0000, \"other\": 0.0000, \"ratio\": null, \"ratio_low\": null, \
            \"ratio_high\": null}\n]\n";
        assert_eq!(json, expected);
    }
}
