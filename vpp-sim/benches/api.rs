//! Rates of the API (the project's client against this server on a socket) and of packets (two taps in namespaces;
//! needs root). Prints figures; run with `cargo bench -p vpp-sim`.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::unwrap_used, reason = "a bench that fails should stop")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::Namespace;
use vpp_api::Client;
use vpp_api::messages::interface::{CreateLoopback, SwInterfaceAddDelAddress, SwInterfaceSetFlags};
use vpp_api::messages::ip::{IpRouteAddDelV2, IpRouteV2Dump};
use vpp_api::messages::memclnt::ControlPing;
use vpp_api::messages::tapv2::TapCreateV3;
use vpp_api::types::{FibPath, IfStatusFlags, Ip4Prefix, IpRouteV2, IpTable, MacAddress, NO_INDEX, Prefix};
use vpp_sim::engine::Config;
use vpp_sim::server::{Identity, spawn, spawn_on_host};

fn report(what: &str, count: usize, started: Instant) {
    let elapsed = started.elapsed();
    println!("{what:<44} {:>10.0} /s", count as f64 / elapsed.as_secs_f64());
}

async fn api() {
    let directory = tempfile::tempdir().unwrap();
    let server = spawn(Config::default(), directory.path().join("api.sock")).unwrap();
    let client = Client::connect(server.socket(), "bench").await.unwrap();
    let index = client.call(CreateLoopback::default()).await.unwrap().sw_if_index;

    let started = Instant::now();
    for _ in 0..5_000 {
        client.call(ControlPing {}).await.unwrap();
    }
    report("control_ping, one at a time", 5_000, started);

    let route = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        let prefix = Prefix::new([10, a, b, c].into(), 32);
        let paths = vec![FibPath::via(index, [192, 0, 2, 1].into())];
        let route = IpRouteV2 {
            prefix,
            paths,
            ..IpRouteV2::default()
        };
        IpRouteAddDelV2 {
            is_add: true,
            is_multipath: false,
            route,
        }
    };
    let started = Instant::now();
    for n in 0..5_000 {
        client.call(route(n)).await.unwrap();
    }
    report("ip_route_add_del_v2, one at a time", 5_000, started);

    let started = Instant::now();
    let pending: Vec<_> = (5_000..105_000).map(|n| client.send(route(n))).collect();
    for reply in pending {
        reply.await.unwrap();
    }
    report("ip_route_add_del_v2, pipelined", 100_000, started);

    let started = Instant::now();
    let routes = client
        .dump(IpRouteV2Dump {
            src: 8,
            table: IpTable::default(),
        })
        .await
        .unwrap();
    report("ip_route_v2_dump, details", routes.len(), started);
}

/// Pods 10.1.N.2 on taps with 10.1.N.1; datagrams from one to the other, and there and back.
async fn packets() {
    let directory = tempfile::tempdir().unwrap();
    let node = Namespace::new();
    let path = directory.path().join("api.sock");
    let server = node.within(move || spawn_on_host(Config::default(), Identity::default(), path).unwrap());
    let client = Client::connect(server.socket(), "bench").await.unwrap();
    let pods = [Namespace::new(), Namespace::new()];
    for (pod, subnet) in pods.iter().zip(1u8..) {
        let tap = client
            .call(TapCreateV3 {
                id: NO_INDEX,
                use_random_mac: true,
                host_mac_addr_set: true,
                host_mac_addr: MacAddress([2, 0, 0, 0, 0, subnet]),
                host_ip4_prefix_set: true,
                host_ip4_prefix: Ip4Prefix::new([10, 1, subnet, 2].into(), 24),
                host_ip4_gw_set: true,
                host_ip4_gw: [10, 1, subnet, 1].into(),
                host_namespace_set: true,
                host_namespace: pod.name.clone(),
                host_if_name_set: true,
                host_if_name: "eth0".into(),
                ..TapCreateV3::default()
            })
            .await
            .unwrap();
        let sw_if_index = tap.sw_if_index;
        let flags = IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP;
        client
            .call(SwInterfaceSetFlags { sw_if_index, flags })
            .await
            .unwrap();
        let prefix = Prefix::new([10, 1, subnet, 1].into(), 24);
        let add = SwInterfaceAddDelAddress {
            sw_if_index,
            is_add: true,
            del_all: false,
            prefix,
        };
        client.call(add).await.unwrap();
    }
    let target = SocketAddr::from(([10, 1, 2, 2], 7));
    let receiver = pods[1].within(move || UdpSocket::bind(target).unwrap());
    let sender = pods[0].within(|| UdpSocket::bind("10.1.1.2:0").unwrap());
    sender.connect(target).unwrap();
    let echo = receiver.try_clone().unwrap();
    echo.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let worker = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            echo.send_to(&buffer[..length], from).unwrap();
        }
    });
    sender.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut times = Vec::new();
    for _ in 0..5_000 {
        let started = Instant::now();
        sender.send(&[0; 32]).unwrap();
        if sender.recv(&mut [0; 64]).is_ok() {
            times.push(started.elapsed());
        }
    }
    times.sort();
    worker.join().unwrap();
    println!(
        "{:<44} {:>7.1?} p50 {:>7.1?} p99",
        "datagram there and back",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );

    receiver
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let counter = std::thread::spawn(move || {
        let (mut count, mut last) = (0, Instant::now());
        while receiver.recv(&mut [0; 64]).is_ok() {
            count += 1;
            last = Instant::now();
        }
        (count, last)
    });
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        // A full queue is what is wanted here.
        let _ = sender.send(&[0; 32]);
    }
    let (count, last): (u32, Instant) = counter.join().unwrap();
    let seconds = last.duration_since(started).as_secs_f64();
    println!(
        "{:<44} {:>10.0} /s",
        "small datagrams received, sender flat out",
        f64::from(count) / seconds
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        api().await;
        if common::privileged() {
            packets().await;
        }
    });
}
