//! What the agent tells others of itself: the input of status, readiness and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::vpp_config::ChainReport;

use super::Agent;
use crate::attachments::State;
use crate::health::Check;
use crate::objects::Area;

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Generation of the configuration; `None` until one is known.
    pub generation: Option<i64>,
    /// Its revision.
    pub revision: Option<String>,
    /// Whether the API server has a VppConfig for the node.
    pub configured: bool,
    /// Version of the connected VPP.
    pub vpp: Option<String>,
    /// Why VPP is not connected.
    pub vpp_down: String,
    /// Whether what VPP has was read and compared.
    pub compared: bool,
    /// Pods attached and bound.
    pub pods: (usize, usize),
    /// Underlay addresses as configured.
    pub tunnel_endpoints: Vec<IpAddr>,
    /// Those that VPP has, or has had since the daemon started.
    pub announced: BTreeSet<IpAddr>,
    /// Areas of the configuration.
    pub areas: BTreeMap<Area, AreaState>,
    /// References that do not resolve.
    pub unresolved: Vec<String>,
    /// Chains with a part on this node.
    pub chains: Vec<ChainReport>,
    /// Ports on which load balancers ask for this node's endpoints.
    pub health: BTreeMap<u16, Check>,
}

/// One area of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AreaState {
    /// Objects in VPP as they should be.
    pub applied: usize,
    /// What is not, in words; sorted, the first few suffice.
    pub missing: Vec<String>,
}

/// Most reasons kept of an area: a condition's message holds 256 characters.
const REASONS: usize = 4;

impl Snapshot {
    /// Whether all of the configuration is in VPP.
    pub fn applied(&self) -> bool {
        self.configured
            && self.vpp.is_some()
            && self.compared
            && self.unresolved.is_empty()
            && self.areas.values().all(|area| area.missing.is_empty())
    }
}

impl Agent {
    pub(super) fn publish(&self) {
        let snapshot = self.snapshot();
        self.metrics.observe(&snapshot);
        self.snapshots.send_if_modified(|current| {
            let changed = *current != snapshot;
            *current = snapshot;
            changed
        });
    }

    fn snapshot(&self) -> Snapshot {
        let mut areas: BTreeMap<Area, AreaState> =
            [Area::Interfaces, Area::Policies, Area::Services, Area::Chains]
                .map(|area| (area, AreaState::default()))
                .into();
        let mut missing = |area: Area, reason: String| {
            let state = areas.entry(area).or_default();
            if state.missing.len() < REASONS && !state.missing.contains(&reason) {
                state.missing.push(reason);
            }
        };
        // In one order, whatever came first: the status says the same as long as the same is missing.
        let mut pending: Vec<_> = self.desired.pending.iter().collect();
        pending.sort_by(|a, b| (a.area, &a.reason).cmp(&(b.area, &b.reason)));
        for pending in pending {
            missing(pending.area, pending.reason.clone());
        }
        if let Some(error) = &self.host_error {
            missing(Area::Interfaces, format!("the node's side of its tap: {error}"));
        }
        if let Some(fault) = self.affinities.fault() {
            missing(Area::Services, fault);
        }
        for key in &self.standing.absent {
            missing(
                key.area(),
                match self.retry.failure(key) {
                    Some(failure) => format!("{key}: {failure}"),
                    None => format!("{key} is not in VPP"),
                },
            );
        }
        for (key, failure) in self.retry.failures() {
            if !self.desired.objects.contains_key(key) {
                missing(key.area(), format!("{key} cannot be removed: {failure}"));
            }
        }
        for (area, count) in &self.standing.applied {
            areas.entry(*area).or_default().applied = *count;
        }
        let bound = self.spec.as_ref().map_or(&[][..], |(spec, _)| &spec.pods);
        let attached = bound
            .iter()
            .filter(|pod| {
                self.attachments
                    .of_pod(&pod.uid)
                    .any(|each| each.state == State::Committed)
            })
            .count();
        Snapshot {
            generation: self.spec.as_ref().and_then(|(_, generation)| *generation),
            revision: self.spec.as_ref().map(|(spec, _)| spec.revision.clone()),
            configured: self.informed(),
            vpp: self.vpp.as_ref().map(|vpp| vpp.version.clone()),
            vpp_down: if self.vpp.is_some() {
                String::new()
            } else {
                self.vpp_down.clone()
            },
            compared: self.read,
            pods: (attached, bound.len()),
            tunnel_endpoints: self.local.tunnel_endpoints(),
            announced: self.announced.clone(),
            areas,
            unresolved: self.desired.unresolved.iter().cloned().collect(),
            chains: self.chain_reports(),
            health: self.desired.health.clone(),
        }
    }

    fn chain_reports(&self) -> Vec<ChainReport> {
        let mut reports: Vec<ChainReport> = self
            .desired
            .chains
            .iter()
            .map(|((namespace, chain), parts)| {
                let absent = parts
                    .keys
                    .iter()
                    .find(|key| self.state.objects.get(key) != self.desired.objects.get(key))
                    .map(|key| format!("{key} is not in VPP"));
                let vpp = self.vpp.is_none().then(|| "VPP is not connected".to_owned());
                let message = vpp
                    .or_else(|| parts.missing.first().cloned())
                    .or(absent)
                    .unwrap_or_default();
                ChainReport {
                    namespace: namespace.clone(),
                    chain: chain.clone(),
                    programmed: message.is_empty(),
                    message,
                }
            })
            .collect();
        reports.sort();
        reports
    }
}
