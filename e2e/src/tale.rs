//! How the demo tells what it does.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::Result;

/// Tells what happens, and remembers how each step ended.
#[derive(Debug)]
pub struct Tale {
    steps: usize,
    started: Option<Instant>,
    current: (usize, String),
    ended: BTreeMap<usize, (String, std::result::Result<String, String>)>,
}

impl Tale {
    /// A tale of so many steps.
    pub fn new(steps: usize) -> Self {
        Self {
            steps,
            started: None,
            current: (0, String::new()),
            ended: BTreeMap::new(),
        }
    }

    /// Begins the next step.
    pub fn begin(&mut self, title: &str) {
        self.current = (self.current.0 + 1, title.to_owned());
        self.started = Some(Instant::now());
        self.say(&format!("\n[{}/{}] {title}", self.current.0, self.steps));
    }

    /// A line of what happens.
    pub fn note(&self, text: &str) {
        self.say(&format!("      {text}"));
    }

    /// A command that the reader could give.
    pub fn command(&self, text: &str) {
        self.say(&format!("      $ {text}"));
    }

    /// Ends the step, with its line of the summary or what went wrong.
    pub fn end(&mut self, outcome: Result<String>) {
        let seconds = self
            .started
            .map_or(0.0, |started| started.elapsed().as_secs_f32());
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        match &outcome {
            Ok(_) => self.say(&format!("      done in {seconds:.1} s")),
            Err(error) => self.say(&format!("      FAILED after {seconds:.1} s: {error}")),
        }
        self.ended
            .insert(self.current.0, (self.current.1.clone(), outcome));
    }

    /// Whether a step went wrong.
    pub fn failed(&self) -> bool {
        self.ended.values().any(|(_, outcome)| outcome.is_err())
    }

    /// One line for each step.
    pub fn summary(&self) {
        self.say("\nSummary");
        for (title, outcome) in self.ended.values() {
            match outcome {
                Ok(text) => self.say(&format!("  ok      {text}")),
                Err(_) => self.say(&format!("  FAILED  {title} (see above)")),
            }
        }
        self.say("");
    }

    /// A line of its own. A closed terminal is no reason to stop half-way.
    pub fn say(&self, text: &str) {
        let _ = writeln!(io::stdout(), "{text}");
    }
}
