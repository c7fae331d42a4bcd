//! Host devices without an engine: frames are relayed between two of them, real kernels talk at the ends.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Namespace, privileged, run};
use vpp_sim::device::{
    AfPacketRequest, Attached, Backend as _, Device, Fault, HostBackend, MAX_FRAME, TapRequest,
};

fn tap(namespace: &Namespace, host: u8) -> Attached {
    HostBackend
        .open_tap(&TapRequest {
            namespace: Some(namespace.name.clone()),
            name: Some("eth0".into()),
            mac: [2, 0, 0, 0, 0, host],
            ip4: Some(([10, 9, 0, host].into(), 24)),
            mtu: Some(1400),
            ..TapRequest::default()
        })
        .unwrap()
}

/// RFC 1071 sum over the pseudo-header and the TCP segment of an IPv4 frame: all ones when the checksum is right.
fn tcp_checksum_is_right(frame: &[u8]) -> bool {
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let segment = &frame[34..14 + total];
    let mut sum = 6 + u64::try_from(segment.len()).unwrap();
    for bytes in [&frame[26..34], segment] {
        for word in bytes.chunks(2) {
            sum += u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// Copies frames between two devices, in both directions, until told to stop; checks each TCP frame.
struct Relay {
    stop: Arc<AtomicBool>,
    worker: Option<thread::JoinHandle<usize>>,
}

impl Relay {
    fn start(a: Box<dyn Device>, b: Box<dyn Device>, mtu: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let worker = thread::spawn(move || {
            let mut scratch = vec![0; MAX_FRAME];
            let mut checked = 0;
            while !seen.load(Ordering::Relaxed) {
                let mut moved = 0;
                for (from, to) in [(&a, &b), (&b, &a)] {
                    moved += from
                        .receive(&mut scratch, &mut |frame| {
                            assert!(frame.len() <= mtu + 14, "frame of {} bytes", frame.len());
                            if frame[12..14] == [8, 0] && frame[23] == 6 {
                                assert!(tcp_checksum_is_right(frame));
                                checked += 1;
                            }
                            to.transmit(frame).unwrap();
                        })
                        .unwrap();
                }
                if moved == 0 {
                    thread::sleep(Duration::from_micros(100));
                }
            }
            checked
        });
        Self {
            stop,
            worker: Some(worker),
        }
    }

    /// Stops, and tells how many TCP frames were checked.
    fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.take().unwrap().join().unwrap()
    }
}

/// Sends half a megabyte from one namespace and expects its echo.
fn bulk_over_tcp(client: &Namespace, server: &Namespace, address: &'static str) {
    let listener = server.within(move || TcpListener::bind((address, 5001)).unwrap());
    let data: Vec<u8> = (0..500_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let expected = data.len();
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = vec![0; expected];
        stream.read_exact(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let sent = data.clone();
    let back = client.within(move || {
        let mut stream = TcpStream::connect_timeout(
            &(address.parse::<std::net::IpAddr>().unwrap(), 5001).into(),
            Duration::from_secs(10),
        )
        .unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&sent).unwrap();
        let mut all = vec![0; sent.len()];
        stream.read_exact(&mut all).unwrap();
        all
    });
    assert!(back == data);
    echo.join().unwrap();
}

#[test]
fn taps_carry_tcp_with_whole_checksums_and_frames_of_the_mtu() {
    if !privileged() {
        return;
    }
    let (left, right) = (Namespace::new(), Namespace::new());
    let (a, b) = (tap(&left, 1), tap(&right, 2));
    assert_eq!((a.host_name.as_str(), a.mtu), ("eth0", 1400));
    let link = left.show("link show eth0");
    assert!(
        link.contains("mtu 1400") && link.contains("02:00:00:00:00:01") && link.contains("UP"),
        "{link}"
    );
    let relay = Relay::start(a.device, b.device, 1400);
    bulk_over_tcp(&left, &right, "10.9.0.2");
    assert!(relay.stop() > 700);
    assert!(!left.show("link").contains("eth0"), "a closed tap leaves nothing");
}

#[test]
fn af_packet_undoes_what_a_veth_leaves_to_hardware() {
    if !privileged() {
        return;
    }
    let (left, node, right) = (Namespace::new(), Namespace::new(), Namespace::new());
    for (host, side) in [(1, &left), (2, &right)] {
        node.ip(&format!(
            "link add veth{host} type veth peer name eth0 netns {}",
            side.name
        ));
        side.ip(&format!("addr add 10.9.0.{host}/24 dev eth0"));
        side.ip("link set eth0 up");
    }
    let (a, b) = node.within(|| {
        let open = |name: &str| {
            HostBackend
                .open_af_packet(&AfPacketRequest {
                    namespace: None,
                    host_if_name: name.into(),
                })
                .unwrap()
                .device
        };
        (open("veth1"), open("veth2"))
    });
    assert!(node.show("link show veth1").contains("PROMISC"));
    let relay = Relay::start(a, b, 1500);
    bulk_over_tcp(&left, &right, "10.9.0.2");
    assert!(relay.stop() > 600);
}

#[test]
fn tap_failures_have_vpps_codes_and_leave_nothing() {
    if !privileged() {
        return;
    }
    let namespace = Namespace::new();
    let code = |request: TapRequest| HostBackend.open_tap(&request).err().map(|error| error.retval());
    let base = TapRequest {
        namespace: Some(namespace.name.clone()),
        name: Some("eth0".into()),
        mac: [2, 0, 0, 0, 0, 1],
        ip4: Some(([10, 9, 0, 1].into(), 24)),
        ..TapRequest::default()
    };
    let nowhere = TapRequest {
        namespace: Some("cv-sim-no-such".into()),
        ..base.clone()
    };
    assert_eq!(code(nowhere), Some(-12));
    assert_eq!(
        code(TapRequest {
            name: Some("lo".into()),
            ..base.clone()
        }),
        Some(-13)
    );
    assert_eq!(
        code(TapRequest {
            gateway4: Some([192, 0, 2, 1].into()),
            ..base.clone()
        }),
        Some(-145)
    );
    assert_eq!(
        code(TapRequest {
            bridge: Some("nobr".into()),
            ..base.clone()
        }),
        Some(-145)
    );
    assert!(!namespace.show("link").contains("eth0"));
    // A path and pid:N name the same namespace; the gateway on-link is taken.
    let path = format!("/var/run/netns/{}", namespace.name);
    let good = TapRequest {
        namespace: Some(path),
        gateway4: Some([10, 9, 0, 254].into()),
        ..base
    };
    let opened = HostBackend.open_tap(&good).unwrap();
    assert!(
        namespace
            .show("route")
            .contains("default via 10.9.0.254 dev eth0")
    );
    drop(opened);
    let missing = HostBackend.open_af_packet(&AfPacketRequest {
        namespace: None,
        host_if_name: "cv-none".into(),
    });
    assert_eq!(missing.err().map(|error| error.retval()), Some(-71));
}

/// Polls until the device fails.
fn fault(device: &dyn Device) -> Fault {
    let mut scratch = vec![0; MAX_FRAME];
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match device.receive(&mut scratch, &mut |_| ()) {
            Err(fault) => return fault,
            Ok(_) => assert!(Instant::now() < deadline, "no fault within 10 s"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn losing_the_host_side_is_a_fault_not_a_crash() {
    if !privileged() {
        return;
    }
    let pod = Namespace::new();
    let opened = tap(&pod, 1);
    pod.ip("link set eth0 down");
    assert!(
        opened.device.transmit(&[0; 60]).is_err(),
        "a link that is down takes no frames"
    );
    pod.ip("link del eth0");
    assert!(matches!(fault(opened.device.as_ref()), Fault::Gone(_)));
    assert!(opened.device.transmit(&[0; 60]).is_err());

    let node = Namespace::new();
    run(&format!(
        "ip -n {} link add veth1 type veth peer name veth2",
        node.name
    ));
    let attached = node.within(|| {
        HostBackend
            .open_af_packet(&AfPacketRequest {
                namespace: None,
                host_if_name: "veth1".into(),
            })
            .unwrap()
    });
    node.ip("link del veth1");
    assert!(matches!(
        fault(attached.device.as_ref()),
        Fault::Down | Fault::Gone(_)
    ));
}
