//! One arm for each recorded request: what the engine is asked instead.
use serde_json::{Value, json};
use vpp_sim::engine::*;

use crate::Replay;
use crate::engine_common::world::{Plug, addr, neighbor, prefix};
use crate::read::{endpoint, indices, mac, paths, retval_of, rule, s, u};

impl Replay {
    /// Does one request; the reply in the recording's form, without fields we do not compare.
    #[allow(clippy::too_many_lines)] // One arm a message.
    pub fn request(&mut self, node: usize, name: &str, a: &Value) -> Value {
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
            "sw_interface_set_unnumbered" => {
                plain(vpp.set_unnumbered(index, u(a, "unnumbered_sw_if_index"), is_add))
            }
            "sw_interface_set_table" => {
                let family = if u(a, "is_ipv6") == 1 {
                    Family::V6
                } else {
                    Family::V4
                };
                plain(vpp.set_table(index, family, u(a, "vrf_id")))
            }
            "ip_table_add_del" => {
                let t = &a["table"];
                vpp.ip_table_add_del(Family::V4, u(t, "table_id"), s(t, "name"), is_add);
                json!({"retval": 0})
            }
            "sw_interface_tag_add_del" => plain(vpp.set_tag(index, is_add.then(|| s(a, "tag")))),
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
                        Plug::Pod {
                            addresses,
                            mac,
                            gateway,
                            ..
                        } => {
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
                assert_eq!(
                    self.world.carry(node, outputs),
                    [],
                    "the recording has 0 received"
                );
                json!({"retval": 0})
            }
            "cli_inband" => json!({"retval": 0}),
            other => panic!("{}: no replay of {other}", self.at()),
        }
    }
}
