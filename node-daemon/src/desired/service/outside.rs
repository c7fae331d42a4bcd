//! Services for clients that the node's kernel hands over: node ports, and addresses from outside.

use crds::VppServiceSliceSpec;
use crds::service_slice::{Frontend, FrontendKind, ServicePort, TrafficPolicy};

use super::{Adder, affinity_of, node_ports, stand_ins, vip};
use crate::cluster::ServiceSlices;
use crate::desired::service_backends::{Choice, Fate, Target};
use crate::host::nat::Refusal;
use crate::objects::{Key, Path, Vip};

/// How many numbers are tried for a port without node port.
const ATTEMPTS: u16 = 64;

impl Adder<'_, '_> {
    /// Where in VPP a port has these backends, those of a policy and family, for clients that the kernel hands over.
    pub(super) fn stand_in(
        &mut self,
        name: &str,
        first: &VppServiceSliceSpec,
        port: &ServicePort,
        (policy, ipv6): (TrafficPolicy, bool),
        backends: &[Target],
    ) -> Option<Target> {
        if let Some(number) = port.node_port {
            return Some((node_ports(policy, ipv6), number));
        }
        let of_family = |frontend: &&Frontend| {
            frontend.kind == FrontendKind::ClusterIp && frontend.address.is_ipv6() == ipv6
        };
        if policy.is_cluster()
            && first.internal_traffic_policy.is_cluster()
            && let Some(cluster_ip) = first.frontends.iter().find(of_family)
        {
            return Some((cluster_ip.address, port.port));
        }
        let known = (
            name.to_owned(),
            port.port,
            port.protocol,
            policy.is_cluster(),
            ipv6,
        );
        if let Some(target) = self.stand_ins.get(&known) {
            return Some(*target);
        }
        let affinity = affinity_of(name, first, port);
        let target = (0..ATTEMPTS)
            .map(|attempt| stand_ins::without_node_port(name, port, policy, ipv6, attempt))
            .find(|&(address, number)| {
                let key = Key::Translation(vip(address, port, number));
                !self.out.objects.contains_key(&key)
            })?;
        self.translate(
            name,
            vip(target.0, port, target.1),
            backends.to_vec(),
            affinity.as_ref(),
        );
        self.stand_ins.insert(known, target);
        Some(target)
    }

    /// What the kernel does with packets from outside to an address: hands them to VPP, or refuses them.
    pub(super) fn add_entry(
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
            Fate::To(backends) => {
                let Some(target) = self.stand_in(name, first, port, (policy, ipv6), &backends) else {
                    self.out.host.nat.refused.insert(vip, Refusal::Drop);
                    self.pend(format!(
                        "service {name}: {vip} is closed to clients outside, there is no number left to stand for it"
                    ));
                    return;
                };
                self.out.host.nat.entries.insert(vip, target);
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

    pub(super) fn add_node_ports(&mut self, name: &str, slices: &ServiceSlices<'_>) {
        let first = slices.first;
        let addresses = self.inputs.spec.node.addresses.clone();
        for (index, port) in first.ports.iter().enumerate() {
            let Some(number) = port.node_port else { continue };
            let affinity = affinity_of(name, first, port);
            let affinity = affinity.as_ref();
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
}
