//! Pure: a node's life: one process with what it holds. What was written in another life does not count.

use std::sync::Arc;

/// `<run_id>.<incarnation>`: the process at the other end, and how often the document has taken the node in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Life(Arc<str>);

impl Life {
    /// The life of a process (`run_id` of `INFO server`) under an incarnation of the document.
    #[must_use]
    pub fn new(run_id: &str, incarnation: u64) -> Life {
        Life(format!("{run_id}.{incarnation}").into())
    }

    /// As scripts get it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Life {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}
