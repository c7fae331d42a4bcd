//! Connections to endpoints that get no new ones.
//!
//! Kubernetes lets a TCP connection end by itself when its endpoint terminates, is not ready, or is no longer preferred;
//! only datagrams to it must go elsewhere at once. cnat of VPP 26.06 makes no difference: its scanner ends all sessions
//! of a backend that is no longer a translation's, whatever the protocol (`cnat_session_is_stale`), and a translation
//! has no way to keep a backend without new connections. So the scanner rests while there are such endpoints, for a
//! time: sessions that are over stay in memory as long, and so do those of datagrams to endpoints that are gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crds::net::Protocol;
use vpp_api::messages::vlib::CliInband;

use super::Agent;
use crate::desired::service::stands_for_none;
use crate::objects::{Key, Object};
use crate::plan::{Plan, Step};

/// How long an endpoint's connections are waited for; a pod's usual time to terminate is 30 s.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long the scanner may rest at a stretch: where something terminates all the time VPP must get to clean up.
const REST: Duration = Duration::from_secs(1800);

/// How long it works then, at least.
const WORK: Duration = Duration::from_secs(300);

/// Endpoints with connections that are to be left alone.
#[derive(Debug, Default)]
pub(super) struct Linger {
    /// Since when each gets no new connections.
    since: BTreeMap<IpAddr, Instant>,
    resting_since: Option<Instant>,
    /// Until when the scanner works whatever lingers.
    working_until: Option<Instant>,
    /// What this VPP was told last.
    told: Option<bool>,
}

impl Linger {
    /// This VPP was told nothing yet, or by a daemon before.
    pub fn reconnected(&mut self) {
        self.told = None;
    }

    /// Takes in what a plan takes away from translations, and gives back; whether anything was taken.
    pub fn note(&mut self, plan: &Plan, now: Instant) -> bool {
        let mut taken = false;
        for step in plan.steps() {
            if let Step::Update(Key::Translation(vip), Object::Translation(old), Object::Translation(new)) =
                step
                && vip.protocol != Protocol::Udp
            {
                let left = old.backends.iter().filter(|each| !new.backends.contains(each));
                for (address, _) in left.filter(|(address, _)| !stands_for_none(*address)) {
                    self.since.entry(*address).or_insert(now);
                    taken = true;
                }
                for (address, _) in &new.backends {
                    self.since.remove(address);
                }
            }
        }
        taken
    }

    /// Forgets endpoints that are gone, or were waited for long enough; whether the scanner is to work.
    fn revise(&mut self, listed: impl Fn(&IpAddr) -> bool, now: Instant) -> bool {
        self.since
            .retain(|address, since| now.saturating_duration_since(*since) < PATIENCE && listed(address));
        if self.working_until.is_some_and(|until| now < until) || self.since.is_empty() {
            self.resting_since = None;
            return true;
        }
        let began = *self.resting_since.get_or_insert(now);
        if now.saturating_duration_since(began) < REST {
            return false;
        }
        self.working_until = Some(now + WORK);
        self.resting_since = None;
        true
    }
}

impl Agent {
    /// Lets VPP's scanner rest before a plan takes endpoints away: sessions of what is gone end when it looks next.
    pub(super) async fn spare_connections(&mut self, plan: &Plan, now: Instant) {
        if self.linger.note(plan, now) {
            self.follow_scanner(now).await;
        }
    }

    /// Tells VPP's scanner whether to work, if that is not what it was told last.
    pub(super) async fn follow_scanner(&mut self, now: Instant) {
        // Without an index what lingers is looked at with the next step, which computes one.
        let index = self.index.as_ref();
        let work = self
            .linger
            .revise(|address| index.is_none_or(|index| index.lists(address)), now);
        let Some(vpp) = self.vpp.as_ref().filter(|_| self.local.cnat_v1) else {
            return;
        };
        if self.linger.told == Some(work) || !vpp.client.supports::<CliInband>() {
            return;
        }
        let cmd = format!("test cnat scanner {}", if work { "on" } else { "off" });
        match vpp.client.call(CliInband { cmd }).await {
            Ok(_) => self.linger.told = Some(work),
            // One that is gone is noticed elsewhere; one that refuses is asked again with the next step.
            Err(error) => tracing::warn!(%error, "VPP's scanner of sessions was not told"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Translation, Vip};

    fn update(protocol: Protocol, old: &[&str], new: &[&str]) -> Plan {
        let vip = Vip {
            address: "10.96.0.1".parse().unwrap(),
            port: 80,
            protocol,
        };
        let to = |all: &[&str]| {
            Object::Translation(Translation {
                backends: all.iter().map(|each| (each.parse().unwrap(), 80)).collect(),
                affinity: false,
            })
        };
        Plan {
            stages: vec![vec![Step::Update(Key::Translation(vip), to(old), to(new))]],
            ..Plan::default()
        }
    }

    /// KEP-1669, and kube-proxy's rule for stale connections: only those of UDP are cleaned up.
    #[test]
    fn row_21_the_scanner_rests_while_a_connections_endpoint_is_there_and_no_longer() {
        let start = Instant::now();
        let (one, two): (IpAddr, IpAddr) = ("10.1.1.1".parse().unwrap(), "10.1.1.2".parse().unwrap());
        let mut linger = Linger::default();
        assert!(linger.revise(|_| false, start), "nothing lingers");
        assert!(!linger.note(
            &update(Protocol::Udp, &["10.1.1.1", "10.1.1.2"], &["10.1.1.2"]),
            start
        ));
        assert!(linger.note(
            &update(Protocol::Tcp, &["10.1.1.1", "10.1.1.2"], &["10.1.1.2"]),
            start
        ));
        assert!(
            !linger.revise(|each| [one, two].contains(each), start),
            "it terminates, or is not ready"
        );
        assert!(linger.revise(|each| *each == two, start), "it is gone");
        // An endpoint that stays without being ready is not waited for for ever.
        linger.note(&update(Protocol::Tcp, &["10.1.1.1"], &["169.254.0.4"]), start);
        assert!(!linger.revise(|each| *each == one, start + PATIENCE / 2));
        assert!(linger.revise(|each| *each == one, start + PATIENCE));
        // Ready again, it is as any other.
        linger.note(&update(Protocol::Tcp, &["10.1.1.1"], &["169.254.0.4"]), start);
        assert!(!linger.note(&update(Protocol::Tcp, &["169.254.0.4"], &["10.1.1.1"]), start));
        assert!(linger.revise(|each| *each == one, start));
        // What stands for no endpoint has no connections.
        assert!(!linger.note(&update(Protocol::Tcp, &["169.254.0.4"], &["10.1.1.1"]), start));
    }

    #[test]
    fn the_scanner_works_at_times_where_something_always_terminates() {
        let start = Instant::now();
        let mut linger = Linger::default();
        let mut worked = 0;
        let minutes = (REST + WORK + WORK).as_secs() / 60;
        for minute in 0..minutes {
            let now = start + Duration::from_secs(60 * minute);
            let address = format!("10.1.{minute}.1");
            linger.note(&update(Protocol::Tcp, &[&address], &["10.2.0.1"]), now);
            let listed: Vec<IpAddr> = (0..=minute)
                .map(|n| format!("10.1.{n}.1").parse().unwrap())
                .collect();
            worked += u64::from(linger.revise(|each| listed.contains(each), now));
        }
        assert_eq!(worked, WORK.as_secs() / 60);
    }
}
