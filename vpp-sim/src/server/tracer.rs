//! Traces of received packets, as VPP's `trace add` and `show trace`.

use std::fmt::Write as _;

use crate::engine::Trace;

/// Packets VPP's trace buffer holds at most by default (`show trace max`).
const SHOWN: usize = 50;

/// How many more packets to trace, and the traces so far.
#[derive(Debug, Default)]
pub struct Tracer {
    wanted: u32,
    traces: Vec<String>,
}

impl Tracer {
    /// Whether the next packet is to be traced.
    pub fn wants(&self) -> bool {
        self.wanted > 0
    }

    /// `trace add`: so many more packets.
    pub fn add(&mut self, count: u32) {
        self.wanted = self.wanted.saturating_add(count);
    }

    /// `clear trace`.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keeps the trace of a packet received at `now` (nanoseconds since the start).
    pub fn record(&mut self, now: u64, interface: &str, trace: &Trace) {
        self.wanted = self.wanted.saturating_sub(1);
        let (seconds, micros) = (now / 1_000_000_000, now / 1000 % 1_000_000);
        let stamp = format!(
            "{:02}:{:02}:{:02}:{micros:06}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let mut text = format!("{stamp}: received on {interface}\n");
        for node in &trace.nodes {
            let _ = writeln!(text, "{stamp}: {}", node.node);
            for line in node.text.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        let _ = writeln!(text, "{stamp}: {}", trace.fate);
        self.traces.push(text);
    }

    /// `show trace`: the first packets.
    pub fn show(&self) -> String {
        let mut text = "------------------- Start of thread 0 vpp_main -------------------\n".to_owned();
        if self.traces.is_empty() {
            text.push_str("No packets in trace buffer\n");
        }
        for (number, trace) in self.traces.iter().take(SHOWN).enumerate() {
            let _ = writeln!(text, "Packet {}\n\n{trace}", number + 1);
        }
        if self.traces.len() > SHOWN {
            let _ = writeln!(text, "Limiting display to {SHOWN} packets.");
        }
        text
    }
}
