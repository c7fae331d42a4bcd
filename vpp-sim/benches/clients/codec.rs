//! What encoding and decoding a message costs, without sockets.

use std::hint::black_box;
use std::time::Instant;

use vpp_api::message::{Header, Message, decode_message, encode_frame};
use vpp_api::messages::acl::AclDetails;
use vpp_api::messages::interface::SwInterfaceDetails;
use vpp_api::messages::ip::{IpRouteAddDelV2Reply, IpRouteV2Details};
use vpp_api::messages::ip_neighbor::IpNeighborAddDel;
use vpp_api::messages::memclnt::{ControlPing, ControlPingReply};
use vpp_api::messages::tapv2::TapCreateV3;

use crate::ours;

/// Rounds, of which the best counts: what disturbs only makes it longer.
const ROUNDS: usize = 20;
/// Time of one round, about.
const BYTES: usize = 4 << 20;

fn best(count: usize, mut work: impl FnMut()) -> f64 {
    let round = |work: &mut dyn FnMut()| {
        let started = Instant::now();
        for _ in 0..count {
            work();
        }
        started.elapsed().as_secs_f64() * 1e9 / count as f64
    };
    (0..ROUNDS)
        .map(|_| round(&mut work))
        .fold(f64::INFINITY, f64::min)
}

fn measure<M: Message>(what: &str, message: &M) {
    let mut frame = Vec::new();
    encode_frame(&mut frame, 1, Header::default(), message).unwrap();
    let length = frame.len();
    let count = (BYTES / length / 16).clamp(1, 20_000);
    let encoding = best(count, || {
        frame.clear();
        encode_frame(&mut frame, 1, Header::default(), black_box(message)).unwrap();
    });
    let body = frame.split_off(vpp_api::message::FRAME_HEADER_LEN);
    let decoding = best(count, || {
        black_box(decode_message::<M>(black_box(&body)).unwrap());
    });
    println!("  {what:<44} {length:>8} {encoding:>12.0} {decoding:>12.0}");
}

/// Prints the table.
pub fn run() {
    println!(
        "Messages\n  {:<44} {:>8} {:>12} {:>12}",
        "", "bytes", "encode ns", "decode ns"
    );
    measure("control_ping", &ControlPing {});
    measure("control_ping_reply", &ControlPingReply::default());
    measure("ip_route_add_del_v2, one path", &ours::route(1, 1));
    measure("ip_route_add_del_v2_reply", &IpRouteAddDelV2Reply::default());
    let route = ours::route(1, 1).route;
    measure("ip_route_v2_details, one path", &IpRouteV2Details { route });
    measure("ip_neighbor_add_del", &IpNeighborAddDel::default());
    measure("sw_interface_details", &SwInterfaceDetails::default());
    measure("tap_create_v3", &TapCreateV3::default());
    measure("cnat_translation_update, ten backends", &ours::translation(1, 10));
    measure("acl_add_replace, 100 rules", &ours::list(1, 100));
    measure("acl_add_replace, 10,000 rules", &ours::list(1, 10_000));
    let details = AclDetails {
        r: ours::list(1, 10_000).r,
        ..AclDetails::default()
    };
    measure("acl_details, 10,000 rules", &details);
}
