//! The pod's side in real network namespaces. Needs root; says so and passes without.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as expected"
)]

mod netns;

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use cni_shim::{CniError, code};
use crds::cnf::{Forwarding, InterfaceRole};
use netns::{Netns, ip, may_run};
use node_daemon::desired::{KernelInterfaces, Local};
use node_daemon::host::pair;
use node_daemon::podside::{self, FunctionSide, PodSide, Veth};

const POD_MAC: [u8; 6] = [2, 0xc0, 0, 0, 0, 1];
const GATEWAY_MAC: [u8; 6] = [2, 0xc0, 0, 0, 0, 2];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn dual_stack() -> PodSide {
    PodSide {
        ifname: "eth0".into(),
        mac: POD_MAC,
        mtu: 1450,
        addresses: vec![address("10.88.1.2"), address("fd00:88::2")],
        gateways: vec![address("10.88.1.1"), address("fd00:88::1")],
        gateway_mac: GATEWAY_MAC,
        functions: vec![],
        forwarding: Forwarding::Kernel,
    }
}

fn number(error: podside::PodSideError) -> u32 {
    CniError::from(error).code
}

#[test]
fn a_pod_gets_its_side_once_and_again() {
    if !may_run() {
        return;
    }
    let pod = Netns::new("side");
    // A tap as VPP makes it: right in the namespace, with its name, down or up.
    ip(&["-n", &pod.name, "tuntap", "add", "eth0", "mode", "tap"]);
    let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();

    podside::configure(&pod.path, &dual_stack()).unwrap();
    let shown = ip(&["-n", &pod.name, "addr", "show", "dev", "eth0"]);
    for wanted in [
        "02:c0:00:00:00:01",
        "mtu 1450",
        "10.88.1.2/32",
        "fd00:88::2/128",
        "nodad",
    ] {
        assert!(shown.contains(wanted), "{wanted} is not in:\n{shown}");
    }
    let own = shown.lines().find(|line| line.contains("fd00:88::2")).unwrap();
    assert!(!own.contains("tentative"), "{own}");
    let routes = ip(&["-n", &pod.name, "route"]);
    assert!(routes.contains("default via 10.88.1.1 dev eth0"), "{routes}");
    assert!(routes.contains("10.88.1.1 dev eth0 scope link"), "{routes}");
    let routes = ip(&["-n", &pod.name, "-6", "route"]);
    assert!(routes.contains("default via fd00:88::1 dev eth0"), "{routes}");
    let neighbours = ip(&["-n", &pod.name, "neigh"]);
    for gateway in ["10.88.1.1", "fd00:88::1"] {
        let line = neighbours.lines().find(|line| line.starts_with(gateway));
        let line = line.unwrap_or_else(|| panic!("no {gateway} in:\n{neighbours}"));
        assert!(
            line.contains("02:c0:00:00:00:02") && line.contains("PERMANENT"),
            "{line}"
        );
    }
    assert!(ip(&["-n", &pod.name, "link", "show", "lo"]).contains(",UP"));

    podside::configure(&pod.path, &dual_stack()).unwrap();
    assert_eq!(
        ip(&["-n", &pod.name, "-6", "route", "show", "default"])
            .lines()
            .count(),
        1
    );
    assert_eq!(podside::check(&pod.path, &dual_stack()).unwrap(), [""; 0]);
    let after = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    assert_eq!(before, after, "the caller's thread has moved");
}

#[test]
fn check_names_each_difference_and_forgives_additions() {
    if !may_run() {
        return;
    }
    let pod = Netns::new("check");
    ip(&["-n", &pod.name, "tuntap", "add", "eth0", "mode", "tap"]);
    podside::configure(&pod.path, &dual_stack()).unwrap();
    ip(&["-n", &pod.name, "addr", "add", "192.0.2.7/32", "dev", "eth0"]);
    ip(&["-n", &pod.name, "link", "set", "eth0", "mtu", "1400"]);
    assert_eq!(podside::check(&pod.path, &dual_stack()).unwrap(), [""; 0]);

    let spoils: [(&[&str], &str); 5] = [
        (&["link", "set", "eth0", "mtu", "1500"], "MTU of 1500"),
        (
            &["addr", "del", "10.88.1.2/32", "dev", "eth0"],
            "no address 10.88.1.2",
        ),
        (
            &["neigh", "del", "fd00:88::1", "dev", "eth0"],
            "no permanent neighbour fd00:88::1",
        ),
        (
            &["-6", "route", "del", "default"],
            "no default route via fd00:88::1",
        ),
        (
            &["link", "set", "eth0", "address", "02:00:00:00:00:99"],
            "another hardware address than 02:c0:00:00:00:01",
        ),
    ];
    for (spoil, words) in spoils {
        ip(&[&["-n", &pod.name], spoil].concat());
        let found = podside::check(&pod.path, &dual_stack()).unwrap();
        assert!(
            found.iter().any(|each| each.contains(words)),
            "{words}: {found:?}"
        );
        podside::configure(&pod.path, &dual_stack()).unwrap();
        assert_eq!(
            podside::check(&pod.path, &dual_stack()).unwrap(),
            [""; 0],
            "after {words}"
        );
    }
    ip(&["-n", &pod.name, "link", "del", "eth0"]);
    let found = podside::check(&pod.path, &dual_stack()).unwrap();
    assert!(
        found.contains(&"there is no interface eth0".to_owned()),
        "{found:?}"
    );
}

#[test]
fn what_is_no_network_namespace_has_code_8() {
    if !may_run() {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [
        Path::new("/run/netns/cv-cni-none"),
        file.path(),
        Path::new("/proc/self/ns/mnt"),
    ] {
        let error = podside::vacant(path, &["eth0"]).unwrap_err();
        assert_eq!(number(error), code::INVALID_NETNS, "{path:?}");
    }
    assert!(!podside::exists(file.path()));
    let pod = Netns::new("vacant");
    assert!(podside::exists(&pod.path));
    podside::vacant(&pod.path, &["eth0", "in"]).unwrap();
    let error = podside::vacant(&pod.path, &["eth0", "lo"]).unwrap_err();
    assert_eq!(number(error), code::ALREADY_ATTACHED);
    let missing = podside::configure(&pod.path, &dual_stack()).unwrap_err();
    assert_eq!(missing.to_string(), "there is no interface eth0");
}

fn veth(pod: &Netns, name: &str) -> Veth {
    Veth {
        name: name.into(),
        mac: GATEWAY_MAC,
        netns: pod.path.clone(),
        ifname: "eth0".into(),
        pod_mac: POD_MAC,
        mtu: 1450,
    }
}

#[test]
fn a_veth_is_made_whole_replaced_and_removed() {
    if !may_run() {
        return;
    }
    let pod = Netns::new("veth");
    let name = format!("cvt{}", std::process::id() % 100_000);
    podside::create_veth(&veth(&pod, &name)).unwrap();
    podside::configure(&pod.path, &dual_stack()).unwrap();
    let outer = ip(&["link", "show", &name]);
    assert!(
        outer.contains("02:c0:00:00:00:02") && outer.contains("mtu 1450"),
        "{outer}"
    );
    assert!(outer.contains(",UP"), "{outer}");
    let speaks = ip(&["addr", "show", "dev", &name]);
    assert!(
        !speaks.contains("inet"),
        "the node's kernel has an address there: {speaks}"
    );

    // The leftover of an interrupted ADD.
    podside::create_veth(&veth(&pod, &name)).unwrap();
    let error = podside::create_veth(&veth(&pod, "cvt-other")).unwrap_err();
    assert_eq!(number(error), code::ALREADY_ATTACHED);
    podside::delete_veth(&name).unwrap();
    podside::delete_veth(&name).unwrap();
    podside::vacant(&pod.path, &["eth0"]).unwrap();
}

/// A datagram's checksum as seen by a packet socket on the node's end: this is what VPP gets.
#[test]
fn packets_leave_a_veth_with_whole_checksums() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, recv, socket};
    use std::os::fd::AsRawFd;
    if !may_run() {
        return;
    }
    // In a namespace of its own: a packet socket sees every interface.
    let node = Netns::new("sum-node");
    let pod = Netns::new("sum-pod");
    let name = format!("cvs{}", std::process::id() % 100_000);
    let plain = format!("cvp{}", std::process::id() % 100_000);
    let sees_whole = |outer: &str| {
        ip(&["link", "set", outer, "netns", &node.name]);
        ip(&["-n", &node.name, "link", "set", outer, "up"]);
        podside::configure(&pod.path, &dual_stack()).unwrap();
        node.within(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )
            .unwrap();
            pod.within(|| {
                let sender = UdpSocket::bind("10.88.1.2:0").unwrap();
                sender.send_to(b"checksum", "10.88.7.7:9").unwrap();
            });
            let mut frame = [0; 2048];
            for _ in 0..200 {
                match recv(
                    socket.as_raw_fd(),
                    &mut frame,
                    nix::sys::socket::MsgFlags::empty(),
                ) {
                    Ok(length) if length > 42 && frame[12..14] == [8, 0] && frame[23] == 17 => {
                        return udp_sum(&frame[14..length]) == 0;
                    }
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
            panic!("the datagram did not arrive");
        })
    };
    // What the kernel does by default; if this ever held, the rest would prove nothing.
    ip(&[
        "link", "add", &plain, "type", "veth", "peer", "name", "eth0", "netns", &pod.name,
    ]);
    assert!(!sees_whole(&plain), "a plain veth completes checksums");
    ip(&["-n", &pod.name, "link", "del", "eth0"]);
    podside::create_veth(&veth(&pod, &name)).unwrap();
    assert!(
        sees_whole(&name),
        "checksums are left to a device that is not there"
    );
}

/// One's complement sum over pseudo header and datagram, zero when the checksum is right (RFC 768).
fn udp_sum(packet: &[u8]) -> u16 {
    let length = u16::from_be_bytes([packet[24], packet[25]]);
    let mut words: Vec<u16> = vec![17, length];
    let datagram = &packet[20..20 + length as usize];
    for bytes in packet[12..20].chunks(2).chain(datagram.chunks(2)) {
        words.push(u16::from_be_bytes([bytes[0], *bytes.get(1).unwrap_or(&0)]));
    }
    let mut sum: u32 = words.into_iter().map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn a_function_passes_packets_from_in_to_out_and_back() {
    if !may_run() {
        return;
    }
    let function = Netns::new("fn");
    let left = Netns::new("fn-left");
    let right = Netns::new("fn-right");
    let mac_text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let side = |ifname: &str, role, number: u8| FunctionSide {
        ifname: ifname.into(),
        role,
        mac: [2, 0xc1, 0, 0, number, 1],
        mtu: 1450,
        gateways: vec![address("169.254.0.1"), address("fe80::1")],
        gateway_mac: [2, 0xc1, 0, 0, number, 2],
    };
    let mut pod = dual_stack();
    pod.functions = vec![
        side("in", InterfaceRole::In, 1),
        side("out", InterfaceRole::Out, 2),
    ];
    ip(&["-n", &function.name, "tuntap", "add", "eth0", "mode", "tap"]);
    for (each, there, own, own6) in [
        (&pod.functions[0], &left, "10.50.0.1", "fd50::1"),
        (&pod.functions[1], &right, "10.60.0.1", "fd60::1"),
    ] {
        let name = each.ifname.as_str();
        ip(&[
            "-n",
            &function.name,
            "link",
            "add",
            name,
            "type",
            "veth",
            "peer",
            "name",
            "v",
            "netns",
            &there.name,
        ]);
        // What VPP has on its side: its own MAC address, and a static neighbour for the function.
        let inner = mac_text(each.mac);
        let ns = |args: &[&str]| ip(&[&["-n", there.name.as_str()], args].concat());
        ns(&["link", "set", "v", "address", &mac_text(each.gateway_mac), "up"]);
        ns(&["addr", "add", &format!("{own}/32"), "dev", "v"]);
        ns(&["addr", "add", &format!("{own6}/128"), "dev", "v", "nodad"]);
        for (next, family) in [("169.254.7.7", "-4"), ("fe80::7:7", "-6")] {
            ns(&["neigh", "add", next, "lladdr", &inner, "dev", "v"]);
            ns(&[
                family, "route", "add", "default", "via", next, "dev", "v", "onlink",
            ]);
        }
    }
    podside::configure(&function.path, &pod).unwrap();
    podside::configure(&function.path, &pod).unwrap();
    assert_eq!(podside::check(&function.path, &pod).unwrap(), [""; 0]);
    let rules = ip(&["-n", &function.name, "rule"]);
    assert_eq!(rules.matches("iif in").count(), 1, "{rules}");

    for (from, to) in [("10.50.0.1", "10.60.0.1"), ("fd50::1", "fd60::1")] {
        let (from, to) = (address(from), address(to));
        let server = right.within(|| {
            let server = UdpSocket::bind((to, 7000)).unwrap();
            server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            server
        });
        let client = left.within(|| {
            let client = UdpSocket::bind((from, 7001)).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client
        });
        client.send_to(b"there", (to, 7000)).unwrap();
        let mut buffer = [0; 16];
        let (_, peer) = server
            .recv_from(&mut buffer)
            .expect("nothing comes out of the function");
        assert_eq!(peer.ip(), from);
        server.send_to(b"back", peer).unwrap();
        client
            .recv_from(&mut buffer)
            .expect("nothing comes back through the function");
    }

    ip(&["-n", &function.name, "rule", "del", "iif", "in"]);
    let found = podside::check(&function.path, &pod).unwrap();
    assert!(
        found.iter().any(|each| each.contains("enters by in")),
        "{found:?}"
    );
}

#[test]
fn many_at_once_leave_no_thread_behind() {
    if !may_run() {
        return;
    }
    let pods: Vec<Netns> = (0..8).map(|n| Netns::new(&format!("many{n}"))).collect();
    std::thread::scope(|scope| {
        for pod in &pods {
            scope.spawn(move || {
                ip(&["-n", &pod.name, "tuntap", "add", "eth0", "mode", "tap"]);
                podside::configure(&pod.path, &dual_stack()).unwrap();
                assert_eq!(podside::check(&pod.path, &dual_stack()).unwrap(), [""; 0]);
            });
        }
    });
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let theirs = std::fs::read_link(task.path().join("ns/net")).ok();
        let stray = pods.iter().any(|pod| pod.is(theirs.as_deref()));
        assert!(!stray, "thread {name} is left in a pod's namespace");
    }
}

#[tokio::test]
async fn the_nodes_own_pair_is_made_once_and_removed() {
    if !may_run() {
        return;
    }
    let name = format!("cvh{}", std::process::id() % 100_000);
    let local = Local {
        node: "node-1".into(),
        host_interface: Some(name.clone()),
        kernel_interfaces: KernelInterfaces::Veth,
        ..Local::default()
    };
    let read = |link: &str, what: &str| std::fs::read_to_string(format!("/sys/class/net/{link}/{what}")).ok();
    let end = pair::vpp_end(&name);
    pair::make(&local, 1450).await.unwrap();
    let made = read(&name, "ifindex");
    assert!(made.is_some());
    for link in [&name, &end] {
        assert_eq!(read(link, "mtu").as_deref(), Some("1450\n"));
    }
    // The node's routes are on it.
    pair::make(&local, 1450).await.unwrap();
    assert_eq!(read(&name, "ifindex"), made, "made anew");
    pair::remove(&name).await.unwrap();
    assert_eq!((read(&name, "ifindex"), read(&end, "ifindex")), (None, None));
    pair::remove(&name).await.unwrap();

    ip(&["link", "add", &name, "type", "bridge"]);
    pair::remove(&name).await.unwrap();
    let stays = read(&name, "ifindex").is_some();
    ip(&["link", "del", &name]);
    assert!(stays, "an interface that is no veth is somebody else's");

    let none = Local {
        kernel_interfaces: KernelInterfaces::Tap,
        ..local
    };
    pair::make(&none, 1450).await.unwrap();
    assert_eq!(read(&name, "ifindex"), None, "VPP makes its taps itself");
}
