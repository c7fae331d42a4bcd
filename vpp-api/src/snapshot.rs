//! Everything a VPP holds, by its dumps: for "the same as before".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::message::Dump;
use crate::messages::{
    abf, acl, af_packet, cnat, interface, ip, ip_neighbor, l2, l3xc, memif, policer, tapv2, urpf, vxlan,
};
use crate::types::{AddressFamily, FibPath, IpRoute, NO_INDEX};

/// Everything a dataplane holds but sessions and counters: per dump, one line per object, sorted.
pub type Snapshot = BTreeMap<String, Vec<String>>;

/// Takes a snapshot. Dumps that this VPP does not offer are left out.
///
/// # Errors
/// When a dump that is offered fails.
pub async fn snapshot(client: &Client) -> Result<Snapshot> {
    let every = NO_INDEX;
    let mut all = Snapshot::new();
    let interfaces = client
        .dump(interface::SwInterfaceDump {
            sw_if_index: every,
            ..Default::default()
        })
        .await?;
    for is_ipv6 in [false, true] {
        family(client, &mut all, &interfaces, is_ipv6).await?;
    }
    all.insert("interfaces".to_owned(), lines(&interfaces));

    let unnumbered = ip::IpUnnumberedDump { sw_if_index: every };
    add(client, &mut all, "unnumbered", unnumbered).await?;
    let taps = tapv2::SwInterfaceTapV2Dump { sw_if_index: every };
    add(client, &mut all, "taps", taps).await?;
    add(client, &mut all, "af_packet", af_packet::AfPacketDump {}).await?;
    add(client, &mut all, "memif", memif::MemifDump {}).await?;
    let sockets = memif::MemifSocketFilenameDump {};
    add(client, &mut all, "memif sockets", sockets).await?;
    let tunnels = vxlan::VxlanTunnelV2Dump { sw_if_index: every };
    add(client, &mut all, "vxlan", tunnels).await?;
    add(client, &mut all, "acls", acl::AclDump { acl_index: every }).await?;
    let lists = acl::AclInterfaceListDump { sw_if_index: every };
    add(client, &mut all, "acl lists", lists).await?;
    add(client, &mut all, "translations", cnat::CnatTranslationDump {}).await?;
    let addresses = client.dump(cnat::CnatSnatAddressesDump {}).await;
    if let Some(mut addresses) = offered(addresses)? {
        for details in &mut addresses {
            // 26.06 leaves it as it finds it in its memory.
            details.retval = 0;
        }
        all.insert("source-NAT addresses".to_owned(), lines(&addresses));
    }
    add(client, &mut all, "abf policies", abf::AbfPolicyDump {}).await?;
    add(client, &mut all, "abf attachments", abf::AbfItfAttachDump {}).await?;
    add(client, &mut all, "l2 cross-connects", l2::L2XconnectDump {}).await?;
    let cross_connects = l3xc::L3xcDump { sw_if_index: every };
    add(client, &mut all, "l3 cross-connects", cross_connects).await?;
    let checks = urpf::UrpfInterfaceDump { sw_if_index: every };
    add(client, &mut all, "reverse path checks", checks).await?;
    for af in [AddressFamily::ADDRESS_IP4, AddressFamily::ADDRESS_IP6] {
        let redirects = ip::IpPuntRedirectV2Dump {
            sw_if_index: every,
            af,
        };
        add(client, &mut all, &format!("punt redirects {af:?}"), redirects).await?;
    }
    // Buckets move with every packet.
    let policers = client.dump(policer::PolicerDump::default()).await;
    if let Some(policers) = offered(policers)? {
        let lines = policers.iter().map(|p| format!("{} {} {}", p.name, p.cir, p.cb));
        all.insert("policers".to_owned(), lines.collect());
    }
    let mtus = client.stream(ip::IpPathMtuGet::default()).await;
    if let Some(mtus) = offered(mtus)? {
        all.insert("path MTUs".to_owned(), lines(&mtus));
    }
    for list in all.values_mut() {
        list.sort();
    }
    Ok(all)
}

/// Addresses, routes and neighbours.
async fn family(
    client: &Client,
    all: &mut Snapshot,
    interfaces: &[interface::SwInterfaceDetails],
    is_ipv6: bool,
) -> Result<()> {
    let number = if is_ipv6 { 6 } else { 4 };
    let addresses = all.entry(format!("addresses {number}")).or_default();
    for interface in interfaces {
        let request = ip::IpAddressDump {
            sw_if_index: interface.sw_if_index,
            is_ipv6,
        };
        let name = &interface.interface_name;
        let found = client.dump(request).await?;
        addresses.extend(found.iter().map(|address| format!("{name} {:?}", address.prefix)));
    }
    let tables = client.dump(ip::IpTableDump {}).await?;
    let routes = all.entry(format!("routes {number}")).or_default();
    for table in tables.into_iter().filter(|table| table.table.is_ip6 == is_ipv6) {
        let request = ip::IpRouteDump { table: table.table };
        let found = client.dump(request).await?;
        routes.extend(found.iter().map(|details| route(&details.route)));
    }
    let af = if is_ipv6 {
        AddressFamily::ADDRESS_IP6
    } else {
        AddressFamily::ADDRESS_IP4
    };
    let request = ip_neighbor::IpNeighborDump {
        sw_if_index: NO_INDEX,
        af,
    };
    // The age is left out: it is the one field that changes by itself.
    let found = client.dump(request).await?;
    let lines = found.iter().map(|details| format!("{:?}", details.neighbor));
    all.insert(format!("neighbours {number}"), lines.collect());
    Ok(())
}

/// A route in one line, without the label stacks that nobody uses.
fn route(route: &IpRoute) -> String {
    let path = |path: &FibPath| {
        let (interface, table, next) = (path.sw_if_index, path.table_id, path.nh.address.0);
        format!(
            "{:?} interface {interface} table {table} next {next:?} weight {}",
            path.type_, path.weight
        )
    };
    let paths: Vec<String> = route.paths.iter().map(path).collect();
    format!("table {} {:?} {}", route.table_id, route.prefix, paths.join("; "))
}

/// Adds a dump; a message that this dataplane does not have has no objects either.
async fn add<D>(client: &Client, all: &mut Snapshot, name: &str, dump: D) -> Result<()>
where
    D: Dump,
    D::Details: Debug,
{
    if let Some(details) = offered(client.dump(dump).await)? {
        all.insert(name.to_owned(), lines(&details));
    }
    Ok(())
}

/// Nothing, where the dataplane does not have the message.
fn offered<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn lines<T: Debug>(details: &[T]) -> Vec<String> {
    details.iter().map(|details| format!("{details:?}")).collect()
}

/// Differences in words, empty when there are none: what is gone with `-`, what is new with `+`.
#[must_use]
pub fn difference(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut found = Vec::new();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let none = Vec::new();
    for name in names {
        let (old, new) = (
            before.get(name).unwrap_or(&none),
            after.get(name).unwrap_or(&none),
        );
        found.extend(
            old.iter()
                .filter(|line| !new.contains(line))
                .map(|line| format!("- {name}: {line}")),
        );
        found.extend(
            new.iter()
                .filter(|line| !old.contains(line))
                .map(|line| format!("+ {name}: {line}")),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_is_gone_and_what_is_new() {
        let snapshot = |line: &str| Snapshot::from([("acls".to_owned(), vec![line.to_owned()])]);
        assert!(difference(&snapshot("a"), &snapshot("a")).is_empty());
        assert_eq!(
            difference(&snapshot("a"), &snapshot("b")),
            ["- acls: a", "+ acls: b"]
        );
        assert_eq!(difference(&Snapshot::new(), &snapshot("b")), ["+ acls: b"]);
    }
}
