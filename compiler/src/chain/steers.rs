//! What each node does for a chain: from where the packets appear to where they go.
//!
//! ```text
//! forward   from pods ─► f0.in  f0.out ─► f1.in  f1.out ─► (routed) to pods
//! reverse   from pods (routed) ◄─ f0.in  f0.out ◄─ f1.in  f1.out ◄─ to pods
//! ```
//!
//! What leaves a function by an interface of its own for that direction belongs to the chain, so
//! such a steer matches everything. A function with a single InOut interface gives back both
//! directions there: its steers match by destination, as the entry's do.
//!
//! Forward packets are those to `to`. Reverse packets are those to `from`; where no ports tell the
//! two apart, only to those of `from` that are not in `to` as well. Otherwise packets between two
//! pods that are in both ends would match both directions, and a function with one interface would
//! send them back and forth. Such pods' packets travel forward both ways.

use std::collections::BTreeMap;

use crds::vpp_config::{ChainDirection, ChainSteer, PodBinding, SteerMatch, SteerPoint, SteerTarget};

use crate::facts::Name;

/// A steer whose pods have no places yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steer {
    steer: ChainSteer,
    /// UIDs of the pods whose packets it takes, sorted.
    uids: Vec<Name>,
}

impl Steer {
    /// The steer in the configuration of a node that has these pods.
    pub fn placed(&self, pods: &[PodBinding]) -> ChainSteer {
        let mut steer = self.steer.clone();
        if let SteerPoint::Pods(places) = &mut steer.at {
            let pods = (0..).zip(pods);
            let taken = pods.filter(|(_, pod)| self.uids.binary_search(&pod.uid).is_ok());
            places.extend(taken.map(|(place, _)| place));
        }
        steer
    }
}

/// A function's pod on the path, in the direction of travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// UID of the pod.
    pub uid: String,
    /// Node of the pod.
    pub node: String,
    /// Interface by which packets enter.
    pub enter: String,
    /// Interface by which packets leave.
    pub leave: String,
    /// VXLAN network identifier of the tunnels to this hop.
    pub vni: u32,
}

impl Hop {
    /// Whether both directions leave by the same interface.
    fn shared(&self) -> bool {
        self.enter == self.leave
    }

    fn function(&self) -> SteerTarget {
        SteerTarget::Function {
            uid: self.uid.clone(),
            interface: self.enter.clone(),
        }
    }
}

/// One direction of a chain.
#[derive(Clone, Debug)]
pub struct Journey<'a> {
    /// Namespace of the chain.
    pub namespace: &'a str,
    /// Name of the chain.
    pub chain: &'a str,
    /// Direction of travel.
    pub direction: ChainDirection,
    /// UIDs of the pods whose packets enter here, by node; sorted.
    pub entries: &'a BTreeMap<String, Vec<Name>>,
    /// Which of their packets.
    pub match_: SteerMatch,
}

impl Journey<'_> {
    fn steer(&self, hop: usize, at: SteerPoint, match_: Option<SteerMatch>, to: SteerTarget) -> Steer {
        let steer = ChainSteer {
            namespace: self.namespace.to_owned(),
            chain: self.chain.to_owned(),
            direction: self.direction,
            hop: u32::try_from(hop).unwrap_or(u32::MAX),
            at,
            match_,
            to,
        };
        Steer {
            steer,
            uids: Vec::new(),
        }
    }

    fn entry(&self, uids: &[Name], to: SteerTarget) -> Steer {
        let at = SteerPoint::Pods(Vec::new());
        Steer {
            uids: uids.to_vec(),
            ..self.steer(0, at, Some(self.match_.clone()), to)
        }
    }

    /// Steers that drop the packets where they enter, by node.
    pub fn drop(&self) -> Vec<(String, Steer)> {
        let entries = self.entries.iter();
        entries
            .map(|(node, uids)| (node.clone(), self.entry(uids, SteerTarget::Drop {})))
            .collect()
    }

    /// Steers that lead the packets along the path, by node.
    pub fn follow(&self, path: &[Hop]) -> Vec<(String, Steer)> {
        let mut steers = Vec::new();
        let Some(first) = path.first() else {
            return steers;
        };
        for (node, uids) in self.entries {
            let to = self.towards(0, node, first, &mut steers);
            steers.push((node.clone(), self.entry(uids, to)));
        }
        for (index, pair) in path.windows(2).enumerate() {
            let [from, next] = pair else { continue };
            let hop = index + 1;
            let to = self.towards(hop, &from.node, next, &mut steers);
            let at = SteerPoint::Function {
                uid: from.uid.clone(),
                interface: from.leave.clone(),
            };
            let match_ = from.shared().then(|| self.match_.clone());
            steers.push((from.node.clone(), self.steer(hop, at, match_, to)));
        }
        steers
    }

    /// How packets get from a node to a hop; a tunnel also needs its other end.
    fn towards(&self, hop: usize, node: &str, next: &Hop, steers: &mut Vec<(String, Steer)>) -> SteerTarget {
        if next.node == node {
            return next.function();
        }
        let arrival = SteerPoint::Tunnel {
            node: node.to_owned(),
            vni: next.vni,
        };
        let arrival = self.steer(hop, arrival, None, next.function());
        steers.push((next.node.clone(), arrival));
        SteerTarget::Tunnel {
            node: next.node.clone(),
            vni: next.vni,
        }
    }
}

/// By chain, hop and direction; then by where the packets appear.
pub fn sort(steers: &mut [Steer]) {
    steers.sort_by_cached_key(|Steer { steer, .. }| {
        let at = match &steer.at {
            SteerPoint::Pods(_) => (0, String::new(), String::new()),
            SteerPoint::Function { uid, interface } => (1, uid.clone(), interface.clone()),
            SteerPoint::Tunnel { node, vni } => (2, node.clone(), vni.to_string()),
        };
        (
            steer.namespace.clone(),
            steer.chain.clone(),
            steer.hop,
            steer.direction,
            at,
        )
    });
}
