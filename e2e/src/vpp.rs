//! What a dataplane holds, by its binary API: for "the same as before".

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use anyhow::{Context as _, Result};
use vpp_api::client::Client;
use vpp_api::error::Error;
use vpp_api::message::Dump;
use vpp_api::messages::{
    abf, acl, af_packet, cnat, interface, ip, ip_neighbor, l2, l3xc, tapv2, vlib, vxlan,
};
use vpp_api::types::{FibPath, IpRoute, NO_INDEX};

/// Everything a dataplane holds but sessions and counters: per dump, one line per object, sorted.
pub type Snapshot = BTreeMap<String, Vec<String>>;

/// Takes a snapshot of the dataplane behind this API socket.
pub async fn snapshot(socket: &Path) -> Result<Snapshot> {
    let client = Client::connect(socket, "contiv-e2e")
        .await
        .context("connecting to the dataplane")?;
    let mut all = Snapshot::new();

    let interfaces = client
        .dump(interface::SwInterfaceDump {
            sw_if_index: NO_INDEX,
            ..Default::default()
        })
        .await?;
    for is_ipv6 in [false, true] {
        let family = if is_ipv6 { 6 } else { 4 };
        for interface in &interfaces {
            let request = ip::IpAddressDump {
                sw_if_index: interface.sw_if_index,
                is_ipv6,
            };
            let addresses = client.dump(request).await?;
            let name = &interface.interface_name;
            let lines = addresses
                .iter()
                .map(|address| format!("{name} {:?}", address.prefix));
            all.entry(format!("addresses {family}"))
                .or_default()
                .extend(lines);
        }
        for table in client
            .dump(ip::IpTableDump {})
            .await?
            .into_iter()
            .filter(|t| t.table.is_ip6 == is_ipv6)
        {
            let request = ip::IpRouteDump {
                table: table.table.clone(),
            };
            let routes = client.dump(request).await?;
            let lines = routes.iter().map(|details| route(&details.route));
            all.entry(format!("routes {family}")).or_default().extend(lines);
        }
        let af = if is_ipv6 {
            vpp_api::types::AddressFamily::ADDRESS_IP6
        } else {
            vpp_api::types::AddressFamily::ADDRESS_IP4
        };
        let neighbors = client
            .dump(ip_neighbor::IpNeighborDump {
                sw_if_index: NO_INDEX,
                af,
            })
            .await?;
        // The age is left out: it is the one field that changes by itself.
        let lines = neighbors.iter().map(|details| format!("{:?}", details.neighbor));
        all.entry(format!("neighbours {family}"))
            .or_default()
            .extend(lines);
    }
    all.insert("interfaces".to_owned(), lines(&interfaces));

    let every = NO_INDEX;
    add(
        &client,
        &mut all,
        "unnumbered",
        ip::IpUnnumberedDump { sw_if_index: every },
    )
    .await?;
    add(
        &client,
        &mut all,
        "taps",
        tapv2::SwInterfaceTapV2Dump { sw_if_index: every },
    )
    .await?;
    add(&client, &mut all, "af_packet", af_packet::AfPacketDump {}).await?;
    add(
        &client,
        &mut all,
        "vxlan",
        vxlan::VxlanTunnelV2Dump { sw_if_index: every },
    )
    .await?;
    add(&client, &mut all, "acls", acl::AclDump { acl_index: u32::MAX }).await?;
    add(
        &client,
        &mut all,
        "acl lists",
        acl::AclInterfaceListDump { sw_if_index: every },
    )
    .await?;
    add(&client, &mut all, "translations", cnat::CnatTranslationDump {}).await?;
    add(&client, &mut all, "abf policies", abf::AbfPolicyDump {}).await?;
    add(&client, &mut all, "abf attachments", abf::AbfItfAttachDump {}).await?;
    add(&client, &mut all, "l2 cross-connects", l2::L2XconnectDump {}).await?;
    add(
        &client,
        &mut all,
        "l3 cross-connects",
        l3xc::L3xcDump { sw_if_index: every },
    )
    .await?;
    for list in all.values_mut() {
        list.sort();
    }
    client.disconnect().await;
    Ok(all)
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

/// Runs a debug command, such as `show version`, and returns what it printed.
pub async fn command(socket: &Path, command: &str) -> Result<String> {
    let client = Client::connect(socket, "contiv-e2e")
        .await
        .context("connecting to the dataplane")?;
    let reply = client
        .call(vlib::CliInband {
            cmd: command.to_owned(),
        })
        .await?;
    client.disconnect().await;
    Ok(reply.reply)
}

/// Adds a dump; a message that this dataplane does not have has no objects either.
async fn add<D>(client: &Client, all: &mut Snapshot, name: &str, dump: D) -> Result<()>
where
    D: Dump,
    D::Details: Debug,
{
    match client.dump(dump).await {
        Ok(details) => drop(all.insert(name.to_owned(), lines(&details))),
        Err(Error::Missing(_)) => {}
        Err(error) => return Err(error).with_context(|| format!("dumping {name}")),
    }
    Ok(())
}

fn lines<T: Debug>(details: &[T]) -> Vec<String> {
    details.iter().map(|details| format!("{details:?}")).collect()
}

/// Differences in words, empty when there are none: what is gone with `-`, what is new with `+`.
pub fn difference(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut found = Vec::new();
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
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
