//! `show acl-plugin` and `show cnat`.

use std::fmt::Write as _;

use crate::engine::{AclAction, CnatEndpoint, LoadBalance, NONE, Vpp};

fn interface(vpp: &Vpp, sw_if_index: u32) -> String {
    vpp.interface(sw_if_index)
        .map_or_else(|| format!("DELETED ({sw_if_index})"), |i| i.name.clone())
}

/// `show acl-plugin acl`.
pub fn acls(vpp: &Vpp) -> String {
    let mut text = String::new();
    for (index, acl) in vpp.acls() {
        let _ = writeln!(
            text,
            "acl-index {index} count {} tag {{{}}}",
            acl.rules.len(),
            acl.tag
        );
        for (number, rule) in acl.rules.iter().enumerate() {
            let family = rule.src.family().node_prefix().replace("ip", "ipv");
            let action = match rule.action {
                AclAction::Deny => "deny",
                AclAction::Permit => "permit",
                AclAction::PermitReflect => "permit+reflect",
            };
            let range = |(first, last): (u16, u16)| {
                if first == last {
                    first.to_string()
                } else {
                    format!("{first}-{last}")
                }
            };
            let (sport, dport) = (range(rule.src_ports), range(rule.dst_ports));
            let _ = write!(
                text,
                "{number:>9}: {family} {action} src {} dst {} proto {} sport {sport} dport {dport}",
                rule.src, rule.dst, rule.proto
            );
            if rule.tcp_flags_mask != 0 {
                let _ = write!(
                    text,
                    " tcpflags {} mask {}",
                    rule.tcp_flags_value, rule.tcp_flags_mask
                );
            }
            match acl.matches.get(number) {
                Some((packets, bytes)) if *packets > 0 => {
                    let _ = writeln!(text, " matched {packets} packets {bytes} bytes");
                }
                _ => text.push('\n'),
            }
        }
    }
    text
}

/// `show acl-plugin interface`.
pub fn acl_bindings(vpp: &Vpp) -> String {
    let mut text = String::new();
    for interface in vpp.interfaces() {
        let binding = vpp.acl_binding(interface.sw_if_index);
        let _ = writeln!(text, "sw_if_index {}:", interface.sw_if_index);
        for (direction, list) in [("input", &binding.input), ("output", &binding.output)] {
            if !list.is_empty() {
                let list: Vec<String> = list.iter().map(u32::to_string).collect();
                let _ = writeln!(text, "  {direction} acl(s): {}", list.join(", "));
            }
        }
    }
    text
}

/// `show acl-plugin sessions`.
pub fn acl_sessions(vpp: &Vpp) -> String {
    let sessions = vpp.acl_sessions();
    let mut text = format!("Sessions total: {}\n", sessions.len());
    for session in sessions {
        let direction = if session.is_input { "input" } else { "output" };
        let (from, to) = session.ports;
        let _ = writeln!(
            text,
            "  {} {direction}: proto {} {} {from} -> {} {to}",
            interface(vpp, session.sw_if_index),
            session.proto,
            session.src,
            session.dst
        );
    }
    text
}

fn endpoint(vpp: &Vpp, endpoint: &CnatEndpoint) -> String {
    if endpoint.sw_if_index == NONE {
        format!("{};{}", endpoint.address, endpoint.port)
    } else {
        format!(
            "{} ({});{}",
            interface(vpp, endpoint.sw_if_index),
            endpoint.address,
            endpoint.port
        )
    }
}

/// `show cnat translation`.
pub fn translations(vpp: &Vpp) -> String {
    let mut text = String::new();
    for translation in vpp.cnat_translations() {
        let balance = match translation.load_balance {
            LoadBalance::Default => "default",
            LoadBalance::Maglev => "maglev",
        };
        let _ = writeln!(
            text,
            "[{}] {} proto {} lb:{balance} new flows:{}",
            translation.id,
            endpoint(vpp, &translation.vip),
            translation.proto,
            translation.packets
        );
        for path in &translation.paths {
            let (from, to) = (endpoint(vpp, &path.src), endpoint(vpp, &path.dst));
            let _ = writeln!(text, "    {from}->{to} flags {:#x}", path.flags);
        }
    }
    text
}

/// `show cnat session`.
pub fn sessions(vpp: &Vpp) -> String {
    let mut text = String::new();
    for session in vpp.cnat_sessions() {
        let key = session.key;
        let direction = if session.flags & 16 == 0 {
            "forward"
        } else {
            "return"
        };
        let _ = writeln!(
            text,
            "[{}] {};{}->{};{} proto {} table {} {direction}",
            session.ts_index, key.src, key.src_port, key.dst, key.dst_port, key.proto, session.table_id
        );
    }
    text
}
