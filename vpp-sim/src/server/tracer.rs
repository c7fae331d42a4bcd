//! Traces of received packets: `trace add` and `show trace`, `trace_capture_packets` and `trace_v2_dump`
//! (`vlib/trace.c`, `tracedump/tracedump.c`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::engine::Trace;

/// Packets `show trace` shows at most by default.
const SHOWN: usize = 50;

/// Traces kept; VPP keeps as many as were asked for.
const KEPT: usize = 10_000;

/// Functions that may say which packets are traced, the last registered first, as VPP lists them.
pub const FILTER_FUNCTIONS: [&str; 2] = ["bpf_trace_filter", "vnet_is_packet_traced"];

/// The one in force at the start.
const DEFAULT_FUNCTION: usize = 1;

/// Which traces are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    #[default]
    None,
    /// At most so many that passed the node.
    Include(String, usize),
    /// At most so many that did not.
    Exclude(String, usize),
}

#[derive(Debug)]
struct Kept {
    nodes: Vec<String>,
    text: String,
}

/// How many more packets to trace, by input node, and the traces so far.
#[derive(Debug)]
pub struct Tracer {
    /// Packets to trace, and traced, by the node where they come in.
    limits: BTreeMap<String, (u32, u32)>,
    filter: Filter,
    traces: Vec<Kept>,
    /// What a client's first dump found, until it asks for more recent ones.
    caches: BTreeMap<u32, Vec<String>>,
    function: usize,
}

impl Default for Tracer {
    fn default() -> Self {
        Self {
            limits: BTreeMap::new(),
            filter: Filter::None,
            traces: Vec::new(),
            caches: BTreeMap::new(),
            function: DEFAULT_FUNCTION,
        }
    }
}

impl Tracer {
    /// Whether the next packet that comes in at a node is to be traced.
    pub fn wants(&self, input: &str) -> bool {
        !self.limits.is_empty()
            && self.traces.len() < KEPT
            && self.limits.get(input).is_some_and(|(limit, count)| count < limit)
    }

    /// So many more packets; 0 begins anew with none, ~0 is 50.
    pub fn add(&mut self, input: &str, count: u32) {
        let (limit, traced) = self.limits.entry(input.to_owned()).or_default();
        match count {
            0 => (*limit, *traced) = (0, 0),
            u32::MAX => *limit = limit.saturating_add(50),
            count => *limit = limit.saturating_add(count),
        }
    }

    /// Stops, and forgets the traces.
    pub fn clear(&mut self) {
        self.limits.clear();
        self.traces.clear();
    }

    /// Sets the filter, which stops what is under way.
    pub fn set_filter(&mut self, filter: Filter) {
        self.limits.clear();
        self.filter = filter;
    }

    /// Whether there is such a function to say which packets are traced; it is taken.
    pub fn set_function(&mut self, name: &str) -> bool {
        let found = FILTER_FUNCTIONS.iter().position(|known| *known == name);
        self.function = found.unwrap_or(self.function);
        found.is_some()
    }

    /// Functions, and whether they are in force.
    pub fn functions(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let selected = self.function;
        let all = FILTER_FUNCTIONS.iter().enumerate();
        all.map(move |(at, name)| (*name, at == selected))
    }

    /// Keeps the trace of a packet received at `now` (nanoseconds since the start).
    pub fn record(&mut self, now: u64, input: &str, interface: &str, trace: &Trace) {
        if let Some((_, count)) = self.limits.get_mut(input) {
            *count += 1;
        }
        let (seconds, micros) = (now / 1_000_000_000, now / 1000 % 1_000_000);
        let stamp = format!(
            "{:02}:{:02}:{:02}:{micros:06}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let mut text = format!("{stamp}: {input}\n  {interface}\n");
        let mut nodes = vec![input.to_owned()];
        for node in &trace.nodes {
            let _ = writeln!(text, "{stamp}: {}", node.node);
            for line in node.text.lines() {
                let _ = writeln!(text, "  {line}");
            }
            nodes.push(node.node.clone());
        }
        self.traces.push(Kept { nodes, text });
    }

    /// Throws away what the filter does not let through.
    fn apply_filter(&mut self) {
        let (node, wanted, most) = match &self.filter {
            Filter::None => return,
            Filter::Include(node, most) => (node, true, *most),
            Filter::Exclude(node, most) => (node, false, *most),
        };
        let mut kept = 0;
        self.traces.retain(|trace| {
            let accepted = trace.nodes.contains(node) == wanted && kept < most;
            kept += usize::from(accepted);
            accepted
        });
    }

    /// `show trace`: the first packets.
    pub fn show(&mut self, most: Option<usize>) -> String {
        self.apply_filter();
        let most = most.unwrap_or(SHOWN);
        let mut text = "------------------- Start of thread 0 vpp_main -------------------\n".to_owned();
        if self.traces.is_empty() {
            text.push_str("No packets in trace buffer\n");
        }
        for (number, trace) in self.traces.iter().take(most).enumerate() {
            let _ = writeln!(text, "Packet {}\n\n{}", number + 1, trace.text);
        }
        if self.traces.len() > most {
            let _ = writeln!(
                text,
                "Limiting display to {most} packets. To display more specify max."
            );
        }
        text
    }

    /// What a client's dumps list: the traces as they were at its first one, or are now with `renew`.
    pub fn cached(&mut self, client: u32, renew: bool) -> &[String] {
        if renew {
            self.caches.remove(&client);
        }
        if self.caches.get(&client).is_none_or(Vec::is_empty) {
            self.apply_filter();
            let taken = self.traces.iter().map(|trace| trace.text.clone()).collect();
            self.caches.insert(client, taken);
        }
        self.caches.get(&client).map_or(&[], Vec::as_slice)
    }

    /// Forgets what a client's dumps list.
    pub fn forget(&mut self, client: u32) {
        self.caches.remove(&client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Fate, TraceNode};

    fn trace(nodes: &[&str]) -> Trace {
        let node = |node: &&str| TraceNode {
            node: (*node).to_owned(),
            text: String::new(),
        };
        Trace {
            nodes: nodes.iter().map(node).collect(),
            fate: Fate::Transmitted { sw_if_index: 1 },
            outputs: Vec::new(),
        }
    }

    #[test]
    fn only_the_named_input_is_traced_and_only_so_often() {
        let mut tracer = Tracer::default();
        tracer.add("virtio-input", 2);
        assert!(!tracer.wants("memif-input"));
        for _ in 0..2 {
            assert!(tracer.wants("virtio-input"));
            tracer.record(0, "virtio-input", "tap0", &trace(&["ip4-input"]));
        }
        assert!(!tracer.wants("virtio-input"));
        tracer.add("virtio-input", 1);
        assert!(tracer.wants("virtio-input"));
        tracer.add("virtio-input", 0);
        assert!(!tracer.wants("virtio-input"));
    }

    #[test]
    fn a_filter_keeps_what_passed_a_node_or_did_not() {
        let mut tracer = Tracer::default();
        let record = |tracer: &mut Tracer| {
            for nodes in [["ip4-input", "error-drop"], ["ip4-input", "ip4-lookup"]] {
                tracer.record(0, "virtio-input", "tap0", &trace(&nodes));
            }
        };
        tracer.set_filter(Filter::Include("error-drop".to_owned(), 9));
        record(&mut tracer);
        let shown = tracer.show(None);
        assert!(
            shown.contains("error-drop") && !shown.contains("Packet 2"),
            "{shown}"
        );
        tracer.clear();
        tracer.set_filter(Filter::Exclude("error-drop".to_owned(), 1));
        record(&mut tracer);
        record(&mut tracer);
        let shown = tracer.show(None);
        assert!(
            !shown.contains("error-drop") && !shown.contains("Packet 2"),
            "{shown}"
        );
    }

    #[test]
    fn a_client_lists_what_its_first_dump_found() {
        let mut tracer = Tracer::default();
        assert_eq!(tracer.cached(1, false).len(), 0);
        tracer.record(0, "virtio-input", "tap0", &trace(&["ip4-input"]));
        // An empty one is no cache.
        assert_eq!(tracer.cached(1, false).len(), 1);
        tracer.record(0, "virtio-input", "tap0", &trace(&["ip4-input"]));
        assert_eq!(tracer.cached(1, false).len(), 1);
        assert_eq!(tracer.cached(2, false).len(), 2);
        assert_eq!(tracer.cached(1, true).len(), 2);
        tracer.clear();
        assert_eq!(tracer.cached(1, false).len(), 2);
        tracer.forget(1);
        assert_eq!(tracer.cached(1, false).len(), 0);
    }
}
