//! memif between two dataplanes of this process: played devices, but real sockets and shared memory.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "../engine_common/packets.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod packets;
mod world;

use std::time::Duration;

use vpp_api::VppEvent;
use vpp_api::messages::interface::WantInterfaceEvents;
use vpp_api::messages::memif::{MemifCreateV2, MemifDelete, MemifMode};
use world::{MASTER, Node, SLAVE, SOCKET, create, eventually, pair};

#[test]
fn packets_pass_between_master_and_slave_in_both_directions() {
    let directory = tempfile::tempdir().unwrap();
    let (master, slave) = pair(directory.path(), |_| {});
    for length in [28, 100, 1500] {
        assert!(master.reaches(&slave, length), "{length}");
        assert!(slave.reaches(&master, length), "{length}");
    }
}

#[test]
fn each_end_shows_what_vpp_shows() {
    let directory = tempfile::tempdir().unwrap();
    let (master, slave) = pair(directory.path(), |request| {
        request.ring_size = 256;
        request.buffer_size = 512;
    });
    let (at_master, at_slave) = (master.details(master.memif), slave.details(slave.memif));
    let sizes = |details: &vpp_api::messages::memif::MemifDetails| {
        (details.ring_size, details.buffer_size, details.zero_copy)
    };
    // What a master runs with is never filled in; a slave asked for zero copy by saying nothing.
    assert_eq!(sizes(&at_master), (1, 0, false));
    assert_eq!(sizes(&at_slave), (256, 512, true));
    assert_eq!(
        master.interface(master.memif).interface_name,
        format!("memif{SOCKET}/3")
    );
    slave.admin(slave.memif, false);
    assert_eq!(slave.details(slave.memif).flags.0, 0);
    assert_eq!(
        master.details(master.memif).flags.0,
        3,
        "the connection is left alone"
    );
    slave.admin(slave.memif, true);
    assert_eq!(slave.details(slave.memif).flags.0, 3);
    master.leave();
    assert!(eventually(|| slave.details(slave.memif).flags.0 == 1));
    assert_eq!(sizes(&slave.details(slave.memif)), (256, 512, true), "they stay");
}

#[test]
fn a_master_that_is_down_is_connected_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let [mut master, mut slave] = [1, 2].map(|number| Node::start(directory.path(), number));
    for node in [&master, &slave] {
        assert_eq!(node.socket("m.sock"), 0);
    }
    master.memif = master.call(create(MASTER, 3)).sw_if_index;
    slave.memif = slave.call(create(SLAVE, 3)).sw_if_index;
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(
        slave.details(slave.memif).flags.0,
        0,
        "a slave that is down is not"
    );
    slave.admin(slave.memif, true);
    assert!(eventually(|| slave.details(slave.memif).flags.0 == 3));
    assert_eq!(master.details(master.memif).flags.0, 2);
    master.admin(master.memif, true);
    assert_eq!(master.details(master.memif).flags.0, 3);
    master.admin(master.memif, false);
    assert_eq!(master.details(master.memif).flags.0, 0);
}

#[test]
fn the_link_goes_with_either_end_and_comes_back_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut master, mut slave) = pair(directory.path(), |_| {});
    let mut events = master.client.events();
    master.call(WantInterfaceEvents {
        enable_disable: 1,
        pid: 1,
    });
    slave.leave();
    assert!(eventually(|| master.details(master.memif).flags.0 == 1));
    slave.join(create(SLAVE, 3));
    assert!(eventually(|| master.is_up() && slave.is_up()));
    assert!(slave.reaches(&master, 100));
    let mut flags = Vec::new();
    while flags.len() < 2 {
        let next = async { tokio::time::timeout(Duration::from_secs(5), events.recv()).await };
        match master.runtime.block_on(next).unwrap().unwrap() {
            VppEvent::SwInterface(event) if event.sw_if_index == master.memif => flags.push(event.flags.0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(flags, [1, 3]);

    // The slave finds a master that was away.
    master.leave();
    assert!(eventually(|| slave.details(slave.memif).flags.0 == 1));
    master.join(create(MASTER, 3));
    assert!(eventually(|| master.is_up() && slave.is_up()));
    assert!(master.reaches(&slave, 100));
}

#[test]
fn a_restarted_dataplane_is_joined_again_in_either_role() {
    let directory = tempfile::tempdir().unwrap();
    let (mut master, mut slave) = pair(directory.path(), |_| {});
    drop(master);
    assert!(eventually(|| slave.details(slave.memif).flags.0 == 1));
    // The socket of the one that is gone is still there as a file.
    master = Node::start(directory.path(), 1);
    assert_eq!(master.socket("m.sock"), 0);
    master.join(create(MASTER, 3));
    assert!(eventually(|| slave.is_up()));
    assert!(slave.reaches(&master, 100) && master.reaches(&slave, 100));

    drop(slave);
    assert!(eventually(|| master.details(master.memif).flags.0 == 1));
    slave = Node::start(directory.path(), 2);
    assert_eq!(slave.socket("m.sock"), 0);
    slave.join(create(SLAVE, 3));
    assert!(eventually(|| master.is_up()));
    assert!(slave.reaches(&master, 100) && master.reaches(&slave, 100));
}

#[test]
fn packets_longer_than_a_buffer_are_chained() {
    for buffer_size in [64, 500, 2048] {
        let directory = tempfile::tempdir().unwrap();
        let (master, slave) = pair(directory.path(), |request| request.buffer_size = buffer_size);
        for length in [64 - 14, 65 - 14, 1500, 2048, 2049, 8986] {
            assert!(master.reaches(&slave, length), "{buffer_size} {length}");
            assert!(slave.reaches(&master, length), "{buffer_size} {length}");
        }
    }
}

#[test]
fn in_ip_mode_packets_have_no_ethernet_header_and_need_no_arp() {
    let directory = tempfile::tempdir().unwrap();
    let ip = |request: &mut MemifCreateV2| request.mode = MemifMode::MEMIF_MODE_API_IP;
    let (master, slave) = pair(directory.path(), ip);
    assert_eq!(master.details(master.memif).hw_addr.0, [0; 6]);
    let shown = master.interface(master.memif);
    assert_eq!((shown.link_mtu, shown.mtu), (0, [0; 4]));
    master.request(77, 500);
    assert!(eventually(|| slave.requests().contains(&(77, 62, 500))));
    slave.request(78, 3000);
    assert!(eventually(|| master.requests().contains(&(78, 62, 3000))));
}

#[test]
fn a_ring_that_nobody_reads_fills_and_what_it_has_is_read_later() {
    let directory = tempfile::tempdir().unwrap();
    let (master, slave) = pair(directory.path(), |request| request.ring_size = 16);
    assert!(master.reaches(&slave, 100) && slave.reaches(&master, 100));
    for (from, to) in [(&master, &slave), (&slave, &master)] {
        to.requests();
        to.admin(to.memif, false);
        for id in 0..20 {
            from.request(id, 100);
        }
        let errors: Vec<_> = from.server.with_engine(|vpp, _| {
            let errors = vpp.errors();
            errors
                .filter(|(node, _, _)| *node == "memif7/3-tx")
                .map(|(_, error, count)| (error.to_owned(), count))
                .collect()
        });
        assert_eq!(errors, [("no_free_slots".to_owned(), 4)]);
        assert_eq!(to.requests(), []);
        to.admin(to.memif, true);
        let mut got = Vec::new();
        assert!(eventually(|| {
            got.extend(to.requests().into_iter().map(|each| each.0));
            got.len() == 16
        }));
        assert_eq!(got, (0..16).collect::<Vec<u16>>());
        // A neighbour was forgotten with the interface's being down.
        assert!(from.reaches(to, 100) && to.reaches(from, 100));
    }
}

#[test]
fn interfaces_of_one_socket_are_told_apart_by_their_id() {
    let directory = tempfile::tempdir().unwrap();
    let (mut master, mut slave) = pair(directory.path(), |_| {});
    assert!(master.reaches(&slave, 100));
    let (first, second) = (master.memif, slave.memif);
    // No addresses on these: that they are joined is enough.
    for id in 4..8 {
        master.memif = master.call(create(MASTER, id)).sw_if_index;
        slave.memif = slave.call(create(SLAVE, id)).sw_if_index;
        master.admin(master.memif, true);
        slave.admin(slave.memif, true);
        assert!(eventually(|| master.is_up() && slave.is_up()));
    }
    slave.call(MemifDelete {
        sw_if_index: slave.memif,
    });
    assert!(eventually(|| !master.is_up()));
    (master.memif, slave.memif) = (first, second);
    assert!(master.is_up() && slave.is_up());
    assert!(slave.reaches(&master, 100));
    assert_eq!(master.code(create(MASTER, 3)), -68);
    assert_eq!(master.code(create(SLAVE, 9)), -68);
}

#[test]
fn more_queues_than_one_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let (master, slave) = pair(directory.path(), |request| {
        request.rx_queues = 3;
        request.tx_queues = 2;
    });
    assert!(master.reaches(&slave, 1000) && slave.reaches(&master, 1000));
}

type Change = fn(&mut MemifCreateV2);

#[test]
fn who_does_not_match_is_not_let_in() {
    let ip = |request: &mut MemifCreateV2| request.mode = MemifMode::MEMIF_MODE_API_IP;
    let secret = |request: &mut MemifCreateV2| request.secret = "s3cret".into();
    let wrong = |request: &mut MemifCreateV2| request.secret = "s3cre".into();
    let other = |request: &mut MemifCreateV2| request.id = 4;
    let table: [(&str, Change, Change); 4] = [
        ("mode", |_| {}, ip),
        ("no secret", secret, |_| {}),
        ("wrong secret", secret, wrong),
        ("id", |_| {}, other),
    ];
    for (what, at_master, at_slave) in table {
        let directory = tempfile::tempdir().unwrap();
        let [mut master, mut slave] = [1, 2].map(|number| Node::start(directory.path(), number));
        for (node, role, change) in [(&mut master, MASTER, at_master), (&mut slave, SLAVE, at_slave)] {
            assert_eq!(node.socket("m.sock"), 0);
            let mut request = create(role, 3);
            change(&mut request);
            node.join(request);
        }
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(
            (
                master.details(master.memif).flags.0,
                slave.details(slave.memif).flags.0
            ),
            (1, 1),
            "{what}"
        );
        slave.leave();
        let mut right = create(SLAVE, 3);
        at_master(&mut right);
        slave.join(right);
        assert!(eventually(|| master.is_up() && slave.is_up()), "{what}");
    }
}

#[test]
fn sockets_are_made_where_vpp_makes_them() {
    let directory = tempfile::tempdir().unwrap();
    let [node, other] = [1, 2].map(|number| Node::start(directory.path(), number));
    assert_eq!(node.socket("deep/down/m.sock"), 0);
    assert!(directory.path().join("deep/down").is_dir());
    let sw_if_index = node.call(create(MASTER, 1)).sw_if_index;
    let path = directory.path().join("deep/down/m.sock");
    assert!(path.exists());
    // Somebody else listens there.
    assert_eq!(other.socket("deep/down/m.sock"), 0);
    assert_eq!(other.code(create(MASTER, 1)), -14);
    node.call(MemifDelete { sw_if_index });
    assert_eq!(other.code(create(MASTER, 1)), 0);
    std::fs::write(directory.path().join("file"), "").unwrap();
    let third = Node::start(directory.path(), 3);
    assert_eq!(third.socket("file/m.sock"), -11);
    let punt = MemifCreateV2 {
        mode: MemifMode::MEMIF_MODE_API_PUNT_INJECT,
        socket_id: 0,
        ..MemifCreateV2::default()
    };
    assert_eq!(third.code(punt), -12);
}

#[test]
fn abstract_sockets_join_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("abstract:vpp-sim/memif-{}", std::process::id());
    let [mut master, mut slave] = [1, 2].map(|number| Node::start(directory.path(), number));
    for (node, role) in [(&mut slave, SLAVE), (&mut master, MASTER)] {
        assert_eq!(node.socket(&name), 0);
        node.join(create(role, 0));
    }
    assert!(eventually(|| master.is_up() && slave.is_up()));
    assert!(master.reaches(&slave, 100));
}
