//! Replays what real VPP 26.06 was told and compares what it answered, and how its packets went.
//!
//! The recordings are no part of the repository: `CONTIV_SHARED`, or `../../shared` beside the crate.
mod engine_common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use engine_common::packets::{TCP, UDP};
use engine_common::world::{Flow, Plug, World, addr, neighbor, prefix};
use serde_json::{Value, json};
use vpp_sim::engine::*;

fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("CONTIV_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let dir = shared.join("vpp/recordings");
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("skipped: no recordings in {} (set CONTIV_SHARED)", dir.display());
    None
}

fn u(v: &Value, key: &str) -> u32 {
    match &v[key] {
        Value::Bool(b) => u32::from(*b),
        other => other.as_u64().unwrap_or(0) as u32,
    }
}

fn s<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or("")
}

fn mac(text: &str) -> Mac {
    let mut bytes = [0; 6];
    for (byte, part) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).unwrap();
    }
    Mac(bytes)
}

fn path(v: &Value) -> RoutePath {
    let address = &v["nh"]["address"];
    let next_hop = address["ip4"].as_str().or(address["ip6"].as_str()).unwrap();
    RoutePath {
        sw_if_index: u(v, "sw_if_index"),
        table_id: u(v, "table_id"),
        weight: u(v, "weight") as u8,
        preference: u(v, "preference") as u8,
        kind: PathKind::from_number(u(v, "type") as u8),
        family: if u(v, "proto") == 1 { Family::V6 } else { Family::V4 },
        next_hop: addr(next_hop),
    }
}

fn paths(v: &Value) -> Vec<RoutePath> {
    v.as_array().unwrap().iter().map(path).collect()
}

fn rule(v: &Value) -> AclRule {
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

fn endpoint(v: &Value) -> CnatEndpoint {
    CnatEndpoint {
        address: addr(s(v, "addr")),
        port: u(v, "port") as u16,
        sw_if_index: u(v, "sw_if_index"),
    }
}

fn indices(v: &Value) -> Vec<u32> {
    let all = v.as_array().unwrap().iter();
    all.map(|i| i.as_u64().unwrap() as u32).collect()
}

/// (retval, extra field's name, its value) of an operation.
fn retval_of<T>(result: OpResult<T>) -> (i32, Option<T>) {
    match result {
        Ok(value) => (0, Some(value)),
        Err(OpError::Retval(code)) => (code, None),
        Err(OpError::Fatal(reason)) => panic!("fatal: {reason}"),
    }
}

struct Replay {
    world: World,
    file: String,
    line: usize,
}

impl Replay {
    fn node(name: &str) -> usize {
        usize::from(name == "b")
    }

    /// Does one request; the reply in the recording's form, without fields we do not compare.
    #[allow(clippy::too_many_lines)] // One arm a message.
    fn request(&mut self, node: usize, name: &str, a: &Value) -> Value {
        let index = u(a, "sw_if_index");
        let is_add = u(a, "is_add") != 0;
        let vpp = &mut self.world.nodes[node];
        let with = |(code, value): (i32, Option<u32>), field: &str| match value {
            Some(value) => json!({"retval": code, field: value}),
            None => json!({"retval": code}),
        };
        let plain = |r: OpResult| json!({"retval": retval_of(r).0});
        match name {
            "create_loopback" => with(
                retval_of(vpp.create_loopback(mac(s(a, "mac_address")), None)),
                "sw_if_index",
            ),
            "sw_interface_add_del_address" => {
                let p = prefix(s(a, "prefix"));
                plain(if is_add {
                    vpp.add_address(index, p)
                } else {
                    vpp.del_address(index, p)
                })
            }
            "sw_interface_set_flags" => plain(vpp.set_admin(index, u(a, "flags") & 1 == 1)),
            "af_packet_create_v3" => {
                let host = s(a, "host_if_name");
                if host == "nosuch" {
                    // The host's part: no such device.
                    return json!({"retval": retval::INVALID_INTERFACE});
                }
                let (code, made) = retval_of(vpp.create_af_packet(host, None, Some(1500)));
                let at = vpp.af_packet(host).unwrap();
                if made.is_some() {
                    self.plug(node, at, host);
                }
                json!({"retval": code, "sw_if_index": at})
            }
            "af_packet_delete" => plain(vpp.delete_af_packet(s(a, "host_if_name")).map(|_| ())),
            "sw_interface_set_unnumbered" => plain(vpp.set_unnumbered(
                index,
                u(a, "unnumbered_sw_if_index"),
                is_add,
            )),
            "sw_interface_set_table" => {
                let family = if u(a, "is_ipv6") == 1 { Family::V6 } else { Family::V4 };
                plain(vpp.set_table(index, family, u(a, "vrf_id")))
            }
            "ip_table_add_del" => {
                let t = &a["table"];
                vpp.ip_table_add_del(Family::V4, u(t, "table_id"), s(t, "name"), is_add);
                json!({"retval": 0})
            }
            "sw_interface_tag_add_del" => {
                plain(vpp.set_tag(index, is_add.then(|| s(a, "tag"))))
            }
            "ip_neighbor_add_del" => {
                let n = &a["neighbor"];
                let (at, ip, m) = (
                    u(n, "sw_if_index"),
                    addr(s(n, "ip_address")),
                    mac(s(n, "mac_address")),
                );
                let result = vpp.neighbor_add(neighbor(at, ip, m));
                let gateway_mac = vpp.interface(at).map(|i| i.mac);
                if let Some(plug) = self.world.plugs.get_mut(&(node, at)) {
                    match plug {
                        Plug::Pod { addresses, mac, gateway, .. } => {
                            addresses.push(ip);
                            *mac = m;
                            *gateway = gateway_mac.unwrap();
                        }
                        Plug::Function { mac, .. } => *mac = m,
                        _ => {}
                    }
                }
                json!({"retval": retval_of(result).0})
            }
            "acl_add_replace" => {
                let wanted = u(a, "acl_index");
                let rules = a["r"].as_array().unwrap().iter().map(rule).collect();
                let replaced = (wanted != NONE).then_some(wanted);
                let (code, made) = retval_of(vpp.acl_add_replace(replaced, s(a, "tag"), rules));
                json!({"retval": code, "acl_index": made.unwrap_or(wanted)})
            }
            "acl_del" => plain(vpp.acl_del(u(a, "acl_index"))),
            "acl_interface_set_acl_list" => {
                let acls = indices(&a["acls"]);
                let (input, output) = acls.split_at(u(a, "n_input") as usize);
                plain(vpp.acl_set_lists(index, input, output))
            }
            "cnat_set_snat_addresses_v2" => plain(vpp.cnat_set_snat_addresses(SnatAddresses {
                fwd_fib_index: u(a, "fwd_fib_index"),
                ret_fib_index: u(a, "ret_fib_index"),
                ip4: s(a, "snat_ip4").parse().unwrap(),
                ip6: s(a, "snat_ip6").parse().unwrap(),
                sw_if_index: index,
                flags: u(a, "flags") as u8,
            })),
            "cnat_snat_policy_add_del_exclude_pfx" => {
                plain(vpp.cnat_snat_exclude(prefix(s(a, "prefix")), is_add))
            }
            "cnat_set_snat_policy" => plain(vpp.cnat_set_snat_policy(match u(a, "policy") {
                0 => SnatPolicy::None,
                1 => SnatPolicy::IfPfx,
                _ => SnatPolicy::K8s,
            })),
            "cnat_snat_policy_add_del_if" => {
                let table = match u(a, "table") {
                    0 => SnatTable::IncludeV4,
                    1 => SnatTable::IncludeV6,
                    2 => SnatTable::Pod,
                    _ => SnatTable::Host,
                };
                plain(vpp.cnat_snat_interface(index, table, is_add))
            }
            "feature_cnat_enable_disable" => {
                plain(vpp.cnat_feature_enable(index, u(a, "enable_disable") == 1))
            }
            "cnat_translation_update" => {
                let t = &a["translation"];
                let update = TranslationUpdate {
                    vip: endpoint(&t["vip"]),
                    proto: u(t, "ip_proto") as u8,
                    is_real_ip: u(t, "is_real_ip") == 1,
                    flags: u(t, "flags") as u8,
                    load_balance: match u(t, "lb_type") {
                        1 => LoadBalance::Maglev,
                        _ => LoadBalance::Default,
                    },
                    flow_hash: u(t, "flow_hash_config"),
                    paths: t["paths"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|p| CnatPath {
                            dst: endpoint(&p["dst_ep"]),
                            src: endpoint(&p["src_ep"]),
                            flags: u(p, "flags") as u8,
                        })
                        .collect(),
                };
                with(retval_of(vpp.cnat_translation_update(&update)), "id")
            }
            "cnat_translation_del" => plain(vpp.cnat_translation_del(u(a, "id"))),
            "abf_policy_add_del" => {
                let p = &a["policy"];
                plain(vpp.abf_policy_add_del(
                    is_add,
                    u(p, "policy_id"),
                    u(p, "acl_index"),
                    &paths(&p["paths"]),
                ))
            }
            "abf_itf_attach_add_del" => {
                let p = &a["attach"];
                plain(vpp.abf_attach(AbfAttachment {
                    policy_id: u(p, "policy_id"),
                    sw_if_index: u(p, "sw_if_index"),
                    priority: u(p, "priority"),
                    family: Family::V4,
                }))
            }
            "sw_interface_set_l2_xconnect" => plain(vpp.set_l2_xconnect(
                u(a, "rx_sw_if_index"),
                u(a, "tx_sw_if_index"),
                u(a, "enable") == 1,
            )),
            "add_node_next" => with(
                retval_of(vpp.add_node_next(s(a, "node_name"), s(a, "next_name"))),
                "next_index",
            ),
            "vxlan_add_del_tunnel_v3" => {
                let tunnel = VxlanTunnel {
                    instance: u(a, "instance"),
                    src: addr(s(a, "src_address")),
                    dst: addr(s(a, "dst_address")),
                    src_port: u(a, "src_port") as u16,
                    dst_port: u(a, "dst_port") as u16,
                    mcast_sw_if_index: u(a, "mcast_sw_if_index"),
                    encap_table_id: u(a, "encap_vrf_id"),
                    decap_next_index: u(a, "decap_next_index"),
                    vni: u(a, "vni"),
                    is_l3: u(a, "is_l3") == 1,
                };
                let (code, at) = retval_of(if is_add {
                    vpp.vxlan_add(&tunnel)
                } else {
                    vpp.vxlan_del(&tunnel)
                });
                json!({"retval": code, "sw_if_index": at.unwrap_or(NONE)})
            }
            "ip_route_add_del_v2" => {
                let r = &a["route"];
                let (code, _) = retval_of(vpp.ip_route_add_del(&RouteUpdate {
                    is_add,
                    is_multipath: u(a, "is_multipath") == 1,
                    table_id: u(r, "table_id"),
                    prefix: prefix(s(r, "prefix")),
                    source: u(r, "src") as u8,
                    paths: paths(&r["paths"]),
                }));
                json!({"retval": code})
            }
            "ip_route_lookup_v2" => {
                let p = prefix(s(a, "prefix"));
                let found = vpp.ip_route_lookup(u(a, "table_id"), p, u(a, "exact") == 1);
                json!({"retval": retval_of(found).0})
            }
            "cli_inband" if s(a, "cmd").starts_with("ping ") => {
                let to = addr(s(a, "cmd").split(' ').nth(1).unwrap());
                let now = self.world.now;
                let outputs = vpp.ping(0, to, 77, now).outputs;
                assert_eq!(self.world.carry(node, outputs), [], "the recording has 0 received");
                json!({"retval": 0})
            }
            "cli_inband" => json!({"retval": 0}),
            other => panic!("{}: no replay of {other}", self.at()),
        }
    }

    fn at(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    fn plug(&mut self, node: usize, at: u32, host: &str) {
        let gateway = self.world.nodes[node].interface(at).unwrap().mac;
        match host {
            "uplink" if node == 1 => {
                let other = self.world.nodes[0].af_packet("uplink").unwrap();
                self.world.wire((0, other), (1, at));
            }
            "uplink" => {}
            "v-fin" | "v-fout" => {
                let plug = Plug::Function { out: 0, mac: Mac::default(), gateway };
                self.world.plugs.insert((node, at), plug);
                if host == "v-fout" {
                    // A function's packets leave by its other side, to that side's gateway.
                    let other = self.world.nodes[node].af_packet("v-fin").unwrap();
                    let other_gateway = self.world.nodes[node].interface(other).unwrap().mac;
                    for (this, that, that_gateway) in [(at, other, other_gateway), (other, at, gateway)] {
                        if let Some(Plug::Function { out, gateway, .. }) =
                            self.world.plugs.get_mut(&(node, this))
                        {
                            *out = that;
                            *gateway = that_gateway;
                        }
                    }
                }
            }
            _ => {
                let name = host.trim_start_matches("v-").to_owned();
                // The pods of the cross-connect also have addresses of their own.
                let addresses = match name.as_str() {
                    "c1" => vec![addr("10.99.0.1")],
                    "o1" => vec![addr("10.99.0.2")],
                    _ => Vec::new(),
                };
                let plug = Plug::Pod { name, addresses, mac: Mac::default(), gateway };
                self.world.plugs.insert((node, at), plug);
            }
        }
    }

    /// The dump in the recording's form, with the fields that are compared.
    fn dump(&self, node: usize, name: &str, a: &Value) -> Option<(Value, &'static [&'static str])> {
        let vpp = &self.world.nodes[node];
        let index = u(a, "sw_if_index");
        Some(match name {
            "sw_interface_dump" => (
                vpp.interfaces()
                    .filter(|i| index == NONE || i.sw_if_index == index)
                    .map(|i| {
                        json!({
                            "sw_if_index": i.sw_if_index,
                            "flags": match i.flags() {
                                3 => json!("IF_STATUS_API_FLAG_ADMIN_UP|IF_STATUS_API_FLAG_LINK_UP"),
                                0 => Value::Null,
                                other => json!(other),
                            },
                            "link_mtu": i.link_mtu, "mtu": i.mtu,
                            "interface_name": i.name, "interface_dev_type": i.dev_type, "tag": i.tag,
                        })
                    })
                    .collect(),
                &["sw_if_index", "flags", "link_mtu", "mtu", "interface_name", "interface_dev_type", "tag"],
            ),
            "acl_interface_list_dump" => {
                let b = vpp.acl_binding(index);
                let acls: Vec<u32> = b.input.iter().chain(&b.output).copied().collect();
                (
                    json!([{"sw_if_index": index, "count": acls.len(), "n_input": b.input.len(), "acls": acls}]),
                    &["sw_if_index", "count", "n_input", "acls"],
                )
            }
            "acl_dump" => (
                vpp.acls()
                    .map(|(i, acl)| json!({"acl_index": i, "tag": acl.tag, "count": acl.rules.len()}))
                    .collect(),
                &["acl_index", "tag", "count"],
            ),
            "l2_xconnect_dump" => (
                vpp.l2_xconnects()
                    .iter()
                    .map(|(rx, tx)| json!({"rx_sw_if_index": rx, "tx_sw_if_index": tx}))
                    .collect(),
                &["rx_sw_if_index", "tx_sw_if_index"],
            ),
            "ip_address_dump" => (
                vpp.interface(index)?
                    .addresses
                    .iter()
                    .map(|p| json!({"sw_if_index": index, "prefix": p.to_string()}))
                    .collect(),
                &["sw_if_index", "prefix"],
            ),
            "ip_unnumbered_dump" => (
                vpp.interfaces()
                    .filter_map(|i| Some(json!({"sw_if_index": i.sw_if_index, "ip_sw_if_index": i.unnumbered_to?})))
                    .collect(),
                &["sw_if_index", "ip_sw_if_index"],
            ),
            "vxlan_tunnel_v2_dump" => (
                vpp.vxlan_tunnels()
                    .iter()
                    .map(|d| {
                        let t = d.tunnel;
                        json!({
                            "sw_if_index": d.sw_if_index, "instance": t.instance,
                            "src_address": t.src, "dst_address": t.dst, "src_port": t.src_port,
                            "dst_port": t.dst_port, "encap_vrf_id": t.encap_table_id,
                            "decap_next_index": t.decap_next_index, "vni": t.vni,
                        })
                    })
                    .collect(),
                &["sw_if_index", "instance", "src_address", "dst_address", "src_port", "dst_port", "encap_vrf_id", "decap_next_index", "vni"],
            ),
            "cnat_translation_dump" => (
                vpp.cnat_translations()
                    .iter()
                    .map(|t| {
                        let paths: Vec<Value> = t
                            .paths
                            .iter()
                            .map(|p| json!([p.dst.address, p.dst.port, p.flags]))
                            .collect();
                        json!({"translation": {
                            "id": t.id, "vip": [t.vip.address, t.vip.port], "paths": paths,
                        }})
                    })
                    .collect(),
                &["translation"],
            ),
            "ip_route_v2_dump" => (
                vpp.ip_routes(Family::V4, 0, 0)
                    .iter()
                    .map(|r| json!({"route": [r.prefix.to_string(), r.source, r.paths.iter().map(|p| json!([p.sw_if_index, p.kind.number(), p.next_hop])).collect::<Vec<_>>()]}))
                    .collect(),
                &["route"],
            ),
            "ip_neighbor_dump" => (
                vpp.neighbors(None, Some(Family::V4))
                    .iter()
                    .map(|n| json!({"neighbor": [n.sw_if_index, n.address, n.mac.to_string()]}))
                    .collect(),
                &["neighbor"],
            ),
            "abf_itf_attach_dump" => (
                vpp.abf_attachments()
                    .iter()
                    .map(|x| json!({"attach": {"policy_id": x.policy_id, "sw_if_index": x.sw_if_index, "priority": x.priority, "is_ipv6": x.family == Family::V6}}))
                    .collect(),
                &["attach"],
            ),
            "abf_policy_dump" => (
                vpp.abf_policies()
                    .iter()
                    .map(|x| json!({"policy": [x.policy_id, x.acl_index, x.paths[0].sw_if_index, x.paths[0].next_hop]}))
                    .collect(),
                &["policy"],
            ),
            "cnat_snat_addresses_dump" => (
                vpp.cnat_snat_addresses()
                    .iter()
                    .map(|x| json!({"snat_ip4": x.ip4, "snat_ip6": x.ip6, "sw_if_index": x.sw_if_index}))
                    .collect(),
                &["snat_ip4", "snat_ip6", "sw_if_index"],
            ),
            _ => return None,
        })
    }

    fn check_dump(&self, node: usize, name: &str, args: &Value, recorded: &Value) {
        let Some((ours, fields)) = self.dump(node, name, args) else {
            panic!("{}: no dump {name}", self.at());
        };
        // VPP lists some dumps in the order of a hash table.
        let pick = |all: &Value, shape: &dyn Fn(&str, &Value) -> Value| -> BTreeSet<String> {
            all.as_array()
                .unwrap()
                .iter()
                .map(|d| {
                    let fields = fields.iter().map(|f| shape(f, &d[*f]));
                    Value::from_iter(fields).to_string()
                })
                .collect()
        };
        let same = |_: &str, v: &Value| v.clone();
        assert_eq!(pick(&ours, &same), pick(recorded, &reshape), "{} {name}", self.at());
    }

    fn probe(&mut self, record: &Value) {
        let p = &record["probe"];
        let (from, to) = (s(p, "from").to_owned(), s(p, "to").to_owned());
        let count = u(p, "count") as usize;
        if s(p, "protocol") == "icmp" {
            let (answers, ttl) = self.world.ping(&from, &to, count);
            assert_eq!(json!(answers), record["answers"], "{} {p}", self.at());
            let ttl = ttl.map(|t| t.to_string());
            assert_eq!(json!(ttl), record["ttl"], "{} {p}", self.at());
            return;
        }
        let proto = if s(p, "protocol") == "udp" { UDP } else { TCP };
        let answers = self.world.probe(&from, &to, u(p, "port") as u16, proto, count);
        let ours: BTreeSet<&str> = answers.keys().map(String::as_str).collect();
        let theirs: BTreeSet<&str> = record["answers"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(ours, theirs, "{} {p}: {answers:?}", self.at());
    }
}

/// A recorded detail in the short form the replay makes.
fn reshape(field: &str, v: &Value) -> Value {
    match field {
        "translation" => {
            let paths: Vec<Value> = v["paths"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| json!([p["dst_ep"]["addr"], p["dst_ep"]["port"], p["flags"]]))
                .collect();
            json!({"id": v["id"], "vip": [v["vip"]["addr"], v["vip"]["port"]], "paths": paths})
        }
        "route" => {
            let kind = |p: &Value| match s(p, "type") {
                "FIB_API_PATH_TYPE_DROP" => 2,
                "FIB_API_PATH_TYPE_LOCAL" => 1,
                _ => 0,
            };
            let paths: Vec<Value> = v["paths"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| json!([p["sw_if_index"], kind(p), p["nh"]["address"]["ip4"]]))
                .collect();
            json!([v["prefix"], v["src"], paths])
        }
        "neighbor" => json!([v["sw_if_index"], v["ip_address"], v["mac_address"]]),
        "policy" => {
            let p = &v["paths"][0];
            json!([v["policy_id"], v["acl_index"], p["sw_if_index"], p["nh"]["address"]["ip4"]])
        }
        _ => v.clone(),
    }
}

/// The fields of a recorded reply that are compared: those the replay answers.
fn common(ours: &Value, recorded: &Value) -> Value {
    let fields = ours.as_object().unwrap().keys();
    Value::from_iter(fields.map(|f| (f.clone(), recorded[f].clone())))
}

fn replay(file: &str) {
    let Some(dir) = recordings() else {
        return;
    };
    let text = std::fs::read_to_string(dir.join(file)).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let mut replay = Replay { world: World::new(2), file: file.to_owned(), line: 0 };
    let mut open: Option<(Flow, String)> = None;
    for (at, record) in records.iter().enumerate() {
        replay.line = at + 1;
        // A live flow is opened before the change which the recording made under it.
        let next_flow = records[at..].iter().position(|r| r.get("live_flow").is_some());
        if let Some(distance) = next_flow
            && record.get("reply").is_some()
            && !records[at + 1..at + distance]
                .iter()
                .any(|r| r.get("reply").is_some())
        {
            let flow = &records[at + distance]["live_flow"];
            let (to, port) = s(flow, "to").split_once(':').unwrap();
            let from = s(flow, "from").to_owned();
            let to = addr(to);
            let source = replay.world.pod_address(&from, Family::V4);
            let ports = (replay.world.port(), port.parse().unwrap());
            let flow = Flow { from, source, to, ports, proto: TCP };
            let server = flow.open(&mut replay.world).expect("the flow opens");
            let mut echoes = String::new();
            for _ in 0..4 {
                echoes.push(if flow.echo(&mut replay.world).is_ok() { '+' } else { '-' });
            }
            open = Some((flow, format!("{server} {echoes}")));
        }
        if let Some(name) = record["request"].as_str() {
            let node = Replay::node(s(record, "node"));
            if record.get("reply").is_some() {
                let ours = replay.request(node, name, &record["args"]);
                let recorded = common(&ours, &record["reply"]);
                assert_eq!(ours, recorded, "{} {name} {}", replay.at(), record["args"]);
            } else {
                replay.check_dump(node, name, &record["args"], &record["details"]);
            }
        } else if record.get("probe").is_some() {
            replay.probe(record);
        } else if record.get("live_flow").is_some() {
            let (flow, mut story) = open.take().expect("an open flow");
            let recorded = record
                .as_object()
                .unwrap()
                .iter()
                .find(|(k, _)| k.contains("echoes"))
                .and_then(|(_, v)| v.as_str())
                .unwrap();
            let echoes = recorded.rsplit(' ').next().unwrap().len();
            for _ in 4..echoes {
                story.push(if flow.echo(&mut replay.world).is_ok() { '+' } else { '-' });
            }
            assert!(story.ends_with(recorded), "{}: {story} is not {recorded}", replay.at());
        } else if record.get("ping -s 1460 -M do").is_some() {
            let (answers, _) = replay.world.ping_sized("w1", "10.1.2.3", 2, 1460);
            assert_eq!(answers, 0, "{}", replay.at());
        } else if record.get("function_rx_packets_per_interface").is_some() {
            let packets: Vec<u64> = replay.world.function_packets.values().copied().collect();
            assert!(packets.len() == 2 && packets.iter().all(|n| *n > 0), "{packets:?}");
        }
    }
}

#[test]
fn recording_forwarding() {
    replay("forwarding.jsonl");
}

#[test]
fn recording_acl() {
    replay("acl.jsonl");
}

#[test]
fn recording_cnat() {
    replay("cnat.jsonl");
}

#[test]
fn recording_cnat_default_snat() {
    replay("cnat-default-snat.jsonl");
}

#[test]
fn recording_chain_abf() {
    replay("chain-abf.jsonl");
}

#[test]
fn recording_vxlan_two_nodes() {
    replay("vxlan-two-nodes.jsonl");
}
