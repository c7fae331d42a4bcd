//! How long clients stay with one backend: `timeoutSeconds` of `sessionAffinity: ClientIP`.
//!
//! cnat knows no time. It spreads the clients of such a VIP by a hash of their address over a Maglev table, so a client
//! keeps its backend for as long as the backends let it. But VPP counts the flows that each translation opens, and only a
//! new connection prolongs a client's stay (as in kube-proxy, whose rules see a connection's first packet). When a port has
//! had none for its `timeoutSeconds`, all of its clients are free: its translations get another hash, which leads them
//! elsewhere. While others go on using the port, a client that was away for longer finds its backend again. Kubernetes
//! promises no more than that a client stays for so long.
//!
//! VPP takes a translation's hash when it is made, so it is made anew; what that would cut off is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vpp_api::stats::{Stats, Value};

use super::Agent;
use crate::actual;
use crate::apply::{self, SPREADS};
use crate::desired::Affinity;
use crate::objects::Vip;
use crate::vpp::Handles;

/// Parts of the shortest timeout after which counters are looked at: a stay ends so much late at most.
const PARTS: u32 = 64;

/// Limits of the time between two looks.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(30);

/// VPP's counter of flows by translation (`cnat_translation.c`).
const COUNTER: &str = "/net/cnat-translation";

/// How long clients have been staying.
#[derive(Debug)]
pub(super) struct Affinities {
    socket: PathBuf,
    /// The connection to this VPP's counters.
    stats: Option<Stats>,
    /// Why they cannot be read.
    fault: Option<String>,
    ports: BTreeMap<Arc<str>, Stay>,
    next_look: Instant,
}

/// The clients of one port of a Service.
#[derive(Debug)]
struct Stay {
    /// Flows opened, over all of the port's translations.
    flows: u64,
    /// When that number was another.
    used: Instant,
    /// When to look whether connections are left.
    due: Instant,
    /// Whether nobody came since the clients were spread anew.
    over: bool,
    /// Which of [`SPREADS`] was taken last.
    spread: usize,
}

impl Affinities {
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            stats: None,
            fault: None,
            ports: BTreeMap::new(),
            next_look: Instant::now(),
        }
    }

    /// Why `timeoutSeconds` is not kept, if it is not.
    pub fn fault(&self) -> Option<String> {
        let fault = self.fault.as_ref()?;
        Some(format!(
            "sessionAffinity: clients stay with their backends for longer than timeoutSeconds, because VPP's counters \
             cannot be read: {fault}; VPP serves them on the socket that its statseg {{ socket-name }} names, and \
             --vpp-stats-socket must name the same"
        ))
    }

    /// This VPP counts from 0.
    pub fn reconnected(&mut self) {
        self.stats = None;
    }

    /// What VPP has counted by translation. It is another thread that waits for VPP.
    async fn counted(&mut self) -> Option<Flows> {
        let (socket, stats) = (self.socket.clone(), self.stats.take());
        let read = tokio::task::spawn_blocking(move || read(&socket, stats)).await;
        let outcome = read.map_err(|error| error.to_string()).and_then(|read| read);
        match outcome {
            Ok((stats, flows)) => {
                self.stats = Some(stats);
                self.fault = None;
                Some(flows)
            }
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    tracing::warn!(
                        fault,
                        "VPP's counters cannot be read: clients stay longer than timeoutSeconds"
                    );
                }
                self.fault = Some(fault);
                None
            }
        }
    }

    /// Takes in how many flows each port has had; the ports whose clients have stayed for long enough.
    fn look(
        &mut self,
        wanted: &BTreeMap<Vip, Affinity>,
        flows: impl Fn(&Vip) -> u64,
        now: Instant,
    ) -> BTreeSet<Arc<str>> {
        let mut sums: BTreeMap<&Arc<str>, (u64, Duration)> = BTreeMap::new();
        for (vip, affinity) in wanted {
            let (sum, _) = sums.entry(&affinity.port).or_insert((0, affinity.timeout));
            *sum = sum.wrapping_add(flows(vip));
        }
        self.ports.retain(|port, _| sums.contains_key(port));
        let mut ended = BTreeSet::new();
        for (port, (flows, timeout)) in sums {
            let stay = self.ports.entry(Arc::clone(port)).or_insert_with(|| Stay {
                flows,
                used: now,
                due: now,
                over: false,
                spread: 0,
            });
            if stay.flows != flows {
                (stay.flows, stay.used, stay.over) = (flows, now, false);
            }
            // Without flows there are no clients.
            if flows > 0
                && !stay.over
                && now >= stay.due
                && now.saturating_duration_since(stay.used) >= timeout
            {
                ended.insert(Arc::clone(port));
            }
        }
        ended
    }

    /// Clients of a port are kept where they are for a while: some are connected.
    fn postpone(&mut self, port: &Arc<str>, until: Instant) {
        if let Some(stay) = self.ports.get_mut(port) {
            stay.due = until;
        }
    }

    /// The hash that a port's clients are spread by next.
    fn next_spread(&self, port: &Arc<str>) -> usize {
        self.ports
            .get(port)
            .map_or(0, |stay| (stay.spread + 1) % SPREADS.len())
    }

    /// A port's clients were spread anew, and VPP counts their flows from 0.
    fn spread(&mut self, port: &Arc<str>, spread: usize) {
        if let Some(stay) = self.ports.get_mut(port) {
            (stay.spread, stay.flows, stay.over) = (spread, 0, true);
        }
    }
}

/// Flows opened, by index of the translation and thread.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flows(Option<Value>);

impl Flows {
    fn of(&self, handles: &Handles, vip: &Vip) -> u64 {
        match (handles.translations.get(vip), &self.0) {
            (Some(index), Some(counter)) => counter.combined(*index as usize).packets,
            _ => 0,
        }
    }
}

fn read(socket: &Path, stats: Option<Stats>) -> Result<(Stats, Flows), String> {
    let chain = |error: vpp_api::stats::StatsError| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    };
    let mut stats = match stats {
        Some(stats) => stats,
        None => Stats::connect(socket).map_err(chain)?,
    };
    // There is none before the first translation.
    let counter = stats.value(COUNTER).map_err(chain)?;
    Ok((stats, Flows(counter)))
}

impl Agent {
    /// Spreads the clients of ports anew that nobody has used for their `timeoutSeconds`.
    pub(super) async fn end_stays(&mut self, now: Instant) {
        if self.desired.affinities.is_empty() {
            // Without anybody to ask for it, nothing is amiss.
            self.affinities.fault = None;
            return;
        }
        if !self.read || now < self.affinities.next_look {
            return;
        }
        let Some(vpp) = self.vpp.clone() else { return };
        let timeouts = self.desired.affinities.values().map(|affinity| affinity.timeout);
        let pause = (timeouts.min().unwrap_or(LATE) / PARTS).clamp(SOON, LATE);
        self.affinities.next_look = now + pause;
        let before = self.affinities.fault();
        let flows = self.affinities.counted().await;
        if self.affinities.fault() != before {
            self.publish();
        }
        let Some(flows) = flows else { return };
        let wanted = std::mem::take(&mut self.desired.affinities);
        let ended = self
            .affinities
            .look(&wanted, |vip| flows.of(&self.state.handles, vip), now);
        if !ended.is_empty() {
            self.spread_anew(&vpp, &wanted, &ended, &flows, now + pause).await;
        }
        self.desired.affinities = wanted;
    }

    /// The same for these ports, unless somebody is connected to them, or was while we looked.
    async fn spread_anew(
        &mut self,
        vpp: &crate::vpp::Vpp,
        wanted: &BTreeMap<Vip, Affinity>,
        ended: &BTreeSet<Arc<str>>,
        flows: &Flows,
        later: Instant,
    ) {
        let connected = match actual::connected(vpp, |vip| wanted.contains_key(vip)).await {
            Ok(connected) => connected,
            // A VPP that is gone is noticed elsewhere.
            Err(error) => return tracing::warn!(%error, "VPP's sessions cannot be read"),
        };
        let Some(recent) = self.affinities.counted().await else {
            return;
        };
        let mut by_port: BTreeMap<&Arc<str>, Vec<&Vip>> = BTreeMap::new();
        for (vip, affinity) in wanted {
            if ended.contains(&affinity.port) && self.state.handles.translations.contains_key(vip) {
                by_port.entry(&affinity.port).or_default().push(vip);
            }
        }
        for (port, vips) in by_port {
            let handles = &self.state.handles;
            let is_used =
                |vip: &Vip| connected.contains(vip) || recent.of(handles, vip) != flows.of(handles, vip);
            if vips.iter().any(|vip| is_used(vip)) {
                self.affinities.postpone(port, later);
                continue;
            }
            let spread = self.affinities.next_spread(port);
            for vip in vips {
                if let Err(failure) = apply::spread_anew(vpp, &mut self.state, vip, spread).await {
                    // What VPP has then is read, and mended.
                    tracing::warn!(%vip, %failure, "the clients of a VIP could not be spread anew");
                    self.read = false;
                    self.dirty = true;
                    return;
                }
            }
            tracing::debug!(%port, "its clients are free to go to any backend");
            self.affinities.spread(port, spread);
        }
    }
}

#[cfg(test)]
mod tests;
