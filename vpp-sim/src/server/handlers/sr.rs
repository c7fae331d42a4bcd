//! Segment routing over IPv6.

use std::net::Ipv6Addr;

use vpp_api::messages::sr::{
    SrLocalsidAddDel, SrLocalsidAddDelV2, SrLocalsidsDetails, SrLocalsidsDump,
    SrLocalsidsWithPacketStatsDetails, SrLocalsidsWithPacketStatsDump, SrPoliciesDetails, SrPoliciesDump,
    SrPoliciesV2Details, SrPoliciesV2Dump, SrPoliciesWithSlIndexDetails, SrPoliciesWithSlIndexDump,
    SrPolicyAdd, SrPolicyAddV2, SrPolicyDel, SrPolicyMod, SrPolicyModV2, SrSetEncapHopLimit,
    SrSetEncapSource, SrSteeringAddDel, SrSteeringPolDetails, SrSteeringPolDump,
};
use vpp_api::types::{SrBehavior, SrPolicyType, SrSteer, Srv6SidList, Srv6SidListWithSlIndex};

use crate::engine::{LocalSidConfig, OpResult, PolicyUpdate, SegmentListDetails, SteeredTraffic};
use crate::server::convert::{prefix, wire_prefix};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    localsids(registry);
    policies(registry);
    policy_dumps(registry);
    steering(registry);
}

fn add_del(core: &mut Core, is_del: bool, config: &LocalSidConfig) -> OpResult {
    if is_del {
        core.vpp.sr_localsid_del(config)
    } else {
        core.vpp.sr_localsid_add(config)
    }
}

fn localsids(registry: &mut Registry) {
    registry.ack(|core, m: SrLocalsidAddDel| {
        let config = LocalSidConfig {
            localsid: m.localsid,
            end_psp: m.end_psp,
            behavior: m.behavior.0,
            sw_if_index: m.sw_if_index,
            fib_table: m.fib_table,
            next_hop: m.nh_addr,
            structure: None,
        };
        add_del(core, m.is_del, &config)
    });
    registry.ack(|core, m: SrLocalsidAddDelV2| {
        let config = LocalSidConfig {
            localsid: m.localsid,
            end_psp: m.end_psp,
            behavior: m.behavior.0,
            sw_if_index: m.sw_if_index,
            fib_table: m.fib_table,
            next_hop: m.nh_addr,
            structure: Some([m.locator_block_len, m.locator_node_len, m.function_len]),
        };
        add_del(core, m.is_del, &config)
    });
    registry.try_dump(|core, _: SrLocalsidsDump| {
        let all = core.vpp.sr_localsids()?.into_iter();
        Ok(all
            .map(|sid| SrLocalsidsDetails {
                addr: sid.localsid,
                end_psp: sid.end_psp,
                behavior: SrBehavior(sid.behavior),
                fib_table: sid.fib_table,
                vlan_index: 0,
                xconnect_nh_addr: sid.next_hop,
                xconnect_iface_or_vrf_table: sid.interface_or_table,
            })
            .collect())
    });
    registry.try_dump(|core, _: SrLocalsidsWithPacketStatsDump| {
        let all = core.vpp.sr_localsids()?.into_iter();
        Ok(all
            .map(|sid| SrLocalsidsWithPacketStatsDetails {
                addr: sid.localsid,
                end_psp: sid.end_psp,
                behavior: SrBehavior(sid.behavior),
                fib_table: sid.fib_table,
                vlan_index: 0,
                xconnect_nh_addr: sid.next_hop,
                xconnect_iface_or_vrf_table: sid.interface_or_table,
                good_traffic_bytes: sid.good.1,
                good_traffic_pkt_count: sid.good.0,
                bad_traffic_bytes: sid.bad.1,
                bad_traffic_pkt_count: sid.bad.0,
            })
            .collect())
    });
}

fn update(bsid: Ipv6Addr, sids: &Srv6SidList, encap_source: Option<Ipv6Addr>) -> PolicyUpdate {
    PolicyUpdate {
        bsid,
        segments: sids.segments().to_vec(),
        num_sids: sids.num_sids,
        weight: sids.weight,
        encap_source,
    }
}

fn policies(registry: &mut Registry) {
    registry.ack(|core, m: SrPolicyAdd| {
        let update = update(m.bsid_addr, &m.sids, None);
        core.vpp
            .sr_policy_add(&update, u8::from(m.is_spray), m.is_encap, m.fib_table)
    });
    registry.ack(|core, m: SrPolicyAddV2| {
        let update = update(m.bsid_addr, &m.sids, Some(m.encap_src));
        core.vpp
            .sr_policy_add(&update, m.type_.0, m.is_encap, m.fib_table)
    });
    registry.ack(|core, m: SrPolicyMod| {
        let update = update(m.bsid_addr, &m.sids, None);
        core.vpp.sr_policy_mod(&update, m.operation.0, m.sl_index)
    });
    registry.ack(|core, m: SrPolicyModV2| {
        let update = update(m.bsid_addr, &m.sids, Some(m.encap_src));
        core.vpp.sr_policy_mod(&update, m.operation.0, m.sl_index)
    });
    registry.ack(|core, m: SrPolicyDel| core.vpp.sr_policy_del(m.bsid_addr));
    registry.ack(|core, m: SrSetEncapSource| {
        core.vpp.sr_set_encap_source(m.encaps_source);
        Ok(())
    });
    registry.ack(|core, m: SrSetEncapHopLimit| core.vpp.sr_set_encap_hop_limit(m.hop_limit));
}

fn wire_list(list: &SegmentListDetails) -> Srv6SidList {
    // The engine takes no list that does not fit.
    Srv6SidList::new(&list.segments, list.weight).unwrap_or_default()
}

fn wire_list_with_index(list: &SegmentListDetails) -> Srv6SidListWithSlIndex {
    let Srv6SidList {
        num_sids,
        weight,
        sids,
    } = wire_list(list);
    Srv6SidListWithSlIndex {
        num_sids,
        weight,
        sl_index: list.sl_index,
        sids,
    }
}

fn policy_dumps(registry: &mut Registry) {
    registry.dump(|core, _: SrPoliciesDump| {
        let all = core.vpp.sr_policies().into_iter();
        all.map(|policy| SrPoliciesDetails {
            bsid: policy.bsid,
            is_spray: policy.policy_type != 0,
            is_encap: policy.is_encap,
            fib_table: policy.fib_table,
            sid_lists: policy.lists.iter().map(wire_list).collect(),
        })
        .collect()
    });
    registry.dump(|core, _: SrPoliciesV2Dump| {
        let all = core.vpp.sr_policies().into_iter();
        all.map(|policy| SrPoliciesV2Details {
            bsid: policy.bsid,
            encap_src: policy.encap_source,
            type_: SrPolicyType(policy.policy_type),
            is_encap: policy.is_encap,
            fib_table: policy.fib_table,
            sid_lists: policy.lists.iter().map(wire_list).collect(),
        })
        .collect()
    });
    registry.dump(|core, _: SrPoliciesWithSlIndexDump| {
        let all = core.vpp.sr_policies().into_iter();
        all.map(|policy| SrPoliciesWithSlIndexDetails {
            bsid: policy.bsid,
            is_spray: policy.policy_type != 0,
            is_encap: policy.is_encap,
            fib_table: policy.fib_table,
            sid_lists: policy.lists.iter().map(wire_list_with_index).collect(),
        })
        .collect()
    });
}

fn steering(registry: &mut Registry) {
    registry.ack(|core, m: SrSteeringAddDel| {
        let traffic = SteeredTraffic {
            traffic_type: m.traffic_type.0,
            prefix: prefix(m.prefix),
            table_id: m.table_id,
            sw_if_index: m.sw_if_index,
        };
        if m.is_del {
            core.vpp.sr_steering_del(&traffic)
        } else {
            core.vpp.sr_steering_add(&traffic, m.bsid_addr)
        }
    });
    registry.dump(|core, _: SrSteeringPolDump| {
        let all = core.vpp.sr_steering().into_iter();
        all.map(|steering| SrSteeringPolDetails {
            traffic_type: SrSteer(steering.traffic_type),
            fib_table: steering.fib_table,
            prefix: wire_prefix(steering.prefix),
            sw_if_index: steering.sw_if_index,
            bsid: steering.bsid,
        })
        .collect()
    });
}
