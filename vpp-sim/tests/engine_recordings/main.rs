//! Replays what real VPP 26.06 was told and compares what it answered, and how its packets went.
//!
//! The recordings are no part of the repository: `CONTIV_SHARED`, or `../../shared` beside the crate.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod dump;
#[path = "../engine_common/mod.rs"]
mod engine_common;
mod read;
mod request;

use std::collections::BTreeSet;
use std::path::PathBuf;

use engine_common::flow::Flow;
use engine_common::packets::{TCP, UDP};
use engine_common::world::{Plug, World, addr};
use read::{s, u};
use serde_json::{Value, json};
use vpp_sim::engine::*;

fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("CONTIV_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let dir = shared.join("vpp/recordings");
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("skipped: no recordings in {} (set CONTIV_SHARED)", dir.display());
    None
}

struct Replay {
    world: World,
    file: String,
    line: usize,
}

impl Replay {
    fn node(name: &str) -> usize {
        usize::from(name == "b")
    }

    fn at(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    fn plug(&mut self, node: usize, at: u32, host: &str) {
        let gateway = self.world.nodes[node].interface(at).unwrap().mac;
        match host {
            "uplink" if node == 1 => {
                let other = self.world.nodes[0].af_packet("uplink").unwrap();
                self.world.wire((0, other), (1, at));
            }
            "uplink" => {}
            "v-fin" | "v-fout" => {
                let plug = Plug::Function {
                    out: 0,
                    mac: Mac::default(),
                    gateway,
                };
                self.world.plugs.insert((node, at), plug);
                if host == "v-fout" {
                    // A function's packets leave by its other side, to that side's gateway.
                    let other = self.world.nodes[node].af_packet("v-fin").unwrap();
                    let other_gateway = self.world.nodes[node].interface(other).unwrap().mac;
                    for (this, that, that_gateway) in [(at, other, other_gateway), (other, at, gateway)] {
                        if let Some(Plug::Function { out, gateway, .. }) =
                            self.world.plugs.get_mut(&(node, this))
                        {
                            *out = that;
                            *gateway = that_gateway;
                        }
                    }
                }
            }
            _ => {
                let name = host.trim_start_matches("v-").to_owned();
                // The pods of the cross-connect also have addresses of their own.
                let addresses = match name.as_str() {
                    "c1" => vec![addr("10.99.0.1")],
                    "o1" => vec![addr("10.99.0.2")],
                    _ => Vec::new(),
                };
                let plug = Plug::Pod {
                    name,
                    addresses,
                    mac: Mac::default(),
                    gateway,
                };
                self.world.plugs.insert((node, at), plug);
            }
        }
    }

    fn probe(&mut self, record: &Value) {
        let p = &record["probe"];
        let (from, to) = (s(p, "from").to_owned(), s(p, "to").to_owned());
        let count = u(p, "count") as usize;
        if s(p, "protocol") == "icmp" {
            let (answers, ttl) = self.world.ping(&from, &to, count);
            assert_eq!(json!(answers), record["answers"], "{} {p}", self.at());
            let ttl = ttl.map(|t| t.to_string());
            assert_eq!(json!(ttl), record["ttl"], "{} {p}", self.at());
            return;
        }
        let proto = if s(p, "protocol") == "udp" { UDP } else { TCP };
        let answers = self.world.probe(&from, &to, u(p, "port") as u16, proto, count);
        let ours: BTreeSet<&str> = answers.keys().map(String::as_str).collect();
        let theirs: BTreeSet<&str> = record["answers"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        // Which of several backends a few flows hit is chance; failures and seen clients are not.
        let kinds = |all: &BTreeSet<&str>| -> BTreeSet<String> {
            let client = |a: &str| a.rsplit(' ').next().unwrap_or("").to_owned();
            let failed = |a: &str| a.starts_with("TimeoutError") || a.starts_with("OSError");
            let each = all.iter();
            each.map(|a| if failed(a) { (*a).to_owned() } else { client(a) })
                .collect()
        };
        if theirs.len() > 1 {
            assert_eq!(kinds(&ours), kinds(&theirs), "{} {p}: {answers:?}", self.at());
        } else {
            assert_eq!(ours, theirs, "{} {p}: {answers:?}", self.at());
        }
    }
}

/// The fields of a recorded reply that are compared: those the replay answers.
fn common(ours: &Value, recorded: &Value) -> Value {
    let fields = ours.as_object().unwrap().keys();
    Value::from_iter(fields.map(|f| (f.clone(), recorded[f].clone())))
}

fn replay(file: &str) {
    let Some(dir) = recordings() else {
        return;
    };
    let text = std::fs::read_to_string(dir.join(file)).unwrap();
    let records: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let mut replay = Replay {
        world: World::new(2),
        file: file.to_owned(),
        line: 0,
    };
    let mut open: Option<(Flow, String)> = None;
    for (at, record) in records.iter().enumerate() {
        replay.line = at + 1;
        // A live flow is opened before the change which the recording made under it.
        let next_flow = records[at..].iter().position(|r| r.get("live_flow").is_some());
        if let Some(distance) = next_flow
            && record.get("reply").is_some()
            && !records[at + 1..at + distance]
                .iter()
                .any(|r| r.get("reply").is_some())
        {
            let flow = &records[at + distance]["live_flow"];
            let (to, port) = s(flow, "to").split_once(':').unwrap();
            let from = s(flow, "from").to_owned();
            let to = addr(to);
            let source = replay.world.pod_address(&from, Family::V4);
            let ports = (replay.world.port(), port.parse().unwrap());
            let flow = Flow {
                from,
                source,
                to,
                ports,
                proto: TCP,
            };
            let server = flow.open(&mut replay.world).expect("the flow opens");
            let mut echoes = String::new();
            for _ in 0..4 {
                echoes.push(if flow.echo(&mut replay.world).is_ok() {
                    '+'
                } else {
                    '-'
                });
            }
            open = Some((flow, format!("{server} {echoes}")));
        }
        if let Some(name) = record["request"].as_str() {
            let node = Replay::node(s(record, "node"));
            if record.get("reply").is_some() {
                let ours = replay.request(node, name, &record["args"]);
                let outputs = replay.world.nodes[node].tick(replay.world.now);
                replay.world.carry(node, outputs);
                let recorded = common(&ours, &record["reply"]);
                assert_eq!(ours, recorded, "{} {name} {}", replay.at(), record["args"]);
            } else {
                replay.check_dump(node, name, &record["args"], &record["details"]);
            }
        } else if record.get("probe").is_some() {
            replay.probe(record);
        } else if record.get("live_flow").is_some() {
            let (flow, mut story) = open.take().expect("an open flow");
            let recorded = record
                .as_object()
                .unwrap()
                .iter()
                .find(|(k, _)| k.contains("echoes"))
                .and_then(|(_, v)| v.as_str())
                .unwrap();
            let echoes = recorded.rsplit(' ').next().unwrap().len();
            for _ in 4..echoes {
                story.push(if flow.echo(&mut replay.world).is_ok() {
                    '+'
                } else {
                    '-'
                });
            }
            assert!(
                story.ends_with(recorded),
                "{}: {story} is not {recorded}",
                replay.at()
            );
        } else if record.get("ping -s 1460 -M do").is_some() {
            let (answers, _) = replay.world.ping_sized("w1", "10.1.2.3", 2, 1460);
            assert_eq!(answers, 0, "{}", replay.at());
        } else if record.get("function_rx_packets_per_interface").is_some() {
            let packets: Vec<u64> = replay.world.function_packets.values().copied().collect();
            assert!(
                packets.len() == 2 && packets.iter().all(|n| *n > 0),
                "{packets:?}"
            );
        }
    }
}

#[test]
fn recording_forwarding() {
    replay("forwarding.jsonl");
}

#[test]
fn recording_acl() {
    replay("acl.jsonl");
}

#[test]
fn recording_cnat() {
    replay("cnat.jsonl");
}

#[test]
fn recording_cnat_default_snat() {
    replay("cnat-default-snat.jsonl");
}

#[test]
fn recording_chain_abf() {
    replay("chain-abf.jsonl");
}

#[test]
fn recording_vxlan_two_nodes() {
    replay("vxlan-two-nodes.jsonl");
}
