//! A node with four pods of both families, as a Kubernetes service network.
use vpp_sim::engine::*;

use super::world::{World, addr, prefix};

pub fn pods() -> World {
    let mut world = World::new(1);
    world.gateway(0, &["10.1.1.1/24", "fd00:1::1/64"]);
    for n in 1..=4 {
        let (v4, v6) = (format!("10.1.1.{}", n + 1), format!("fd00:1::{}", n + 1));
        world.pod(0, &format!("w{n}"), &[&v4, &v6]);
    }
    world
}

pub fn snat(flags: u8) -> SnatAddresses {
    SnatAddresses {
        fwd_fib_index: 0,
        ret_fib_index: 0,
        ip4: "192.168.16.1".parse().unwrap(),
        ip6: "fd00:99::1".parse().unwrap(),
        sw_if_index: NONE,
        flags,
    }
}

/// The K8S policy with cluster prefixes excluded and cnat once on each pod.
pub fn kubernetes(vpp: &mut Vpp, pods: &[u32]) {
    vpp.cnat_set_snat_addresses(snat(snat_flag::NO_CLIENT | snat_flag::USE_AS_DEFAULT))
        .unwrap();
    for p in ["10.1.0.0/16", "10.96.0.0/12", "fd00:1::/64", "fd00:96::/108"] {
        vpp.cnat_snat_exclude(prefix(p), true).unwrap();
    }
    vpp.cnat_set_snat_policy(SnatPolicy::K8s).unwrap();
    for index in pods {
        for table in [SnatTable::IncludeV4, SnatTable::IncludeV6, SnatTable::Pod] {
            vpp.cnat_snat_interface(*index, table, true).unwrap();
        }
        vpp.cnat_feature_enable(*index, true).unwrap();
    }
}

pub fn cluster() -> World {
    let mut world = pods();
    kubernetes(&mut world.nodes[0], &[2, 3, 4, 5]);
    world
}

pub fn service(vip: &str, port: u16, proto: u8, backends: &[(&str, u16)]) -> TranslationUpdate {
    TranslationUpdate {
        vip: CnatEndpoint::new(addr(vip), port),
        proto,
        is_real_ip: false,
        flags: translation_flag::NO_CLIENT,
        load_balance: LoadBalance::Default,
        flow_hash: 0,
        paths: backends.iter().map(|(a, p)| CnatPath::to(addr(a), *p)).collect(),
    }
}

pub fn add(world: &mut World, update: &TranslationUpdate) -> u32 {
    world.nodes[0].cnat_translation_update(update).unwrap()
}
