//! What is said of text that breaks the grammar.

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// What should have stood there.
    pub expected: String,
    /// What stood there.
    pub found: String,
}

impl BadLine {
    /// `found` is told up to the end of its line.
    pub fn new(expected: impl Into<String>, found: &[u8]) -> BadLine {
        let line = found.split(|&byte| byte == b'\n').next().unwrap_or_default();
        BadLine { expected: expected.into(), found: show(line) }
    }
}

/// Text for people, cut where it gets long; what is not text is escaped.
pub fn show(found: &[u8]) -> String {
    if found.is_empty() {
        return "the end of the line".into();
    }
    let cut = &found[..found.len().min(60)];
    let dots = if cut.len() < found.len() { "..." } else { "" };
    format!("\"{}{dots}\"", cut.escape_ascii())
}
