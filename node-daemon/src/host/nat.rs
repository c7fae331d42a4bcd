//! What the node's kernel translates before VPP sees it, as one nftables table.
//!
//! The kernel owns the node's addresses and the NIC that clients outside know. So it is the kernel that hands over what
//! is a Service's, and nothing else: each entry is an address, a protocol and a port. All of it is in a table of our
//! own, replaced as a whole in one transaction; other tables are not touched, and removing the table undoes everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Stdio;

use crds::net::{Cidr, Protocol};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::HostError;
use crate::desired::service::refusing;
use crate::objects::Vip;

/// Name of the table.
pub const TABLE: &str = "contiv";

/// What the kernel does with packets to addresses of Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where in VPP connections from outside go.
    pub entries: BTreeMap<Vip, (IpAddr, u16)>,
    /// Where connections of the node's own processes go; only what they do not reach through VPP as it is.
    pub own: BTreeMap<Vip, Vec<(IpAddr, u16)>>,
    /// Connections from outside that have no backend.
    pub refused: BTreeMap<Vip, Refusal>,
    /// Connections of the node's own processes that are rejected.
    pub own_refused: BTreeSet<Vip>,
    /// Who may connect, where not everybody may.
    pub admitted: BTreeMap<Vip, Vec<Cidr>>,
    /// Ports of the node that lead to pods.
    pub host_ports: HostPorts,
}

/// Ports of the node that lead to pods, for everybody but pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPorts {
    /// On every address that is the node's, whether Kubernetes knows it or not: whether it is IPv6, protocol, port.
    pub all: BTreeMap<(bool, Protocol, u16), (IpAddr, u16)>,
    /// On one address.
    pub one: BTreeMap<Vip, (IpAddr, u16)>,
}

impl HostPorts {
    /// Whether one of them is on 127.0.0.1.
    pub fn on_ipv4_loopback(&self) -> bool {
        self.all.keys().any(|(ipv6, ..)| !ipv6)
            || self
                .one
                .keys()
                .any(|vip| vip.address.is_loopback() && vip.address.is_ipv4())
    }
}

/// How a connection without backend ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// In silence.
    Drop,
    /// At once, by TCP reset or ICMP.
    Reject,
}

/// The whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The node's end of the tap to VPP.
    pub ifname: String,
    /// Addresses that stand in for clients outside, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// Addresses behind which clients keep theirs: pods of this node, and the stand-ins for local node ports.
    pub kept: Vec<Cidr>,
    /// Addresses of other nodes: VPP answers them through its tunnels, past this node's kernel, unless they look like
    /// this node.
    pub nodes: Vec<IpAddr>,
    /// Pods of this node that reach the world through the kernel, under the node's address.
    pub masqueraded: Vec<Cidr>,
    /// What is translated.
    pub rules: Rules,
}

impl Table {
    /// The table in nft's language, preceded by the removal of what was there: one transaction.
    pub fn ruleset(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { ifname, rules, .. } = self;
        // A table must be there to be deleted, and "add" is no error if it is.
        writeln!(
            out,
            "add table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{"
        )?;
        for ipv6 in [false, true] {
            self.write_sets(out, ipv6)?;
        }
        writeln!(
            out,
            "chain refuse {{\nmeta l4proto tcp reject with tcp reset\nreject\n}}\n\
             chain guard {{"
        )?;
        for ip in ["ip", "ip6"] {
            let n = number(ip);
            writeln!(
                out,
                "{ip} daddr . meta l4proto . th dport @guarded{n} \
                 {ip} daddr . meta l4proto . th dport . {ip} saddr != @admitted{n} drop"
            )?;
        }
        writeln!(
            out,
            "}}\nchain before {{\ntype filter hook prerouting priority -110\n\
             iifname \"{ifname}\" ip daddr 127.0.0.0/8 drop\n\
             iifname \"{ifname}\" ip daddr {} goto refuse\n\
             iifname \"{ifname}\" ip6 daddr {} goto refuse\n\
             iifname \"{ifname}\" accept\njump guard",
            refusing(false),
            refusing(true)
        )?;
        for ip in ["ip", "ip6"] {
            let n = number(ip);
            writeln!(out, "{ip} daddr . meta l4proto . th dport vmap @refused{n}")?;
        }
        writeln!(
            out,
            "}}\nchain before-own {{\ntype filter hook output priority -110\njump guard"
        )?;
        for ip in ["ip", "ip6"] {
            let n = number(ip);
            writeln!(
                out,
                "{ip} daddr . meta l4proto . th dport @refused-own{n} goto refuse"
            )?;
        }
        writeln!(out, "}}\nchain enter {{\ntype nat hook prerouting priority -100")?;
        for ip in ["ip", "ip6"] {
            let n = number(ip);
            writeln!(
                out,
                "iifname != \"{ifname}\" dnat {ip} to {ip} daddr . meta l4proto . th dport map @entries{n}"
            )?;
        }
        write_host_ports(out, &format!("iifname != \"{ifname}\" "))?;
        writeln!(out, "}}\nchain own {{\ntype nat hook output priority -100")?;
        for ip in ["ip", "ip6"] {
            let n = number(ip);
            writeln!(
                out,
                "dnat {ip} to {ip} daddr . meta l4proto . th dport map @own{n}"
            )?;
        }
        for (vip, targets) in rules.own.iter().filter(|(_, targets)| targets.len() > 1) {
            write_balanced(out, vip, targets)?;
        }
        write_host_ports(out, "")?;
        writeln!(out, "}}\nchain leave {{\ntype nat hook postrouting priority 100")?;
        for address in &self.addresses {
            let ip = family(address.is_ipv6());
            if address.is_ipv4() {
                // A process that asked the node's loopback address for a host port: nobody could answer it.
                writeln!(
                    out,
                    "oifname \"{ifname}\" ip saddr 127.0.0.0/8 snat ip to {address}"
                )?;
            }
            let n = number(ip);
            writeln!(
                out,
                "oifname \"{ifname}\" ct status dnat {ip} saddr @nodes{n} snat {ip} to {address}"
            )?;
            let kept = list(
                self.kept
                    .iter()
                    .filter(|cidr| cidr.is_ipv6() == address.is_ipv6()),
            );
            let but = if kept.is_empty() {
                kept
            } else {
                format!("{ip} daddr != {{ {kept} }} ")
            };
            writeln!(
                out,
                "oifname \"{ifname}\" ct status dnat {but}snat {ip} to {address}"
            )?;
        }
        for cidr in &self.masqueraded {
            let ip = family(cidr.is_ipv6());
            writeln!(
                out,
                "iifname \"{ifname}\" oifname != \"{ifname}\" {ip} saddr {cidr} masquerade"
            )?;
        }
        writeln!(out, "}}\n}}")
    }

    fn write_sets(&self, out: &mut String, ipv6: bool) -> std::fmt::Result {
        let (n, address) = if ipv6 { (6, "ipv6_addr") } else { (4, "ipv4_addr") };
        let key = format!("{address} . inet_proto . inet_service");
        let of_family = |vip: &&Vip| vip.address.is_ipv6() == ipv6;
        let rules = &self.rules;

        let entries = rules.entries.iter().filter(|(vip, _)| of_family(vip));
        let entries = list(entries.map(|(vip, (to, port))| format!("{} : {to} . {port}", element(vip))));
        write_set(
            out,
            "map",
            &format!("entries{n}"),
            &format!("type {key} : {address} . inet_service"),
            &entries,
        )?;

        let own = rules
            .own
            .iter()
            .filter(|(vip, _)| of_family(vip))
            .filter_map(|(vip, targets)| {
                let [(to, port)] = targets.as_slice() else {
                    return None;
                };
                Some(format!("{} : {to} . {port}", element(vip)))
            });
        write_set(
            out,
            "map",
            &format!("own{n}"),
            &format!("type {key} : {address} . inet_service"),
            &list(own),
        )?;

        let refused = rules
            .refused
            .iter()
            .filter(|(vip, _)| of_family(vip))
            .map(|(vip, refusal)| {
                let verdict = match refusal {
                    Refusal::Drop => "drop",
                    Refusal::Reject => "goto refuse",
                };
                format!("{} : {verdict}", element(vip))
            });
        write_set(
            out,
            "map",
            &format!("refused{n}"),
            &format!("type {key} : verdict"),
            &list(refused),
        )?;

        let refused = list(rules.own_refused.iter().filter(of_family).map(element));
        write_set(
            out,
            "set",
            &format!("refused-own{n}"),
            &format!("type {key}"),
            &refused,
        )?;

        let value = format!("{address} . inet_service");
        let ports = rules.host_ports.one.iter().filter(|(vip, _)| of_family(vip));
        let ports = list(ports.map(|(vip, (to, port))| format!("{} : {to} . {port}", element(vip))));
        let kind = format!("type {key} : {value}");
        write_set(out, "map", &format!("hostports-one{n}"), &kind, &ports)?;
        let ports = rules.host_ports.all.iter().filter(|((v6, ..), _)| *v6 == ipv6);
        let ports = list(ports.map(|((_, protocol, port), (to, to_port))| {
            format!("{} . {port} : {to} . {to_port}", protocol_name(*protocol))
        }));
        let kind = format!("type inet_proto . inet_service : {value}");
        write_set(out, "map", &format!("hostports{n}"), &kind, &ports)?;

        let nodes = list(self.nodes.iter().filter(|node| node.is_ipv6() == ipv6));
        write_set(
            out,
            "set",
            &format!("nodes{n}"),
            &format!("type {address}"),
            &nodes,
        )?;

        let guarded = list(rules.admitted.keys().filter(of_family).map(element));
        write_set(
            out,
            "set",
            &format!("guarded{n}"),
            &format!("type {key}"),
            &guarded,
        )?;
        let admitted = rules.admitted.iter().filter(|(vip, _)| of_family(vip));
        let admitted = list(admitted.flat_map(|(vip, ranges)| {
            ranges
                .iter()
                .map(move |range| format!("{} . {range}", element(vip)))
        }));
        let kind = format!("type {key} . {address}\nflags interval");
        write_set(out, "set", &format!("admitted{n}"), &kind, &admitted)
    }
}

fn number(ip: &str) -> u8 {
    if ip == "ip6" { 6 } else { 4 }
}

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "ip6" } else { "ip" }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn element(vip: &Vip) -> String {
    format!("{} . {} . {}", vip.address, protocol_name(vip.protocol), vip.port)
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// A set or map; nft takes no empty list of elements.
fn write_set(out: &mut String, what: &str, name: &str, kind: &str, elements: &str) -> std::fmt::Result {
    writeln!(out, "{what} {name} {{\n{kind}")?;
    if !elements.is_empty() {
        writeln!(out, "elements = {{ {elements} }}")?;
    }
    writeln!(out, "}}")
}

/// Host ports are on what is the node's own. IPv6 has no way from its loopback address to a pod.
fn write_host_ports(out: &mut String, from: &str) -> std::fmt::Result {
    for (ip, n, which) in [("ip", 4, "meta nfproto ipv4"), ("ip6", 6, "ip6 daddr != ::1")] {
        let local = format!("{from}{which} fib daddr type local dnat {ip} to");
        writeln!(
            out,
            "{local} {ip} daddr . meta l4proto . th dport map @hostports-one{n}"
        )?;
        writeln!(out, "{local} meta l4proto . th dport map @hostports{n}")?;
    }
    Ok(())
}

/// Several backends to which VPP has no way: spread by client address and port.
fn write_balanced(out: &mut String, vip: &Vip, targets: &[(IpAddr, u16)]) -> std::fmt::Result {
    let (ip, protocol) = (family(vip.address.is_ipv6()), protocol_name(vip.protocol));
    let (address, port, count) = (vip.address, vip.port, targets.len());
    let targets = targets
        .iter()
        .enumerate()
        .map(|(n, (to, port))| format!("{n} : {to} . {port}"));
    writeln!(
        out,
        "{ip} daddr {address} {protocol} dport {port} dnat {ip} to \
         jhash {ip} saddr . {protocol} sport mod {count} map {{ {} }}",
        list(targets)
    )
}

/// Replaces the table.
///
/// # Errors
/// When there is no nft, or it refuses.
pub async fn replace(table: &Table) -> Result<(), HostError> {
    nft(&table.ruleset()).await
}

/// Removes the table, if it is there.
///
/// # Errors
/// When there is no nft, or it refuses.
pub async fn remove() -> Result<(), HostError> {
    nft(&format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")).await
}

async fn nft(script: &str) -> Result<(), HostError> {
    let run = async {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = run.await.map_err(HostError::Nft)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it says nothing").to_owned();
    Err(HostError::Refused(said))
}

#[cfg(test)]
mod tests;
