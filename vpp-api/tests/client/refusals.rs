//! What kills VPP 26.06 never leaves the client.

use crate::server::{Connection, Server};
use vpp_api::messages::{
    abf::*, acl::*, cnat::*, feature::*, ip::*, ipsec::*, memclnt::*, policer::*, sr::*, tracedump::*,
    vlib::*, wireguard::*,
};
use vpp_api::types::*;
use vpp_api::{Client, Error, Options, Pending};

/// Asserts that a request was refused and that nothing of it was sent.
async fn refused<T: std::fmt::Debug>(
    client: &Client,
    vpp: &mut Connection,
    pending: Pending<T>,
    reason: &str,
) {
    match pending.await {
        Err(Error::Refused { reason: why, .. }) => assert!(why.contains(reason), "{why}"),
        other => panic!("{other:?}"),
    }
    let ping = client.send(ControlPing::default());
    let (header, _) = vpp.expect::<ControlPing>().await;
    vpp.answer(header, &ControlPingReply::default()).await;
    ping.await.unwrap();
}

fn k8s_policy() -> CnatSetSnatPolicy {
    CnatSetSnatPolicy {
        policy: CnatSnatPolicies::CNAT_POLICY_K8S,
    }
}

fn addresses(snat_ip4: &str) -> CnatSetSnatAddressesV2 {
    CnatSetSnatAddressesV2 {
        snat_ip4: snat_ip4.parse().unwrap(),
        sw_if_index: NO_INDEX,
        ..Default::default()
    }
}

fn attach(policy_id: u32) -> AbfItfAttachAddDel {
    AbfItfAttachAddDel {
        is_add: true,
        attach: AbfItfAttach {
            policy_id,
            ..Default::default()
        },
    }
}

fn policy(is_add: bool, sw_if_indices: &[u32]) -> AbfPolicyAddDel {
    let paths = sw_if_indices
        .iter()
        .map(|index| FibPath::attached(*index, false))
        .collect();
    AbfPolicyAddDel {
        is_add,
        policy: AbfPolicy {
            policy_id: 7,
            acl_index: 1,
            paths,
        },
    }
}

#[tokio::test]
async fn a_translation_without_backends() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let pending = client.send(CnatTranslationUpdate::default());
    refused(&client, &mut vpp, pending, "without backends").await;
}

#[tokio::test]
async fn an_acl_that_cannot_be_dumped() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let r = vec![AclRule::default(); 200_001];
    let pending = client.send(AclAddReplace {
        acl_index: NO_INDEX,
        tag: String::new(),
        r,
    });
    refused(&client, &mut vpp, pending, "at most 200000").await;
}

#[tokio::test]
async fn a_source_nat_policy_before_any_address() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let pending = client.send(k8s_policy());
    refused(&client, &mut vpp, pending, "no source-NAT address").await;
    let pending = client.send(CnatSnatPolicyAddDelExcludePfx::default());
    refused(&client, &mut vpp, pending, "no source-NAT address").await;
    let pending = client.send(CnatSnatPolicyAddDelIf::default());
    refused(&client, &mut vpp, pending, "no source-NAT address").await;
    let pending = client.send(v0_3::CnatSetSnatPolicy::default());
    // That one is not even offered by this server.
    assert!(matches!(pending.await, Err(Error::Missing(_))));

    // Behind the addresses it may go, without waiting.
    let set = client.send(addresses("192.0.2.1"));
    let behind = client.send(k8s_policy());
    let (header, _) = vpp.expect::<CnatSetSnatAddressesV2>().await;
    vpp.answer(header, &CnatSetSnatAddressesV2Reply { retval: 0 })
        .await;
    let (header, _) = vpp.expect::<CnatSetSnatPolicy>().await;
    vpp.answer(header, &CnatSetSnatPolicyReply { retval: 0 }).await;
    set.await.unwrap();
    behind.await.unwrap();

    // All zero removes the entry.
    let removed = client.send(addresses("0.0.0.0"));
    let (header, _) = vpp.expect::<CnatSetSnatAddressesV2>().await;
    vpp.answer(header, &CnatSetSnatAddressesV2Reply { retval: 0 })
        .await;
    removed.await.unwrap();
    let pending = client.send(k8s_policy());
    refused(&client, &mut vpp, pending, "no source-NAT address").await;
}

#[tokio::test]
async fn a_source_nat_policy_after_addresses_that_failed() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let set = client.send(addresses("192.0.2.1"));
    let (header, _) = vpp.expect::<CnatSetSnatAddressesV2>().await;
    vpp.answer(header, &CnatSetSnatAddressesV2Reply { retval: -1 })
        .await;
    set.await.unwrap_err();
    let pending = client.send(k8s_policy());
    refused(&client, &mut vpp, pending, "no source-NAT address").await;
}

#[tokio::test]
async fn addresses_vpp_already_has_are_enough() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let asked = client.send(CnatGetSnatAddresses::default());
    let (header, _) = vpp.expect::<CnatGetSnatAddresses>().await;
    vpp.answer(
        header,
        &CnatGetSnatAddressesReply {
            retval: -30,
            ..Default::default()
        },
    )
    .await;
    asked.await.unwrap_err();
    let pending = client.send(k8s_policy());
    refused(&client, &mut vpp, pending, "no source-NAT address").await;

    let asked = client.send(CnatGetSnatAddresses::default());
    let (header, _) = vpp.expect::<CnatGetSnatAddresses>().await;
    vpp.answer(header, &CnatGetSnatAddressesReply::default()).await;
    asked.await.unwrap();
    drop(client.send(k8s_policy()));
    vpp.expect::<CnatSetSnatPolicy>().await;
}

#[tokio::test]
async fn attaching_an_unknown_policy() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let pending = client.send(attach(7));
    refused(&client, &mut vpp, pending, "policy 7").await;

    // Not yet accepted is not enough: VPP may refuse the policy for its paths.
    let added = client.send(policy(true, &[3, 4]));
    let too_early = client.send(attach(7));
    let (header, _) = vpp.expect::<AbfPolicyAddDel>().await;
    refused(&client, &mut vpp, too_early, "policy 7").await;
    vpp.answer(header, &AbfPolicyAddDelReply { retval: 0 }).await;
    added.await.unwrap();
    drop(client.send(attach(7)));
    vpp.expect::<AbfItfAttachAddDel>().await;

    // The policy goes with its last path.
    drop(client.send(policy(false, &[3])));
    vpp.expect::<AbfPolicyAddDel>().await;
    drop(client.send(attach(7)));
    vpp.expect::<AbfItfAttachAddDel>().await;
    drop(client.send(policy(false, &[4])));
    vpp.expect::<AbfPolicyAddDel>().await;
    let pending = client.send(attach(7));
    refused(&client, &mut vpp, pending, "policy 7").await;
}

#[tokio::test]
async fn policies_vpp_lists_can_be_attached() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let dump = client.dump(AbfPolicyDump::default());
    let (header, _) = vpp.expect::<AbfPolicyDump>().await;
    let (end, _) = vpp.expect::<ControlPing>().await;
    vpp.answer(
        header,
        &AbfPolicyDetails {
            policy: policy(true, &[3]).policy,
        },
    )
    .await;
    vpp.answer(end, &ControlPingReply::default()).await;
    dump.await.unwrap();
    drop(client.send(attach(7)));
    vpp.expect::<AbfItfAttachAddDel>().await;
}

fn table(is_add: bool) -> IpTableAddDel {
    IpTableAddDel {
        is_add,
        table: IpTable {
            table_id: 10,
            is_ip6: false,
            name: String::new(),
        },
    }
}

#[tokio::test]
async fn segment_lists_that_do_not_fit() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let sids = Srv6SidList {
        num_sids: 17,
        ..Default::default()
    };
    let pending = client.send(SrPolicyAddV2 {
        sids: sids.clone(),
        ..Default::default()
    });
    refused(&client, &mut vpp, pending, "17 segments").await;
    let pending = client.send(SrPolicyMod {
        sids,
        ..Default::default()
    });
    refused(&client, &mut vpp, pending, "17 segments").await;
    let pending = client.send(SrPolicyAdd {
        is_encap: true,
        ..Default::default()
    });
    refused(&client, &mut vpp, pending, "without segments").await;
}

#[tokio::test]
async fn a_local_sid_of_an_unknown_table() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let dt4 = SrLocalsidAddDel {
        behavior: SrBehavior::SR_BEHAVIOR_API_DT4,
        sw_if_index: 10,
        ..Default::default()
    };
    let steering = SrSteeringAddDel {
        table_id: 10,
        traffic_type: SrSteer::SR_STEER_API_IPV4,
        ..Default::default()
    };
    refused(&client, &mut vpp, client.send(dt4.clone()), "table 10").await;
    refused(&client, &mut vpp, client.send(steering.clone()), "table 10").await;
    let plugin = client.send(SrLocalsidAddDel {
        behavior: SrBehavior(14),
        ..Default::default()
    });
    refused(&client, &mut vpp, plugin, "behaviour 14").await;

    // Behind the request that makes the table they may go, without waiting.
    let make = client.send(table(true));
    let (first, second) = (client.send(dt4.clone()), client.send(steering));
    let (header, _) = vpp.expect::<IpTableAddDel>().await;
    vpp.answer(header, &IpTableAddDelReply { retval: 0 }).await;
    let (header, _) = vpp.expect::<SrLocalsidAddDel>().await;
    vpp.answer(header, &SrLocalsidAddDelReply { retval: 0 }).await;
    let (header, _) = vpp.expect::<SrSteeringAddDel>().await;
    vpp.answer(header, &SrSteeringAddDelReply { retval: 0 }).await;
    make.await.unwrap();
    first.await.unwrap();
    second.await.unwrap();

    // The table goes.
    let gone = client.send(table(false));
    let (header, _) = vpp.expect::<IpTableAddDel>().await;
    vpp.answer(header, &IpTableAddDelReply { retval: 0 }).await;
    gone.await.unwrap();
    refused(&client, &mut vpp, client.send(dt4), "table 10").await;
}

#[tokio::test]
async fn a_wireguard_peer_in_an_unknown_table() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let pending = client.send(WireguardPeerAdd {
        peer: WireguardPeer {
            table_id: 10,
            ..Default::default()
        },
    });
    refused(&client, &mut vpp, pending, "table 10").await;
}

#[tokio::test]
async fn an_association_deleted_twice_or_in_use() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let del = |id| IpsecSadEntryDel { id };
    let protect = client.send(IpsecTunnelProtectUpdate {
        tunnel: IpsecTunnelProtect {
            sw_if_index: 3,
            sa_out: 10,
            sa_in: vec![20],
            ..Default::default()
        },
    });
    let (header, _) = vpp.expect::<IpsecTunnelProtectUpdate>().await;
    vpp.answer(header, &IpsecTunnelProtectUpdateReply::default())
        .await;
    protect.await.unwrap();
    refused(&client, &mut vpp, client.send(del(20)), "protects interface 3").await;
    let unprotect = client.send(IpsecTunnelProtectDel {
        sw_if_index: 3,
        ..Default::default()
    });
    let first = client.send(del(20));
    let second = client.send(del(20));
    let (header, _) = vpp.expect::<IpsecTunnelProtectDel>().await;
    vpp.answer(header, &IpsecTunnelProtectDelReply::default()).await;
    let (header, _) = vpp.expect::<IpsecSadEntryDel>().await;
    vpp.answer(header, &IpsecSadEntryDelReply::default()).await;
    unprotect.await.unwrap();
    first.await.unwrap();
    refused(&client, &mut vpp, second, "deleted before").await;

    // A new one of the same id may go again.
    let add = client.send(IpsecSadEntryAddV2 {
        entry: IpsecSadEntryV4 {
            sad_id: 20,
            ..Default::default()
        },
    });
    let again = client.send(del(20));
    let (header, _) = vpp.expect::<IpsecSadEntryAddV2>().await;
    vpp.answer(header, &IpsecSadEntryAddV2Reply::default()).await;
    let (header, _) = vpp.expect::<IpsecSadEntryDel>().await;
    vpp.answer(header, &IpsecSadEntryDelReply::default()).await;
    add.await.unwrap();
    again.await.unwrap();
}

/// Answers the next request.
async fn answer<M: vpp_api::Message, R: vpp_api::Message>(vpp: &mut Connection, reply: &R) {
    let (header, _) = vpp.expect::<M>().await;
    vpp.answer(header, reply).await;
}

#[tokio::test]
async fn a_policer_that_is_applied_twice_or_was_never_applied() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let input = |apply| PolicerInputV2 {
        policer_index: 0,
        sw_if_index: 3,
        apply,
    };
    let pending = client.send(input(false));
    refused(&client, &mut vpp, pending, "never there").await;
    let applied = client.send(input(true));
    // VPP's answer is that of the first version.
    answer::<PolicerInputV2, _>(&mut vpp, &PolicerInputReply { retval: 0 }).await;
    applied.await.unwrap();
    let pending = client.send(input(true));
    refused(&client, &mut vpp, pending, "take it away first").await;
    let taken = client.send(input(false));
    answer::<PolicerInputV2, _>(&mut vpp, &PolicerInputReply { retval: 0 }).await;
    taken.await.unwrap();
}

#[tokio::test]
async fn features_that_look_for_what_was_not_set() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    for feature_name in [
        "policer-input",
        "policer-output",
        "ip4-rx-urpf-strict",
        "ip6-tx-urpf-loose",
    ] {
        let pending = client.send(FeatureEnableDisable {
            sw_if_index: 1,
            enable: true,
            arc_name: "ip4-unicast".to_owned(),
            feature_name: feature_name.to_owned(),
        });
        refused(&client, &mut vpp, pending, "kills VPP").await;
    }
    let pending = client.send(IpPuntPolice {
        policer_index: 4,
        is_add: true,
        is_ip6: false,
    });
    refused(&client, &mut vpp, pending, "policer 4").await;
}

#[tokio::test]
async fn traces_by_a_node_that_nobody_asked_for() {
    let (client, mut vpp) = Server::start().pair(Options::default()).await;
    let capture = |node_index| TraceCapturePackets {
        node_index,
        max_packets: 1,
        ..Default::default()
    };
    let pending = client.send(capture(7));
    refused(&client, &mut vpp, pending, "get_node_index").await;
    let pending = client.send(TraceSetFilters {
        flag: TraceFilterFlag::TRACE_FF_INCLUDE_NODE,
        count: 1,
        node_index: NO_INDEX,
        ..Default::default()
    });
    refused(&client, &mut vpp, pending, "get_node_index").await;
    let asked = client.send(GetNodeIndex {
        node_name: "virtio-input".to_owned(),
    });
    let reply = GetNodeIndexReply {
        retval: 0,
        node_index: 7,
    };
    answer::<GetNodeIndex, _>(&mut vpp, &reply).await;
    asked.await.unwrap();
    let captured = client.send(capture(7));
    answer::<TraceCapturePackets, _>(&mut vpp, &TraceCapturePacketsReply { retval: 0 }).await;
    captured.await.unwrap();
}
