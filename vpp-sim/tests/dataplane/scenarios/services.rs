//! cnat as Kubernetes needs it, by whichever API the dataplane has.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use vpp_api::messages::cnat::{
    CnatGetSnatAddresses, CnatSetSnatAddresses, CnatSetSnatAddressesV2, CnatSetSnatPolicy,
    CnatSnatAddressesDump, CnatSnatPolicyAddDelExcludePfx, CnatSnatPolicyAddDelIf, CnatTranslationDel,
    FeatureCnatEnableDisable, v0_3,
};
use vpp_api::messages::feature::FeatureEnableDisable;
use vpp_api::types::{
    AclAction, CnatEndpoint, CnatEndpointTuple, CnatLbType, CnatSnatPolicies, CnatSnatPolicyFlags,
    CnatSnatPolicyTable, CnatTranslation, CnatTranslationFlags, IpFlowHashConfigV2, IpProto, NO_INDEX,
};

use vpp_api::stats::Stats;

use super::chains::function_between;
use super::graph::eventually;
use crate::bed::Bed;
use crate::make::{any, prefix, rule};
use crate::packets::{TCP, UDP};
use crate::pods::{Answer, Flow, addr, device};

/// Index of the interface that every VPP has.
const LOCAL0: u32 = 0;

const SNAT4: &str = "198.18.250.1";
const SNAT6: &str = "2001:2:0:fa::1";

/// What the cluster's own addresses are: sources are kept towards them.
const CLUSTER: [&str; 4] = [
    "198.18.1.0/24",
    "198.19.0.0/24",
    "2001:2:0:1::/64",
    "2001:2:0:9::/64",
];

/// Features of cnat 0.3.0, which has no message to enable it.
const FEATURES: [(&str, &str); 4] = [
    ("ip4-unicast", "cnat-input-ip4"),
    ("ip4-output", "cnat-output-ip4"),
    ("ip6-unicast", "cnat-input-ip6"),
    ("ip6-output", "cnat-output-ip6"),
];

/// Whether the dataplane has cnat 1.0.0.
fn is_v1(bed: &Bed) -> bool {
    bed.client.supports::<FeatureCnatEnableDisable>()
}

fn set_addresses(bed: &Bed, ip4: &str, ip6: &str) {
    let (snat_ip4, snat_ip6) = (ip4.parse().unwrap(), ip6.parse().unwrap());
    if is_v1(bed) {
        bed.call(CnatSetSnatAddressesV2 {
            snat_ip4,
            snat_ip6,
            sw_if_index: NO_INDEX,
            flags: CnatSnatPolicyFlags::CNAT_SNAT_POLICY_F_USE_AS_DEFAULT
                | CnatSnatPolicyFlags::CNAT_SNAT_POLICY_F_NO_CLIENT,
            ..CnatSetSnatAddressesV2::default()
        });
    } else {
        bed.call(CnatSetSnatAddresses {
            snat_ip4,
            snat_ip6,
            sw_if_index: NO_INDEX,
        });
    }
}

fn set_policy(bed: &Bed, kubernetes: bool) {
    if is_v1(bed) {
        let policy = if kubernetes {
            CnatSnatPolicies::CNAT_POLICY_K8S
        } else {
            CnatSnatPolicies::CNAT_POLICY_NONE
        };
        bed.call(CnatSetSnatPolicy { policy });
    } else {
        let policy = if kubernetes {
            v0_3::CnatSnatPolicies::CNAT_POLICY_K8S
        } else {
            v0_3::CnatSnatPolicies::CNAT_POLICY_NONE
        };
        bed.call(v0_3::CnatSetSnatPolicy { policy });
    }
}

fn enable(bed: &Bed, sw_if_index: u32, enable: bool) {
    if is_v1(bed) {
        bed.call(FeatureCnatEnableDisable {
            sw_if_index,
            enable_disable: enable,
        });
        return;
    }
    for (arc, feature) in FEATURES {
        let (arc_name, feature_name) = (arc.to_owned(), feature.to_owned());
        bed.call(FeatureEnableDisable {
            sw_if_index,
            enable,
            arc_name,
            feature_name,
        });
    }
}

/// The IPv4 source-NAT address there is.
fn address(bed: &Bed) -> Option<Ipv4Addr> {
    if is_v1(bed) {
        bed.dump(CnatSnatAddressesDump {})
            .first()
            .map(|details| details.snat_ip4)
    } else {
        let reply = bed.try_call(CnatGetSnatAddresses {}).ok();
        reply
            .map(|reply| reply.snat_ip4)
            .filter(|address| !address.is_unspecified())
    }
}

/// Pods of a cluster: the K8S policy, the cluster's prefixes excluded, cnat once on each pod. `None` if someone else has
/// addresses: there is one configuration for all, and it can't be read back whole.
fn cluster(bed: &mut Bed) -> Option<Vec<u32>> {
    cluster_at_gateway(bed).map(|(_, pods)| pods)
}

/// The same, with their gateway.
fn cluster_at_gateway(bed: &mut Bed) -> Option<(u32, Vec<u32>)> {
    let found = address(bed);
    if found.is_some_and(|address| address.to_string() != SNAT4) {
        eprintln!("skipped: this dataplane has source-NAT addresses already");
        return None;
    }
    let (gateway, pods) = bed.node(4);
    // They stay: once they were removed VPP 26.06 has no free ports for source NAT any more.
    if found.is_none() {
        set_addresses(bed, SNAT4, SNAT6);
    }
    for text in CLUSTER {
        let change = move |is_add| CnatSnatPolicyAddDelExcludePfx {
            is_add,
            prefix: prefix(text),
        };
        bed.call(change(1));
        bed.undo_by(format!("excluded {text}"), change(0));
    }
    set_policy(bed, true);
    bed.at_end("source-NAT policy", |bed| set_policy(bed, false));
    let tables = [
        CnatSnatPolicyTable::CNAT_POLICY_INCLUDE_V4,
        CnatSnatPolicyTable::CNAT_POLICY_INCLUDE_V6,
        CnatSnatPolicyTable::CNAT_POLICY_POD,
    ];
    for &sw_if_index in &pods {
        for table in tables {
            let change = move |is_add| CnatSnatPolicyAddDelIf {
                sw_if_index,
                is_add,
                table,
            };
            bed.call(change(1));
            bed.undo_by("table", change(0));
        }
        enable(bed, sw_if_index, true);
        bed.at_end(format!("cnat {sw_if_index}"), move |bed| {
            enable(bed, sw_if_index, false)
        });
    }
    Some((gateway, pods))
}

fn service(bed: &Bed, vip: &str, port: u16, proto: u8, backends: &[(&str, u16)]) -> CnatTranslation {
    let any = CnatEndpoint::new(
        if vip.contains(':') {
            addr("::")
        } else {
            addr("0.0.0.0")
        },
        0,
    );
    CnatTranslation {
        vip: CnatEndpoint::new(addr(vip), port),
        ip_proto: IpProto(proto),
        flags: if is_v1(bed) {
            CnatTranslationFlags::CNAT_TRANSLATION_NO_CLIENT.0
        } else {
            0
        },
        lb_type: CnatLbType::CNAT_LB_TYPE_DEFAULT,
        paths: backends
            .iter()
            .map(|(address, port)| CnatEndpointTuple {
                dst_ep: CnatEndpoint::new(addr(address), *port),
                src_ep: any.clone(),
                flags: 0,
            })
            .collect(),
        ..CnatTranslation::default()
    }
}

fn serve(bed: &Bed, vip: &str, port: u16, proto: u8, backends: &[(&str, u16)]) -> u32 {
    bed.translation(service(bed, vip, port, proto, backends))
}

fn answers(bed: &mut Bed, from: &str, vip: &str, port: u16, proto: u8, count: usize) -> BTreeSet<String> {
    bed.probe(from, vip, port, proto, count).into_keys().collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

pub fn every_backend_is_reached_and_sees_the_client(bed: &mut Bed) {
    if cluster(bed).is_none() {
        return;
    }
    serve(
        bed,
        "198.19.0.10",
        80,
        TCP,
        &[("198.18.1.4", 8080), ("198.18.1.5", 8080)],
    );
    serve(
        bed,
        "2001:2:0:9::10",
        80,
        TCP,
        &[("2001:2:0:1::4", 8080), ("2001:2:0:1::5", 8080)],
    );
    // Twenty flows that all go to one of two: once in half a million.
    let v4 = answers(bed, "w1", "198.19.0.10", 80, TCP, 20);
    assert_eq!(v4, set(&["w3 198.18.1.2", "w4 198.18.1.2"]));
    let v6 = answers(bed, "w1", "2001:2:0:9::10", 80, TCP, 20);
    assert_eq!(v6, set(&["w3 2001:2:0:1::2", "w4 2001:2:0:1::2"]));
}

pub fn udp_and_tcp_of_one_port_are_separate(bed: &mut Bed) {
    if cluster(bed).is_none() {
        return;
    }
    let tcp = serve(bed, "198.19.0.10", 53, TCP, &[("198.18.1.4", 80)]);
    assert_eq!(bed.ask("w1", "198.19.0.10", 53, UDP), Answer::Lost);
    let udp = serve(bed, "198.19.0.10", 53, UDP, &[("198.18.1.5", 80)]);
    assert_ne!(tcp, udp);
    assert_eq!(
        answers(bed, "w1", "198.19.0.10", 53, UDP, 2),
        set(&["w4 198.18.1.2"])
    );
    assert_eq!(
        answers(bed, "w1", "198.19.0.10", 53, TCP, 2),
        set(&["w3 198.18.1.2"])
    );
}

pub fn a_hairpin_is_source_natted(bed: &mut Bed) {
    if cluster(bed).is_none() {
        return;
    }
    serve(bed, "198.19.0.10", 80, TCP, &[("198.18.1.2", 8080)]);
    serve(bed, "2001:2:0:9::10", 80, TCP, &[("2001:2:0:1::2", 8080)]);
    let v4 = answers(bed, "w1", "198.19.0.10", 80, TCP, 2);
    assert_eq!(v4, set(&[&format!("w1 {SNAT4}")]));
    let v6 = answers(bed, "w1", "2001:2:0:9::10", 80, TCP, 2);
    assert_eq!(v6, set(&[&format!("w1 {SNAT6}")]));
}

fn open_flow(bed: &mut Bed, to: &str) -> Flow {
    let source = bed.pod_address("w1", addr(to));
    Flow {
        from: "w1".into(),
        source,
        to: addr(to),
        ports: (bed.port(), 80),
        proto: TCP,
    }
}

pub fn an_update_keeps_the_id_and_live_flows(bed: &mut Bed) {
    if cluster(bed).is_none() {
        return;
    }
    let id = serve(bed, "198.19.0.20", 80, TCP, &[("198.18.1.4", 80)]);
    let flow = open_flow(bed, "198.19.0.20");
    let client = addr("198.18.1.2");
    assert_eq!(flow.open(bed), Answer::Served("w3".into(), client));
    assert_eq!(serve(bed, "198.19.0.20", 80, TCP, &[("198.18.1.5", 80)]), id);
    assert_eq!(
        flow.echo(bed),
        Answer::Served("w3".into(), client),
        "a live flow stays"
    );
    assert_eq!(
        answers(bed, "w1", "198.19.0.20", 80, TCP, 3),
        set(&["w4 198.18.1.2"])
    );
    bed.undo(&format!("translation {id}"));
    assert_eq!(bed.code(CnatTranslationDel { id }), -6);
    assert_eq!(
        flow.echo(bed),
        Answer::Served("w3".into(), client),
        "even without its service"
    );
    assert_eq!(bed.ask("w1", "198.19.0.20", 80, TCP), Answer::Lost);
}

pub fn maglev_keeps_one_backend_per_client(bed: &mut Bed) {
    if cluster(bed).is_none() {
        return;
    }
    for (vip, backends) in [
        (
            "198.19.0.11",
            [("198.18.1.3", 80), ("198.18.1.4", 80), ("198.18.1.5", 80)],
        ),
        (
            "2001:2:0:9::11",
            [
                ("2001:2:0:1::3", 80),
                ("2001:2:0:1::4", 80),
                ("2001:2:0:1::5", 80),
            ],
        ),
    ] {
        bed.translation(CnatTranslation {
            lb_type: CnatLbType::CNAT_LB_TYPE_MAGLEV,
            flow_hash_config: IpFlowHashConfigV2::IP_API_V2_FLOW_HASH_SRC_IP,
            ..service(bed, vip, 80, TCP, &backends)
        });
        for client in ["w1", "w2"] {
            let answers = answers(bed, client, vip, 80, TCP, 6);
            assert_eq!(answers.len(), 1, "{client} {vip}: {answers:?}");
            assert!(!answers.contains("lost"), "{client} {vip}");
        }
    }
}

/// What the daemon's `timeoutSeconds` rests on: with each of these every client has one backend, they do not lead all
/// clients to the same, and flows (not packets) are counted by translation.
pub fn another_flow_hash_leads_clients_elsewhere(bed: &mut Bed) {
    const VIP: &str = "198.19.0.13";
    if cluster(bed).is_none() {
        return;
    }
    let address = IpFlowHashConfigV2::IP_API_V2_FLOW_HASH_SRC_IP;
    let protocol = IpFlowHashConfigV2::IP_API_V2_FLOW_HASH_PROTO;
    let reverse = IpFlowHashConfigV2::IP_API_V2_FLOW_HASH_REVERSE;
    let backends = [("198.18.1.3", 80), ("198.18.1.4", 80), ("198.18.1.5", 80)];
    let mut led = [BTreeSet::new(), BTreeSet::new()];
    for hash in [
        address,
        address | protocol,
        address | reverse,
        address | protocol | reverse,
    ] {
        let id = bed.translation(CnatTranslation {
            lb_type: CnatLbType::CNAT_LB_TYPE_MAGLEV,
            flow_hash_config: hash,
            ..service(bed, VIP, 80, TCP, &backends)
        });
        for (client, led) in ["w1", "w2"].into_iter().zip(&mut led) {
            let answers = answers(bed, client, VIP, 80, TCP, 5);
            assert_eq!(answers.len(), 1, "{client} {hash:?}: {answers:?}");
            assert!(!answers.contains("lost"), "{client} {hash:?}");
            led.extend(answers);
        }
        if let Some(path) = bed.stats.clone() {
            let mut stats = Stats::connect(path).unwrap();
            let opened = |stats: &mut Stats| {
                let counter = stats.value("/net/cnat-translation").unwrap().unwrap();
                counter.combined(id as usize).packets
            };
            eventually(&mut stats, 10, opened);
        }
        bed.undo(&format!("translation {id}"));
    }
    assert!(led.iter().all(|led| led.len() > 1), "{led:?}");
}

pub fn egress_policy_sees_the_backend_and_ingress_policy_the_client(bed: &mut Bed) {
    let Some(pods) = cluster(bed) else { return };
    serve(bed, "198.19.0.12", 80, TCP, &[("198.18.1.4", 8080)]);
    let reflect = AclAction::ACL_ACTION_API_PERMIT_REFLECT;
    let one = |src, dst, port| vec![rule(reflect, src, dst, TCP, (port, port))];
    let open = bed.acl(any(reflect));
    let backend = bed.acl(one("0.0.0.0/0", "198.18.1.4/32", 8080));
    let vip = bed.acl(one("0.0.0.0/0", "198.19.0.12/32", 80));
    let client = bed.acl(one("198.18.1.2/32", "0.0.0.0/0", 8080));
    bed.lists(pods[0], &[backend], &[open]);
    assert!(bed.reaches("w1", "198.19.0.12", 80, TCP));
    bed.lists(pods[0], &[vip], &[open]);
    assert_eq!(bed.ask("w1", "198.19.0.12", 80, TCP), Answer::Lost);
    bed.lists(pods[0], &[], &[]);
    bed.lists(pods[2], &[open], &[client]);
    assert!(bed.reaches("w1", "198.19.0.12", 80, TCP));
    assert_eq!(bed.ask("w2", "198.19.0.12", 80, TCP), Answer::Lost);
}

pub fn enabling_twice_breaks_translation(bed: &mut Bed) {
    let Some(pods) = cluster(bed) else { return };
    if !is_v1(bed) {
        // Up to 26.02 each feature counts for itself on its arc.
        return;
    }
    serve(bed, "198.19.0.10", 80, TCP, &[("198.18.1.4", 8080)]);
    enable(bed, pods[0], true);
    assert_eq!(bed.ask("w1", "198.19.0.10", 80, TCP), Answer::Lost);
    enable(bed, pods[0], false);
    assert!(bed.reaches("w1", "198.19.0.10", 80, TCP));
}

pub fn what_leaves_the_cluster_gets_the_source_nat_address(bed: &mut Bed) {
    if cluster(bed).is_none() {
        return;
    }
    let outside = bed.bare_pod("out", &["198.18.200.2", "2001:2:0:c8::2"]);
    bed.address(outside, "198.18.200.1/24");
    bed.address(outside, "2001:2:0:c8::1/64");
    let mac = bed.pod_mac("out");
    bed.neighbour(outside, addr("198.18.200.2"), mac);
    bed.neighbour(outside, addr("2001:2:0:c8::2"), mac);
    enable(bed, outside, true);
    bed.at_end("cnat outside", move |bed| enable(bed, outside, false));
    assert_eq!(
        bed.ask("w1", "198.18.200.2", 80, TCP),
        Answer::Served("out".into(), addr(SNAT4))
    );
    assert_eq!(
        bed.ask("w1", "2001:2:0:c8::2", 80, UDP),
        Answer::Served("out".into(), addr(SNAT6))
    );
    assert_eq!(bed.ping("w1", "198.18.200.2", 1).0, 1);
    // Within the cluster the source stays.
    assert_eq!(
        bed.ask("w1", "198.18.1.3", 80, TCP),
        Answer::Served("w2".into(), addr("198.18.1.2"))
    );
}

/// 26.06 tells whether its source NAT was set up by the bitmap of INCLUDE_V4, and sets it up again after the last interface
/// left that: without the prefixes (`cnat_snat_policy_entry_is_init`).
pub fn the_last_included_interface_takes_the_excluded_prefixes_with_it(bed: &mut Bed) {
    let Some(pods) = cluster(bed) else { return };
    let included = |bed: &Bed, sw_if_index, is_add| {
        bed.call(CnatSnatPolicyAddDelIf {
            sw_if_index,
            is_add: u8::from(is_add),
            table: CnatSnatPolicyTable::CNAT_POLICY_INCLUDE_V4,
        });
    };
    let leave_and_come_back = |bed: &Bed| {
        for is_add in [false, true] {
            for &pod in &pods {
                included(bed, pod, is_add);
            }
        }
    };
    let kept = Answer::Served("w2".into(), addr("198.18.1.2"));
    assert_eq!(bed.ask("w1", "198.18.1.3", 80, TCP), kept);

    leave_and_come_back(bed);
    let translated = match is_v1(bed) {
        true => Answer::Served("w2".into(), addr(SNAT4)),
        false => kept.clone(),
    };
    assert_eq!(bed.ask("w1", "198.18.1.3", 80, TCP), translated);

    // One that stays, and from which nothing comes, keeps them.
    included(bed, LOCAL0, true);
    bed.at_end("local0 included", move |bed| included(bed, LOCAL0, false));
    for text in CLUSTER {
        bed.call(CnatSnatPolicyAddDelExcludePfx {
            is_add: 1,
            prefix: prefix(text),
        });
    }
    leave_and_come_back(bed);
    assert_eq!(bed.ask("w1", "198.18.1.3", 80, TCP), kept);
}

/// cnat 1.0.0 keeps with the packet's buffer what it found at the input, and goes by that at the output, whatever the buffer
/// was used for before: so functions' interfaces look sessions up, and write them down, without translating.
///
/// A connection to a virtual address is two sessions then, before and behind the function, whose answers look the same: the
/// later one has them (`clib_bihash_add_with_overwrite_cb`), and the client is not answered in the address's name.
pub fn what_a_function_sends_has_a_session_of_its_own(bed: &mut Bed) {
    if !is_v1(bed) {
        return;
    }
    let Some((gateway, pods)) = cluster_at_gateway(bed) else {
        return;
    };
    for side in function_between(bed, gateway, &pods) {
        let member = move |is_add| CnatSnatPolicyAddDelIf {
            sw_if_index: side,
            is_add,
            table: CnatSnatPolicyTable::CNAT_POLICY_POD,
        };
        bed.call(member(1));
        bed.undo_by("table of a function", member(0));
        for (arc, feature) in [
            ("ip4-unicast", "cnat-lookup-ip4"),
            ("ip4-output", "cnat-writeback-ip4"),
        ] {
            let switch = move |enable| FeatureEnableDisable {
                sw_if_index: side,
                enable,
                arc_name: arc.to_owned(),
                feature_name: feature.to_owned(),
            };
            bed.call(switch(true));
            bed.undo_by(format!("{feature} of a function"), switch(false));
        }
    }
    serve(bed, "198.19.0.20", 80, TCP, &[("198.18.1.3", 80)]);
    let served = Answer::Served("w2".into(), addr("198.18.1.2"));
    for _ in 0..3 {
        assert_eq!(bed.ask("w1", "198.18.1.3", 80, TCP), served);
        assert_eq!(
            bed.ask("w3", "198.19.0.20", 80, TCP),
            Answer::Served("w2".into(), addr("198.18.1.4"))
        );
    }
    // SYN, ACK and data of three connections, and their answers; those of w3 go straight.
    let seen = [device("in"), device("out")].map(|side| bed.function_frames[&side]);
    assert_eq!(seen, [9, 6]);
    assert_eq!(bed.ask("w1", "198.19.0.20", 80, TCP), Answer::Lost);
}
