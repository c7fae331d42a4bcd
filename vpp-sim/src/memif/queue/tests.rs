//! Both ends of a ring against each other, and against what no good end writes.

use super::*;
use crate::memif::shared::Layout;

/// Both ends of one ring to the master and one to the slave, with 8 slots of 64 bytes.
struct Ends {
    regions: Vec<Region>,
    slave: (Queue, Queue),
    master: (Queue, Queue),
}

fn eventfd() -> OwnedFd {
    io::pipe().unwrap().1.into()
}

impl Ends {
    /// With counters that have come to `start`.
    fn new(start: u16) -> Self {
        let layout = Layout {
            log2_ring_size: 3,
            buffer_size: 64,
            s2m_rings: 1,
            m2s_rings: 1,
        };
        let regions = vec![layout.allocate("test").unwrap()];
        let queue = |is_s2m, is_slave: bool| {
            let buffers = is_slave.then(|| layout.buffers(is_s2m, 0));
            let mut queue = Queue::new(layout.ring(is_s2m, 0), eventfd(), buffers);
            (queue.next, queue.offered) = (start, start);
            for counter in [Counter::Head, Counter::Tail] {
                queue.ring.set_counter(&regions, counter, start).unwrap();
            }
            queue
        };
        let mut ends = Self {
            slave: (queue(true, true), queue(false, true)),
            master: (queue(false, false), queue(true, false)),
            regions,
        };
        ends.slave.1.offer(&ends.regions).unwrap();
        ends
    }

    fn send(&mut self, to_master: bool, frame: &[u8]) -> Result<(), Unsent> {
        let end = if to_master {
            &mut self.slave.0
        } else {
            &mut self.master.0
        };
        end.send(&self.regions, frame)
    }

    fn receive(&mut self, at_master: bool, limit: usize) -> (Vec<Vec<u8>>, Received) {
        let end = if at_master {
            &mut self.master.1
        } else {
            &mut self.slave.1
        };
        let mut frames = Vec::new();
        let received = end
            .receive(&self.regions, true, limit, &mut [0; 1024], &mut |frame| {
                frames.push(frame.to_vec());
            })
            .unwrap();
        (frames, received)
    }
}

fn frame(number: u8, length: usize) -> Vec<u8> {
    (0..length).map(|n| number ^ n.to_ne_bytes()[0]).collect()
}

#[test]
fn packets_of_all_lengths_pass_both_ways_across_the_turn_of_the_counters() {
    let mut ends = Ends::new(0xfff0);
    for number in 0..40 {
        for to_master in [true, false] {
            for length in [1, 63, 64, 65, 128, 300] {
                let sent = frame(number, length);
                ends.send(to_master, &sent).unwrap();
                let (got, received) = ends.receive(to_master, 64);
                assert_eq!(got, [sent]);
                assert_eq!(received, Received::default());
            }
        }
    }
}

#[test]
fn a_full_ring_takes_no_more_and_loses_nothing_it_has() {
    for to_master in [true, false] {
        let mut ends = Ends::new(0xfffc);
        for number in 0..7 {
            ends.send(to_master, &frame(number, 10)).unwrap();
        }
        let two_slots = ends.send(to_master, &frame(9, 65));
        assert!(matches!(two_slots, Err(Unsent::NoFreeSlots)), "{two_slots:?}");
        ends.send(to_master, &frame(7, 64)).unwrap();
        let none_left = ends.send(to_master, &[1]);
        assert!(matches!(none_left, Err(Unsent::NoFreeSlots)), "{none_left:?}");
        let (some, received) = ends.receive(to_master, 3);
        assert_eq!((some.len(), received.more), (3, true));
        ends.send(to_master, &frame(8, 192)).unwrap();
        let (rest, received) = ends.receive(to_master, 64);
        assert_eq!((rest.len(), received.more), (6, false));
        assert_eq!(rest[5], frame(8, 192));
    }
}

#[test]
fn bad_descriptors_cost_their_packet_and_no_other() {
    let good = |ends: &Ends| ends.slave.0.buffers.unwrap().descriptor(0, 0, 10);
    let table: [fn(&mut Descriptor); 5] = [
        |bad| bad.region = 1,
        |bad| bad.offset = u32::MAX,
        |bad| bad.length = 0,
        |bad| bad.length = 9217,
        |bad| bad.length = 0x1_0000,
    ];
    for spoil in table {
        let mut ends = Ends::new(0);
        let mut bad = good(&ends);
        spoil(&mut bad);
        let chained = Descriptor {
            flags: NEXT,
            ..good(&ends)
        };
        let parts = [good(&ends), bad, chained, bad, good(&ends)];
        ends.slave.0.ring.write(&ends.regions, 0, &parts).unwrap();
        ends.slave
            .0
            .ring
            .set_counter(&ends.regions, Counter::Head, 5)
            .unwrap();
        let (got, received) = ends.receive(true, 64);
        assert_eq!((got.len(), received.bad), (2, 2), "{bad:?}");
    }
}

#[test]
fn an_unfinished_packet_waits_and_an_endless_one_does_not_spin() {
    let mut ends = Ends::new(0);
    let part = Descriptor {
        flags: NEXT,
        ..ends.slave.0.buffers.unwrap().descriptor(0, 0, 10)
    };
    let ring = ends.slave.0.ring;
    ring.write(&ends.regions, 0, &[part; 8]).unwrap();
    for head in [1, 7, 8, 9, 0xffff] {
        ring.set_counter(&ends.regions, Counter::Head, head).unwrap();
        let (got, received) = ends.receive(true, 64);
        assert_eq!((got.len(), received), (0, Received::default()));
    }
    ring.set_counter(&ends.regions, Counter::Head, 2).unwrap();
    let last = Descriptor { flags: 0, ..part };
    ring.write(&ends.regions, 1, &[last]).unwrap();
    assert_eq!(ends.receive(true, 64).0.len(), 1);
}

#[test]
fn a_master_is_led_by_no_descriptor_outside_the_region() {
    let mut ends = Ends::new(0);
    let size = u32::try_from(ends.regions[0].size()).unwrap();
    for (region, offset) in [(7, 0), (0, size - 5), (0, u32::MAX)] {
        let bad = Descriptor {
            region,
            offset,
            length: 64,
            ..Descriptor::default()
        };
        ends.master.0.ring.write(&ends.regions, 0, &[bad; 8]).unwrap();
        let sent = ends.send(false, &frame(1, 60));
        assert!(matches!(sent, Err(Unsent::Broken(_))), "{sent:?}");
    }
    // Without room in any slot the ring counts as full.
    let empty = [Descriptor::default(); 8];
    ends.master.0.ring.write(&ends.regions, 0, &empty).unwrap();
    let sent = ends.send(false, &frame(1, 60));
    assert!(matches!(sent, Err(Unsent::NoFreeSlots)), "{sent:?}");
}
