//! Traces, and the nodes of the graph.

use vpp_api::messages::graph::{GraphNodeDetails, GraphNodeGet, GraphNodeGetReply, NodeFlag};
use vpp_api::messages::tracedump::{
    TraceCapturePackets, TraceClearCache, TraceClearCacheReply, TraceClearCapture, TraceDetails, TraceDump,
    TraceDumpReply, TraceFilterFlag, TraceFilterFunctionDetails, TraceFilterFunctionDump,
    TraceSetFilterFunction, TraceSetFilters, TraceV2Details, TraceV2Dump,
};
use vpp_api::messages::tracenode::TracenodeEnableDisable;

use super::interface::known;
use crate::engine::{NONE, OpError, OpResult, retval};
use crate::server::core::Core;
use crate::server::dispatch::Registry;
use crate::server::tracer::Filter;

pub fn register(registry: &mut Registry) {
    capture(registry);
    dumps(registry);
    graph(registry);
    registry.ack(|core, m: TracenodeEnableDisable| tracenode(core, &m));
}

fn capture(registry: &mut Registry) {
    registry.ack(|core, m: TraceSetFilters| {
        let count = m.count as usize;
        let filter = match m.flag {
            TraceFilterFlag::TRACE_FF_NONE => Filter::None,
            TraceFilterFlag::TRACE_FF_INCLUDE_NODE => Filter::Include(node(core, m.node_index)?, count),
            TraceFilterFlag::TRACE_FF_EXCLUDE_NODE => Filter::Exclude(node(core, m.node_index)?, count),
            _ => return Err(retval::INVALID_VALUE.into()),
        };
        core.tracer.set_filter(filter);
        Ok(())
    });
    registry.ack(|core, m: TraceCapturePackets| {
        let name = node(core, m.node_index)?;
        if !core
            .vpp
            .graph_nodes()
            .iter()
            .any(|node| node.name == name && node.is_input)
        {
            return Err(retval::NO_SUCH_NODE.into());
        }
        if m.pre_capture_clear {
            core.tracer.clear();
        }
        core.tracer.add(&name, m.max_packets);
        Ok(())
    });
    registry.ack(|core, _: TraceClearCapture| {
        core.tracer.clear();
        Ok(())
    });
    registry.ack(|core, m: TraceSetFilterFunction| {
        let known = core.tracer.set_function(&m.filter_function_name);
        known.then_some(()).ok_or(retval::UNSPECIFIED.into())
    });
    registry.dump(|core, _: TraceFilterFunctionDump| {
        let all = core.tracer.functions();
        all.map(|(name, selected)| TraceFilterFunctionDetails {
            selected,
            name: name.to_owned(),
        })
        .collect()
    });
}

/// The name of a node.
///
/// # Errors
/// Fatal for an index beyond the nodes: VPP reads there.
fn node(core: &Core, index: u32) -> OpResult<String> {
    match core.vpp.graph_node(index) {
        Some(name) => Ok(name.to_owned()),
        None => Err(OpError::Fatal(format!(
            "traces are asked for by node {index}, which is beyond the nodes: VPP reads there"
        ))),
    }
}

fn dumps(registry: &mut Registry) {
    registry.answer::<TraceClearCache, TraceClearCacheReply>(|core, client, _| {
        core.tracer.forget(client);
        Ok(TraceClearCacheReply::default())
    });
    registry.details_of::<TraceV2Dump, TraceV2Details>(|core, client, m| {
        if m.clear_cache {
            core.tracer.forget(client);
        }
        // One thread, which is number 0.
        if m.position == NONE || !matches!(m.thread_id, 0 | NONE) {
            return Vec::new();
        }
        let all = core.tracer.cached(client, false);
        let last = all.len().saturating_sub(1);
        let wanted = all.iter().enumerate().skip(m.position as usize);
        wanted
            .take(m.max as usize)
            .map(|(at, text)| TraceV2Details {
                thread_id: 0,
                position: at as u32,
                more: at < last,
                trace_data: text.clone(),
            })
            .collect()
    });
    registry.try_details_and_reply::<TraceDump, TraceDetails, TraceDumpReply>(|core, client, m| {
        Ok(trace_dump(core, client, &m))
    });
}

fn trace_dump(core: &mut Core, client: u32, m: &TraceDump) -> (Vec<TraceDetails>, TraceDumpReply) {
    if m.clear_cache != 0 {
        core.tracer.forget(client);
    }
    if m.thread_id == NONE && m.position == NONE {
        let reply = TraceDumpReply {
            last_thread_id: NONE,
            last_position: NONE,
            flush_only: 1,
            done: 1,
            ..TraceDumpReply::default()
        };
        return (Vec::new(), reply);
    }
    let mut reply = TraceDumpReply {
        retval: retval::NO_SUCH_ENTRY,
        last_thread_id: NONE,
        last_position: NONE,
        ..TraceDumpReply::default()
    };
    let mut details = Vec::new();
    let all = core.tracer.cached(client, false);
    let from = if m.thread_id == 0 {
        m.position as usize
    } else {
        all.len()
    };
    let wanted = all.iter().enumerate().skip(from).take(m.max_records as usize);
    for (at, text) in wanted {
        let is_last = at + 1 == all.len();
        let is_end_of_batch = details.len() + 1 == m.max_records as usize;
        let more = u8::from(is_end_of_batch && !is_last);
        details.push(TraceDetails {
            thread_id: 0,
            position: at as u32,
            more_this_thread: more,
            more_threads: 0,
            done: u8::from(is_last),
            packet_number: at as u32,
            trace_data: text.clone(),
        });
        reply = TraceDumpReply {
            retval: 0,
            last_thread_id: 0,
            last_position: at as u32,
            more_this_thread: more,
            done: u8::from(is_last),
            ..TraceDumpReply::default()
        };
    }
    (details, reply)
}

fn graph(registry: &mut Registry) {
    registry.try_details_and_reply::<GraphNodeGet, GraphNodeDetails, GraphNodeGetReply>(|core, _, m| {
        if m.cursor != NONE || m.index == NONE && m.name.is_empty() {
            return Err(OpError::Fatal(
                "graph_node_get of all nodes from a socket: VPP looks at a queue that only shared memory has"
                    .to_owned(),
            ));
        }
        let all = core.vpp.graph_nodes();
        let found = all.into_iter().find(|node| {
            if m.index == NONE {
                node.name == m.name
            } else {
                node.index == m.index
            }
        });
        let reply = GraphNodeGetReply {
            retval: if found.is_some() { 0 } else { retval::NO_SUCH_ENTRY },
            cursor: NONE,
        };
        let details = found.map(|node| GraphNodeDetails {
            index: node.index,
            flags: NodeFlag(if node.is_input {
                NodeFlag::NODE_FLAG_TRACE_SUPPORTED.0
            } else {
                0
            }),
            name: node.name,
            arcs_out: if m.want_arcs { node.nexts } else { Vec::new() },
        });
        Ok((details.into_iter().collect(), reply))
    });
}

/// Repeating changes nothing: unlike the feature, the switch does not count.
fn tracenode(core: &mut Core, m: &TracenodeEnableDisable) -> OpResult {
    known(core, m.sw_if_index)?;
    let node = if m.is_pcap {
        "pcap-filtering"
    } else {
        "trace-filtering"
    };
    let is_on = core.vpp.feature_is_enabled(m.sw_if_index, "ip4-unicast", node)?;
    if is_on == m.enable {
        return Ok(());
    }
    for arc in ["ip4-unicast", "ip6-unicast"] {
        core.vpp
            .feature_enable_disable(m.sw_if_index, arc, node, m.enable)?;
    }
    Ok(())
}
