//! The daemon on a VPP that somebody else started: pods on veth pairs, policies, Services, adoption after a restart.
//!
//! `NODE_VPP_API_SOCKET` names its API socket, `VPP_NETNS` the namespace it lives in (name of `ip netns`), which the
//! daemon shares as it does on a node. What belongs to the node stays in that VPP, so it should be one for this test
//! alone. Without the variable the embedded dataplane is used, in this process's namespace.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as expected"
)]

mod netns;
mod node;

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crds::cnf::InterfaceKind;
use crds::net::{Cidr, PortMatch, Protocol};
use crds::service_slice::FrontendKind;
use crds::vpp_config::{DirectionBinding, PodBinding, PolicyRef};
use crds::{
    Backend, Frontend, PolicyAction, PolicyRule, ServicePort, SetRef, VppAddressSetSpec, VppPolicySpec,
    VppServiceSliceSpec,
};
use netns::may_run;
use nix::sched::{CloneFlags, setns};
use node::{Node, PATIENCE, Pod, addresses, reaches, spec};
use node_daemon::cluster::Cluster;
use vpp_sim::server::Release;

const SERVED: u16 = 7000;

/// The Service's addresses.
const VIPS: [&str; 2] = ["10.96.0.10", "fd00:96::10"];

/// A pod on a veth pair: taps need vhost-net, which not every machine has.
fn binding(pod: &Pod) -> PodBinding {
    PodBinding {
        interface: InterfaceKind::Veth,
        ..pod.binding()
    }
}

fn isolated(policies: &[&str]) -> DirectionBinding {
    let reference = |name: &&str| PolicyRef {
        namespace: "default".into(),
        name: (*name).into(),
    };
    DirectionBinding {
        isolated: true,
        policies: policies.iter().map(reference).collect(),
    }
}

/// A Service on UDP port 80 of one address per family, and a policy that permits UDP to the served port from a set.
fn cluster(backends: &[IpAddr], permitted: &[IpAddr]) -> Cluster {
    let service = VppServiceSliceSpec {
        service: "web".into(),
        service_uid: "u".into(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Udp,
            port: 80,
            node_port: None,
        }],
        frontends: VIPS
            .map(|address| Frontend {
                kind: FrontendKind::ClusterIp,
                address: address.parse().unwrap(),
            })
            .to_vec(),
        backends: backends
            .iter()
            .map(|&address| Backend {
                address,
                ports: vec![SERVED],
                node: None,
                ready: true,
                serving: true,
                terminating: false,
                for_zones: Vec::new(),
                for_nodes: Vec::new(),
            })
            .collect(),
        ..VppServiceSliceSpec::default()
    };
    let set = SetRef {
        namespace: "default".into(),
        name: "friends".into(),
    };
    let policy = VppPolicySpec {
        ingress: vec![PolicyRule {
            action: PolicyAction::Accept,
            peers: Some(vec![set.clone()]),
            targets: None,
            ports: Some(vec![PortMatch {
                protocol: Protocol::Udp,
                port: Some(SERVED),
                end_port: None,
            }]),
        }],
        ..VppPolicySpec::default()
    };
    let members = VppAddressSetSpec {
        set: set.name,
        members: permitted.iter().map(|&address| Cidr::host(address)).collect(),
        ..VppAddressSetSpec::default()
    };
    let mut cluster = Cluster::default();
    cluster.services.insert("default/web-0".into(), service.into());
    cluster.policies.insert("default/friends".into(), policy);
    cluster.sets.insert("default/friends-0".into(), members);
    cluster
}

/// Whether a question is answered from the address it went to; the server answers whoever it sees, and says who that is.
fn asks(client: &UdpSocket, server: &UdpSocket, to: SocketAddr) -> Option<IpAddr> {
    let mut buffer = [0; 64];
    client.send_to(b"question", to).unwrap();
    let (_, seen) = server.recv_from(&mut buffer).ok()?;
    server.send_to(b"answer", seen).unwrap();
    let (_, from) = client.recv_from(&mut buffer).ok()?;
    assert_eq!(from, to, "the answer comes from where the question went");
    Some(seen.ip())
}

/// Waits until something is so.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_node_with_veth_pods_policies_and_a_service() {
    if !may_run() {
        return;
    }
    let given = std::env::var_os("NODE_VPP_API_SOCKET").map(PathBuf::from);
    if let Some(name) = std::env::var_os("VPP_NETNS").filter(|_| given.is_some()) {
        // Threads made from here on live there too.
        setns(
            File::open(Path::new("/run/netns").join(name)).unwrap(),
            CloneFlags::CLONE_NEWNET,
        )
        .unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(life(given, Release::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_release_25_10() {
    if may_run() {
        life(None, Release::V25_10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_release_26_02() {
    if may_run() {
        life(None, Release::V26_02).await;
    }
}

async fn life(given: Option<PathBuf>, release: Release) {
    let (client, server, shut) = (Pod::new("client"), Pod::new("server"), Pod::new("shut"));
    let with = |ingress| {
        let mut spec = spec(vec![binding(&client), binding(&server), binding(&shut)]);
        let place = spec.place_of(ingress);
        for pod in spec.pods.iter_mut().filter(|pod| pod.uid == shut.uid) {
            pod.ingress = place;
        }
        spec
    };
    let mut node = Node::start_on(given, release, Some(with(isolated(&[])))).await;
    node.until(|now| now.vpp.is_some() && now.compared && now.applied())
        .await;
    let before = node.dump().await;

    let mut at = Vec::new();
    for pod in [&client, &server, &shut] {
        at.push(addresses(&node.cni("ADD", pod).await.ok()));
    }
    let [here, there, closed] = &at[..] else {
        unreachable!()
    };
    for family in 0..2 {
        let (asking, serving) = (client.socket(here[family], 0), server.socket(there[family], 0));
        // The very first packet, no second try.
        assert!(
            reaches(&asking, &serving),
            "{} to {}",
            here[family],
            there[family]
        );
        assert!(
            reaches(&serving, &asking),
            "{} to {}",
            there[family],
            here[family]
        );
        let target = shut.socket(closed[family], SERVED);
        assert!(
            !reaches(&asking, &target),
            "an isolated pod was reached at {}",
            closed[family]
        );
        // What it starts itself is answered.
        assert_eq!(
            asks(&target, &asking, asking.local_addr().unwrap()),
            Some(closed[family])
        );
    }

    // A policy permits the client and nobody else; then not even the client, also on the flow that lives.
    node.sync(cluster(there, here)).await;
    node.configure(with(isolated(&["friends"]))).await;
    for family in 0..2 {
        let (asking, target) = (
            client.socket(here[family], 0),
            shut.socket(closed[family], SERVED),
        );
        let stranger = server.socket(there[family], 0);
        eventually("the policy permits the client", || reaches(&asking, &target)).await;
        assert!(!reaches(&stranger, &target), "{}", there[family]);
        if family == 1 {
            node.sync(cluster(there, &[])).await;
            eventually("the live flow is cut", || !reaches(&asking, &target)).await;
        }
    }

    // The Service: the server sees the client, the client the Service.
    let through = |family: usize| {
        let (asking, serving) = (
            client.socket(here[family], 0),
            server.socket(there[family], SERVED),
        );
        asks(
            &asking,
            &serving,
            SocketAddr::new(VIPS[family].parse().unwrap(), 80),
        )
    };
    for (family, own) in here.iter().enumerate() {
        eventually("the service answers", || through(family) == Some(*own)).await;
    }

    // Away and back: nothing is made anew, nothing enabled twice.
    let settled = node.dump().await;
    node.stop_daemon().await;
    assert_eq!(through(0), Some(here[0]), "nobody is there, and VPP forwards");
    node.start_daemon(None).await;
    node.until(|now| now.vpp.is_some() && now.compared && now.applied() && now.pods.0 == 3)
        .await;
    assert_eq!(node.dump().await, settled);
    for (family, own) in here.iter().enumerate() {
        assert_eq!(through(family), Some(*own));
    }

    for pod in [&client, &server, &shut] {
        node.cni("DEL", pod).await.ok();
    }
    node.sync(Cluster::default()).await;
    node.until_dump_is(&before).await;
    assert_eq!(node.fatal(), None);
}
