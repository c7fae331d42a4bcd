//! One arm for each recorded dump: what the engine shows, in the recording's form.
use std::collections::BTreeSet;

use serde_json::{Value, json};
use vpp_sim::engine::*;

use crate::Replay;
use crate::read::{s, u};

impl Replay {
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

    pub fn check_dump(&self, node: usize, name: &str, args: &Value, recorded: &Value) {
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
        assert_eq!(
            pick(&ours, &same),
            pick(recorded, &reshape),
            "{} {name}",
            self.at()
        );
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
            json!([
                v["policy_id"],
                v["acl_index"],
                p["sw_if_index"],
                p["nh"]["address"]["ip4"]
            ])
        }
        _ => v.clone(),
    }
}
