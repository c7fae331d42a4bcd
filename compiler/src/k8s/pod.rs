//! Pods.

use std::net::IpAddr;

use crds::cnf::InterfaceKind;

use super::{lean, names, port, protocol};
use crate::facts::{Kind, NamedPort, Pod, PodPhase, Problem};

/// Annotation that says how a pod's `eth0` is attached: `tap` (the default), `veth` or `memif`.
pub const INTERFACE_ANNOTATION: &str = "contivpp.io/interface";

/// What the compiler needs to know of a Pod.
pub fn pod(pod: &lean::Pod) -> Pod {
    let (namespace, name, uid) = names(&pod.metadata);
    let lean::Pod { spec, status, .. } = pod;
    let mut problems = Vec::new();
    let wanted = pod.interface.as_ref();
    let interface = match wanted.map(|kind| kind.to_ascii_lowercase()).as_deref() {
        None | Some("tap") => InterfaceKind::Tap,
        Some("veth") => InterfaceKind::Veth,
        Some("memif") => InterfaceKind::Memif,
        Some(other) => {
            problems.push(Problem {
                object: Kind::POD.of(&namespace, &name, &uid),
                reason: "InvalidInterface",
                message: format!(
                    "annotation {INTERFACE_ANNOTATION} is {other:?}: write tap, veth or memif; \
                     the pod gets a tap"
                ),
            });
            InterfaceKind::Tap
        }
    };
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    Pod {
        labels: pod.labels.clone(),
        node: spec.node_name.clone().filter(|node| !node.is_empty()),
        ips: addresses(status),
        host_network: spec.host_network.unwrap_or(false),
        phase: match finished {
            true => PodPhase::Finished,
            false => PodPhase::Active,
        },
        ready: is_ready(status),
        terminating: pod.terminating,
        started: status.start_time.as_ref().map(|time| time.0),
        ports: named_ports(spec),
        interface,
        problems,
        namespace,
        name,
        uid,
    }
}

/// All of `podIPs`; `podIP` alone where a writer left the list out.
fn addresses(status: &lean::PodStatus) -> Vec<IpAddr> {
    let listed = status.pod_ips.iter().flatten().map(|entry| &entry.ip);
    let mut ips: Vec<IpAddr> = listed.filter_map(|ip| ip.parse().ok()).collect();
    if ips.is_empty() {
        ips.extend(status.pod_ip.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
    }
    ips.sort();
    ips.dedup();
    ips.shrink_to_fit();
    ips
}

fn is_ready(status: &lean::PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Ports of containers that run beside each other: init containers only if they are restartable
/// (sidecars, KEP-753).
fn named_ports(spec: &lean::PodSpec) -> Vec<NamedPort> {
    let inits = spec.init_containers.iter().flatten();
    let sidecars = inits.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().flatten().chain(sidecars);
    let mut ports: Vec<NamedPort> = Vec::new();
    for container_port in containers.flat_map(|c| c.ports.iter().flatten()) {
        let name = container_port.name.as_ref().filter(|name| !name.is_empty());
        let protocol = protocol(container_port.protocol.as_deref());
        let number = port(container_port.container_port);
        let (Some(name), Some(protocol), Some(number)) = (name, protocol, number) else {
            continue;
        };
        // Names may repeat between containers; the first one counts, as for Services' targets.
        let known = |p: &NamedPort| p.name == *name && p.protocol == protocol;
        if !ports.iter().any(known) {
            ports.push(NamedPort {
                name: name.clone(),
                protocol,
                number,
            });
        }
    }
    ports.sort();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Pod {
        pod(&serde_norway::from_str::<lean::Pod>(yaml).unwrap())
    }

    #[test]
    fn everything_needed_is_kept() {
        let pod = read(
            "
metadata:
  {namespace: shop, name: web-0, uid: u1, labels: {app: web}, annotations: {contivpp.io/interface: veth}}
spec:
  nodeName: node-1
  containers:
  - {name: a, ports: [{name: http, containerPort: 8080}, {containerPort: 9}, {name: dns, containerPort: 53, protocol: UDP}]}
  initContainers:
  - {name: setup, ports: [{name: never, containerPort: 1}]}
  - {name: sidecar, restartPolicy: Always, ports: [{name: metrics, containerPort: 9100}]}
status:
  phase: Running
  podIP: 10.1.0.5
  podIPs: [{ip: 10.1.0.5}, {ip: 'fd00:1::5'}]
  conditions: [{type: Ready, status: 'True'}]
",
        );
        assert_eq!(pod.node.as_deref(), Some("node-1"));
        let ips: Vec<String> = pod.ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.1.0.5", "fd00:1::5"]);
        let ports: Vec<_> = pod.ports.iter().map(|p| (p.name.as_str(), p.number)).collect();
        assert_eq!(ports, [("dns", 53), ("http", 8080), ("metrics", 9100)]);
        assert_eq!(pod.interface, InterfaceKind::Veth);
        assert!(pod.ready && pod.selectable() && !pod.terminating);
        assert!(pod.problems.is_empty());
    }

    #[test]
    fn finished_pods_are_not_selectable_and_terminating_ones_are() {
        for (status, selectable) in [
            ("{phase: Pending}", true),
            ("{phase: Running}", true),
            ("{phase: Unknown}", true),
            ("{phase: Succeeded}", false),
            ("{phase: Failed}", false),
        ] {
            let yaml = format!("metadata: {{name: a}}\nspec: {{containers: []}}\nstatus: {status}");
            assert_eq!(read(&yaml).selectable(), selectable, "{status}");
        }
        let going =
            read("metadata: {name: a, deletionTimestamp: '2026-01-01T00:00:00Z'}\nstatus: {phase: Running}");
        assert!(going.terminating && going.selectable());
    }

    #[test]
    fn a_wrong_annotation_is_told_and_the_pod_gets_a_tap() {
        let pod = read("metadata: {name: a, annotations: {contivpp.io/interface: sriov}}");
        assert_eq!(pod.interface, InterfaceKind::Tap);
        assert_eq!(pod.problems[0].reason, "InvalidInterface");
        assert!(pod.problems[0].message.contains("sriov"));
    }
}
