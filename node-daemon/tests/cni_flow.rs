//! CNI commands from the shim to packets: agent, IPAM, embedded dataplane, network namespaces. Needs root; says so and
//! passes without.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as expected"
)]

mod netns;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use cni_shim::{Request, code, intents};
use crds::cnf::InterfaceKind;
use crds::vpp_config::DirectionBinding;
use netns::{ip, may_run};
use node::{Node, Pod, addresses, reaches, spec, spec_with_cidrs};
use node_daemon::attachments::{Attachment, AttachmentStore, State};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_comes_talks_is_checked_and_leaves_nothing() {
    if !may_run() {
        return;
    }
    let (a, b) = (Pod::new("a"), Pod::new("b"));
    let node = Node::start(Some(spec(vec![a.binding(), b.binding()]))).await;
    node.until(|now| now.vpp.is_some() && now.compared).await;
    node.cni("STATUS", &a).await.ok();
    let before = node.dump().await;

    let first = node.cni("ADD", &a).await.ok();
    let second = node.cni("ADD", &b).await.ok();
    let (at_a, at_b) = (addresses(&first), addresses(&second));
    assert_eq!(at_a.len(), 2);
    assert_eq!(first["interfaces"][0]["name"], "eth0");
    assert_eq!(first["interfaces"][0]["sandbox"], a.netns.path.to_str().unwrap());
    for (from, to) in at_a.iter().zip(&at_b) {
        let (here, there) = (a.socket(*from, 0), b.socket(*to, 0));
        // The very first packet, no second try: neighbours are static on both sides.
        assert!(reaches(&here, &there), "{from} to {to}");
        assert!(reaches(&there, &here), "{to} to {from}");
    }

    let remembered = json!({ "prevResult": first });
    node.cni_with("CHECK", &a, remembered.clone()).await.ok();
    assert_eq!(
        node.cni("ADD", &a).await.ok(),
        first,
        "the same ADD has the same answer"
    );
    ip(&[
        "-n",
        &a.netns.name,
        "addr",
        "del",
        &format!("{}/32", at_a[0]),
        "dev",
        "eth0",
    ]);
    let check = node.cni_with("CHECK", &a, remembered.clone()).await;
    assert_eq!(check.code(), u64::from(code::CHECK_FAILED));
    assert!(
        check.json["details"]
            .as_str()
            .unwrap()
            .contains(&at_a[0].to_string())
    );
    let again = node.cni("ADD", &a).await;
    assert_eq!(again.code(), u64::from(code::ALREADY_ATTACHED));

    for pod in [&a, &b, &a] {
        node.cni("DEL", pod).await.ok();
    }
    node.until_dump_is(&before).await;
    assert_eq!(node.files(), 0);
    let check = node.cni_with("CHECK", &a, remembered).await;
    assert_eq!(check.code(), u64::from(code::UNKNOWN_CONTAINER));
    assert_eq!(node.fatal(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_waits_for_the_pods_binding_and_isolates_from_the_first_packet() {
    if !may_run() {
        return;
    }
    let (open, shut) = (Pod::new("open"), Pod::new("shut"));
    let node = Node::start(Some(spec(vec![open.binding()]))).await;
    let there = addresses(&node.cni("ADD", &open).await.ok());
    let sender = open.socket(there[0], 0);
    let mut isolated = shut.binding();
    let mut both = spec(vec![]);
    isolated.ingress = both.place_of(DirectionBinding {
        isolated: true,
        policies: vec![],
    });
    both.pods = vec![open.binding(), isolated];

    let adding = node.cni("ADD", &shut);
    let telling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.configure(both.clone()).await;
    };
    // Sent all the while: the next address is known beforehand, and nothing may come through even once.
    let target: IpAddr = "10.77.1.3".parse().unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let flood = sender.try_clone().unwrap();
    let flooding = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = flood.send_to(b"flood", (target, 7000));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let (added, ()) = tokio::join!(adding, telling);
    let own = addresses(&added.ok());
    assert_eq!(own[0], target);
    let receiver = shut.socket(own[0], 7000);
    let mut buffer = [0; 16];
    assert!(
        receiver.recv_from(&mut buffer).is_err(),
        "an isolated pod was reached"
    );
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    flooding.join().unwrap();
    // What it starts itself is answered: its replies find their session.
    let asking = shut.socket(own[0], 0);
    let port = sender.local_addr().unwrap().port();
    asking.send_to(b"question", (there[0], port)).unwrap();
    let (_, asker) = sender.recv_from(&mut buffer).unwrap();
    sender.send_to(b"answer", asker).unwrap();
    asking
        .recv_from(&mut buffer)
        .expect("no reply to an isolated pod");
    assert_eq!(node.fatal(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_has_its_code_and_leaves_nothing() {
    if !may_run() {
        return;
    }
    let (known, stranger, full) = (Pod::new("known"), Pod::new("stranger"), Pod::new("full"));
    // Room for one pod: .2 of .0 to .3.
    let bindings = || vec![known.binding(), full.binding()];
    let node = Node::start(Some(spec(bindings()))).await;
    node.until(|now| now.vpp.is_some() && now.compared).await;
    let before = node.dump().await;

    for wrong in ["/run/netns/cv-cni-none", "/proc/self/ns/mnt", "/etc/hostname"] {
        let outcome = node.cni_in("ADD", &known, wrong, json!({})).await;
        assert_eq!(outcome.code(), u64::from(code::INVALID_NETNS), "{wrong}");
    }
    ip(&["-n", &known.netns.name, "tuntap", "add", "eth0", "mode", "tap"]);
    let outcome = node.cni("ADD", &known).await;
    assert_eq!(outcome.code(), u64::from(code::ALREADY_ATTACHED));
    ip(&["-n", &known.netns.name, "link", "del", "eth0"]);

    let outcome = node.cni("ADD", &stranger).await;
    assert_eq!(outcome.code(), u64::from(code::TRY_AGAIN_LATER));
    assert!(
        outcome.json["msg"].as_str().unwrap().contains("stranger"),
        "{}",
        outcome.json
    );
    assert_eq!(node.files(), 0);
    node.until_dump_is(&before).await;

    node.configure(spec_with_cidrs(bindings(), &["10.77.9.0/30"]))
        .await;
    node.cni("ADD", &known).await.ok();
    let status = node.cni("STATUS", &full).await;
    assert_eq!(status.code(), u64::from(code::NOT_AVAILABLE));
    let outcome = node.cni("ADD", &full).await;
    assert_eq!(outcome.code(), u64::from(code::TRY_AGAIN_LATER));
    assert!(
        outcome.json["msg"].as_str().unwrap().contains("IPv4"),
        "{}",
        outcome.json
    );
    assert_eq!(node.files(), 1);
    node.cni("DEL", &known).await.ok();
    node.configure(spec(bindings())).await;
    node.until_dump_is(&before).await;
    assert_eq!(node.fatal(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_pods_at_once_and_a_gc() {
    if !may_run() {
        return;
    }
    const PODS: usize = 30;
    let pods: Vec<Pod> = (0..PODS).map(|n| Pod::new(&format!("p{n}"))).collect();
    let node = Node::start(Some(spec(pods.iter().map(Pod::binding).collect()))).await;
    node.until(|now| now.vpp.is_some() && now.compared).await;
    let before = node.dump().await;

    let adds = pods.iter().map(|pod| async {
        let start = Instant::now();
        let result = node.cni("ADD", pod).await.ok();
        (start.elapsed(), addresses(&result))
    });
    let mut done = futures::future::join_all(adds).await;
    let distinct: BTreeSet<IpAddr> = done.iter().flat_map(|(_, own)| own.clone()).collect();
    assert_eq!(distinct.len(), 2 * PODS);
    for (pair, own) in pods.windows(2).zip(done.windows(2)) {
        let (from, to) = (own[0].1[0], own[1].1[0]);
        assert!(
            reaches(&pair[0].socket(from, 0), &pair[1].socket(to, 0)),
            "{from} to {to}"
        );
    }
    done.sort();
    eprintln!(
        "{PODS} ADDs at once: median {:?}, last {:?}",
        done[PODS / 2].0,
        done[PODS - 1].0
    );

    let valid: Vec<_> = pods[..10]
        .iter()
        .map(|pod| json!({"containerID": pod.container, "ifname": "eth0"}))
        .collect();
    let more = json!({ "cni.dev/valid-attachments": valid });
    node.cni_with("GC", &pods[0], more).await.ok();
    assert_eq!(node.files(), 10);
    let kept = [&pods[0], &pods[9]].map(|pod| node.cni("ADD", pod));
    for kept in futures::future::join_all(kept).await {
        kept.ok();
    }
    futures::future::join_all(pods.iter().map(|pod| node.cni("DEL", pod))).await;
    node.until_dump_is(&before).await;
    assert_eq!(node.files(), 0);
    assert_eq!(node.fatal(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_adopts_and_carries_out_what_it_missed() {
    if !may_run() {
        return;
    }
    let (stays, leaves, late) = (Pod::new("stays"), Pod::new("leaves"), Pod::new("late"));
    let all = || spec(vec![stays.binding(), leaves.binding(), late.binding()]);
    let mut node = Node::start(Some(all())).await;
    let own = addresses(&node.cni("ADD", &stays).await.ok());
    let peer = addresses(&node.cni("ADD", &leaves).await.ok());
    let interfaces = |dump: &BTreeMap<&str, Vec<String>>| dump["interfaces"].clone();
    let before = node.dump().await;
    node.stop_daemon().await;

    // Nobody is there, and VPP forwards.
    let (here, there) = (stays.socket(own[0], 0), leaves.socket(peer[0], 0));
    assert!(reaches(&here, &there));
    let add = node.cni("ADD", &late).await;
    assert_eq!(add.code(), u64::from(code::TRY_AGAIN_LATER));
    assert_eq!(
        node.cni("STATUS", &late).await.code(),
        u64::from(code::NOT_AVAILABLE)
    );

    // Without the API server, from disk alone: the same, and no interface is made anew.
    node.start_daemon(None).await;
    node.until(|now| now.vpp.is_some() && now.compared && now.pods.0 == 2)
        .await;
    assert_eq!(interfaces(&node.dump().await), interfaces(&before));
    assert!(reaches(&here, &there));
    node.cni("ADD", &late).await.ok();
    node.stop_daemon().await;

    // A deletion while it is away, and the leftover of an ADD that a crash interrupted.
    node.cni("DEL", &leaves).await.ok();
    let state_dir = node.directory.path().join("state");
    let left: Vec<Request> = intents::load(&state_dir).unwrap().into_iter().flatten().collect();
    assert_eq!(left.len(), 1);
    let interrupted = Attachment {
        container_id: "interrupted".into(),
        ifname: "eth0".into(),
        netns: "/run/netns/cv-cni-none".into(),
        namespace: "default".into(),
        pod: "interrupted".into(),
        uid: "interrupted".into(),
        kind: InterfaceKind::Tap,
        addresses: vec!["10.77.1.5".parse().unwrap(), "fd00:77:1::5".parse().unwrap()],
        host_ports: vec![],
        state: State::Reserved,
        result: None,
    };
    AttachmentStore::open(&state_dir)
        .unwrap()
        .save(&interrupted)
        .unwrap();
    node.start_daemon(Some(all())).await;
    node.until(|now| now.vpp.is_some() && now.compared && now.pods.0 == 2)
        .await;
    // Answered only when all deletions are done.
    node.cni("STATUS", &late).await.ok();
    assert!(intents::load(&state_dir).unwrap().is_empty());
    assert_eq!(node.files(), 2);
    let routes = node.dump().await["routes"].join("\n");
    assert!(!routes.contains(&peer[0].to_string()), "{routes}");
    // Neither the deleted pod's address nor the interrupted one's comes back at once.
    let again = addresses(&node.cni("ADD", &leaves).await.ok());
    assert!(
        !again.contains(&peer[0]) && !again.contains(&interrupted.addresses[0]),
        "{again:?}"
    );
    assert_eq!(node.fatal(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_vpp_pods_are_as_they_were() {
    if !may_run() {
        return;
    }
    let (tap, mut veth) = (Pod::new("tap"), Pod::new("veth"));
    veth.name = "veth".into();
    let mut by_veth = veth.binding();
    by_veth.interface = InterfaceKind::Veth;
    let mut node = Node::start(Some(spec(vec![tap.binding(), by_veth]))).await;
    let first = addresses(&node.cni("ADD", &tap).await.ok());
    let second = addresses(&node.cni("ADD", &veth).await.ok());
    for (from, to) in first.iter().zip(&second) {
        let (here, there) = (tap.socket(*from, 0), veth.socket(*to, 0));
        assert!(
            reaches(&here, &there) && reaches(&there, &here),
            "{from} and {to}"
        );
    }
    node.restart_vpp().await;
    node.until(|now| now.vpp.is_some() && now.applied()).await;
    let deadline = Instant::now() + node::PATIENCE;
    for (from, to) in first.iter().zip(&second) {
        // The pod's side is made again beside the agent.
        loop {
            let talk = std::panic::catch_unwind(|| {
                let (here, there) = (tap.socket(*from, 0), veth.socket(*to, 0));
                reaches(&here, &there) && reaches(&there, &here)
            });
            if talk.unwrap_or(false) {
                break;
            }
            assert!(Instant::now() < deadline, "{from} and {to} do not talk again");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    node.cni("DEL", &veth).await.ok();
    node.cni("DEL", &tap).await.ok();
    assert_eq!(node.fatal(), None);
}
