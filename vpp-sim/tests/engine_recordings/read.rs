//! Reading the recordings' values.
use serde_json::Value;
use vpp_sim::engine::*;

use crate::engine_common::world::{addr, prefix};

pub fn u(v: &Value, key: &str) -> u32 {
    match &v[key] {
        Value::Bool(b) => u32::from(*b),
        other => other.as_u64().unwrap_or(0) as u32,
    }
}

pub fn s<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or("")
}

pub fn mac(text: &str) -> Mac {
    let mut bytes = [0; 6];
    for (byte, part) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).unwrap();
    }
    Mac(bytes)
}

pub fn path(v: &Value) -> RoutePath {
    let address = &v["nh"]["address"];
    let next_hop = address["ip4"].as_str().or(address["ip6"].as_str()).unwrap();
    RoutePath {
        sw_if_index: u(v, "sw_if_index"),
        table_id: u(v, "table_id"),
        weight: u(v, "weight") as u8,
        preference: u(v, "preference") as u8,
        kind: PathKind::from_number(u(v, "type") as u8),
        family: if u(v, "proto") == 1 {
            Family::V6
        } else {
            Family::V4
        },
        next_hop: addr(next_hop),
    }
}

pub fn paths(v: &Value) -> Vec<RoutePath> {
    v.as_array().unwrap().iter().map(path).collect()
}

pub fn rule(v: &Value) -> AclRule {
    let range = |a, b| (u(v, a) as u16, u(v, b) as u16);
    AclRule {
        action: AclAction::from_number(u(v, "is_permit") as u8).unwrap(),
        src: prefix(s(v, "src_prefix")),
        dst: prefix(s(v, "dst_prefix")),
        proto: u(v, "proto") as u8,
        src_ports: range("srcport_or_icmptype_first", "srcport_or_icmptype_last"),
        dst_ports: range("dstport_or_icmpcode_first", "dstport_or_icmpcode_last"),
        tcp_flags_mask: 0,
        tcp_flags_value: 0,
    }
}

pub fn endpoint(v: &Value) -> CnatEndpoint {
    CnatEndpoint {
        address: addr(s(v, "addr")),
        port: u(v, "port") as u16,
        sw_if_index: u(v, "sw_if_index"),
    }
}

pub fn indices(v: &Value) -> Vec<u32> {
    let all = v.as_array().unwrap().iter();
    all.map(|i| i.as_u64().unwrap() as u32).collect()
}

/// (retval, extra field's name, its value) of an operation.
pub fn retval_of<T>(result: OpResult<T>) -> (i32, Option<T>) {
    match result {
        Ok(value) => (0, Some(value)),
        Err(OpError::Retval(code)) => (code, None),
        Err(OpError::Fatal(reason)) => panic!("fatal: {reason}"),
    }
}
