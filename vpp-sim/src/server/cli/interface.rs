//! `show interface`.

use std::fmt::Write as _;

use crate::engine::{Interface, Vpp};

/// Counters of the named interfaces, or of all.
pub fn counters(vpp: &Vpp, names: &[&str]) -> Result<String, String> {
    if let Some(name) = names.iter().find(|name| vpp.interface_by_name(name).is_none()) {
        return Err(super::unknown(name));
    }
    let mut text = format!(
        "{:^30}{:^5}{:^10}{:^21}{:<16}{:^16}\n",
        "Name", "Idx", "State", "MTU (L3/IP4/IP6/MPLS)", "Counter", "Count"
    );
    for interface in vpp
        .interfaces()
        .filter(|i| names.is_empty() || names.contains(&i.name.as_str()))
    {
        row(&mut text, interface);
    }
    Ok(text)
}

fn row(text: &mut String, interface: &Interface) {
    let [l3, ip4, ip6, mpls] = interface.mtu;
    let state = if interface.admin_up { "up" } else { "down" };
    let mut line = format!(
        "{:<30}{:^5}{state:^10}{:^21}",
        interface.name,
        interface.sw_if_index,
        format!("{l3}/{ip4}/{ip6}/{mpls}")
    );
    let c = &interface.counters;
    let counters = [
        ("rx packets", c.rx_packets),
        ("rx bytes", c.rx_bytes),
        ("tx packets", c.tx_packets),
        ("tx bytes", c.tx_bytes),
        ("drops", c.drops),
        ("tx-error", c.tx_errors),
    ];
    for (name, value) in counters.into_iter().filter(|(_, value)| *value > 0) {
        let _ = writeln!(text, "{line:<66}{name:<16}{value:>16}");
        line.clear();
    }
    if !line.is_empty() {
        let _ = writeln!(text, "{line}");
    }
}

/// `show interface address`.
pub fn addresses(vpp: &Vpp) -> String {
    let mut text = String::new();
    for interface in vpp.interfaces() {
        let state = if interface.admin_up { "up" } else { "dn" };
        let _ = writeln!(text, "{} ({state}):", interface.name);
        if let Some(lender) = interface.unnumbered_to.and_then(|lender| vpp.interface(lender)) {
            let _ = writeln!(text, "  unnumbered, use {}", lender.name);
        }
        for prefix in &interface.addresses {
            let [table4, table6] = interface.table;
            let (family, table) = if prefix.address.is_ipv4() {
                ("ip4", table4)
            } else {
                ("ip6", table6)
            };
            let _ = writeln!(text, "  L3 {prefix} {family} table-id {table}");
        }
    }
    text
}
