//! Services as cnat translations (design §6), and what the node's own side does for them.
//!
//! cnat knows one set of backends per address, port and protocol, whoever the client is. So each kind of client has an
//! address of its own:
//!
//! | client | address in VPP | backends by |
//! |---|---|---|
//! | pods | cluster IP | internal traffic policy |
//! | pods | external, load-balancer and node addresses | Cluster |
//! | node, by node port | a [stand-in](stand_ins) | Cluster |
//! | outside, by the node's kernel | the same, or another | external traffic policy |
//!
//! The kernel, which owns the node's addresses, turns the last two into the former: see [`crate::host::nat`].

mod outside;
mod source_nat;
mod stand_ins;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crds::VppServiceSliceSpec;
use crds::net::{Cidr, Protocol};
use crds::service_slice::{Frontend, FrontendKind, ServicePort, TrafficPolicy};

use super::service_backends::{Choice, Fate, Place, Target};
use super::{Affinity, Desired, Inputs};
use crate::cluster::ServiceSlices;
use crate::objects::{Area, Key, Link, Object, Path, Translation, Vip};

pub(super) use source_nat::snat_addresses;
pub use stand_ins::{ends_in_vpp, is_stand_in, kept, node_ports, refusing, stands_for_none};

pub(super) fn add(inputs: &Inputs<'_>, out: &mut Desired) {
    if !inputs.local.cnat {
        if !inputs.cluster.services.is_empty() {
            out.pend(Area::Services, "this VPP has no cnat plugin".to_owned());
        }
        return;
    }
    source_nat::add(inputs, out);
    source_nat::add_features(inputs, out);
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
        stand_ins: BTreeMap::new(),
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

/// Turns Services into objects and into what the node's own side needs.
struct Adder<'a, 'o> {
    inputs: &'a Inputs<'a>,
    out: &'o mut Desired,
    surroundings: Surroundings<'a>,
    /// What VPP answers on addresses for ports without translation.
    refusals: BTreeMap<IpAddr, Path>,
    /// What stands for ports without node port: by Service, port, protocol, whether all backends are wanted, and family.
    stand_ins: BTreeMap<(String, u16, Protocol, bool, bool), Target>,
    sctp: BTreeSet<String>,
}

impl Adder<'_, '_> {
    /// A Service of which a slice is on its way keeps what it has: half of its backends would look like the loss of
    /// the other half.
    fn freeze(&mut self, name: &str, slices: &ServiceSlices<'_>, missing: u32) {
        let first = slices.first;
        self.pend(format!("service {name}: slice {missing} is not known yet"));
        let policies = [TrafficPolicy::Cluster, TrafficPolicy::Local];
        for frontend in &first.frontends {
            self.out.frozen.insert(Key::Route(Cidr::host(frontend.address)));
            let ipv6 = frontend.address.is_ipv6();
            for port in &first.ports {
                let stand_ins =
                    policies.map(|policy| stand_ins::without_node_port(name, port, policy, ipv6, 0));
                let all = [(frontend.address, port.port)].into_iter().chain(stand_ins);
                self.out
                    .frozen
                    .extend(all.map(|(address, number)| Key::Translation(vip(address, port, number))));
            }
        }
        for address in self.inputs.spec.node.addresses.clone() {
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
        Choice::new(&slices.backends_of(index, ipv6), place)
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
    fn translate(
        &mut self,
        name: &str,
        vip: Vip,
        backends: Vec<Target>,
        affinity: Option<&Affinity>,
    ) -> bool {
        let key = Key::Translation(vip);
        if self.out.objects.contains_key(&key) {
            self.pend(format!("service {name}: {vip} is another Service's"));
            return false;
        }
        // A client of one backend has no other to go to.
        if let Some(affinity) = affinity.filter(|_| backends.len() > 1) {
            self.out.affinities.insert(vip, affinity.clone());
        }
        let affinity = affinity.is_some();
        self.out
            .put(key, Object::Translation(Translation { backends, affinity }));
        true
    }

    /// A port without backend has a translation too, to the node's kernel if that is to tell its clients. And where VPP's
    /// sessions are of a backend: a client that goes on sending from one port would else have a session that knows of no
    /// backend, and keep it when there are some. Where they are not, a new TCP connection has another port.
    fn refuse_port(&mut self, name: &str, vip: Vip, path: Path, affinity: Option<&Affinity>) {
        let ipv6 = vip.address.is_ipv6();
        let cnat_v1 = self.inputs.local.cnat_v1;
        let node = &self.inputs.spec.node.addresses;
        let told_by_kernel = path != Path::Drop && self.inputs.local.kernel_address(node, ipv6).is_some();
        if told_by_kernel && (cnat_v1 || vip.protocol == Protocol::Tcp) {
            self.translate(name, vip, vec![(stand_ins::refusing(ipv6), 0)], affinity);
            return;
        }
        if !cnat_v1 {
            return;
        }
        let sink = stand_ins::nowhere(&path, ipv6);
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
        let affinity = affinity_of(name, first, port);
        let affinity = affinity.as_ref();
        let refusal = match &fate {
            Fate::Reject => Some(Path::Unreachable),
            Fate::To(_) if pods_admitted => None,
            Fate::Drop | Fate::To(_) => Some(Path::Drop),
        };
        if let Some(path) = refusal {
            self.refuse(address, path.clone());
            self.refuse_port(name, vip, path, affinity);
        }
        match &fate {
            Fate::Drop | Fate::Reject => {}
            Fate::To(_) if !pods_admitted => {}
            Fate::To(backends) => {
                if !self.translate(name, vip, backends.clone(), affinity) {
                    return;
                }
            }
        }
        self.add_own(name, vip, &fate, pods_admitted, first, port);
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
        name: &str,
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
            Fate::To(backends) if !pods_admitted => {
                let target = self.stand_in(
                    name,
                    first,
                    port,
                    (TrafficPolicy::Cluster, vip.address.is_ipv6()),
                    backends,
                );
                let own = target.map(|target| (vip, vec![target]));
                self.out.host.nat.own.extend(own);
            }
            Fate::To(_) | Fate::Drop => {
                self.out.host.vips.insert(vip.address);
            }
            Fate::Reject => {
                self.out.host.nat.own_refused.insert(vip);
                // What else is asked of the address is VPP's to answer.
                self.out.host.vips.insert(vip.address);
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

/// What a port of a Service asks for its clients.
fn affinity_of(name: &str, first: &VppServiceSliceSpec, port: &ServicePort) -> Option<Affinity> {
    let seconds = first.affinity_seconds?;
    Some(Affinity {
        port: format!("{name}:{}/{}", port.port, port.protocol).into(),
        timeout: Duration::from_secs(u64::from(seconds)),
    })
}

#[cfg(test)]
mod tests;
