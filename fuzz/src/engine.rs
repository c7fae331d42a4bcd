//! Packets through a node that has everything configured: whatever comes in, the walk ends, its story does not change what is
//! sent, and what goes out has right checksums if what came in had.

use std::cell::RefCell;
use std::net::IpAddr;

use arbitrary::{Result, Unstructured};
use vpp_sim::engine::*;

use crate::frames;

/// Interfaces that frames come in on: the loopback, pods, the uplink, tunnels.
const INTERFACES: u32 = 11;
const SECOND: u64 = 1_000_000_000;

thread_local! {
    static NODE: RefCell<Option<Vpp>> = const { RefCell::new(None) };
}

/// The target.
pub fn run(data: &[u8]) {
    let (traced, plain) = NODE.with_borrow_mut(|made| {
        let made = made.get_or_insert_with(|| match node() {
            Ok(node) => node,
            Err(error) => panic!("the node cannot be configured: {error}"),
        });
        (made.clone(), made.clone())
    });
    let _ = checked(&mut Unstructured::new(data), traced, plain);
}

fn checked(u: &mut Unstructured<'_>, mut traced: Vpp, mut plain: Vpp) -> Result<()> {
    let mut now = SECOND;
    for _ in 0..8 {
        if u.is_empty() {
            break;
        }
        let sw_if_index = u.int_in_range(0..=INTERFACES)?;
        let made = frames::frame(u, &plain, sw_if_index)?;
        now += if u.ratio(1, 16)? {
            u64::from(u.arbitrary::<u16>()?) * SECOND
        } else {
            1000
        };
        let outputs = plain.rx(sw_if_index, &made.bytes, now);
        let trace = traced.walk(sw_if_index, &made.bytes, now);
        assert_eq!(outputs, trace.outputs, "a trace changes what is sent");
        let right = frames::ip_of(&made.bytes).is_some_and(|packet| verify_checksums(packet).is_ok());
        for output in &outputs {
            sent(output, made.whole && right);
        }
        if u.ratio(1, 16)? {
            plain.tick(now);
            traced.tick(now);
        }
    }
    Ok(())
}

fn sent(output: &Output, right: bool) {
    let frame = &output.frame;
    assert!(
        (14..=80_000).contains(&frame.len()),
        "a frame of {} bytes",
        frame.len()
    );
    if let Some(packet) = frames::ip_of(frame)
        && right
        && let Err(error) = verify_checksums(packet)
    {
        panic!("{error} in {packet:02x?}");
    }
}

fn address(text: &str) -> IpAddr {
    match text.parse() {
        Ok(address) => address,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn prefix(text: &str) -> Prefix {
    match text.parse() {
        Ok(prefix) => prefix,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// Pods of both families on 2 to 5, with lists, services, a chain, tunnels, and a narrow uplink.
fn node() -> std::result::Result<Vpp, OpError> {
    let mut vpp = Vpp::new(Config::default());
    let gateway = vpp.create_loopback(Mac([2, 0, 0, 0, 0, 1]), None)?;
    for p in ["10.1.1.1/24", "fd00:1::1/64"] {
        vpp.add_address(gateway, prefix(p))?;
    }
    vpp.set_admin(gateway, true)?;
    let mut pods = Vec::new();
    for n in 2..=5u8 {
        let pod = vpp.create_af_packet(&format!("pod{n}"), None, None)?;
        vpp.set_admin(pod, true)?;
        vpp.set_unnumbered(gateway, pod, true)?;
        for host in [format!("10.1.1.{n}"), format!("fd00:1::{n}")] {
            vpp.neighbor_add(neighbour(pod, address(&host), n))?;
            let path = RoutePath::via(pod, address(&host));
            vpp.ip_route_add_del(&RouteUpdate::add(0, Prefix::host(address(&host)), vec![path]))?;
        }
        pods.push(pod);
    }
    let uplink = vpp.create_af_packet("uplink", None, Some(1280))?;
    vpp.set_admin(uplink, true)?;
    for p in ["192.168.16.1/24", "fd00:99::1/64"] {
        vpp.add_address(uplink, prefix(p))?;
    }
    for peer in ["192.168.16.2", "fd00:99::2"] {
        vpp.neighbor_add(neighbour(uplink, address(peer), 9))?;
    }
    vpp.ip_table_add_del(Family::V4, 7, "chain", true);
    lists(&mut vpp, &pods)?;
    services(&mut vpp, &pods)?;
    let tunnels = tunnels(&mut vpp, uplink)?;
    chains(&mut vpp, &pods, &tunnels)?;
    for (p, kind) in [
        ("10.66.0.0/16", PathKind::Drop),
        ("10.67.0.0/16", PathKind::IcmpUnreach),
    ] {
        let path = RoutePath::special(kind, Family::V4);
        vpp.ip_route_add_del(&RouteUpdate::add(0, prefix(p), vec![path]))?;
    }
    let both = vec![
        RoutePath::via(pods[0], address("10.1.1.2")),
        RoutePath::via(uplink, address("192.168.16.2")),
    ];
    vpp.ip_route_add_del(&RouteUpdate::add(0, prefix("10.2.0.0/16"), both))?;
    Ok(vpp)
}

fn neighbour(sw_if_index: u32, address: IpAddr, last: u8) -> Neighbor {
    Neighbor {
        sw_if_index,
        address,
        mac: Mac([0x0a, 0, 0, 0, 0, last]),
        is_static: true,
        no_fib_entry: false,
        updated: 0,
    }
}

/// Permit+reflect one way and some of the other, in both families.
fn lists(vpp: &mut Vpp, pods: &[u32]) -> std::result::Result<(), OpError> {
    let rule = |action, src: &str, dst: &str, proto, ports| AclRule {
        proto,
        dst_ports: ports,
        tcp_flags_mask: 0,
        ..AclRule::any_proto(action, prefix(src), prefix(dst))
    };
    let any = (0, u16::MAX);
    let ingress = vec![
        rule(AclAction::Deny, "10.1.1.4/32", "0.0.0.0/0", 0, any),
        rule(
            AclAction::PermitReflect,
            "10.1.0.0/16",
            "10.1.1.3/32",
            6,
            (80, 443),
        ),
        rule(AclAction::Permit, "10.0.0.0/8", "0.0.0.0/0", 1, any),
        rule(AclAction::PermitReflect, "fd00:1::/64", "::/0", 17, (53, 8080)),
    ];
    let egress = vec![
        rule(AclAction::PermitReflect, "0.0.0.0/0", "0.0.0.0/0", 0, any),
        rule(AclAction::PermitReflect, "::/0", "::/0", 0, any),
    ];
    let ingress = vpp.acl_add_replace(None, "ingress", ingress)?;
    let egress = vpp.acl_add_replace(None, "egress", egress)?;
    vpp.acl_set_lists(pods[1], &[egress], &[ingress])?;
    vpp.acl_set_lists(pods[2], &[ingress, egress], &[])?;
    vpp.acl_counters_enable(true);
    Ok(())
}

fn services(vpp: &mut Vpp, pods: &[u32]) -> std::result::Result<(), OpError> {
    vpp.cnat_set_snat_addresses(SnatAddresses {
        fwd_fib_index: 0,
        ret_fib_index: 0,
        ip4: [192, 168, 16, 1].into(),
        ip6: [0xfd00, 0x99, 0, 0, 0, 0, 0, 1].into(),
        sw_if_index: NONE,
        flags: snat_flag::NO_CLIENT | snat_flag::USE_AS_DEFAULT,
    })?;
    for p in ["10.1.0.0/16", "10.96.0.0/12", "fd00:1::/64", "fd00:96::/108"] {
        vpp.cnat_snat_exclude(prefix(p), true)?;
    }
    vpp.cnat_set_snat_policy(SnatPolicy::K8s)?;
    for pod in pods {
        for table in [SnatTable::IncludeV4, SnatTable::IncludeV6, SnatTable::Pod] {
            vpp.cnat_snat_interface(*pod, table, true)?;
        }
        vpp.cnat_feature_enable(*pod, true)?;
    }
    for (vip, port, proto, flags, backends) in [
        (
            "10.96.0.10",
            80,
            6,
            translation_flag::NO_CLIENT,
            ["10.1.1.2", "10.1.1.3"],
        ),
        (
            "10.96.0.10",
            53,
            17,
            translation_flag::NO_CLIENT,
            ["10.1.1.4", "10.1.1.3"],
        ),
        ("10.96.0.11", 443, 132, 0, ["10.1.1.2", "10.1.2.2"]),
        ("fd00:96::a", 80, 6, 0, ["fd00:1::2", "fd00:1::3"]),
    ] {
        vpp.cnat_translation_update(&TranslationUpdate {
            vip: CnatEndpoint::new(address(vip), port),
            proto,
            is_real_ip: false,
            flags,
            load_balance: LoadBalance::Default,
            flow_hash: 0,
            paths: backends
                .map(|backend| CnatPath::to(address(backend), 8080))
                .to_vec(),
        })?;
    }
    Ok(())
}

/// For routed packets over IPv4, for frames, and for routed packets over IPv6.
fn tunnels(vpp: &mut Vpp, uplink: u32) -> std::result::Result<Vec<u32>, OpError> {
    let to4 = vpp.add_node_next("vxlan4-input", "ip4-input")?;
    let to6 = vpp.add_node_next("vxlan6-input", "ip6-input")?;
    let mut made = Vec::new();
    for (ends, vni, decap_next_index, is_l3) in [
        (["192.168.16.1", "192.168.16.2"], 10, to4, true),
        (["192.168.16.1", "192.168.16.2"], 11, NONE, false),
        (["fd00:99::1", "fd00:99::2"], 12, to6, true),
    ] {
        let tunnel = VxlanTunnel {
            instance: NONE,
            src: address(ends[0]),
            dst: address(ends[1]),
            src_port: 0,
            dst_port: 0,
            mcast_sw_if_index: NONE,
            encap_table_id: 0,
            decap_next_index,
            vni,
            is_l3,
        };
        let index = vpp.vxlan_add(&tunnel)?;
        vpp.set_admin(index, true)?;
        if is_l3 {
            vpp.set_unnumbered(uplink, index, true)?;
        }
        made.push(index);
    }
    for (p, tunnel, hop) in [
        ("10.1.2.0/24", made[0], "192.168.16.2"),
        ("fd00:2::/64", made[2], "fd00:99::2"),
    ] {
        let path = RoutePath::via(tunnel, address(hop));
        vpp.ip_route_add_del(&RouteUpdate::add(0, prefix(p), vec![path]))?;
    }
    Ok(made)
}

/// An ABF policy, both kinds of cross-connect, and two interfaces that are given to the latter.
fn chains(vpp: &mut Vpp, pods: &[u32], tunnels: &[u32]) -> std::result::Result<(), OpError> {
    let source = AclRule::any_proto(AclAction::Permit, prefix("10.1.1.2/32"), prefix("10.2.0.0/16"));
    let acl = vpp.acl_add_replace(None, "chain", vec![source])?;
    vpp.abf_policy_add_del(true, 1, acl, &[RoutePath::via(pods[3], address("10.1.1.5"))])?;
    vpp.abf_attach(AbfAttachment {
        policy_id: 1,
        sw_if_index: pods[0],
        priority: 1,
        family: Family::V4,
    })?;
    vpp.l3xc_update(
        pods[3],
        Family::V4,
        vec![RoutePath::via(pods[0], address("10.1.1.2"))],
    )?;
    let function = vpp.create_af_packet("function", None, None)?;
    vpp.set_admin(function, true)?;
    vpp.set_l2_xconnect(function, tunnels[1], true)?;
    vpp.set_l2_xconnect(tunnels[1], function, true)?;
    Ok(())
}
