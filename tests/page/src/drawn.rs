//! What the timeline has drawn.

use serde_json::Value;

use crate::Browser;

/// A bar of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Whose it is.
    pub buyer: String,
    /// Where it runs.
    pub instance: String,
    /// Which lock it is about, if any.
    pub lock: Option<String>,
    /// `waiting`, `holding` or `lost`.
    pub part: String,
    /// Whether the page has marked it as being inside with others.
    pub marked: bool,
    /// The left edge, in pixels.
    pub from: f64,
    /// The right edge.
    pub to: f64,
}

impl Bar {
    /// Whether there are pixels (or parts of them) that both cover, one above the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        // What one bar ends with, the next may begin with; sums are rounded.
        const NOTHING: f64 = 1e-6;
        self.from + NOTHING < other.to && other.from + NOTHING < self.to
    }
}

/// All bars, as they are drawn at this moment.
///
/// # Panics
///
/// When there is something among them that is no bar.
pub async fn bars(browser: &Browser) -> Vec<Bar> {
    let bars = browser
        .run(
            "return [...document.querySelectorAll('#bars [data-part]')].map((bar) => ({ ...bar.dataset, \
             x: Number(bar.getAttribute('x')), width: Number(bar.getAttribute('width')) }))",
        )
        .await;
    bars.as_array().expect("an array").iter().map(read).collect()
}

fn read(bar: &Value) -> Bar {
    let text = |name: &str| bar[name].as_str().map(str::to_owned);
    let number = |name: &str| bar[name].as_f64().expect("a number");
    Bar {
        buyer: text("buyer").expect("a buyer"),
        instance: text("instance").expect("an instance"),
        lock: text("lock"),
        part: text("part").expect("a part"),
        marked: text("overlap").is_some(),
        from: number("x"),
        to: number("x") + number("width"),
    }
}
