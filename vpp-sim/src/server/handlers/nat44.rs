//! Endpoint-dependent NAT of IPv4.

use vpp_api::messages::nat44_ed::{
    Nat44AddDelAddressRange, Nat44AddDelIdentityMapping, Nat44AddDelInterfaceAddr,
    Nat44AddDelLbStaticMapping, Nat44AddDelStaticMapping, Nat44AddDelStaticMappingV2, Nat44AddressDetails,
    Nat44AddressDump, Nat44ConfigFlags, Nat44DelSession, Nat44EdAddDelOutputInterface, Nat44EdAddDelVrfRoute,
    Nat44EdAddDelVrfTable, Nat44EdOutputInterfaceDetails, Nat44EdOutputInterfaceGet,
    Nat44EdPluginEnableDisable, Nat44EdVrfTablesDetails, Nat44EdVrfTablesDump, Nat44EdVrfTablesV2Dump,
    Nat44ForwardingEnableDisable, Nat44IdentityMappingDetails, Nat44IdentityMappingDump,
    Nat44InterfaceAddDelFeature, Nat44InterfaceAddrDetails, Nat44InterfaceAddrDump, Nat44InterfaceDetails,
    Nat44InterfaceDump, Nat44LbAddrPort, Nat44LbStaticMappingAddDelLocal, Nat44LbStaticMappingDetails,
    Nat44LbStaticMappingDump, Nat44SetSessionLimit, Nat44ShowRunningConfig, Nat44ShowRunningConfigReply,
    Nat44StaticMappingDetails, Nat44StaticMappingDump, Nat44UserDetails, Nat44UserDump,
    Nat44UserSessionV3Details, Nat44UserSessionV3Dump, NatConfigFlags, NatGetMssClamping,
    NatGetMssClampingReply, NatIpfixEnableDisable, NatSetMssClamping, NatSetTimeouts, NatSetWorkers,
    NatTimeouts, NatWorkerDump,
};

use crate::engine::{
    NONE, Nat44Backend, Nat44Config, Nat44LbMapping, Nat44Mapping, Nat44SessionDetails, Nat44Timeouts,
    OpError, OpResult, nat44_mapping_flag as mapping_flag, retval,
};
use crate::server::convert::index;
use crate::server::core::Core;
use crate::server::dispatch::Registry;

const SECOND: u64 = 1_000_000_000;

/// Longer ranges are taken for a mistake: VPP compares each address with all before it, in its main loop.
const LONGEST_RANGE: u32 = 1 << 20;

/// Bytes of VPP's own record of a backend beyond those of the message's.
const BACKEND_TAIL: usize = 5;

pub fn register(registry: &mut Registry) {
    plugin(registry);
    interfaces(registry);
    mappings(registry);
    sessions(registry);
}

fn flag(set: bool, flag: NatConfigFlags) -> NatConfigFlags {
    if set { flag } else { NatConfigFlags::default() }
}

fn is_twice_nat(flags: NatConfigFlags) -> bool {
    flags.contains(NatConfigFlags::NAT_IS_TWICE_NAT)
}

fn add_del(core: &mut Core, is_add: bool, mapping: Nat44Mapping) -> OpResult {
    if is_add {
        core.vpp.nat44_mapping_add(mapping)
    } else {
        core.vpp.nat44_mapping_del(mapping)
    }
}

/// The flags of a mapping, which are numbered alike here and there.
fn mapping_flags(flags: NatConfigFlags) -> u8 {
    use mapping_flag::{ADDR_ONLY, OUT2IN_ONLY, SELF_TWICE_NAT, TWICE_NAT};
    flags.0 & (TWICE_NAT | SELF_TWICE_NAT | OUT2IN_ONLY | ADDR_ONLY)
}

fn plugin(registry: &mut Registry) {
    registry.ack(|core, m: Nat44EdPluginEnableDisable| {
        if !m.enable {
            return core.vpp.nat44_disable();
        }
        let refused = Nat44ConfigFlags::NAT44_IS_STATIC_MAPPING_ONLY.0
            | Nat44ConfigFlags::NAT44_IS_CONNECTION_TRACKING.0;
        if m.flags.0 & refused != 0 {
            return Err(retval::UNSUPPORTED.into());
        }
        core.vpp.nat44_enable(Nat44Config {
            inside_table: m.inside_vrf,
            outside_table: m.outside_vrf,
            sessions: m.sessions,
        })
    });
    registry.ack(|core, m: Nat44ForwardingEnableDisable| {
        core.vpp.nat44_forwarding(m.enable);
        Ok(())
    });
    registry.request(|core, _: Nat44ShowRunningConfig| {
        let (config, forwarding_enabled, timeouts, translation_buckets) = core.vpp.nat44_running();
        Ok(Nat44ShowRunningConfigReply {
            inside_vrf: config.inside_table,
            outside_vrf: config.outside_table,
            sessions: config.sessions,
            translation_buckets,
            forwarding_enabled,
            // VPP says so whatever is switched.
            ipfix_logging_enabled: true,
            timeouts: NatTimeouts {
                udp: timeouts.udp,
                tcp_established: timeouts.tcp_established,
                tcp_transitory: timeouts.tcp_transitory,
                icmp: timeouts.icmp,
            },
            flags: Nat44ConfigFlags::NAT44_IS_ENDPOINT_DEPENDENT,
            ..Nat44ShowRunningConfigReply::default()
        })
    });
    registry.ack(|core, m: NatSetTimeouts| {
        core.vpp.nat44_set_timeouts(Nat44Timeouts {
            udp: m.udp,
            tcp_established: m.tcp_established,
            tcp_transitory: m.tcp_transitory,
            icmp: m.icmp,
        });
        Ok(())
    });
    registry.ack(|core, m: Nat44SetSessionLimit| core.vpp.nat44_set_session_limit(m.session_limit, m.vrf_id));
    // There are no workers here.
    registry.ack(|_, _: NatSetWorkers| Err(OpError::Retval(retval::FEATURE_DISABLED)));
    registry.dump(|_, _: NatWorkerDump| Vec::new());
    registry.ack(|core, m: Nat44EdAddDelVrfTable| core.vpp.nat44_vrf_table(m.table_vrf_id, m.is_add));
    registry
        .ack(|core, m: Nat44EdAddDelVrfRoute| core.vpp.nat44_vrf_route(m.table_vrf_id, m.vrf_id, m.is_add));
    // VPP sends the first version's id for both, and the first version without tables and in its own byte order.
    registry.dump_as(|core, _: Nat44EdVrfTablesV2Dump| {
        let tables = core.vpp.nat44_vrf_tables().into_iter();
        tables
            .map(|table| Nat44EdVrfTablesDetails {
                table_vrf_id: table.table_id,
                vrf_ids: table.routes,
            })
            .collect()
    });
    registry.dump(|core, _: Nat44EdVrfTablesDump| {
        let tables = core.vpp.nat44_vrf_tables().into_iter();
        tables
            .map(|table| Nat44EdVrfTablesDetails {
                table_vrf_id: 0,
                vrf_ids: table.routes.iter().map(|id| id.swap_bytes()).collect(),
            })
            .collect()
    });
    registry.ack(|core, m: NatSetMssClamping| {
        core.vpp.nat44_set_mss(if m.enable { m.mss_value } else { 0 });
        Ok(())
    });
    registry.request(|core, _: NatGetMssClamping| {
        let mss_value = core.vpp.nat44_mss();
        Ok(NatGetMssClampingReply {
            retval: 0,
            mss_value,
            enable: mss_value != 0,
        })
    });
    // No exporter is modelled: what is switched on here is never sent.
    registry.ack(|_, _: NatIpfixEnableDisable| Ok(()));
}

fn interfaces(registry: &mut Registry) {
    registry.ack(|core, m: Nat44AddDelAddressRange| {
        let (first, last) = (m.first_ip_address, m.last_ip_address);
        if u32::from(last).saturating_sub(u32::from(first)) >= LONGEST_RANGE {
            return Err(OpError::Fatal(format!(
                "nat44_add_del_address_range {first} to {last}: VPP's main loop would stand still"
            )));
        }
        core.vpp
            .nat44_address_range(first, last, m.vrf_id, is_twice_nat(m.flags), m.is_add)
    });
    registry.dump(|core, _: Nat44AddressDump| {
        let addresses = core.vpp.nat44_addresses().into_iter();
        addresses
            .map(|address| Nat44AddressDetails {
                ip_address: address.address,
                flags: flag(address.is_twice_nat, NatConfigFlags::NAT_IS_TWICE_NAT),
                vrf_id: address.table_id,
            })
            .collect()
    });
    registry.ack(|core, m: Nat44AddDelInterfaceAddr| {
        core.vpp
            .nat44_interface_address(m.sw_if_index, is_twice_nat(m.flags), m.is_add)
    });
    registry.dump(|core, _: Nat44InterfaceAddrDump| {
        let interfaces = core.vpp.nat44_interface_addresses().into_iter();
        interfaces
            .map(|(sw_if_index, twice)| Nat44InterfaceAddrDetails {
                sw_if_index,
                flags: flag(twice, NatConfigFlags::NAT_IS_TWICE_NAT),
            })
            .collect()
    });
    registry.ack(|core, m: Nat44InterfaceAddDelFeature| {
        let is_inside = m.flags.contains(NatConfigFlags::NAT_IS_INSIDE);
        if m.is_add {
            core.vpp.nat44_interface_add(m.sw_if_index, is_inside)
        } else {
            core.vpp.nat44_interface_del(m.sw_if_index, is_inside)
        }
    });
    registry.dump(|core, _: Nat44InterfaceDump| {
        let interfaces = core.vpp.nat44_interfaces().into_iter();
        interfaces
            .map(|interface| Nat44InterfaceDetails {
                flags: flag(interface.is_inside, NatConfigFlags::NAT_IS_INSIDE)
                    | flag(interface.is_outside, NatConfigFlags::NAT_IS_OUTSIDE),
                sw_if_index: interface.sw_if_index,
            })
            .collect()
    });
    registry.ack(|core, m: Nat44EdAddDelOutputInterface| {
        core.vpp.nat44_output_interface(m.sw_if_index, m.is_add)
    });
    registry.stream(
        |m: &Nat44EdOutputInterfaceGet| m.cursor,
        |core, _| {
            let all = (0..).zip(core.vpp.nat44_output_interfaces());
            Ok(all
                .map(|(index, sw_if_index)| (index, Nat44EdOutputInterfaceDetails { sw_if_index }))
                .collect())
        },
    );
}

fn mappings(registry: &mut Registry) {
    registry.ack(|core, m: Nat44AddDelStaticMappingV2| {
        let mapping = Nat44Mapping {
            flags: mapping_flags(m.flags),
            local: (m.local_ip_address, m.local_port),
            external: (m.external_ip_address, m.external_port),
            proto: m.protocol,
            table_id: m.vrf_id,
            interface: index(m.external_sw_if_index),
            pool_address: Some(m.pool_ip_address).filter(|address| !address.is_unspecified()),
            is_identity: false,
            tag: m.tag,
        };
        add_del(core, m.is_add, mapping)
    });
    registry.ack(|core, m: Nat44AddDelStaticMapping| {
        let mapping = Nat44Mapping {
            flags: mapping_flags(m.flags),
            local: (m.local_ip_address, m.local_port),
            external: (m.external_ip_address, m.external_port),
            proto: m.protocol,
            table_id: m.vrf_id,
            interface: index(m.external_sw_if_index),
            pool_address: None,
            is_identity: false,
            tag: m.tag,
        };
        add_del(core, m.is_add, mapping)
    });
    registry.dump(|core, _: Nat44StaticMappingDump| {
        let all = core.vpp.nat44_mappings(false).into_iter();
        all.map(static_details).collect()
    });
    registry.ack(|core, m: Nat44AddDelIdentityMapping| {
        let any_port = m.flags.contains(NatConfigFlags::NAT_IS_ADDR_ONLY);
        let end = (m.ip_address, if any_port { 0 } else { m.port });
        let mapping = Nat44Mapping {
            flags: m.flags.0 & mapping_flag::ADDR_ONLY,
            local: end,
            external: end,
            proto: if any_port { 0 } else { m.protocol },
            table_id: m.vrf_id,
            interface: index(m.sw_if_index),
            pool_address: None,
            is_identity: true,
            tag: m.tag,
        };
        add_del(core, m.is_add, mapping)
    });
    registry.dump(|core, _: Nat44IdentityMappingDump| {
        let all = core.vpp.nat44_mappings(true).into_iter();
        all.map(|m| Nat44IdentityMappingDetails {
            flags: NatConfigFlags(m.flags & mapping_flag::ADDR_ONLY),
            // VPP does not fill in the address of a mapping that follows an interface.
            ip_address: if m.interface.is_some() {
                std::net::Ipv4Addr::UNSPECIFIED
            } else {
                m.local.0
            },
            protocol: m.proto,
            port: m.local.1,
            sw_if_index: m.interface.unwrap_or(NONE),
            vrf_id: m.table_id,
            tag: m.tag,
        })
        .collect()
    });
    registry.ack(|core, m: Nat44AddDelLbStaticMapping| {
        let external = (m.external_addr, m.external_port);
        let mut flags = mapping_flags(m.flags) & !mapping_flag::ADDR_ONLY;
        if flags & mapping_flag::TWICE_NAT != 0 {
            flags &= !mapping_flag::SELF_TWICE_NAT;
        }
        if !m.is_add {
            return core.vpp.nat44_lb_del(external, m.protocol, flags);
        }
        core.vpp.nat44_lb_add(Nat44LbMapping {
            flags,
            external,
            proto: m.protocol,
            affinity: m.affinity,
            tag: m.tag,
            backends: m.locals.iter().map(backend).collect(),
        })
    });
    registry.ack(|core, m: Nat44LbStaticMappingAddDelLocal| {
        let external = (m.external_addr, m.external_port);
        core.vpp
            .nat44_lb_local(external, m.protocol, backend(&m.local), m.is_add)
    });
    registry.dump_with_tail(
        |core, _: Nat44LbStaticMappingDump| {
            let all = core.vpp.nat44_lb_mappings().into_iter();
            all.map(lb_details).collect()
        },
        |details| BACKEND_TAIL * details.locals.len(),
    );
}

fn static_details(m: Nat44Mapping) -> Nat44StaticMappingDetails {
    let mut flags = m.flags;
    let mut external = m.external;
    if m.interface.is_some() {
        flags &= mapping_flag::TWICE_NAT | mapping_flag::ADDR_ONLY;
        external.0 = std::net::Ipv4Addr::UNSPECIFIED;
    }
    let any_port = flags & mapping_flag::ADDR_ONLY != 0;
    let port = |port: u16| if any_port { 0 } else { port };
    Nat44StaticMappingDetails {
        flags: NatConfigFlags(flags),
        local_ip_address: m.local.0,
        external_ip_address: external.0,
        protocol: if any_port { 0 } else { m.proto },
        local_port: port(m.local.1),
        external_port: port(external.1),
        external_sw_if_index: m.interface.unwrap_or(NONE),
        vrf_id: m.table_id,
        tag: m.tag,
    }
}

fn backend(local: &Nat44LbAddrPort) -> Nat44Backend {
    Nat44Backend {
        address: local.addr,
        port: local.port,
        probability: local.probability,
        table_id: local.vrf_id,
    }
}

fn lb_details(m: Nat44LbMapping) -> Nat44LbStaticMappingDetails {
    Nat44LbStaticMappingDetails {
        external_addr: m.external.0,
        external_port: m.external.1,
        protocol: m.proto,
        flags: NatConfigFlags(m.flags),
        affinity: m.affinity,
        tag: m.tag,
        locals: m
            .backends
            .iter()
            .map(|local| Nat44LbAddrPort {
                addr: local.address,
                port: local.port,
                probability: local.probability,
                vrf_id: local.table_id,
            })
            .collect(),
    }
}

fn sessions(registry: &mut Registry) {
    registry.ack(|core, m: Nat44DelSession| {
        core.vpp.nat44_del_session(
            (m.address, m.port),
            (m.ext_host_address, m.ext_host_port),
            m.protocol,
            m.vrf_id,
        )
    });
    registry.dump(|core, _: Nat44UserDump| {
        let users = core.vpp.nat44_users().into_iter();
        users
            .map(|user| Nat44UserDetails {
                vrf_id: user.table_id,
                ip_address: user.address,
                nsessions: user.sessions,
                nstaticsessions: user.static_sessions,
            })
            .collect()
    });
    registry.dump(|core, m: Nat44UserSessionV3Dump| {
        let now = core.now();
        let all = core.vpp.nat44_user_sessions(m.ip_address, now).into_iter();
        all.map(|session| session_details(&session, now)).collect()
    });
}

fn session_details(session: &Nat44SessionDetails, now: u64) -> Nat44UserSessionV3Details {
    let host_nat = session.host_nat.unwrap_or((std::net::Ipv4Addr::UNSPECIFIED, 0));
    Nat44UserSessionV3Details {
        outside_ip_address: session.outside.0,
        outside_port: session.outside.1,
        inside_ip_address: session.inside.0,
        inside_port: session.inside.1,
        protocol: u16::from(session.proto),
        flags: flag(session.is_static, NatConfigFlags::NAT_IS_STATIC)
            | flag(session.host_nat.is_some(), NatConfigFlags::NAT_IS_TWICE_NAT)
            | NatConfigFlags::NAT_IS_EXT_HOST_VALID,
        last_heard: session.last_heard / SECOND,
        time_since_last_heard: now.saturating_sub(session.last_heard) / SECOND,
        total_bytes: session.bytes,
        total_pkts: session.packets,
        ext_host_address: session.host.0,
        ext_host_port: session.host.1,
        ext_host_nat_address: host_nat.0,
        ext_host_nat_port: host_nat.1,
        is_timed_out: session.is_timed_out,
    }
}
