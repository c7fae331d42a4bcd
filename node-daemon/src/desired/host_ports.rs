//! Ports of the node that lead to pods (`hostPort`).
//!
//! Who speaks to one of the node's addresses is translated where he enters: pods of all nodes by this node's VPP, whose
//! cnat looks before the routes do; clients outside and the node itself by the node's kernel. Both hand over to the
//! pod's own address and port, so policies see that, and the pod sees its client.

use std::net::IpAddr;

use crds::net::Protocol;

use super::{Desired, Inputs, LocalPod};
use crate::attachments::{Attachment, HostPort};
use crate::host::nat::HostPorts;
use crate::objects::{Area, Key, Object, Translation, Vip};

pub(super) fn add(inputs: &Inputs<'_>, pods: &[LocalPod<'_>], out: &mut Desired) {
    for pod in pods {
        for port in &pod.attachment.host_ports {
            for &target in &pod.attachment.addresses {
                add_one(inputs, pod.attachment, port, target, out);
            }
        }
    }
}

fn add_one(inputs: &Inputs<'_>, attachment: &Attachment, port: &HostPort, target: IpAddr, out: &mut Desired) {
    let ipv6 = target.is_ipv6();
    let to = (target, port.to);
    let (namespace, pod) = (&attachment.namespace, &attachment.pod);
    if port.protocol == Protocol::Sctp && ipv6 {
        let reason = format!(
            "pod {namespace}/{pod}: VPP's cnat carries SCTP in IPv4 only: pods do not reach hostPort {port} in IPv6"
        );
        out.pend(Area::Services, reason);
    } else if inputs.local.cnat {
        let node = inputs.spec.node.addresses.iter();
        for &address in node.filter(|address| address.is_ipv6() == ipv6 && port.is_on(**address)) {
            let vip = Vip {
                address,
                port: port.port,
                protocol: port.protocol,
            };
            if out.objects.contains_key(&Key::Translation(vip)) {
                let reason = format!(
                    "pod {namespace}/{pod}: hostPort {vip} is a node port, or another pod's hostPort: it stays that"
                );
                out.pend(Area::Services, reason);
                continue;
            }
            let translation = Translation {
                backends: vec![to],
                affinity: false,
            };
            out.put(Key::Translation(vip), Object::Translation(translation));
        }
    }
    let HostPorts { all, one } = &mut out.host.nat.host_ports;
    if port.on_all(ipv6) {
        all.entry((ipv6, port.protocol, port.port)).or_insert(to);
    } else if let Some(address) = port.address.filter(|address| address.is_ipv6() == ipv6) {
        let vip = Vip {
            address,
            port: port.port,
            protocol: port.protocol,
        };
        one.entry(vip).or_insert(to);
    }
}

/// Whether a translation is one of this attachment's host ports.
pub(super) fn is_own(attachment: &Attachment, vip: &Vip, object: &Object) -> bool {
    let Object::Translation(translation) = object else {
        return false;
    };
    attachment.host_ports.iter().any(|port| {
        port.is_on(vip.address)
            && (port.port, port.protocol) == (vip.port, vip.protocol)
            && translation
                .backends
                .iter()
                .all(|(address, to)| *to == port.to && attachment.addresses.contains(address))
    })
}

#[cfg(test)]
mod tests;
