//! Problems → Kubernetes Events on the users' own objects.

use std::collections::BTreeSet;

use compiler::Problem;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::warn;

/// Longest note of an Event in bytes (events.k8s.io/v1: at most 1 kB).
const NOTE_LIMIT: usize = 1024;

/// What has been told already.
#[derive(Debug, Default)]
pub struct Told {
    told: BTreeSet<Problem>,
}

impl Told {
    /// Problems that were not there at the last call, or whose message changed. One that went away
    /// and came back is news again.
    pub fn news(&mut self, problems: BTreeSet<Problem>) -> Vec<Problem> {
        let news = problems.difference(&self.told).cloned().collect();
        self.told = problems;
        news
    }
}

/// Publishes what comes in, one after the other, until the senders are gone.
///
/// Never holds up the writing of configuration: it runs beside it, behind a bounded queue.
pub async fn publish(client: Client, instance: String, mut problems: mpsc::Receiver<Problem>) {
    let reporter = Reporter {
        controller: crds::OPERATOR_MANAGER.to_owned(),
        instance: Some(instance),
    };
    while let Some(problem) = problems.recv().await {
        // A fresh recorder each time: a kept one takes a changed message of the same reason for a
        // repetition, and would go on showing the old one. Repetitions don't come this far.
        let recorder = Recorder::new(client.clone(), reporter.clone());
        if let Err(error) = recorder.publish(&event(&problem), &reference(&problem)).await {
            warn!(
                kind = problem.object.kind,
                name = problem.object.name,
                reason = problem.reason,
                %error,
                "Event not published"
            );
        }
    }
}

fn event(problem: &Problem) -> Event {
    let mut end = problem.message.len().min(NOTE_LIMIT);
    while !problem.message.is_char_boundary(end) {
        end -= 1;
    }
    Event {
        type_: EventType::Warning,
        reason: problem.reason.to_owned(),
        note: Some(problem.message[..end].to_owned()),
        action: "Compile".to_owned(),
        secondary: None,
    }
}

fn reference(problem: &Problem) -> ObjectReference {
    let object = &problem.object;
    ObjectReference {
        api_version: Some(object.api_version.to_owned()),
        kind: Some(object.kind.to_owned()),
        namespace: object.namespace.clone(),
        name: Some(object.name.clone()),
        uid: (!object.uid.is_empty()).then(|| object.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compiler::facts::Kind;

    fn problem(name: &str, message: &str) -> Problem {
        Problem {
            object: Kind::NETWORK_POLICY.of("n", name, "u"),
            reason: "BadSelector",
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_problem_is_told_once_until_it_changes_or_comes_back() {
        let mut told = Told::default();
        let mut say = |messages: &[(&str, &str)]| -> Vec<(String, String)> {
            told.news(messages.iter().map(|(n, m)| problem(n, m)).collect())
                .into_iter()
                .map(|p| (p.object.name, p.message))
                .collect()
        };
        let owned = |n: &str, m: &str| (n.to_owned(), m.to_owned());
        assert_eq!(say(&[("a", "x")]), [owned("a", "x")], "new");
        assert_eq!(say(&[("a", "x")]), [], "known");
        assert_eq!(
            say(&[("a", "x"), ("b", "x")]),
            [owned("b", "x")],
            "another object"
        );
        assert_eq!(
            say(&[("a", "y"), ("b", "x")]),
            [owned("a", "y")],
            "another message"
        );
        assert_eq!(say(&[("b", "x")]), [], "mended");
        assert_eq!(say(&[("a", "y"), ("b", "x")]), [owned("a", "y")], "came back");
    }

    #[test]
    fn notes_are_cut_at_a_character() {
        let long = "é".repeat(700);
        let note = event(&problem("a", &long)).note.unwrap();
        assert_eq!(note.len(), 1024);
        let odd = format!("x{long}");
        assert_eq!(event(&problem("a", &odd)).note.unwrap().len(), 1023);
    }
}
