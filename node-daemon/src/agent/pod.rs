//! What an attachment is within the pod, and on the node beside VPP.

use std::path::{Path, PathBuf};

use crds::cnf::InterfaceKind;
use crds::vpp_config::{FunctionInterface, PodBinding};

use super::Agent;
use crate::addressing;
use crate::attachments::Attachment;
use crate::cni::Made;
use crate::desired::MAIN_INTERFACE;
use crate::podside::{self, FunctionSide, PodSide, PodSideError, Veth};

/// The pod's side of an attachment.
pub(super) enum Side {
    /// The pod's binding is not known.
    Unknown,
    /// There is no device in the namespace: the application speaks memif.
    NotTheKernels,
    /// This, in this namespace.
    Kernel(PathBuf, Box<PodSide>),
}

/// Further interfaces of an attachment: those of the binding hang on the pod's main one.
fn functions<'a>(
    attachment: &Attachment,
    binding: &'a PodBinding,
) -> impl Iterator<Item = &'a FunctionInterface> + use<'a> {
    let all = if attachment.ifname == MAIN_INTERFACE {
        &binding.interfaces[..]
    } else {
        &[]
    };
    all.iter()
}

impl Agent {
    /// What the pod is.
    pub(super) fn binding_of(&self, attachment: &Attachment) -> Option<&PodBinding> {
        let (spec, _) = self.spec.as_ref()?;
        let bound = spec.pods.iter().find(|binding| binding.uid == attachment.uid);
        bound.or_else(|| {
            self.retained
                .get(&attachment.uid)
                .map(|retained| &retained.binding)
        })
    }

    /// Veths an attachment needs.
    pub(super) fn veths(&self, attachment: &Attachment, binding: &PodBinding) -> Vec<Veth> {
        let mtu = self.spec.as_ref().map_or(0, |(spec, _)| self.local.pod_mtu(spec));
        let veth = |ifname: &str, pod_mac, mac| Veth {
            name: attachment.veth_name(ifname),
            mac,
            netns: PathBuf::from(&attachment.netns),
            ifname: ifname.to_owned(),
            pod_mac,
            mtu,
        };
        // The node's end has an address of its own: the kernel must not take VPP's packets for its own.
        let outer = |name: &str| attachment.function_vpp_mac(&format!("{name} outer"));
        let mut veths = Vec::new();
        if attachment.kind == InterfaceKind::Veth {
            let name = &attachment.ifname;
            veths.push(veth(name, attachment.pod_mac(), outer(name)));
        }
        for interface in binding
            .interfaces
            .iter()
            .filter(|i| i.kind == InterfaceKind::Veth)
        {
            let name = &interface.name;
            veths.push(veth(name, attachment.function_pod_mac(name), outer(name)));
        }
        veths
    }

    /// What ADD's result tells beside the attachment itself.
    pub(super) fn made(&self, attachment: &Attachment) -> Made {
        let (mtu, gateways) = match &self.spec {
            Some((spec, _)) => (self.local.pod_mtu(spec), addressing::gateways(spec).collect()),
            None => (0, Vec::new()),
        };
        let binding = self.binding_of(attachment);
        let interfaces = binding.into_iter().flat_map(|b| functions(attachment, b));
        let (memif, kernel): (Vec<_>, Vec<_>) = interfaces.partition(|i| i.kind == InterfaceKind::Memif);
        let socket = |name: &str| (name.to_owned(), addressing::memif_socket(&attachment.netns, name));
        let mut memif_sockets: Vec<_> = memif.iter().map(|i| socket(&i.name)).collect();
        if attachment.kind == InterfaceKind::Memif {
            memif_sockets.push(socket(&attachment.ifname));
        }
        Made {
            vpp_interface: attachment.tag(),
            mtu,
            gateways,
            function_interfaces: kernel.iter().map(|i| i.name.clone()).collect(),
            memif_sockets,
        }
    }

    /// The pod's side as it should be.
    pub(super) fn pod_side(&self, attachment: &Attachment) -> Side {
        let (Some((spec, _)), Some(binding)) = (&self.spec, self.binding_of(attachment)) else {
            return Side::Unknown;
        };
        if !addressing::has_kernel_device(attachment.kind) {
            return Side::NotTheKernels;
        }
        let mtu = self.local.pod_mtu(spec);
        let functions = functions(attachment, binding)
            .filter(|i| addressing::has_kernel_device(i.kind))
            .map(|interface| FunctionSide {
                ifname: interface.name.clone(),
                role: interface.role,
                mac: attachment.function_pod_mac(&interface.name),
                mtu,
                gateways: attachment.addresses.iter().map(function_gateway).collect(),
                gateway_mac: attachment.function_vpp_mac(&interface.name),
            })
            .collect();
        let gateways = addressing::gateways(spec)
            .filter(|g| attachment.addresses.iter().any(|a| a.is_ipv6() == g.is_ipv6()))
            .collect();
        let side = PodSide {
            ifname: attachment.ifname.clone(),
            mac: attachment.pod_mac(),
            mtu,
            addresses: attachment.addresses.clone(),
            gateways,
            gateway_mac: attachment.vpp_mac(),
            functions,
            forwarding: binding.forwarding,
        };
        Side::Kernel(PathBuf::from(&attachment.netns), Box::new(side))
    }
}

fn function_gateway(address: &std::net::IpAddr) -> std::net::IpAddr {
    if address.is_ipv6() {
        addressing::FUNCTION_GATEWAY_V6.into()
    } else {
        addressing::FUNCTION_GATEWAY_V4.into()
    }
}

/// Names that must be free in the pod: those of interfaces that VPP or a veth brings into it.
pub(super) fn kernel_names(attachment: &Attachment, binding: &PodBinding) -> Vec<String> {
    let main = addressing::has_kernel_device(attachment.kind).then(|| attachment.ifname.clone());
    let functions = functions(attachment, binding)
        .filter(|i| addressing::has_kernel_device(i.kind))
        .map(|i| i.name.clone());
    main.into_iter().chain(functions).collect()
}

/// Looks at the namespace and makes the veths; blocks.
pub(super) fn prepare(netns: &Path, names: &[String], veths: &[Veth]) -> Result<(), PodSideError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    podside::vacant(netns, &names)?;
    for veth in veths {
        podside::create_veth(veth)?;
    }
    Ok(())
}

/// Removes the veths an attachment may have; blocks. With the node's end the pod's goes too.
pub(super) fn remove_veths(attachment: &Attachment, functions: &[String]) {
    let names = std::iter::once(&attachment.ifname).chain(functions);
    for name in names {
        if let Err(error) = podside::delete_veth(&attachment.veth_name(name)) {
            tracing::warn!(%error, "veth stays behind");
        }
    }
}
