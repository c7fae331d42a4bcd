"""Drives a dataplane with vpp_papi: drive.py DEFINITIONS SOCKET. Fails at the first answer that is not VPP's."""

import sys

from common import connect, plain

NONE = 0xFFFFFFFF

# What a node of ours uses of the API, by VPP's names; each has to be offered with the checksum of the definitions.
USED = """
control_ping show_version cli_inband add_node_next want_interface_events
create_loopback delete_loopback sw_interface_dump sw_interface_set_flags sw_interface_add_del_address
sw_interface_set_table sw_interface_set_unnumbered sw_interface_set_mtu sw_interface_tag_add_del
tap_create_v3 tap_delete_v2 sw_interface_tap_v2_dump af_packet_create_v3 af_packet_delete af_packet_dump
memif_socket_filename_add_del_v2 memif_create_v2 memif_delete memif_dump
vxlan_add_del_tunnel_v3 vxlan_tunnel_v2_dump ip_table_add_del ip_table_dump ip_route_add_del_v2 ip_route_v2_dump
ip_route_lookup_v2 ip_address_dump ip_unnumbered_dump ip_neighbor_add_del ip_neighbor_dump
acl_add_replace acl_del acl_dump acl_interface_set_acl_list acl_interface_list_dump
cnat_translation_update cnat_translation_del cnat_translation_dump cnat_set_snat_addresses_v2
cnat_snat_addresses_dump cnat_set_snat_policy cnat_snat_policy_add_del_if
cnat_snat_policy_add_del_exclude_pfx feature_cnat_enable_disable
abf_policy_add_del abf_policy_dump abf_itf_attach_add_del abf_itf_attach_dump
sw_interface_set_l2_xconnect l2_xconnect_dump l3xc_update l3xc_del l3xc_dump
policer_add policer_del policer_update policer_dump_v2 policer_input_v2 policer_output_v2
urpf_update_v2 urpf_interface_dump set_punt punt_reason_dump add_del_ip_punt_redirect_v2
trace_set_filters trace_capture_packets trace_v2_dump trace_clear_capture get_node_index get_next_index
want_ip_neighbor_events_v2 ip_neighbor_config ip_path_mtu_update ip_path_mtu_get
sw_interface_set_rx_mode sw_interface_rx_placement_dump tap_create_v2 af_xdp_create_v3
ipip_add_tunnel ipip_tunnel_dump sr_localsid_add_del sr_policy_add_v2 sr_steering_add_del
wireguard_interface_create wireguard_peer_add_v2 ipsec_sad_entry_add_v2 ipsec_tunnel_protect_update
""".split()


def expect(answer, **fields):
    """The answer if it has these values."""
    shown = plain(answer)
    for name, value in fields.items():
        assert shown[name] == value, f"{name} is {shown[name]!r} and not {value!r} in {shown}"
    return answer


def path(sw_if_index, next_hop):
    """One way of a route."""
    return {
        "sw_if_index": sw_if_index,
        "table_id": 0,
        "rpf_id": NONE,
        "weight": 1,
        "preference": 0,
        "type": 0,
        "flags": 0,
        "proto": 0,
        "nh": {"address": {"ip4": next_hop}},
        "n_labels": 0,
        "label_stack": [{}] * 16,
    }


def rule(permit, src, dst, port):
    """One TCP rule."""
    return {
        "is_permit": permit,
        "src_prefix": src,
        "dst_prefix": dst,
        "proto": 6,
        "srcport_or_icmptype_first": 0,
        "srcport_or_icmptype_last": 65535,
        "dstport_or_icmpcode_first": port,
        "dstport_or_icmpcode_last": port,
        "tcp_flags_mask": 0,
        "tcp_flags_value": 0,
    }


def interfaces(api):
    """Two taps and a loopback; wrong input."""
    loop = expect(api.create_loopback(mac_address="02:00:00:00:00:01"), retval=0).sw_if_index
    expect(api.sw_interface_add_del_address(sw_if_index=loop, is_add=True, prefix="10.1.1.1/24"), retval=0)
    taps = []
    for name in ("first", "second"):
        tap = expect(api.tap_create_v3(id=NONE, host_if_name_set=True, host_if_name=name), retval=0).sw_if_index
        expect(
            api.sw_interface_set_unnumbered(sw_if_index=loop, unnumbered_sw_if_index=tap, is_add=True), retval=0
        )
        expect(api.sw_interface_set_flags(sw_if_index=tap, flags=1), retval=0)
        expect(api.sw_interface_tag_add_del(is_add=True, sw_if_index=tap, tag=name), retval=0)
        taps.append(tap)
    expect(api.sw_interface_set_flags(sw_if_index=loop, flags=1), retval=0)
    expect(api.sw_interface_set_flags(sw_if_index=77, flags=1), retval=-2)
    shown = {i.sw_if_index: i for i in api.sw_interface_dump(sw_if_index=NONE)}
    assert sorted(shown) == [0, loop, *taps], shown
    expect(shown[loop], interface_name="loop0", interface_dev_type="Loopback", l2_address="02:00:00:00:00:01")
    expect(shown[taps[0]], interface_name="tap0", interface_dev_type="virtio", tag="first")
    assert "IF_STATUS_API_FLAG_LINK_UP" in plain(shown[taps[0]].flags)
    assert [plain(a.prefix) for a in api.ip_address_dump(sw_if_index=loop, is_ipv6=False)] == ["10.1.1.1/24"]
    assert [t.dev_name for t in api.sw_interface_tap_v2_dump(sw_if_index=taps[1])] == ["tap1"]
    return loop, taps


def routes(api, taps):
    """A neighbour, a route over it and one over two."""
    for tap, address in zip(taps, ("10.1.1.2", "10.1.1.3")):
        neighbor = {"sw_if_index": tap, "flags": 1, "mac_address": "02:01:00:00:00:02", "ip_address": address}
        expect(api.ip_neighbor_add_del(is_add=True, neighbor=neighbor), retval=0)
    shown = api.ip_neighbor_dump(sw_if_index=NONE, af=0)
    assert [plain(n.neighbor.ip_address) for n in shown] == ["10.1.1.2", "10.1.1.3"], shown
    both = [path(tap, hop) for tap, hop in zip(taps, ("10.1.1.2", "10.1.1.3"))]
    for prefix, paths in (("10.5.0.0/16", both[:1]), ("10.6.0.0/16", both)):
        route = {"table_id": 0, "prefix": prefix, "n_paths": len(paths), "paths": paths, "src": 0}
        expect(api.ip_route_add_del_v2(is_add=True, is_multipath=False, route=route), retval=0)
    found = expect(api.ip_route_lookup_v2(table_id=0, exact=0, prefix="10.5.1.2/32"), retval=0)
    assert plain(found.route.prefix) == "10.5.0.0/16", found
    shown = {plain(d.route.prefix): d.route for d in api.ip_route_v2_dump(src=0, table={"table_id": 0})}
    assert [p.sw_if_index for p in shown["10.6.0.0/16"].paths] == taps, shown["10.6.0.0/16"]
    assert "10.1.1.1/32" in shown and "0.0.0.0/0" in shown, sorted(shown)
    for prefix in ("10.5.0.0/16", "10.6.0.0/16"):
        route = {"table_id": 0, "prefix": prefix, "n_paths": 0, "paths": [], "src": 0}
        expect(api.ip_route_add_del_v2(is_add=False, is_multipath=False, route=route), retval=0)
    expect(api.ip_route_lookup_v2(table_id=0, exact=1, prefix="10.5.0.0/16"), retval=-6)


def acls(api, tap):
    """A list is made, bound, refused to go, unbound and gone."""
    rules = [rule(2, "10.0.0.0/8", "10.1.1.2/32", 80), rule(0, "0.0.0.0/0", "0.0.0.0/0", 22)]
    made = expect(api.acl_add_replace(acl_index=NONE, tag="web", count=2, r=rules), retval=0).acl_index
    shown = api.acl_dump(acl_index=made)
    assert [(a.tag, a.count) for a in shown] == [("web", 2)], shown
    expect(shown[0].r[0], src_prefix="10.0.0.0/8", dstport_or_icmpcode_last=80)
    expect(api.acl_interface_set_acl_list(sw_if_index=tap, count=1, n_input=0, acls=[made]), retval=0)
    bound = api.acl_interface_list_dump(sw_if_index=tap)
    assert [(b.n_input, b.acls) for b in bound] == [(0, [made])], bound
    assert plain(api.acl_del(acl_index=made))["retval"] < 0, "it is in use"
    expect(api.acl_interface_set_acl_list(sw_if_index=tap, count=0, n_input=0, acls=[]), retval=0)
    expect(api.acl_del(acl_index=made), retval=0)
    assert api.acl_dump(acl_index=NONE) == []


def translations(api):
    """A Service with two backends."""
    nowhere = {"if_af": 0, "sw_if_index": NONE, "port": 0, "addr": "0.0.0.0"}
    backends = [{**nowhere, "addr": f"10.1.1.{n}", "port": 8080} for n in (2, 3)]
    translation = {
        "vip": {**nowhere, "addr": "10.96.0.10", "port": 80},
        "ip_proto": 6,
        "is_real_ip": 0,
        "flags": 0,
        "lb_type": 1,
        "flow_hash_config": 0,
        "n_paths": 2,
        "paths": [{"dst_ep": backend, "src_ep": nowhere, "flags": 0} for backend in backends],
    }
    made = expect(api.cnat_translation_update(translation=translation), retval=0).id
    again = expect(api.cnat_translation_update(translation=translation), retval=0).id
    assert made == again, "the key is the same"
    shown = api.cnat_translation_dump()
    assert [t.translation.id for t in shown] == [made], shown
    assert [plain(p.dst_ep.addr) for p in shown[0].translation.paths] == ["10.1.1.2", "10.1.1.3"], shown
    expect(api.cnat_translation_del(id=made), retval=0)
    assert api.cnat_translation_dump() == []


def main():
    definitions, socket = sys.argv[1:]
    client = connect(definitions, socket, "drive")
    api = client.api
    missing = [name for name in USED if not hasattr(api, name)]
    assert not missing, f"not offered with the checksum of the definitions: {missing}"
    expect(api.show_version(), retval=0, program="vpe")
    loop, taps = interfaces(api)
    routes(api, taps)
    acls(api, taps[0])
    translations(api)
    for tap in taps:
        expect(api.tap_delete_v2(sw_if_index=tap), retval=0)
    expect(api.delete_loopback(sw_if_index=loop), retval=0)
    client.disconnect()
    print("done")


if __name__ == "__main__":
    main()
