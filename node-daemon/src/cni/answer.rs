//! Results, and what to do with an ADD that has been seen before.

use std::net::IpAddr;

use cni_shim::{CniError, CniResult, Interface, IpConfig, Route, code};

use super::request::{Add, Check};
use crate::attachments::{Attachment, State, mac_text};

/// What ADD has made, beyond the attachment itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Name of the interface in VPP.
    pub vpp_interface: String,
    /// Maximum transmission unit in the pod, in bytes.
    pub mtu: u32,
    /// Gateways, at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Names of a function's further kernel interfaces.
    pub function_interfaces: Vec<String>,
    /// Paths of a function's memif sockets, with the interface's name.
    pub memif_sockets: Vec<(String, String)>,
}

/// ADD's result in CNI 1.1.0: the pod's interface first, then VPP's end of it (without sandbox, as
/// the specification has it for the host's side), then a function's further interfaces.
pub fn result(attachment: &Attachment, made: &Made, add: &Add) -> CniResult {
    let sandbox = Some(attachment.netns.clone());
    let inside = |name: &str, mac: [u8; 6]| Interface {
        name: name.to_owned(),
        mac: Some(mac_text(mac)),
        mtu: Some(made.mtu),
        sandbox: sandbox.clone(),
        ..Interface::default()
    };
    let mut interfaces = vec![
        inside(&attachment.ifname, attachment.pod_mac()),
        Interface {
            name: made.vpp_interface.clone(),
            mac: Some(mac_text(attachment.vpp_mac())),
            ..Interface::default()
        },
    ];
    for name in &made.function_interfaces {
        interfaces.push(inside(name, attachment.function_pod_mac(name)));
    }
    for (name, socket) in &made.memif_sockets {
        interfaces.push(Interface {
            name: name.clone(),
            sandbox: sandbox.clone(),
            socket_path: Some(socket.clone()),
            ..Interface::default()
        });
    }
    let gateway = |of: &IpAddr| {
        let mut gateways = made.gateways.iter();
        gateways.find(|each| each.is_ipv6() == of.is_ipv6()).copied()
    };
    let ips = attachment
        .addresses
        .iter()
        .map(|address| IpConfig {
            address: format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 }),
            gateway: gateway(address),
            interface: Some(0),
        })
        .collect();
    let routes = attachment
        .addresses
        .iter()
        .filter_map(|address| {
            let dst = if address.is_ipv6() { "::/0" } else { "0.0.0.0/0" };
            Some(Route {
                dst: dst.to_owned(),
                gw: Some(gateway(address)?),
                ..Route::default()
            })
        })
        .collect();
    let ours = CniResult {
        interfaces,
        ips,
        routes,
        dns: add.dns.clone(),
        ..CniResult::default()
    };
    match &add.previous {
        Some(previous) => ours.after(previous.clone()),
        None => ours,
    }
}

/// What to do with an ADD.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    /// Nothing is known of it: attach.
    New,
    /// The very same was answered before: answer so again, if a check finds it as it was made, else
    /// with [`not_as_made`].
    Again(CniResult),
}

/// Decides on an ADD, given the attachment that has its key.
///
/// # Errors
/// 11 while an earlier ADD of the same key is at work (the specification forbids a runtime to send
/// both at once), 100 when the key belongs to another pod or namespace.
pub fn admit(existing: Option<&Attachment>, add: &Add) -> Result<Admission, CniError> {
    let Some(existing) = existing else {
        return Ok(Admission::New);
    };
    let same_uid = add.pod.uid.as_ref().is_none_or(|uid| *uid == existing.uid);
    let same = same_uid
        && existing.namespace == add.pod.namespace
        && existing.pod == add.pod.name
        && add.netns.as_os_str() == existing.netns.as_str()
        && add.host_ports == existing.host_ports;
    if !same {
        return Err(CniError::new(
            code::ALREADY_ATTACHED,
            format!(
                "container {} has {} already, for pod {}/{} in {}: DEL it first",
                add.key.container_id, add.key.ifname, existing.namespace, existing.pod, existing.netns
            ),
        ));
    }
    match (existing.state, &existing.result) {
        (State::Committed, Some(result)) => Ok(Admission::Again(result.clone())),
        _ => Err(CniError::new(
            code::TRY_AGAIN_LATER,
            format!(
                "an earlier ADD of container {}, {}, is still at work",
                add.key.container_id, add.key.ifname
            ),
        )),
    }
}

/// The answer to a repeated ADD whose attachment is not as it was made.
pub fn not_as_made(add: &Add, differences: &[String]) -> CniError {
    CniError::new(
        code::ALREADY_ATTACHED,
        format!(
            "container {} has {} already and it is not as it was made: DEL it first",
            add.key.container_id, add.key.ifname
        ),
    )
    .with_details(differences.join("; "))
}

/// CHECK's comparison of what the runtime remembers with what we do. Plugins after us may have
/// added to the result; they may not have taken our interface or addresses away.
///
/// # Errors
/// 3 for an unknown attachment, 11 for an unfinished one, 101 for one that differs.
pub fn check_memory(existing: Option<&Attachment>, check: &Check) -> Result<(), CniError> {
    let Some(existing) = existing else {
        return Err(CniError::new(
            code::UNKNOWN_CONTAINER,
            format!("container {} has no {}", check.key.container_id, check.key.ifname),
        ));
    };
    let Some(made) = &existing.result else {
        return Err(CniError::new(
            code::TRY_AGAIN_LATER,
            "the attachment is not finished",
        ));
    };
    let mut differences = Vec::new();
    if check.netns.as_os_str() != existing.netns.as_str() {
        differences.push(format!(
            "CNI_NETNS is {}, it was attached in {}",
            check.netns.display(),
            existing.netns
        ));
    }
    for interface in &made.interfaces {
        let same =
            |other: &&Interface| (&other.name, &other.sandbox) == (&interface.name, &interface.sandbox);
        if !check.previous.interfaces.iter().any(|other| same(&other)) {
            differences.push(format!("prevResult lacks interface {}", interface.name));
        }
    }
    for ip in &made.ips {
        let mut others = check.previous.ips.iter();
        if !others.any(|other| other.address == ip.address) {
            differences.push(format!("prevResult lacks address {}", ip.address));
        }
    }
    differs(&differences)
}

/// CHECK's answer: success, or 101 with all differences.
///
/// # Errors
/// When there are differences.
pub fn differs(differences: &[String]) -> Result<(), CniError> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(
        CniError::new(code::CHECK_FAILED, "the attachment is not as it was made")
            .with_details(differences.join("; ")),
    )
}

#[cfg(test)]
mod tests {
    use super::super::request::{Call, tests::request};
    use super::*;
    use crate::attachments::HostPort;
    use crate::attachments::tests::attachment;
    use cni_shim::Command;
    use serde_json::json;

    fn add() -> Add {
        match Call::parse(&request(Command::Add)) {
            Ok(Call::Add(add)) => add,
            other => panic!("not an ADD: {other:?}"),
        }
    }

    fn made() -> Made {
        Made {
            vpp_interface: "tap7".into(),
            mtu: 1450,
            gateways: vec!["10.1.1.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
            function_interfaces: vec!["in".into()],
            memif_sockets: vec![],
        }
    }

    fn known() -> Attachment {
        let mut known = attachment("c1");
        known.uid = "u1".into();
        known
    }

    #[test]
    fn the_result_says_what_was_made() {
        let known = known();
        let value = result(&known, &made(), &add()).to_version("1.1.0");
        let mac = mac_text(known.pod_mac());
        assert_eq!(value["interfaces"][0]["name"], "eth0");
        assert_eq!(value["interfaces"][0]["sandbox"], "/run/netns/c1");
        assert_eq!(value["interfaces"][0]["mac"], mac.as_str());
        assert_eq!(value["interfaces"][0]["mtu"], 1450);
        assert_eq!(value["interfaces"][1]["name"], "tap7");
        assert_eq!(value["interfaces"][1].get("sandbox"), None);
        assert_eq!(value["interfaces"][2]["name"], "in");
        assert_eq!(value["ips"][0]["address"], "10.1.1.2/32");
        assert_eq!(value["ips"][0]["gateway"], "10.1.1.1");
        assert_eq!(value["ips"][0]["interface"], 0);
        assert_eq!(value["ips"][1]["address"], "fd00:1::2/128");
        assert_eq!(value["routes"][1]["dst"], "::/0");
        assert_eq!(value["routes"][1]["gw"], "fd00:1::1");
    }

    #[test]
    fn in_a_chain_our_addresses_point_at_our_interface() {
        let mut add = add();
        add.previous = Some(CniResult {
            interfaces: vec![Interface {
                name: "other0".into(),
                ..Interface::default()
            }],
            ..CniResult::default()
        });
        let result = result(&known(), &made(), &add);
        let index = result.ips[0].interface.unwrap();
        assert_eq!(result.interfaces[index].name, "eth0");
        assert_eq!(result.interfaces[0].name, "other0");
    }

    #[test]
    fn a_second_add_is_the_same_or_refused() {
        let mut known = known();
        assert_eq!(admit(None, &add()), Ok(Admission::New));
        assert_eq!(
            admit(Some(&known), &add()).unwrap_err().code,
            code::TRY_AGAIN_LATER
        );
        let answer = result(&known, &made(), &add());
        known.state = State::Committed;
        known.result = Some(answer.clone());
        assert_eq!(admit(Some(&known), &add()), Ok(Admission::Again(answer)));

        let mut elsewhere = add();
        elsewhere.netns = "/run/netns/other".into();
        let mut other_pod = add();
        other_pod.pod.uid = Some("u2".into());
        let mut other_ports = add();
        other_ports.host_ports = HostPort::read(&json!([{"hostPort": 80, "containerPort": 80}])).unwrap();
        for bad in [elsewhere, other_pod, other_ports] {
            let error = admit(Some(&known), &bad).unwrap_err();
            assert_eq!(error.code, code::ALREADY_ATTACHED, "{error}");
        }
        let mut old_runtime = add();
        old_runtime.pod.uid = None;
        assert!(admit(Some(&known), &old_runtime).is_ok());
    }

    #[test]
    fn check_tolerates_additions_and_names_losses() {
        let mut known = known();
        known.state = State::Committed;
        let mut memory = result(&known, &made(), &add());
        known.result = Some(memory.clone());
        let check = |previous: CniResult| Check {
            key: known.key(),
            netns: known.netns.clone().into(),
            previous,
        };
        memory.interfaces.push(Interface {
            name: "ifb0".into(),
            ..Interface::default()
        });
        assert_eq!(check_memory(Some(&known), &check(memory.clone())), Ok(()));
        memory.ips.remove(0);
        let error = check_memory(Some(&known), &check(memory.clone())).unwrap_err();
        assert_eq!(error.code, code::CHECK_FAILED);
        assert!(error.details.contains("10.1.1.2/32"), "{error}");
        let error = check_memory(None, &check(memory)).unwrap_err();
        assert_eq!(error.code, code::UNKNOWN_CONTAINER);
    }
}
