//! IPsec: associations, protection of tunnels, IPsec interfaces.

use vpp_api::messages::ipsec::{
    IpsecBackendDump, IpsecItfCreate, IpsecItfCreateReply, IpsecItfDelete, IpsecItfDetails, IpsecItfDump,
    IpsecSaV5Details, IpsecSaV5Dump, IpsecSadEntryAdd, IpsecSadEntryAddReply, IpsecSadEntryAddV2,
    IpsecSadEntryAddV2Reply, IpsecSadEntryDel, IpsecSadEntryUpdate, IpsecSelectBackend, IpsecSetAsyncMode,
    IpsecTunnelProtectDel, IpsecTunnelProtectDetails, IpsecTunnelProtectDump, IpsecTunnelProtectUpdate,
};
use vpp_api::types as wire;

use super::outcome;
use crate::engine::{NONE, Protection, SaConfig, SaDetails, SaTunnel, retval, sa_flag};
use crate::server::convert::index;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    associations(registry);
    protections(registry);
    interfaces(registry);
    // What is left of the choice among backends.
    registry.dump(|_, _: IpsecBackendDump| Vec::new());
    registry.ack(|_, _: IpsecSelectBackend| Err(retval::UNIMPLEMENTED.into()));
    registry.ack(|_, _: IpsecSetAsyncMode| Ok(()));
}

fn tunnel(tunnel: &wire::Tunnel) -> SaTunnel {
    SaTunnel {
        src: tunnel.src,
        dst: tunnel.dst,
        table_id: tunnel.table_id,
        flags: tunnel.encap_decap_flags.0,
        mode: tunnel.mode.0,
        other_flags: tunnel.flags.0,
        dscp: tunnel.dscp.0,
        hop_limit: tunnel.hop_limit,
    }
}

fn config(entry: &wire::IpsecSadEntryV4) -> SaConfig {
    SaConfig {
        id: entry.sad_id,
        spi: entry.spi,
        protocol: entry.protocol.0,
        crypto: entry.crypto_algorithm.0,
        crypto_key: entry.crypto_key.bytes().to_vec(),
        integrity: entry.integrity_algorithm.0,
        integrity_key: entry.integrity_key.bytes().to_vec(),
        flags: entry.flags.0,
        tunnel: tunnel(&entry.tunnel),
        salt: entry.salt,
        udp_ports: (entry.udp_src_port, entry.udp_dst_port),
        window: entry.anti_replay_window_size,
    }
}

fn associations(registry: &mut Registry) {
    registry.request(|core, m: IpsecSadEntryAddV2| {
        let (retval, stat_index) = outcome(core.vpp.ipsec_sa_add(&config(&m.entry)), NONE)?;
        Ok(IpsecSadEntryAddV2Reply { retval, stat_index })
    });
    registry.request(|core, m: IpsecSadEntryAdd| {
        let entry = wire::IpsecSadEntryV4 {
            sad_id: m.entry.sad_id,
            spi: m.entry.spi,
            protocol: m.entry.protocol,
            crypto_algorithm: m.entry.crypto_algorithm,
            crypto_key: m.entry.crypto_key,
            integrity_algorithm: m.entry.integrity_algorithm,
            integrity_key: m.entry.integrity_key,
            flags: m.entry.flags,
            tunnel: m.entry.tunnel,
            salt: m.entry.salt,
            udp_src_port: m.entry.udp_src_port,
            udp_dst_port: m.entry.udp_dst_port,
            anti_replay_window_size: 0,
        };
        let (retval, stat_index) = outcome(core.vpp.ipsec_sa_add(&config(&entry)), NONE)?;
        Ok(IpsecSadEntryAddReply { retval, stat_index })
    });
    registry.ack(|core, m: IpsecSadEntryDel| core.vpp.ipsec_sa_del(m.id));
    registry.ack(|core, m: IpsecSadEntryUpdate| {
        let ends = tunnel(&m.tunnel);
        let ends = m.is_tun.then_some(&ends);
        core.vpp
            .ipsec_sa_update(m.sad_id, ends, (m.udp_src_port, m.udp_dst_port))
    });
    registry.dump(|core, _: IpsecSaV5Dump| core.vpp.ipsec_sas().into_iter().map(wire_sa).collect());
}

fn wire_sa(found: SaDetails) -> IpsecSaV5Details {
    let config = found.config;
    let has = |flag: u32| config.flags & flag != 0;
    let mut entry = wire::IpsecSadEntryV4 {
        sad_id: config.id,
        spi: config.spi,
        protocol: wire::IpsecProto(config.protocol),
        crypto_algorithm: wire::IpsecCryptoAlg(config.crypto),
        crypto_key: wire::IpsecKey::new(&config.crypto_key).unwrap_or_default(),
        integrity_algorithm: wire::IpsecIntegAlg(config.integrity),
        integrity_key: wire::IpsecKey::new(&config.integrity_key).unwrap_or_default(),
        flags: wire::IpsecSadFlags(config.flags),
        // VPP swaps it on the way out though it did not on the way in.
        salt: config.salt.swap_bytes(),
        ..Default::default()
    };
    if has(sa_flag::IS_TUNNEL) {
        entry.tunnel = wire::Tunnel {
            src: config.tunnel.src,
            dst: config.tunnel.dst,
            table_id: config.tunnel.table_id,
            encap_decap_flags: wire::TunnelEncapDecapFlags(config.tunnel.flags),
            mode: wire::TunnelMode(config.tunnel.mode),
            flags: wire::TunnelFlags(config.tunnel.other_flags),
            dscp: wire::IpDscp(config.tunnel.dscp),
            hop_limit: config.tunnel.hop_limit,
            ..Default::default()
        };
    }
    if has(sa_flag::UDP_ENCAP) {
        (entry.udp_src_port, entry.udp_dst_port) = config.udp_ports;
    }
    if has(sa_flag::USE_ANTI_REPLAY) {
        entry.anti_replay_window_size = config.window;
    }
    IpsecSaV5Details {
        entry,
        sw_if_index: found.sw_if_index,
        seq_outbound: found.sent,
        last_seq_inbound: found.last_received,
        replay_window: found.replay_window,
        thread_index: 0,
        stat_index: found.stat_index,
    }
}

fn protections(registry: &mut Registry) {
    registry.ack(|core, m: IpsecTunnelProtectUpdate| {
        core.vpp.ipsec_protect(&Protection {
            sw_if_index: m.tunnel.sw_if_index,
            next_hop: m.tunnel.nh,
            sa_out: m.tunnel.sa_out,
            sa_in: m.tunnel.sa_in,
        })
    });
    registry.ack(|core, m: IpsecTunnelProtectDel| core.vpp.ipsec_unprotect(m.sw_if_index, m.nh));
    registry.dump(|core, m: IpsecTunnelProtectDump| {
        let wanted = index(m.sw_if_index);
        let all = core.vpp.ipsec_protections().into_iter();
        all.filter(|found| wanted.is_none_or(|wanted| wanted == found.sw_if_index))
            .map(|found| IpsecTunnelProtectDetails {
                tun: wire::IpsecTunnelProtect {
                    sw_if_index: found.sw_if_index,
                    nh: found.next_hop,
                    sa_out: found.sa_out,
                    sa_in: found.sa_in,
                },
            })
            .collect()
    });
}

fn interfaces(registry: &mut Registry) {
    registry.request(|core, m: IpsecItfCreate| {
        let created = core.vpp.ipsec_itf_create(m.itf.user_instance, m.itf.mode.0);
        let (retval, sw_if_index) = outcome(created, NONE)?;
        Ok(IpsecItfCreateReply { retval, sw_if_index })
    });
    registry.ack(|core, m: IpsecItfDelete| core.vpp.ipsec_itf_delete(m.sw_if_index));
    registry.dump(|core, m: IpsecItfDump| {
        let wanted = index(m.sw_if_index);
        let all = core.vpp.ipsec_itfs().into_iter();
        all.filter(|found| wanted.is_none_or(|wanted| wanted == found.sw_if_index))
            .map(|found| IpsecItfDetails {
                itf: wire::IpsecItf {
                    user_instance: found.instance,
                    mode: wire::TunnelMode(found.mode),
                    sw_if_index: found.sw_if_index,
                },
            })
            .collect()
    });
}
