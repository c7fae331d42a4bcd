//! VPP's messages, one module per API file, under VPP's names in CamelCase.

pub mod abf;
pub mod acl;
pub mod af_packet;
pub mod af_xdp;
pub mod cnat;
pub mod feature;
pub mod graph;
pub mod interface;
pub mod ip;
pub mod ip6_nd;
pub mod ip_neighbor;
pub mod ipip;
pub mod ipsec;
pub mod l2;
pub mod l3xc;
pub mod memclnt;
pub mod memif;
pub mod nat44_ed;
pub mod policer;
pub mod punt;
pub mod sr;
pub mod tapv2;
pub mod teib;
pub mod tracedump;
pub mod tracenode;
pub mod urpf;
pub mod vlib;
pub mod vpe;
pub mod vxlan;
pub mod wireguard;

use crate::message::MessageInfo;

/// Every message defined here, by API file.
pub const ALL: &[(&str, &[MessageInfo])] = &[
    ("abf", abf::MESSAGES),
    ("acl", acl::MESSAGES),
    ("af_packet", af_packet::MESSAGES),
    ("af_xdp", af_xdp::MESSAGES),
    ("cnat", cnat::MESSAGES),
    ("feature", feature::MESSAGES),
    ("graph", graph::MESSAGES),
    ("interface", interface::MESSAGES),
    ("ip", ip::MESSAGES),
    ("ip6_nd", ip6_nd::MESSAGES),
    ("ip_neighbor", ip_neighbor::MESSAGES),
    ("ipip", ipip::MESSAGES),
    ("ipsec", ipsec::MESSAGES),
    ("l2", l2::MESSAGES),
    ("l3xc", l3xc::MESSAGES),
    ("memclnt", memclnt::MESSAGES),
    ("memif", memif::MESSAGES),
    ("sr", sr::MESSAGES),
    ("nat44_ed", nat44_ed::MESSAGES),
    ("policer", policer::MESSAGES),
    ("punt", punt::MESSAGES),
    ("tapv2", tapv2::MESSAGES),
    ("teib", teib::MESSAGES),
    ("tracedump", tracedump::MESSAGES),
    ("tracenode", tracenode::MESSAGES),
    ("urpf", urpf::MESSAGES),
    ("vlib", vlib::MESSAGES),
    ("vpe", vpe::MESSAGES),
    ("vxlan", vxlan::MESSAGES),
    ("wireguard", wireguard::MESSAGES),
];
