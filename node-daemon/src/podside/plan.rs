//! What must be there within a pod, as steps in the order in which they work. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crds::cnf::{Forwarding, InterfaceRole};

use super::{FunctionSide, PodSide};

/// Routing table and rule priority of a function's first interface; the next ones count up. Apart
/// from the tables that distributions and network plugins use (below 256).
pub const FUNCTION_TABLE: u32 = 1000;
/// Linux' main routing table.
pub const MAIN_TABLE: u32 = 254;

/// One thing that must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A kernel parameter below `/proc/sys`.
    Sysctl {
        /// Path, such as `net/ipv4/ip_forward`.
        key: String,
        /// Value.
        value: &'static str,
    },
    /// An interface is up.
    Link {
        /// Its name.
        ifname: String,
        /// Its hardware address, if it matters.
        mac: Option<[u8; 6]>,
        /// Its MTU in bytes, if it matters.
        mtu: Option<u32>,
    },
    /// An interface has an address, as a host prefix.
    Address {
        /// The interface.
        ifname: String,
        /// The address.
        address: IpAddr,
    },
    /// A neighbour is known for good: nobody answers ARP or neighbour solicitations for it.
    Neighbour {
        /// The interface.
        ifname: String,
        /// The neighbour's address.
        address: IpAddr,
        /// The neighbour's hardware address.
        mac: [u8; 6],
    },
    /// A route.
    Route(Route),
    /// What enters by an interface is routed by a table.
    Rule {
        /// The interface.
        ifname: String,
        /// The table.
        table: u32,
        /// The rule's priority.
        priority: u32,
        /// IPv6 rather than IPv4.
        ipv6: bool,
    },
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Table.
    pub table: u32,
    /// Interface.
    pub ifname: String,
    /// Where it leads.
    pub target: Target,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// This address, on the link.
    OnLink(IpAddr),
    /// Everything of the family, by this next hop, which counts as on the link.
    Default(IpAddr),
}

/// The steps that make `side`.
pub fn steps(side: &PodSide) -> Vec<Step> {
    let ipv6 = side.addresses.iter().any(IpAddr::is_ipv6);
    let mut steps = vec![Step::Link {
        ifname: "lo".to_owned(),
        mac: None,
        mtu: None,
    }];
    if ipv6 {
        steps.extend(ipv6_parameters(&side.ifname));
    }
    steps.push(link(&side.ifname, side.mac, side.mtu));
    for address in &side.addresses {
        steps.push(Step::Address {
            ifname: side.ifname.clone(),
            address: *address,
        });
    }
    for gateway in &side.gateways {
        steps.push(Step::Neighbour {
            ifname: side.ifname.clone(),
            address: *gateway,
            mac: side.gateway_mac,
        });
        for target in [Target::OnLink(*gateway), Target::Default(*gateway)] {
            steps.push(Step::Route(Route {
                table: MAIN_TABLE,
                ifname: side.ifname.clone(),
                target,
            }));
        }
    }
    for function in &side.functions {
        if ipv6 {
            steps.extend(ipv6_parameters(&function.ifname));
        }
        steps.push(link(&function.ifname, function.mac, function.mtu));
    }
    if side.forwarding == Forwarding::Kernel && !side.functions.is_empty() {
        forwarding(side, &mut steps);
    }
    steps
}

fn link(ifname: &str, mac: [u8; 6], mtu: u32) -> Step {
    Step::Link {
        ifname: ifname.to_owned(),
        mac: Some(mac),
        mtu: Some(mtu),
    }
}

fn sysctl(key: String, value: &'static str) -> Step {
    Step::Sysctl { key, value }
}

/// Addresses work at once (no duplicate address detection: they are unique by allocation), and no
/// router advertisement changes what the daemon has set. Some runtimes turn IPv6 off in new
/// namespaces; it comes back last.
fn ipv6_parameters(ifname: &str) -> [Step; 4] {
    [
        ("accept_dad", "0"),
        ("accept_ra", "0"),
        ("autoconf", "0"),
        ("disable_ipv6", "0"),
    ]
    .map(|(key, value)| sysctl(format!("net/ipv6/conf/{ifname}/{key}"), value))
}

/// What enters by one of a function's interfaces leaves by the other, whatever its addresses:
/// policy routing by the interface of entry, with VPP as the only neighbour on each.
fn forwarding(side: &PodSide, steps: &mut Vec<Step>) {
    let families: BTreeSet<bool> = side.addresses.iter().map(IpAddr::is_ipv6).collect();
    if families.contains(&false) {
        steps.push(sysctl("net/ipv4/ip_forward".to_owned(), "1"));
        let names = side.functions.iter().map(|each| each.ifname.as_str());
        for name in std::iter::once("all").chain(names) {
            // Sources are reached by eth0, so strict filtering would drop all of it; and a function
            // with one interface sends back where it received, which is no reason for redirects.
            for key in ["rp_filter", "send_redirects"] {
                steps.push(sysctl(format!("net/ipv4/conf/{name}/{key}"), "0"));
            }
        }
    }
    if families.contains(&true) {
        steps.push(sysctl("net/ipv6/conf/all/forwarding".to_owned(), "1"));
    }
    for (table, function) in (FUNCTION_TABLE..).zip(&side.functions) {
        let gateways = |of: &FunctionSide| {
            let gateways = of.gateways.clone().into_iter();
            let wanted = families.clone();
            gateways.filter(move |gateway| wanted.contains(&gateway.is_ipv6()))
        };
        for gateway in gateways(function) {
            steps.push(Step::Neighbour {
                ifname: function.ifname.clone(),
                address: gateway,
                mac: function.gateway_mac,
            });
        }
        let exit = exit(side, function);
        for gateway in gateways(exit) {
            steps.push(Step::Route(Route {
                table,
                ifname: exit.ifname.clone(),
                target: Target::Default(gateway),
            }));
            steps.push(Step::Rule {
                ifname: function.ifname.clone(),
                table,
                priority: table,
                ipv6: gateway.is_ipv6(),
            });
        }
    }
}

/// Where traffic that enters by `entry` leaves: the interface of the opposite role, or the same one
/// where there is no other.
fn exit<'a>(side: &'a PodSide, entry: &'a FunctionSide) -> &'a FunctionSide {
    let opposite = match entry.role {
        InterfaceRole::In => InterfaceRole::Out,
        InterfaceRole::Out => InterfaceRole::In,
        InterfaceRole::InOut => return entry,
    };
    let mut others = side.functions.iter();
    others.find(|each| each.role == opposite).unwrap_or(entry)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plain() -> PodSide {
        PodSide {
            ifname: "eth0".into(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1450,
            addresses: vec!["10.1.1.2".parse().unwrap(), "fd00:1::2".parse().unwrap()],
            gateways: vec!["10.1.1.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
            gateway_mac: [2, 0, 0, 0, 0, 2],
            functions: vec![],
            forwarding: Forwarding::Kernel,
        }
    }

    pub(crate) fn function(ifname: &str, role: InterfaceRole, number: u8) -> FunctionSide {
        FunctionSide {
            ifname: ifname.into(),
            role,
            mac: [2, 0, 0, 0, number, 1],
            mtu: 1450,
            gateways: vec!["169.254.0.1".parse().unwrap(), "fe80::1".parse().unwrap()],
            gateway_mac: [2, 0, 0, 0, number, 2],
        }
    }

    fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
        steps.iter().position(wanted).expect("step is missing")
    }

    #[test]
    fn detection_of_duplicates_is_off_before_the_link_is_up_and_the_address_comes_after() {
        let steps = steps(&plain());
        let dad = position(&steps, |step| {
            *step == sysctl("net/ipv6/conf/eth0/accept_dad".into(), "0")
        });
        let up = position(&steps, |step| *step == link("eth0", [2, 0, 0, 0, 0, 1], 1450));
        let address = position(&steps, |step| matches!(step, Step::Address { .. }));
        let route = position(&steps, |step| matches!(step, Step::Route(_)));
        assert!(dad < up && up < address && address < route);
        let on_link = position(
            &steps,
            |step| matches!(step, Step::Route(route) if matches!(route.target, Target::OnLink(_))),
        );
        let default = position(
            &steps,
            |step| matches!(step, Step::Route(route) if matches!(route.target, Target::Default(_))),
        );
        assert!(on_link < default, "a gateway must be reachable first");
    }

    #[test]
    fn a_pod_of_one_family_touches_nothing_of_the_other() {
        let mut side = plain();
        side.addresses.truncate(1);
        side.gateways.truncate(1);
        side.functions = vec![function("in", InterfaceRole::InOut, 1)];
        for step in steps(&side) {
            let text = format!("{step:?}");
            assert!(!text.contains("ipv6/") && !text.contains("fe80"), "{text}");
            assert!(!matches!(step, Step::Rule { ipv6: true, .. }), "{text}");
        }
    }

    fn exits(side: &PodSide) -> Vec<(String, String)> {
        let steps = steps(side);
        let mut exits = Vec::new();
        for step in &steps {
            if let Step::Rule {
                ifname,
                table,
                ipv6: false,
                ..
            } = step
            {
                let by = steps.iter().find_map(|step| match step {
                    Step::Route(route) if route.table == *table => Some(route.ifname.clone()),
                    _ => None,
                });
                exits.push((ifname.clone(), by.unwrap()));
            }
        }
        exits
    }

    #[test]
    fn what_enters_by_in_leaves_by_out_and_the_other_way() {
        let mut side = plain();
        side.functions = vec![
            function("in", InterfaceRole::In, 1),
            function("out", InterfaceRole::Out, 2),
        ];
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(exits(&side), [pair("in", "out"), pair("out", "in")]);
        side.functions = vec![function("both", InterfaceRole::InOut, 1)];
        assert_eq!(exits(&side), [pair("both", "both")]);
    }

    #[test]
    fn an_application_that_forwards_itself_gets_its_links_up_and_nothing_else() {
        let mut side = plain();
        let bare = steps(&side).len();
        side.forwarding = Forwarding::Application;
        side.functions = vec![function("in", InterfaceRole::In, 1)];
        let more = &steps(&side)[bare..];
        assert!(
            more.iter()
                .all(|step| matches!(step, Step::Sysctl { .. } | Step::Link { .. })),
            "{more:?}"
        );
        assert!(!more.iter().any(|step| format!("{step:?}").contains("forward")));
    }
}
