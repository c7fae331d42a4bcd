//! Packets between any two messages that VPP gets while policies, sets and lists change.

use std::sync::{Arc, Mutex};

use crds::vpp_config::PodBinding;
use proptest::prelude::*;
use vpp_sim::engine::{Fate, Vpp as Engine};

use super::flows::{Flow, Net};
use super::packets::{ACK, PUSH, SYN};
use crate::desired::tests::World;
use crate::plan::tests::{FIRST_PEER, PEERS, Shape, mixes, shape, shaped};

const CLIENTS: [&str; PEERS as usize] = ["peer0", "peer1", "peer2", "peer3"];
const SERVERS: [&str; 3] = ["pod7", "pod8", "pod9"];

/// Whether the shape's policies let a client reach a server: no policy, or one that names it.
fn allows(shape: &Shape, client: u8, server: usize) -> bool {
    let (policies, pods) = shape;
    pods[server]
        .as_ref()
        .is_none_or(|under| under.iter().any(|&policy| policies[policy].contains(&client)))
}

fn world(shape: &Shape) -> World {
    let mut world = shaped(shape);
    for (number, name) in (FIRST_PEER..).zip(CLIENTS) {
        world.pod(name, number, PodBinding::default());
    }
    world
}

/// Where a frame goes in, the frame, where it comes out.
type Sent = (u32, Vec<u8>, u32);

fn arrives(engine: &mut Engine, now: u64, (enter, frame, leave): &Sent) -> bool {
    engine.walk(*enter, frame, now).fate == Fate::Transmitted { sw_if_index: *leave }
}

/// What must hold of a client and a server all through a change.
struct Watch {
    what: String,
    flow: Flow,
    /// A new connection's first packet.
    first: Sent,
    /// Packets of a connection that is there already, both ways.
    going_on: [Sent; 2],
    before: bool,
    after: bool,
    mixed: bool,
}

impl Watch {
    fn check(&self, engine: &mut Engine, now: u64) -> Result<(), String> {
        // On a copy: a connection that is allowed for a moment only leaves no session.
        let opens = arrives(&mut engine.clone(), now, &self.first);
        if opens && !self.before && !self.after {
            return Err(format!("{} opens", self.what));
        }
        if !self.before || !self.after || self.mixed {
            return Ok(());
        }
        if !opens {
            return Err(format!("{} cannot open", self.what));
        }
        for (sent, end) in self.going_on.iter().zip(["client", "server"]) {
            if !arrives(engine, now, sent) {
                return Err(format!("{} loses a packet of its {end}", self.what));
            }
        }
        Ok(())
    }
}

async fn hammer(shapes: &[Shape]) -> Result<usize, String> {
    let mut net = Net::new(world(&shapes[0])).await;
    let mut messages = 0;
    for (turn, change) in (0u16..).zip(shapes.windows(2)) {
        let (old, new) = (&change[0], &change[1]);
        let mut watches = Vec::new();
        for (client, name) in (0..).zip(CLIENTS) {
            for (server, to) in SERVERS.into_iter().enumerate() {
                let flow = |port| Flow {
                    ports: (port, 80),
                    ..Flow::tcp(name, to, 80)
                };
                let (live, fresh) = (flow(40_000 + turn), flow(50_000 + turn));
                let before = allows(old, client, server);
                if live.opens(&net) != before {
                    return Err(format!("{live:?} is {before}"));
                }
                let sent = |from, to, packet| net.probe(from, to, packet);
                watches.push(Watch {
                    what: format!("{name} to {to}"),
                    first: sent(name, to, fresh.packet(true, SYN)),
                    going_on: [
                        sent(name, to, live.packet(true, PUSH | ACK)),
                        sent(to, name, live.packet(false, PUSH | ACK)),
                    ],
                    flow: live,
                    before,
                    after: allows(new, client, server),
                    mixed: mixes(old, new, server),
                });
            }
        }
        let watches = Arc::new(watches);
        let seen = Arc::new(Mutex::new((0, Vec::new())));
        let (watching, noting) = (watches.clone(), seen.clone());
        net.sim.handle.observe(move |engine, now| {
            let mut noted = noting.lock().unwrap();
            noted.0 += 1;
            let wrong = watching.iter().filter_map(|watch| watch.check(engine, now).err());
            noted.1.extend(wrong);
        });
        net.world = world(new);
        net.converge().await;
        net.sim.handle.observe(|_, _| {});
        let (count, wrong) = std::mem::take(&mut *seen.lock().unwrap());
        messages += count;
        if let Some(first) = wrong.first() {
            return Err(format!("{first}, {} more; {old:?} to {new:?}", wrong.len() - 1));
        }
        for watch in watches.iter().filter(|watch| watch.before) {
            let goes_on = watch.flow.uploads(&net) && watch.flow.downloads(&net);
            if goes_on != watch.after && !watch.mixed {
                return Err(format!("{} is {} at the end", watch.what, !watch.after));
            }
        }
    }
    Ok(messages)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_packet_slips_through_and_none_is_lost_between_messages(shapes in prop::collection::vec(shape(), 5)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let messages = runtime.block_on(hammer(&shapes));
        prop_assert!(messages.is_ok(), "{}", messages.unwrap_err());
        // A change that sends nothing is possible, five shapes without a change are not worth a look.
        prop_assume!(messages.unwrap() > 0);
    }
}
