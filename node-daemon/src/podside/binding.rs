//! From a pod's binding to what its namespace needs. Pure.

use std::net::IpAddr;
use std::path::PathBuf;

use crds::cnf::InterfaceKind;
use crds::vpp_config::{FunctionInterface, PodBinding};

use super::{FunctionSide, PodSide, Veth};
use crate::addressing::{FUNCTION_GATEWAY_V4, FUNCTION_GATEWAY_V6, has_kernel_device};
use crate::attachments::Attachment;

/// The interface on whose attachment a function's further interfaces hang.
const MAIN_INTERFACE: &str = "eth0";

/// What the pod needs. `gateways` are the node's, `mtu` that of pods, in bytes.
///
/// `None` for a pod whose own interface is a memif: the kernel has no part in it.
pub fn side(
    attachment: &Attachment,
    binding: &PodBinding,
    gateways: impl IntoIterator<Item = IpAddr>,
    mtu: u32,
) -> Option<PodSide> {
    if !has_kernel_device(attachment.kind) {
        return None;
    }
    let wanted = |gateway: &IpAddr| {
        let mut addresses = attachment.addresses.iter();
        addresses.any(|address| address.is_ipv6() == gateway.is_ipv6())
    };
    let functions = further(attachment, binding)
        .filter(|interface| has_kernel_device(interface.kind))
        .map(|interface| FunctionSide {
            ifname: interface.name.clone(),
            role: interface.role,
            mac: attachment.function_pod_mac(&interface.name),
            mtu,
            gateways: vec![FUNCTION_GATEWAY_V4.into(), FUNCTION_GATEWAY_V6.into()],
            gateway_mac: attachment.function_vpp_mac(&interface.name),
        })
        .collect();
    Some(PodSide {
        ifname: attachment.ifname.clone(),
        mac: attachment.pod_mac(),
        mtu,
        addresses: attachment.addresses.clone(),
        gateways: gateways.into_iter().filter(wanted).collect(),
        gateway_mac: attachment.vpp_mac(),
        functions,
        forwarding: binding.forwarding,
    })
}

/// The veth pairs that the attachment needs before VPP can have its ends.
pub fn veths(attachment: &Attachment, binding: &PodBinding, mtu: u32) -> Vec<Veth> {
    let veth = |ifname: &str, mac, pod_mac| Veth {
        name: attachment.veth_name(ifname),
        mac,
        netns: PathBuf::from(&attachment.netns),
        ifname: ifname.to_owned(),
        pod_mac,
        mtu,
    };
    let own = (attachment.kind == InterfaceKind::Veth)
        .then(|| veth(&attachment.ifname, attachment.vpp_mac(), attachment.pod_mac()));
    let others = further(attachment, binding)
        .filter(|interface| interface.kind == InterfaceKind::Veth)
        .map(|interface| {
            veth(
                &interface.name,
                attachment.function_vpp_mac(&interface.name),
                attachment.function_pod_mac(&interface.name),
            )
        });
    own.into_iter().chain(others).collect()
}

/// Names of all kernel interfaces that will be made in the pod: none of them may be there before.
pub fn interface_names<'a>(attachment: &'a Attachment, binding: &'a PodBinding) -> Vec<&'a str> {
    let own = has_kernel_device(attachment.kind).then_some(attachment.ifname.as_str());
    let others = further(attachment, binding)
        .filter(|interface| has_kernel_device(interface.kind))
        .map(|interface| interface.name.as_str());
    own.into_iter().chain(others).collect()
}

fn further<'a>(
    attachment: &Attachment,
    binding: &'a PodBinding,
) -> impl Iterator<Item = &'a FunctionInterface> + use<'a> {
    let main = attachment.ifname == MAIN_INTERFACE;
    binding.interfaces.iter().filter(move |_| main)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachments::tests::attachment;
    use crds::cnf::InterfaceRole;

    fn function() -> PodBinding {
        let interface = |name: &str, role, kind| FunctionInterface {
            name: name.into(),
            role,
            kind,
        };
        PodBinding {
            interfaces: vec![
                interface("in", InterfaceRole::In, InterfaceKind::Tap),
                interface("out", InterfaceRole::Out, InterfaceKind::Veth),
                interface("fast", InterfaceRole::InOut, InterfaceKind::Memif),
            ],
            ..PodBinding::default()
        }
    }

    fn gateways() -> Vec<IpAddr> {
        vec!["10.1.1.1".parse().unwrap(), "fd00:1::1".parse().unwrap()]
    }

    #[test]
    fn a_function_has_its_kernel_interfaces_and_the_rest_is_left_to_it() {
        let pod = attachment("c1");
        let side = side(&pod, &function(), gateways(), 1450).unwrap();
        let names: Vec<_> = side.functions.iter().map(|f| f.ifname.as_str()).collect();
        assert_eq!(names, ["in", "out"]);
        assert_eq!(side.functions[0].mac, pod.function_pod_mac("in"));
        assert_eq!(side.functions[0].gateway_mac, pod.function_vpp_mac("in"));
        assert_eq!(side.gateways, gateways());
        assert_eq!(interface_names(&pod, &function()), ["eth0", "in", "out"]);
        let veths = veths(&pod, &function(), 1450);
        assert_eq!(veths.len(), 1);
        assert_eq!(veths[0].name, pod.veth_name("out"));
        assert_eq!(veths[0].ifname, "out");
    }

    #[test]
    fn gateways_are_of_the_pods_families() {
        let mut pod = attachment("c1");
        pod.addresses.truncate(1);
        let side = side(&pod, &PodBinding::default(), gateways(), 1450).unwrap();
        assert_eq!(side.gateways, gateways()[..1]);
    }

    #[test]
    fn a_second_attachment_of_a_function_has_no_further_interfaces() {
        let mut pod = attachment("c1");
        pod.ifname = "net1".into();
        pod.kind = InterfaceKind::Veth;
        assert_eq!(interface_names(&pod, &function()), ["net1"]);
        assert_eq!(veths(&pod, &function(), 1450).len(), 1);
        pod.kind = InterfaceKind::Memif;
        assert_eq!(side(&pod, &function(), gateways(), 1450), None);
    }
}
