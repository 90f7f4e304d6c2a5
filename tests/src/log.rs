//! Everything that is logged, as text.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A copy of every event and span of this process, at every level. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    /// Starts to listen, in all threads, until the process ends.
    ///
    /// # Panics
    ///
    /// When another subscriber was installed before: such a test needs a file of its own.
    #[must_use]
    pub fn capture() -> Self {
        let log = Self::default();
        tracing::subscriber::set_global_default(log.clone()).expect("the only subscriber of this test program");
        log
    }

    /// What was logged so far, a line for each event and span.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, metadata: Option<&Metadata<'_>>, visit: impl FnOnce(&mut Line)) {
        let mut line = Line(String::new());
        if let Some(metadata) = metadata {
            line.add(metadata.target(), &metadata.name());
        }
        visit(&mut line);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.push(Some(span.metadata()), |line| span.record(line));
        // Spans are not told apart: what they show is all that is wanted.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.push(None, |line| values.record(line));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.push(Some(event.metadata()), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Line {
    fn add(&mut self, name: &str, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{name}={value:?} ");
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field.name(), &value.to_string());
        self.add(field.name(), &value);
    }
}
