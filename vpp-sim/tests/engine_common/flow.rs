//! One connection of a pod: opened, and asked on.
use std::net::IpAddr;

use super::packets::{self, ACK, PSH, SYN, TCP, UDP};
use super::world::World;

/// A client's side of a connection.
#[derive(Clone, Debug)]
pub struct Flow {
    pub from: String,
    pub source: IpAddr,
    pub to: IpAddr,
    pub ports: (u16, u16),
    pub proto: u8,
}

impl Flow {
    fn exchange(&self, world: &mut World, packet: &[u8], flags: u8) -> Result<String, &'static str> {
        let mut server = None;
        let mut answered = Err("TimeoutError:timed out");
        for (pod, seen) in world.send(&self.from, packet) {
            let is_answer = seen.proto == self.proto
                && seen.src == self.to
                && seen.ports == (self.ports.1, self.ports.0)
                && seen.flags & flags == flags;
            let refused = seen.proto == 1 && seen.ports.0 == 3 || seen.proto == 58 && seen.ports.0 == 1;
            if pod == self.from && is_answer {
                answered = Ok(());
            } else if pod == self.from && refused && self.proto == TCP {
                answered = Err("OSError:[Errno 113] No route to host");
            } else if seen.proto == self.proto {
                server = Some(format!("{pod} {}", seen.src));
            }
        }
        answered.and(server.ok_or("answer from nowhere"))
    }

    /// Connects and asks once.
    pub fn open(&self, world: &mut World) -> Result<String, &'static str> {
        if self.proto == UDP {
            let ask = packets::udp(self.source, self.to, self.ports, b"ask");
            return self.exchange(world, &ask, 0);
        }
        let syn = packets::tcp(self.source, self.to, self.ports, SYN, &[]);
        self.exchange(world, &syn, SYN | ACK)?;
        let ack = packets::tcp(self.source, self.to, self.ports, ACK, &[]);
        world.send(&self.from, &ack);
        self.echo(world)
    }

    /// Asks on the open connection.
    pub fn echo(&self, world: &mut World) -> Result<String, &'static str> {
        let ask = packets::tcp(self.source, self.to, self.ports, PSH | ACK, b"ask");
        self.exchange(world, &ask, PSH)
    }
}
