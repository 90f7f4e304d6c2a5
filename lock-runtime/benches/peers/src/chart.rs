//! Bar charts as SVG: for a README, in light and in dark mode, with text that is text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// One question, and a bar for each who has an answer.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The file's name, without an extension.
    pub name: &'static str,
    /// The question, as a heading.
    pub title: String,
    /// The unit, and which way is better.
    pub subtitle: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One of a [`Chart`].
#[derive(Debug, Clone)]
pub struct Bar {
    /// Who.
    pub label: String,
    /// How long the bar is.
    pub value: f64,
    /// The value as it is to be read.
    pub text: String,
    /// In which colour it is drawn.
    pub role: Role,
}

/// Who somebody is in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Who is compared: stands out.
    Ours,
    /// A library that does the same.
    Other,
    /// What nobody can do better than, and what does less: stands back.
    Floor,
}

impl Role {
    const fn class(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Other => "other",
            Self::Floor => "floor",
        }
    }
}

const WIDTH: f64 = 720.0;
const HEADING: f64 = 62.0;
const ROW: f64 = 26.0;
const LABELS: f64 = 200.0;
/// To the right of the longest bar, for its value.
const VALUES: f64 = 130.0;

/// Colours that can be read on white and, by the second set, on black.
const STYLE: &str = "\
    text { font-family: system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; font-size: 13px; fill: #1f2328; }\n    \
    .title { font-size: 16px; font-weight: 600; }\n    \
    .subtitle { fill: #59636e; }\n    \
    .ours { fill: #0969da; }\n    \
    .other { fill: #818b98; }\n    \
    .floor { fill: #d1d9e0; }\n    \
    @media (prefers-color-scheme: dark) {\n      \
    text { fill: #f0f6fc; }\n      \
    .subtitle { fill: #9198a1; }\n      \
    .ours { fill: #4493f8; }\n      \
    .other { fill: #656c76; }\n      \
    .floor { fill: #3d444d; }\n    \
    }";

impl Chart {
    /// Writes `NAME.svg` into `directory`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let path = directory.canonicalize()?.join(self.name).with_extension("svg");
        fs::write(&path, self.to_string())?;
        Ok(path)
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self.bars.iter().fold(HEADING, |height, _| height + ROW) + 8.0;
        let longest = self.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let [title, subtitle] = [&self.title, &self.subtitle].map(|text| escaped(text));
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">"#
        )?;
        writeln!(f, "  <style>\n    {STYLE}\n  </style>")?;
        writeln!(f, r#"  <text class="title" x="8" y="24">{title}</text>"#)?;
        writeln!(f, r#"  <text class="subtitle" x="8" y="44">{subtitle}</text>"#)?;
        let mut top = HEADING;
        for Bar { label, value, text, role } in &self.bars {
            let class = role.class();
            // Whoever is far ahead leaves the others a line to be seen.
            let length = (value / longest * (WIDTH - LABELS - VALUES)).max(1.0);
            let (base, end) = (top + 15.0, LABELS + length + 8.0);
            let [label, text] = [label, text].map(|text| escaped(text));
            writeln!(f, r#"  <text x="{}" y="{base}" text-anchor="end">{label}</text>"#, LABELS - 8.0)?;
            writeln!(
                f,
                r#"  <rect class="{class}" x="{LABELS}" y="{top}" width="{length:.1}" height="{}" rx="2"/>"#,
                ROW - 6.0
            )?;
            writeln!(f, r#"  <text x="{end:.1}" y="{base}">{text}</text>"#)?;
            top += ROW;
        }
        writeln!(f, "</svg>")
    }
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
        escaped
    })
}

/// A figure in as many digits as it deserves: `1,234,567`, `12.3`, `0.12`.
#[must_use]
pub fn figure(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_grouped() {
        assert_eq!(
            [0.123, 12.34, 999.6, 123_456.0, 1_234_567.0].map(figure),
            ["0.12", "12.3", "1,000", "123,456", "1,234,567"]
        );
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_texts_are_escaped() {
        let bar = |label: &str, value, role| Bar { label: label.to_owned(), value, text: "x".to_owned(), role };
        let bars = vec![
            bar("ours", 2.0, Role::Ours),
            bar("<others> & \"co\"", 1.0, Role::Other),
            bar("nobody", 0.0, Role::Floor),
        ];
        let chart =
            Chart { name: "test", title: "Who?".to_owned(), subtitle: "more is better".to_owned(), bars }.to_string();
        let rects: Vec<&str> = chart.lines().filter(|line| line.contains("<rect")).collect();
        let longest = WIDTH - LABELS - VALUES;
        assert!(rects[0].contains("\"ours\"") && rects[0].contains(&format!("width=\"{longest:.1}\"")), "{chart}");
        assert!(rects[1].contains(&format!("width=\"{:.1}\"", longest / 2.0)), "{chart}");
        assert!(rects[2].contains("width=\"1.0\""), "{chart}");
        assert!(chart.contains("&lt;others&gt; &amp; &quot;co&quot;"), "{chart}");
    }
}
