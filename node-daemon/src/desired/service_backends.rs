//! Which backends of a Service's port the clients of one node get. Pure.
//!
//! The rules are kube-proxy's (`pkg/proxy/topology.go` of Kubernetes 1.36, `CategorizeEndpoints`), which are where
//! KEP-1669 (terminating endpoints), KEP-2086 and KEP-2433 (traffic policies, topology) and KEP-3015 and KEP-4444
//! (traffic distribution) meet.

use std::net::IpAddr;

use crds::Backend;
use crds::service_slice::TrafficPolicy;

/// Where the clients' packets enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Its zone, if it is known to be in one.
    pub zone: Option<&'a str>,
}

/// Address and port of a backend.
pub type Target = (IpAddr, u16);

/// The backends of one port and family, as one node sees them; sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// For policy Cluster. Empty only if the port has no usable backend anywhere.
    pub cluster: Vec<Target>,
    /// For policy Local.
    pub local: Vec<Target>,
}

/// What becomes of a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// One of these backends gets it; never empty.
    To(Vec<Target>),
    /// It is dropped: there are backends, but not where the client may have them. The balancer before the node, or
    /// the client, may try another node.
    Drop,
    /// It is refused at once: there is no backend anywhere.
    Reject,
}

/// Backends that prefer clients of some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preference {
    None,
    Node,
    Zone,
}

impl Choice {
    /// Decides for a place. `backends` are all of the port's of one family, with the port's number on each.
    ///
    /// Ready backends count; only if there is none, those that still serve while they terminate. That is asked twice:
    /// of all backends, and of those on the node.
    pub fn new(backends: &[(&Backend, u16)], place: Place<'_>) -> Self {
        let preference = preference(backends, place);
        let preferred = |backend: &Backend| match preference {
            Preference::None => true,
            Preference::Node => backend.for_nodes.iter().any(|node| node == place.node),
            Preference::Zone => backend
                .for_zones
                .iter()
                .any(|zone| Some(zone.as_str()) == place.zone),
        };
        let of = |wanted: &dyn Fn(&Backend) -> bool| {
            let wanted = backends.iter().filter(|(backend, _)| wanted(backend));
            let mut found: Vec<Target> = wanted.map(|(backend, port)| (backend.address, *port)).collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        let lingers = |backend: &Backend| backend.serving && backend.terminating;
        let local = |backend: &Backend| backend.node.as_deref() == Some(place.node);
        let or = |ready: Vec<Target>, wanted: &dyn Fn(&Backend) -> bool| {
            if ready.is_empty() { of(wanted) } else { ready }
        };
        Self {
            cluster: or(of(&|b| b.ready && preferred(b)), &lingers),
            local: or(of(&|b| b.ready && local(b)), &|b| lingers(b) && local(b)),
        }
    }

    /// What becomes of a connection under a traffic policy.
    pub fn fate(&self, policy: TrafficPolicy) -> Fate {
        match policy {
            _ if self.cluster.is_empty() => Fate::Reject,
            TrafficPolicy::Cluster => Fate::To(self.cluster.clone()),
            TrafficPolicy::Local if self.local.is_empty() => Fate::Drop,
            TrafficPolicy::Local => Fate::To(self.local.clone()),
        }
    }
}

/// Hints count only if every ready backend has one and one of them names this place: nobody is left without backend,
/// and while hints are half written they are not followed.
fn preference(backends: &[(&Backend, u16)], place: Place<'_>) -> Preference {
    let ready = || backends.iter().map(|(backend, _)| *backend).filter(|b| b.ready);
    let all_and_one = |hints: fn(&Backend) -> &[String], name: &str| {
        ready().all(|b| !hints(b).is_empty()) && ready().any(|b| hints(b).iter().any(|hint| hint == name))
    };
    if all_and_one(|b| &b.for_nodes, place.node) {
        return Preference::Node;
    }
    match place.zone {
        Some(zone) if all_and_one(|b| &b.for_zones, zone) => Preference::Zone,
        _ => Preference::None,
    }
}

#[cfg(test)]
mod tests;
