//! Services as cnat translations (design §6), and what the node's own side does for them.
//!
//! cnat knows one set of backends per address, port and protocol, whoever the client is. So each kind of client has an
//! address of its own:
//!
//! | client | address in VPP | backends by |
//! |---|---|---|
//! | pods | cluster IP | internal traffic policy |
//! | pods | external, load-balancer and node addresses | Cluster |
//! | node, by node port | [`NODE_PORTS_V4`] | Cluster |
//! | outside, by the node's kernel | the same, or [`LOCAL_NODE_PORTS_V4`] | external traffic policy |
//!
//! The kernel, which owns the node's addresses, turns the last two into the former: see [`crate::host::nat`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::net::{Cidr, Protocol};
use crds::service_slice::{Frontend, FrontendKind, ServicePort, TrafficPolicy};
use crds::vpp_config::TransportMode;
use crds::{Backend, VppServiceSliceSpec};

use super::service_backends::{Choice, Fate, Place, Target};
use super::{Desired, Inputs};
use crate::addressing;
use crate::cluster::{ServiceSlices, of_family};
use crate::host::nat::Refusal;
use crate::objects::{Area, CnatRole, Key, Link, Object, Path, SnatAddresses, Translation, Vip};

/// Stands for the node's addresses where the kernel hands node ports to VPP, all backends wanted. Between the node and
/// its VPP only (RFC 3927, 2.1 keeps the first 256 link-local addresses out of use).
pub const NODE_PORTS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 2);
/// The same for clients that may have this node's backends only.
pub const LOCAL_NODE_PORTS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 3);
/// [`NODE_PORTS_V4`] for IPv6, where link-local addresses are not forwarded: of the prefix for local use of RFC 8215.
pub const NODE_PORTS_V6: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0xa9fe, 2);
/// [`LOCAL_NODE_PORTS_V4`] for IPv6.
pub const LOCAL_NODE_PORTS_V6: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0xa9fe, 3);

/// Backend of ports that have none: a client is told at once. In VPP only, as [`NODE_PORTS_V4`].
const REJECTING: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0xa9fe, 4)),
];
/// The same where clients are left without an answer.
const DROPPING: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 5)),
    IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0xa9fe, 5)),
];

/// Whether an address is a backend that stands for none: packets go where it leads as they are, not translated.
pub fn stands_for_none(address: IpAddr) -> bool {
    REJECTING.contains(&address) || DROPPING.contains(&address)
}

/// The address that stands for the node's in one family.
pub fn node_ports(policy: TrafficPolicy, ipv6: bool) -> IpAddr {
    match (policy, ipv6) {
        (TrafficPolicy::Cluster, false) => NODE_PORTS_V4.into(),
        (TrafficPolicy::Cluster, true) => NODE_PORTS_V6.into(),
        (TrafficPolicy::Local, false) => LOCAL_NODE_PORTS_V4.into(),
        (TrafficPolicy::Local, true) => LOCAL_NODE_PORTS_V6.into(),
    }
}

/// Whether an address is one of those that stand for the node's.
pub(super) fn is_stand_in(address: IpAddr) -> bool {
    let policies = [TrafficPolicy::Cluster, TrafficPolicy::Local];
    policies
        .iter()
        .any(|&policy| node_ports(policy, address.is_ipv6()) == address)
}

pub(super) fn add(inputs: &Inputs<'_>, out: &mut Desired) {
    if !inputs.local.cnat {
        if !inputs.cluster.services.is_empty() {
            out.pend(Area::Services, "this VPP has no cnat plugin".to_owned());
        }
        return;
    }
    add_source_nat(inputs, out);
    add_features(inputs, out);
    let pods = pod_prefixes(inputs);
    let surroundings = Surroundings::new(&pods, out);
    add_services(inputs, surroundings, &inputs.cluster.services(), out);
}

/// What Services' objects depend on beside the Services themselves and the inputs that are no slices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// Prefixes that VPP has a way to: pods'.
    pods: &'a BTreeSet<Cidr>,
    /// Whether Services are served on the uplink too, where VPP sees clients outside that no kernel has looked at.
    uplink_serves: bool,
}

impl<'a> Surroundings<'a> {
    /// Those of a node of which everything but its Services is in `out`.
    pub(super) fn new(pods: &'a BTreeSet<Cidr>, out: &Desired) -> Self {
        Self {
            pods,
            uplink_serves: out.objects.contains_key(&Key::CnatFeature(Link::Uplink)),
        }
    }
}

/// Prefixes of all nodes' pods.
pub(super) fn pod_prefixes(inputs: &Inputs<'_>) -> BTreeSet<Cidr> {
    let own = inputs.spec.node.pod_cidrs.iter();
    let peers = inputs.cluster.peers_of(&inputs.local.node);
    own.chain(peers.values().flat_map(|peer| &peer.pod_cidrs))
        .copied()
        .collect()
}

/// Adds these Services, as if there were no others.
pub(super) fn add_services(
    inputs: &Inputs<'_>,
    surroundings: Surroundings<'_>,
    services: &BTreeMap<String, ServiceSlices<'_>>,
    out: &mut Desired,
) {
    let mut adder = Adder {
        inputs,
        surroundings,
        out,
        refusals: BTreeMap::new(),
        sctp: BTreeSet::new(),
    };
    // Whose address is whose: cluster IPs are allocated, the others are claims of the Services' authors.
    for (name, slices) in services {
        if let Some(missing) = slices.missing {
            adder.freeze(name, slices, missing);
        }
    }
    let whole = || services.iter().filter(|(_, slices)| slices.missing.is_none());
    for kind in [
        FrontendKind::ClusterIp,
        FrontendKind::LoadBalancer,
        FrontendKind::ExternalIp,
    ] {
        for (name, slices) in whole() {
            adder.add_frontends(name, slices, kind);
        }
    }
    for (name, slices) in whole() {
        adder.add_node_ports(name, slices);
        adder.add_health_check(name, slices);
    }
    adder.finish();
}

/// Addresses that stand in for clients: one to which replies find back through cnat. That is the uplink's where cnat is
/// on it, else the gateway's, which all nodes reach by the tunnels.
pub(super) fn snat_addresses(inputs: &Inputs<'_>) -> [Option<IpAddr>; 2] {
    let underlay = match inputs.spec.transport.mode {
        TransportMode::None => inputs.local.tunnel_endpoints(),
        TransportMode::Vxlan => Vec::new(),
    };
    let gateways: Vec<IpAddr> = addressing::gateways(inputs.spec).collect();
    [false, true].map(|ipv6| of_family(&underlay, ipv6).or_else(|| of_family(&gateways, ipv6)))
}

/// Pods keep their address towards pods and nodes. Excluded are destinations, so other nodes' prefixes as well.
fn add_source_nat(inputs: &Inputs<'_>, out: &mut Desired) {
    let mut addresses = SnatAddresses { v4: None, v6: None };
    for address in snat_addresses(inputs).into_iter().flatten() {
        match address {
            IpAddr::V4(a) => addresses.v4 = Some(a),
            IpAddr::V6(a) => addresses.v6 = Some(a),
        }
    }
    if addresses.v4.is_none() && addresses.v6.is_none() {
        out.pend(
            Area::Services,
            "the node has neither pod prefixes nor an uplink address".to_owned(),
        );
        return;
    }
    out.put(Key::CnatSnat, Object::CnatSnat(addresses));
    let node = &inputs.spec.node;
    let mut excluded: Vec<Cidr> = node.pod_cidrs.clone();
    excluded.extend(node.addresses.iter().map(|&a| Cidr::host(a)));
    excluded.extend(inputs.local.tunnel_endpoints().into_iter().map(Cidr::host));
    for peer in inputs.cluster.peers_of(&inputs.local.node).into_values() {
        excluded.extend(&peer.pod_cidrs);
        excluded.extend(
            peer.addresses
                .iter()
                .chain(&peer.tunnel_endpoints)
                .map(|&a| Cidr::host(a)),
        );
    }
    for prefix in excluded {
        out.put(Key::CnatExclude(prefix), Object::Present);
    }
}

/// cnat on pods', host's and the transport's interfaces. On functions' and hops' nothing is translated: a function between
/// would see the two directions of a connection under different addresses.
fn add_features(inputs: &Inputs<'_>, out: &mut Desired) {
    if !out.objects.contains_key(&Key::CnatSnat) {
        return;
    }
    let transport = [inputs.spec.transport.vni, inputs.spec.transport.vni + 1];
    let roles: Vec<(Link, CnatRole)> = out
        .objects
        .keys()
        .filter_map(|key| match key {
            Key::Interface(link @ Link::Pod(_)) => Some((link.clone(), CnatRole::Pod)),
            Key::Interface(Link::Host) => Some((Link::Host, CnatRole::Host)),
            Key::Interface(link @ Link::Tunnel(id)) if transport.contains(&id.vni) => {
                Some((link.clone(), CnatRole::Underlay))
            }
            Key::Interface(Link::Uplink) if inputs.spec.transport.mode == TransportMode::None => {
                Some((Link::Uplink, CnatRole::Underlay))
            }
            Key::Interface(link @ (Link::Function(..) | Link::Tunnel(_))) if inputs.local.cnat_v1 => {
                Some((link.clone(), CnatRole::Passage))
            }
            _ => None,
        })
        .collect();
    for (link, role) in roles {
        out.put(Key::CnatFeature(link), Object::CnatFeature(role));
    }
}

/// Turns Services into objects and into what the node's own side needs.
struct Adder<'a, 'o> {
    inputs: &'a Inputs<'a>,
    out: &'o mut Desired,
    surroundings: Surroundings<'a>,
    /// What VPP answers on addresses for ports without translation.
    refusals: BTreeMap<IpAddr, Path>,
    sctp: BTreeSet<String>,
}

impl Adder<'_, '_> {
    /// A Service of which a slice is on its way keeps what it has: half of its backends would look like the loss of
    /// the other half.
    fn freeze(&mut self, name: &str, slices: &ServiceSlices<'_>, missing: u32) {
        let first = slices.first;
        self.pend(format!("service {name}: slice {missing} is not known yet"));
        for frontend in &first.frontends {
            self.out.frozen.insert(Key::Route(Cidr::host(frontend.address)));
            for port in &first.ports {
                self.out
                    .frozen
                    .insert(Key::Translation(vip(frontend.address, port, port.port)));
            }
        }
        for address in self.inputs.spec.node.addresses.clone() {
            let policies = [TrafficPolicy::Cluster, TrafficPolicy::Local];
            let stand_ins = policies.map(|policy| node_ports(policy, address.is_ipv6()));
            for port in &first.ports {
                let Some(number) = port.node_port else { continue };
                let all = [address].into_iter().chain(stand_ins);
                self.out
                    .frozen
                    .extend(all.map(|a| Key::Translation(vip(a, port, number))));
            }
        }
    }

    fn pend(&mut self, reason: String) {
        self.out.pend(Area::Services, reason);
    }

    fn choose(&self, slices: &ServiceSlices<'_>, index: usize, ipv6: bool) -> Choice {
        let place = Place {
            node: &self.inputs.local.node,
            zone: self.inputs.spec.node.zone.as_deref(),
        };
        let backends: Vec<(&Backend, u16)> = slices
            .backends()
            .filter(|backend| backend.address.is_ipv6() == ipv6)
            .filter_map(|backend| {
                let port = backend.ports.get(index).copied().filter(|port| *port != 0)?;
                Some((backend, port))
            })
            .collect();
        Choice::new(&backends, place)
    }

    /// Whether the port can be carried at all in a family: cnat makes sessions of SCTP in IPv6 too, but rewrites it in
    /// IPv4 only (`cnat_translation_ip6` of VPP's `cnat_node.h`).
    fn carries(&mut self, name: &str, port: &ServicePort, ipv6: bool) -> bool {
        if port.protocol == Protocol::Sctp && ipv6 {
            self.sctp.insert(name.to_owned());
            return false;
        }
        true
    }

    /// Puts a translation in, unless another Service has the address and port already.
    fn translate(&mut self, name: &str, vip: Vip, backends: Vec<Target>, affinity: bool) -> bool {
        let key = Key::Translation(vip);
        if self.out.objects.contains_key(&key) {
            self.pend(format!("service {name}: {vip} is another Service's"));
            return false;
        }
        self.out
            .put(key, Object::Translation(Translation { backends, affinity }));
        true
    }

    /// A port without backend has a translation too where VPP's sessions are of a backend: a client that goes on
    /// sending from one port would else have a session that knows of no backend, and keep it when there are some.
    fn refuse_port(&mut self, name: &str, vip: Vip, path: Path, affinity: bool) {
        if !self.inputs.local.cnat_v1 {
            return;
        }
        let [v4, v6] = if path == Path::Drop { DROPPING } else { REJECTING };
        let sink = if vip.address.is_ipv6() { v6 } else { v4 };
        if self.translate(name, vip, vec![(sink, 0)], affinity) {
            self.out
                .put(Key::Route(Cidr::host(sink)), Object::Route(vec![path]));
        }
    }

    fn refuse(&mut self, address: IpAddr, path: Path) {
        // Of two answers the silent one: it tells less, and a retry may succeed.
        let known = self.refusals.entry(address).or_insert(path.clone());
        if path == Path::Drop {
            *known = path;
        }
    }

    fn add_frontends(&mut self, name: &str, slices: &ServiceSlices<'_>, kind: FrontendKind) {
        let first = slices.first;
        for frontend in first.frontends.iter().filter(|frontend| frontend.kind == kind) {
            let admitted = self.pods_admitted(name, first, frontend);
            for (index, port) in first.ports.iter().enumerate() {
                if self.carries(name, port, frontend.address.is_ipv6()) {
                    self.add_port(name, slices, frontend, index, admitted);
                }
            }
        }
    }

    /// Whether this node's pods may use a frontend. cnat asks nobody for his address, so all of them may or none.
    fn pods_admitted(&mut self, name: &str, first: &VppServiceSliceSpec, frontend: &Frontend) -> bool {
        let ranges = match frontend.kind {
            FrontendKind::LoadBalancer => first.load_balancer_source_ranges.as_ref(),
            FrontendKind::ClusterIp | FrontendKind::ExternalIp => None,
        };
        let Some(ranges) = ranges else { return true };
        if self.surroundings.uplink_serves {
            self.pend(format!(
                "service {name}: clients that enter by VPP's uplink meet no loadBalancerSourceRanges: {} is closed in VPP",
                frontend.address
            ));
            return false;
        }
        let of_family = |cidr: &&Cidr| cidr.is_ipv6() == frontend.address.is_ipv6();
        let own: Vec<Cidr> = self
            .inputs
            .spec
            .node
            .pod_cidrs
            .iter()
            .filter(of_family)
            .copied()
            .collect();
        let within = |cidr: &Cidr| {
            let holds =
                |range: &&Cidr| range.prefix_len() <= cidr.prefix_len() && range.contains(cidr.network());
            ranges.iter().any(|range| holds(&range))
        };
        if own.iter().all(within) {
            return true;
        }
        let partly = |cidr: &Cidr| ranges.iter().any(|range| cidr.contains(range.network()));
        if own.iter().any(|cidr| within(cidr) || partly(cidr)) {
            self.pend(format!(
                "service {name}: loadBalancerSourceRanges admit a part of this node's pods, which VPP cannot tell \
                 apart by it: none of them may use {}",
                frontend.address
            ));
        }
        false
    }

    fn add_port(
        &mut self,
        name: &str,
        slices: &ServiceSlices<'_>,
        frontend: &Frontend,
        index: usize,
        pods_admitted: bool,
    ) {
        let first = slices.first;
        let Some(port) = first.ports.get(index) else {
            return;
        };
        let address = frontend.address;
        let choice = self.choose(slices, index, address.is_ipv6());
        let policy = match frontend.kind {
            FrontendKind::ClusterIp => first.internal_traffic_policy,
            FrontendKind::ExternalIp | FrontendKind::LoadBalancer => TrafficPolicy::Cluster,
        };
        let vip = vip(address, port, port.port);
        let fate = choice.fate(policy);
        let refusal = match &fate {
            Fate::Reject => Some(Path::Unreachable),
            Fate::To(_) if pods_admitted => None,
            Fate::Drop | Fate::To(_) => Some(Path::Drop),
        };
        if let Some(path) = refusal {
            self.refuse(address, path.clone());
            self.refuse_port(name, vip, path, first.affinity_seconds.is_some());
        }
        match &fate {
            Fate::Drop | Fate::Reject => {}
            Fate::To(_) if !pods_admitted => {}
            Fate::To(backends) => {
                if !self.translate(name, vip, backends.clone(), first.affinity_seconds.is_some()) {
                    return;
                }
            }
        }
        self.add_own(vip, &fate, pods_admitted, first, port);
        if frontend.kind != FrontendKind::ClusterIp {
            let ranges = first.load_balancer_source_ranges.as_ref();
            if let (FrontendKind::LoadBalancer, Some(ranges)) = (frontend.kind, ranges) {
                let of_family = |cidr: &&Cidr| cidr.is_ipv6() == address.is_ipv6();
                let ranges = ranges.iter().filter(of_family).copied().collect();
                self.out.host.nat.admitted.insert(vip, ranges);
            }
            self.add_entry(name, first, vip, port, &choice);
        }
    }

    /// How the node's own processes reach an address: through VPP, unless VPP has no way to the backends or does not
    /// serve the address to pods.
    fn add_own(
        &mut self,
        vip: Vip,
        fate: &Fate,
        pods_admitted: bool,
        first: &VppServiceSliceSpec,
        port: &ServicePort,
    ) {
        let pods = |(address, _): &Target| {
            self.surroundings
                .pods
                .iter()
                .any(|prefix| prefix.contains(*address))
        };
        match fate {
            Fate::To(backends) if !backends.iter().all(pods) => {
                self.out.host.nat.own.insert(vip, backends.clone());
            }
            Fate::To(_) if !pods_admitted => {
                let target = cluster_target(first, port, vip.address.is_ipv6());
                self.out
                    .host
                    .nat
                    .own
                    .extend(target.map(|target| (vip, vec![target])));
            }
            Fate::To(_) | Fate::Drop | Fate::Reject => {
                self.out.host.vips.insert(vip.address);
            }
        }
    }

    /// What the kernel does with packets from outside to an address: hands them to VPP, or refuses them.
    fn add_entry(
        &mut self,
        name: &str,
        first: &VppServiceSliceSpec,
        vip: Vip,
        port: &ServicePort,
        choice: &Choice,
    ) {
        let policy = first.external_traffic_policy;
        let ipv6 = vip.address.is_ipv6();
        let nat = &mut self.out.host.nat;
        if nat.entries.contains_key(&vip) || nat.refused.contains_key(&vip) {
            self.pend(format!("service {name}: {vip} is another Service's"));
            return;
        }
        match choice.fate(policy) {
            Fate::Drop => {
                nat.refused.insert(vip, Refusal::Drop);
            }
            Fate::Reject => {
                nat.refused.insert(vip, Refusal::Reject);
            }
            Fate::To(_) => {
                let target = match policy {
                    TrafficPolicy::Cluster => cluster_target(first, port, ipv6),
                    TrafficPolicy::Local => port.node_port.map(|number| (node_ports(policy, ipv6), number)),
                };
                let Some(target) = target else {
                    nat.refused.insert(vip, Refusal::Drop);
                    self.pend(format!(
                        "service {name}: {vip} is closed to clients outside, a port with traffic policy Local needs a \
                         node port"
                    ));
                    return;
                };
                nat.entries.insert(vip, target);
                if policy == TrafficPolicy::Local && self.surroundings.uplink_serves {
                    self.pend(format!(
                        "service {name}: clients that enter by VPP's uplink reach all backends of {vip}, not this \
                         node's alone: externalTrafficPolicy Local holds for those that enter by the node's kernel"
                    ));
                }
                if policy == TrafficPolicy::Local && self.inputs.local.replies_stray(ipv6) {
                    self.pend(format!(
                        "service {name}: replies of {vip} leave by VPP's uplink, not by the interface where requests \
                         enter: externalTrafficPolicy Local needs a node without --uplink-gateway"
                    ));
                }
            }
        }
    }

    fn add_node_ports(&mut self, name: &str, slices: &ServiceSlices<'_>) {
        let first = slices.first;
        let addresses = self.inputs.spec.node.addresses.clone();
        let affinity = first.affinity_seconds.is_some();
        for (index, port) in first.ports.iter().enumerate() {
            let Some(number) = port.node_port else { continue };
            for ipv6 in [false, true] {
                let of_family = |frontend: &Frontend| {
                    frontend.kind == FrontendKind::ClusterIp && frontend.address.is_ipv6() == ipv6
                };
                if !first.frontends.iter().any(of_family) || !self.carries(name, port, ipv6) {
                    continue;
                }
                let choice = self.choose(slices, index, ipv6);
                let stand_in = vip(node_ports(TrafficPolicy::Cluster, ipv6), port, number);
                if let Fate::To(backends) = choice.fate(TrafficPolicy::Cluster) {
                    self.translate(name, stand_in, backends, affinity);
                }
                if first.external_traffic_policy == TrafficPolicy::Local
                    && let Fate::To(backends) = choice.fate(TrafficPolicy::Local)
                {
                    let stand_in = vip(node_ports(TrafficPolicy::Local, ipv6), port, number);
                    self.translate(name, stand_in, backends, affinity);
                }
                for &address in addresses.iter().filter(|address| address.is_ipv6() == ipv6) {
                    let on_node = vip(address, port, number);
                    match choice.fate(TrafficPolicy::Cluster) {
                        Fate::Reject => self.refuse_port(name, on_node, Path::Unreachable, affinity),
                        Fate::Drop => self.refuse_port(name, on_node, Path::Drop, affinity),
                        Fate::To(_) => {}
                    }
                    if let Fate::To(backends) = choice.fate(TrafficPolicy::Cluster)
                        && self.translate(name, on_node, backends, affinity)
                    {
                        let target = (stand_in.address, stand_in.port);
                        self.out.host.nat.own.insert(on_node, vec![target]);
                    }
                    self.add_entry(name, first, on_node, port, &choice);
                }
            }
        }
    }

    /// Ready endpoints of this node count, by address; those that only linger do not (KEP-1669).
    fn add_health_check(&mut self, name: &str, slices: &ServiceSlices<'_>) {
        let Some(port) = slices.first.health_check_node_port else {
            return;
        };
        let local = slices
            .backends()
            .filter(|backend| backend.ready && backend.node.as_deref() == Some(&self.inputs.local.node));
        let local: BTreeSet<IpAddr> = local.map(|backend| backend.address).collect();
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        let check = crate::health::Check {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            local_endpoints: local.len(),
        };
        self.out.health.entry(port).or_insert(check);
    }

    fn finish(self) {
        for (address, path) in self.refusals {
            // A node's own address stays the node's.
            if !self.inputs.spec.node.addresses.contains(&address) {
                self.out
                    .put(Key::Route(Cidr::host(address)), Object::Route(vec![path]));
            }
        }
        for name in self.sctp {
            let reason =
                format!("service {name}: VPP's cnat carries SCTP in IPv4 only: it is not served in IPv6");
            self.out.pend(Area::Services, reason);
        }
        let stand_ins = self.out.host.nat.entries.values().map(|(address, _)| *address);
        let own = self
            .out
            .host
            .nat
            .own
            .values()
            .flatten()
            .map(|(address, _)| *address);
        let used: BTreeSet<IpAddr> = stand_ins.chain(own).filter(|&each| is_stand_in(each)).collect();
        self.out.host.vips.extend(used);
    }
}

fn vip(address: IpAddr, port: &ServicePort, number: u16) -> Vip {
    Vip {
        address,
        port: number,
        protocol: port.protocol,
    }
}

/// Where in VPP a port has all its backends for clients that the kernel hands over.
fn cluster_target(first: &VppServiceSliceSpec, port: &ServicePort, ipv6: bool) -> Option<Target> {
    if let Some(number) = port.node_port {
        return Some((node_ports(TrafficPolicy::Cluster, ipv6), number));
    }
    let of_family =
        |frontend: &&Frontend| frontend.kind == FrontendKind::ClusterIp && frontend.address.is_ipv6() == ipv6;
    let cluster_ip = first.frontends.iter().find(of_family)?;
    first
        .internal_traffic_policy
        .is_cluster()
        .then_some((cluster_ip.address, port.port))
}

#[cfg(test)]
mod tests;
