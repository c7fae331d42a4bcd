//! Memif: sockets and interfaces.

use std::fs;
use std::path::Path;

use vpp_api::messages::memif::{
    MemifCreateV2, MemifCreateV2Reply, MemifDelete, MemifDetails, MemifDump, MemifMode, MemifRole,
    MemifSocketFilenameAddDelV2, MemifSocketFilenameAddDelV2Reply, MemifSocketFilenameDetails,
    MemifSocketFilenameDump,
};
use vpp_api::types::IfStatusFlags;

use super::outcome;
use crate::engine::{Interface, Kind, Mac, MemifConfig, OpError, OpResult};
use crate::memif::{MemifRequest, Running};
use crate::server::convert::{mac, wire_mac};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

/// `VNET_API_ERROR_SYSCALL_ERROR_1`: the socket's directory cannot be made.
const NO_DIRECTORY: i32 = -11;
/// `VNET_API_ERROR_SYSCALL_ERROR_4`: the socket cannot be listened on.
const NOT_LISTENING: i32 = -14;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: MemifSocketFilenameAddDelV2| {
        let result = if m.is_add {
            add_socket(core, m.socket_id, &m.socket_filename)
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
            rx_queues: m.rx_queues,
            tx_queues: m.tx_queues,
            ring_size: m.ring_size,
            buffer_size: m.buffer_size,
            no_zero_copy: m.no_zero_copy,
            secret: m.secret,
        };
        // Unlike elsewhere the index is 0 after a failure.
        let (retval, sw_if_index) = outcome(create(core, config, mac(m.hw_addr)), 0)?;
        Ok(MemifCreateV2Reply { retval, sw_if_index })
    });
    registry.ack(|core, m: MemifDelete| {
        core.vpp.delete_memif(m.sw_if_index)?;
        core.devices.detach(m.sw_if_index);
        if let Some(memifs) = &mut core.memifs {
            memifs.delete(m.sw_if_index);
        }
        Ok(())
    });
    registry.dump(|core, _: MemifDump| {
        core.vpp
            .interfaces()
            .filter_map(|interface| details(core, interface))
            .collect()
    });
}

/// Names under the runtime directory get their directory at once.
fn add_socket(core: &mut Core, socket_id: u32, name: &str) -> OpResult<u32> {
    let path = core.vpp.in_runtime_dir(name);
    let directory = path.as_deref().and_then(|path| Path::new(path).parent());
    if let Some(directory) = directory.filter(|_| core.memifs.is_some() && !name.is_empty())
        && let Err(error) = fs::create_dir_all(directory)
    {
        tracing::warn!(%error, directory = %directory.display(), "memif socket without directory");
        return Err(NO_DIRECTORY.into());
    }
    core.vpp.memif_socket_add(socket_id, name)
}

fn create(core: &mut Core, config: MemifConfig, mac: Mac) -> OpResult<u32> {
    let socket = core
        .vpp
        .memif_socket(config.socket_id)
        .unwrap_or_default()
        .to_owned();
    let sw_if_index = core.vpp.create_memif(config.clone(), mac)?;
    let Some(memifs) = &mut core.memifs else {
        core.devices.attach_in_process(sw_if_index);
        return Ok(sw_if_index);
    };
    let request = MemifRequest {
        name: format!("memif{}/{}", config.socket_id, config.id),
        socket_id: config.socket_id,
        socket,
        id: config.id,
        is_slave: config.role != 0,
        mode: config.mode,
        rx_queues: config.rx_queues,
        tx_queues: config.tx_queues,
        ring_size: config.ring_size,
        buffer_size: config.buffer_size,
        secret: config.secret,
    };
    if let Err(error) = memifs.create(sw_if_index, &request) {
        tracing::warn!(%error, "memif not created");
        core.vpp.delete_memif(sw_if_index)?;
        return Err(OpError::Retval(NOT_LISTENING));
    }
    Ok(sw_if_index)
}

fn details(core: &Core, interface: &Interface) -> Option<MemifDetails> {
    let Kind::Memif(memif) = &interface.kind else {
        return None;
    };
    let running = core
        .memifs
        .as_ref()
        .and_then(|memifs| memifs.running(interface.sw_if_index));
    let running = running.unwrap_or(Running::UNKNOWN);
    let is_slave = memif.role != 0;
    Some(MemifDetails {
        sw_if_index: interface.sw_if_index,
        hw_addr: wire_mac(interface.mac),
        id: memif.id,
        role: MemifRole(memif.role),
        mode: MemifMode(memif.mode),
        // What was asked for: packets are copied here, and the other end cannot tell.
        zero_copy: is_slave && !memif.no_zero_copy,
        socket_id: memif.socket_id,
        ring_size: running.ring_size,
        buffer_size: running.buffer_size,
        flags: IfStatusFlags(interface.flags()),
        if_name: interface.name.clone(),
    })
}
