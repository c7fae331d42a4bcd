//! `show ip fib` and what else decides where packets go.

use std::fmt::Write as _;
use std::time::Duration;

use crate::engine::{Family, NONE, PathKind, RoutePath, Vpp};
use crate::server::core::Core;

/// `show ip fib` and `show ip6 fib`: each prefix with its best source's paths.
pub fn fib(vpp: &Vpp, family: Family) -> String {
    let name = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let sources = vpp.fib_sources();
    let mut text = String::new();
    for table in vpp.ip_tables().into_iter().filter(|table| table.family == family) {
        let _ = writeln!(text, "{name}-VRF:{}", table.table_id);
        for route in vpp.ip_routes(family, table.table_id, 0) {
            let source = sources.iter().find(|source| source.id == route.source);
            let source = source.map_or_else(|| route.source.to_string(), |source| source.name.clone());
            let _ = writeln!(
                text,
                "{}\n  src:{source} stats-index:{}",
                route.prefix, route.stats_index
            );
            for path in &route.paths {
                let _ = writeln!(text, "    {}", describe(vpp, path));
            }
        }
    }
    text
}

fn describe(vpp: &Vpp, path: &RoutePath) -> String {
    let interface = |index: u32| {
        vpp.interface(index)
            .map_or_else(|| format!("DELETED ({index})"), |i| i.name.clone())
    };
    let weight = format!("weight {} preference {}", path.weight.max(1), path.preference);
    match path.kind {
        PathKind::Drop => "drop".to_owned(),
        PathKind::IcmpUnreach => "unreachable".to_owned(),
        PathKind::IcmpProhibit => "prohibited".to_owned(),
        PathKind::Local if path.sw_if_index == NONE => "receive".to_owned(),
        PathKind::Local => format!("receive {} {}", path.next_hop, interface(path.sw_if_index)),
        PathKind::Other(number) => format!("type {number}"),
        PathKind::Normal if path.sw_if_index == NONE => {
            format!("via {} in table {} {weight}", path.next_hop, path.table_id)
        }
        PathKind::Normal if path.next_hop.is_unspecified() => {
            format!("attached {} {weight}", interface(path.sw_if_index))
        }
        PathKind::Normal => format!("via {} {} {weight}", path.next_hop, interface(path.sw_if_index)),
    }
}

/// `show ip neighbors`.
pub fn neighbors(core: &Core) -> String {
    let mut text = format!(
        "{:>12} {:^40} {:^6} {:^19} Interface\n",
        "Age", "IP", "Flags", "Ethernet"
    );
    for neighbor in core.vpp.neighbors(None, None) {
        let age = Duration::from_nanos(core.now().saturating_sub(neighbor.updated));
        let flags = format!(
            "{}{}",
            if neighbor.is_static { "S" } else { "D" },
            if neighbor.no_fib_entry { "N" } else { "" }
        );
        let interface = core
            .vpp
            .interface(neighbor.sw_if_index)
            .map_or("DELETED", |i| i.name.as_str());
        let (address, mac) = (neighbor.address.to_string(), neighbor.mac.to_string());
        let _ = writeln!(
            text,
            "{:>12.4} {address:<40} {flags:^6} {mac:^19} {interface}",
            age.as_secs_f64()
        );
    }
    text
}

/// `show abf policy`.
pub fn abf_policies(vpp: &Vpp) -> String {
    let mut text = String::new();
    for policy in vpp.abf_policies() {
        let _ = writeln!(text, "abf: policy:{} acl:{}", policy.policy_id, policy.acl_index);
        for path in &policy.paths {
            let _ = writeln!(text, "    {}", describe(vpp, path));
        }
    }
    text
}

/// `show abf attach`.
pub fn abf_attachments(vpp: &Vpp) -> String {
    let mut text = String::new();
    for attached in vpp.abf_attachments() {
        let interface = vpp
            .interface(attached.sw_if_index)
            .map_or("DELETED", |i| i.name.as_str());
        let family = attached.family.node_prefix();
        let _ = writeln!(
            text,
            "abf-interface-attach: {interface} {family} policy:{} priority:{}",
            attached.policy_id, attached.priority
        );
    }
    text
}

/// `show vxlan tunnel`.
pub fn vxlan(vpp: &Vpp) -> String {
    let mut text = String::new();
    for found in vpp.vxlan_tunnels() {
        let t = &found.tunnel;
        let layer = if t.is_l3 { "l3" } else { "l2" };
        let _ = writeln!(
            text,
            "[{}] instance {} src {} dst {} src_port {} dst_port {} vni {} encap-table {} sw-if-idx {} {layer}",
            t.instance,
            t.instance,
            t.src,
            t.dst,
            t.src_port,
            t.dst_port,
            t.vni,
            t.encap_table_id,
            found.sw_if_index
        );
    }
    if text.is_empty() {
        text.push_str("No vxlan tunnels configured...\n");
    }
    text
}
