//! Memif: the control plane, and no packets but those a test injects.

use vpp_api::messages::memif::{
    MemifCreateV2, MemifCreateV2Reply, MemifDelete, MemifDetails, MemifDump, MemifMode, MemifRole,
    MemifSocketFilenameAddDelV2, MemifSocketFilenameAddDelV2Reply, MemifSocketFilenameDetails,
    MemifSocketFilenameDump,
};
use vpp_api::types::IfStatusFlags;

use super::outcome;
use crate::engine::{Interface, Kind, MemifConfig};
use crate::server::convert::{mac, wire_mac};
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: MemifSocketFilenameAddDelV2| {
        let result = if m.is_add {
            core.vpp.memif_socket_add(m.socket_id, &m.socket_filename)
        } else {
            core.vpp.memif_socket_del(m.socket_id).map(|()| m.socket_id)
        };
        let (retval, socket_id) = outcome(result, m.socket_id)?;
        Ok(MemifSocketFilenameAddDelV2Reply { retval, socket_id })
    });
    registry.dump(|core, _: MemifSocketFilenameDump| {
        core.vpp
            .memif_sockets()
            .into_iter()
            .map(|(socket_id, socket_filename)| MemifSocketFilenameDetails {
                socket_id,
                socket_filename,
            })
            .collect()
    });
    registry.request(|core, m: MemifCreateV2| {
        let config = MemifConfig {
            id: m.id,
            socket_id: m.socket_id,
            role: m.role.0,
            mode: m.mode.0,
            ring_size: m.ring_size,
            buffer_size: m.buffer_size,
            no_zero_copy: m.no_zero_copy,
            secret: m.secret,
        };
        // Unlike elsewhere the index is 0 after a failure.
        let (retval, sw_if_index) = outcome(core.vpp.create_memif(config, mac(m.hw_addr)), 0)?;
        if retval == 0 {
            core.devices.attach_in_process(sw_if_index);
        }
        Ok(MemifCreateV2Reply { retval, sw_if_index })
    });
    registry.ack(|core, m: MemifDelete| {
        core.vpp.delete_memif(m.sw_if_index)?;
        core.devices.detach(m.sw_if_index);
        Ok(())
    });
    registry.dump(|core, _: MemifDump| core.vpp.interfaces().filter_map(details).collect());
}

fn details(interface: &Interface) -> Option<MemifDetails> {
    let Kind::Memif(memif) = &interface.kind else {
        return None;
    };
    Some(MemifDetails {
        sw_if_index: interface.sw_if_index,
        hw_addr: wire_mac(interface.mac),
        id: memif.id,
        role: MemifRole(memif.role),
        mode: MemifMode(memif.mode),
        zero_copy: false,
        socket_id: memif.socket_id,
        // Ring and buffer size are the running ones, of which there are none without a peer's queues.
        ring_size: 1,
        buffer_size: 0,
        flags: IfStatusFlags(interface.flags()),
        if_name: interface.name.clone(),
    })
}
