//! Answers as text or JSON, and what differs from what was expected.

use std::io::{self, Write};

use super::Format;
use super::answer::{Answer, Step};
use super::query::{Asked, Query};

/// Writes answers and remembers what was not as expected.
pub struct Report {
    format: Format,
    expected: usize,
    unmet: Vec<String>,
}

impl Report {
    /// Nothing written yet.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            expected: 0,
            unmet: Vec::new(),
        }
    }

    /// Writes an answer.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, out: &mut dyn Write, asked: &Asked, answer: &Answer) -> io::Result<()> {
        if let Some(expect) = asked.query.expect {
            self.expected += 1;
            if !expect.is_met_by(answer.outcome) {
                let place = asked.place.as_ref();
                let place = place.map_or(String::new(), |(file, line)| format!("{file}:{line}: "));
                self.unmet.push(format!(
                    "{place}{}\n  - expected: {}\n  + actual:   {}, by {}",
                    question(&asked.query),
                    expect.word(),
                    answer.outcome.word(),
                    answer.by
                ));
            }
        }
        match self.format {
            Format::Json => {
                serde_json::to_writer(&mut *out, answer)?;
                writeln!(out)
            }
            Format::Text => text(out, answer),
        }
    }

    /// Writes what was not as expected.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(&self, err: &mut dyn Write) -> io::Result<()> {
        for unmet in &self.unmet {
            writeln!(err, "{unmet}")?;
        }
        if !self.unmet.is_empty() {
            writeln!(
                err,
                "{} of {} expectations were not met",
                self.unmet.len(),
                self.expected
            )?;
        }
        Ok(())
    }

    /// Whether everything was as expected.
    pub fn is_as_expected(&self) -> bool {
        self.unmet.is_empty()
    }
}

/// The question in one line.
fn question(query: &Query) -> String {
    let port = query.port.map_or(String::new(), |port| format!(" {port}"));
    let family = query
        .family
        .map_or(String::new(), |family| format!(" {family:?}"));
    let via = query
        .via
        .as_ref()
        .map_or(String::new(), |via| format!(" via {via}"));
    format!(
        "{} -> {} {}{port}{family}{via}",
        query.from,
        query.to,
        query.protocol.word()
    )
}

fn text(out: &mut dyn Write, answer: &Answer) -> io::Result<()> {
    writeln!(
        out,
        "{:<8}  {}  by {}",
        answer.outcome.word(),
        question(&answer.query),
        answer.by
    )?;
    if let Some(backends) = answer.backends.as_ref().filter(|backends| !backends.is_empty()) {
        let backends: Vec<String> = backends.iter().map(ToString::to_string).collect();
        writeln!(out, "          backends {}", backends.join(", "))?;
    }
    if let Some(ways) = &answer.trace {
        for (title, steps) in [("there", &ways.there), ("back", &ways.back)] {
            if !steps.is_empty() {
                writeln!(out, "  {title}:")?;
                way(out, steps)?;
            }
        }
    }
    Ok(())
}

fn way(out: &mut dyn Write, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        writeln!(out, "    {}  {:<24}  {}", step.node, step.at, step.what)?;
    }
    Ok(())
}
