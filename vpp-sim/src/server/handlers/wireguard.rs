//! WireGuard.

use vpp_api::messages::wireguard::{
    WantWireguardPeerEvents, WantWireguardPeerEventsReply, WgSetAsyncMode, WireguardInterfaceCreate,
    WireguardInterfaceCreateReply, WireguardInterfaceDelete, WireguardInterfaceDetails,
    WireguardInterfaceDump, WireguardPeerAdd, WireguardPeerAddReply, WireguardPeerAddV2,
    WireguardPeerAddV2Reply, WireguardPeerRemove, WireguardPeersDetails, WireguardPeersDump,
    WireguardPeersV2Details, WireguardPeersV2Dump,
};
use vpp_api::types as wire;

use super::outcome;
use crate::engine::{
    NONE, WireguardConfig, WireguardPeer, WireguardPeerDetails, has_preshared_key, shown_endpoint,
};
use crate::server::convert::{index, prefix, wire_prefix};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    interfaces(registry);
    peers(registry);
    registry.answer::<WantWireguardPeerEvents, WantWireguardPeerEventsReply>(|core, client, m| {
        core.vpp.want_wireguard_events(
            client,
            index(m.sw_if_index),
            index(m.peer_index),
            m.enable_disable != 0,
        );
        Ok(WantWireguardPeerEventsReply::default())
    });
    // Nothing here is encrypted by another thread, and nobody can tell.
    registry.ack(|_, _: WgSetAsyncMode| Ok(()));
}

fn interfaces(registry: &mut Registry) {
    registry.request(|core, m: WireguardInterfaceCreate| {
        let config = WireguardConfig {
            instance: m.interface.user_instance,
            private_key: m.interface.private_key,
            port: m.interface.port,
            source: m.interface.src_ip,
        };
        let (retval, sw_if_index) = outcome(core.vpp.wireguard_create(&config, m.generate_key), NONE)?;
        Ok(WireguardInterfaceCreateReply { retval, sw_if_index })
    });
    registry.ack(|core, m: WireguardInterfaceDelete| core.vpp.wireguard_delete(m.sw_if_index));
    registry.dump(|core, m: WireguardInterfaceDump| {
        let wanted = index(m.sw_if_index);
        let all = core.vpp.wireguard_interfaces().into_iter();
        all.filter(|found| wanted.is_none_or(|wanted| wanted == found.sw_if_index))
            .map(|found| WireguardInterfaceDetails {
                interface: wire::WireguardInterface {
                    user_instance: found.config.instance,
                    sw_if_index: found.sw_if_index,
                    private_key: if m.show_private_key {
                        found.config.private_key
                    } else {
                        [0; 32]
                    },
                    public_key: found.public_key,
                    port: found.config.port,
                    src_ip: found.config.source,
                },
            })
            .collect()
    });
}

fn peers(registry: &mut Registry) {
    registry.request(|core, m: WireguardPeerAdd| {
        let peer = WireguardPeer {
            sw_if_index: m.peer.sw_if_index,
            public_key: m.peer.public_key,
            preshared_key: [0; 32],
            endpoint: m.peer.endpoint,
            port: m.peer.port,
            table_id: m.peer.table_id,
            keepalive: m.peer.persistent_keepalive,
            allowed_ips: m.peer.allowed_ips.into_iter().map(prefix).collect(),
        };
        let (retval, peer_index) = outcome(core.vpp.wireguard_peer_add(&peer), NONE)?;
        Ok(WireguardPeerAddReply { retval, peer_index })
    });
    registry.request(|core, m: WireguardPeerAddV2| {
        let peer = WireguardPeer {
            sw_if_index: m.peer.sw_if_index,
            public_key: m.peer.public_key,
            preshared_key: if m.peer.preshared_key_set {
                m.peer.preshared_key
            } else {
                [0; 32]
            },
            endpoint: m.peer.endpoint,
            port: m.peer.port,
            table_id: m.peer.table_id,
            keepalive: m.peer.persistent_keepalive,
            allowed_ips: m.peer.allowed_ips.into_iter().map(prefix).collect(),
        };
        let (retval, peer_index) = outcome(core.vpp.wireguard_peer_add(&peer), NONE)?;
        Ok(WireguardPeerAddV2Reply { retval, peer_index })
    });
    registry.ack(|core, m: WireguardPeerRemove| core.vpp.wireguard_peer_remove(m.peer_index));
    registry.dump(|core, m: WireguardPeersDump| {
        let found = found(core, m.peer_index).into_iter();
        found
            .map(wire_peer)
            .map(|peer| WireguardPeersDetails { peer })
            .collect()
    });
    registry.dump(|core, m: WireguardPeersV2Dump| {
        let found = found(core, m.peer_index).into_iter();
        found
            .map(wire_peer_v2)
            .map(|peer| WireguardPeersV2Details { peer })
            .collect()
    });
}

fn found(core: &Core, peer_index: u32) -> Vec<WireguardPeerDetails> {
    let wanted = index(peer_index);
    let all = core.vpp.wireguard_peers().into_iter();
    all.filter(|peer| wanted.is_none_or(|wanted| wanted == peer.index))
        .collect()
}

fn wire_peer(found: WireguardPeerDetails) -> wire::WireguardPeer {
    let peer = found.peer;
    wire::WireguardPeer {
        peer_index: found.index,
        public_key: peer.public_key,
        port: peer.port,
        persistent_keepalive: peer.keepalive,
        table_id: peer.table_id,
        endpoint: shown_endpoint(peer.endpoint),
        sw_if_index: peer.sw_if_index,
        flags: wire::WireguardPeerFlags(found.flags),
        allowed_ips: peer.allowed_ips.into_iter().map(wire_prefix).collect(),
    }
}

fn wire_peer_v2(found: WireguardPeerDetails) -> wire::WireguardPeerV2 {
    let (preshared_key, preshared_key_set) = (found.peer.preshared_key, has_preshared_key(&found.peer));
    let peer = wire_peer(found);
    wire::WireguardPeerV2 {
        peer_index: peer.peer_index,
        preshared_key,
        preshared_key_set,
        public_key: peer.public_key,
        port: peer.port,
        persistent_keepalive: peer.persistent_keepalive,
        table_id: peer.table_id,
        endpoint: peer.endpoint,
        sw_if_index: peer.sw_if_index,
        flags: peer.flags,
        allowed_ips: peer.allowed_ips,
    }
}
