//! The pure state machine: what was seen, what to do next. Time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Periods of the election; the defaults are client-go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a claim that nobody renews keeps others away.
    pub lease_duration: Duration,
    /// How long a leader goes on without a successful renewal; less than the lease duration.
    pub renew_deadline: Duration,
    /// Pause between two tries, as a leader and as a follower.
    pub retry_period: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// What a Lease says, reduced to what the election compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it; `None` or empty means it was given back.
    pub holder: Option<String>,
    /// When it was renewed, as its holder wrote it: an opaque text that changes with each renewal.
    pub renewed: String,
    /// How often it changed hands.
    pub transitions: i32,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write our claim: take the Lease over (`transition`) or renew it.
    Write {
        /// Whether the Lease changes hands by this write.
        transition: bool,
    },
    /// Someone else leads.
    Follow,
    /// We led and must stop at once.
    Lost,
}

/// One candidate's view of the election.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    /// Last claim seen, and when we first saw it in that form.
    seen: Option<(Claim, Instant)>,
    /// When the last write that made or kept us leader was *begun*: the Lease is renewed from some
    /// moment after it, so counting from here errs on the side of stopping early.
    renewed: Option<Instant>,
}

impl Election {
    /// A candidate that leads nothing yet.
    pub fn new(identity: impl Into<String>, timing: Timing) -> Self {
        Self {
            identity: identity.into(),
            timing,
            seen: None,
            renewed: None,
        }
    }

    /// Whether we lead at `now`.
    pub fn leads(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// When we stop leading unless a renewal succeeds before; `None` if we never led.
    pub fn deadline(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.renew_deadline)
    }

    /// Takes in what the Lease says (`None`: there is none) and decides.
    pub fn observe(&mut self, claim: Option<Claim>, now: Instant) -> Step {
        let led = self.renewed.is_some();
        if led && !self.leads(now) {
            return Step::Lost;
        }
        let Some(claim) = claim else {
            // A deleted Lease that we hold is made again: nobody else can have seen it free for
            // longer than we have.
            self.seen = None;
            return Step::Write { transition: !led };
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != claim) {
            self.seen = Some((claim.clone(), now));
        }
        match claim.holder.as_deref() {
            // Ours: from this process, or from an earlier one with the same identity.
            Some(holder) if holder == self.identity => Step::Write { transition: false },
            None | Some("") if led => Step::Lost,
            None | Some("") => Step::Write { transition: true },
            Some(_) if led => Step::Lost,
            Some(_) if self.is_stale(now) => Step::Write { transition: true },
            Some(_) => Step::Follow,
        }
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|(_, since)| now.saturating_duration_since(*since) >= self.timing.lease_duration)
    }

    /// Our write, begun at `begun`, succeeded with this claim: we lead.
    pub fn written(&mut self, claim: Claim, begun: Instant) {
        self.seen = Some((claim, begun));
        self.renewed = Some(begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKE: Step = Step::Write { transition: true };
    const RENEW: Step = Step::Write { transition: false };

    fn claim(holder: &str, renewed: &str) -> Option<Claim> {
        Some(Claim {
            holder: (!holder.is_empty()).then(|| holder.to_owned()),
            renewed: renewed.to_owned(),
            transitions: 0,
        })
    }

    type Line = (u64, Option<Claim>, Step);

    /// Runs a script of (second, what the Lease says, what must be decided); every `Write` succeeds.
    fn play(script: &[Line]) -> (Election, Instant) {
        let start = Instant::now();
        let mut election = Election::new("me", Timing::default());
        for (line, (second, said, expected)) in script.iter().enumerate() {
            let now = start + Duration::from_secs(*second);
            let step = election.observe(said.clone(), now);
            assert_eq!(step, *expected, "line {line} at {second} s: {said:?}");
            if let Step::Write { .. } = step {
                election.written(claim("me", &second.to_string()).unwrap(), now);
            }
        }
        (election, start)
    }

    #[test]
    fn scripts() {
        let cases: [(&str, Vec<Line>); 8] = [
            ("no Lease yet", vec![(0, None, TAKE)]),
            ("given back", vec![(0, claim("", "a"), TAKE)]),
            (
                "an earlier process of ours held it",
                vec![(0, claim("me", "a"), RENEW)],
            ),
            (
                "another one renews: follow for ever",
                vec![
                    (0, claim("other", "a"), Step::Follow),
                    (14, claim("other", "b"), Step::Follow),
                    (28, claim("other", "c"), Step::Follow),
                    (42, claim("other", "d"), Step::Follow),
                ],
            ),
            (
                "another one stopped renewing: the wait counts from when we saw its last change",
                vec![
                    (0, claim("other", "a"), Step::Follow),
                    (8, claim("other", "b"), Step::Follow),
                    (22, claim("other", "b"), Step::Follow),
                    (23, claim("other", "b"), TAKE),
                ],
            ),
            (
                "a third one took it in between",
                vec![
                    (0, claim("other", "a"), Step::Follow),
                    (16, claim("third", "a"), Step::Follow),
                    (30, claim("third", "a"), Step::Follow),
                    (31, claim("third", "a"), TAKE),
                ],
            ),
            (
                "a leader that sees another holder stops",
                vec![(0, None, TAKE), (2, claim("other", "x"), Step::Lost)],
            ),
            (
                "a leader that could not renew in time stops, even if the Lease still names it",
                vec![
                    (0, None, TAKE),
                    (2, claim("me", "0"), RENEW),
                    (12, claim("me", "2"), Step::Lost),
                ],
            ),
        ];
        for (case, script) in cases {
            println!("{case}");
            play(&script);
        }
    }

    #[test]
    fn the_time_written_by_others_is_never_compared_with_ours() {
        // Renewed "in the year 2100" by a clock that runs ahead: still stale after 15 s unchanged.
        play(&[
            (0, claim("other", "2100-01-01T00:00:00Z"), Step::Follow),
            (15, claim("other", "2100-01-01T00:00:00Z"), TAKE),
        ]);
    }

    #[test]
    fn leadership_ends_at_the_deadline_without_being_told() {
        let (election, start) = play(&[(0, None, TAKE), (2, claim("me", "0"), RENEW)]);
        assert!(election.leads(start + Duration::from_millis(11_999)));
        assert!(!election.leads(start + Duration::from_secs(12)));
        assert!(
            Timing::default().renew_deadline < Timing::default().lease_duration,
            "a leader stops before another may start"
        );
    }
}
