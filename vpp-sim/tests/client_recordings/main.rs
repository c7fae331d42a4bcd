//! Replays what real VPP 26.06 was told through our own client, on two dataplanes behind their sockets: indices mapped,
//! replies and dumps compared field by field. The packets of the recordings are replayed by `engine_recordings`, the same
//! requests by VPP's own client in `clients`.
//!
//! The recordings are no part of the repository: `CONTIV_SHARED`, or `../../shared` beside the crate.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod shaped;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use vpp_api::messages::{abf, acl, af_packet, cnat, interface, ip, ip_neighbor, l2, memif, vlib, vxlan};
use vpp_api::{Client, Dump, Request};
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, spawn};

/// Differences left, by message and last field, each with its reason.
const LEFT: [(&str, &str, &str); 11] = [
    ("sw_interface_dump", "l2_address", "drawn at random"),
    ("memif_dump", "hw_addr", "drawn at random"),
    (
        "memif_dump",
        "flags",
        "no peer is connected: shared memory is not played",
    ),
    (
        "memif_socket_filename_dump",
        "socket_filename",
        "the first socket is in the runtime directory",
    ),
    ("ip_neighbor_dump", "age", "time passes"),
    (
        "ip_neighbor_add_del",
        "stats_index",
        "no counters of adjacencies are kept",
    ),
    (
        "ip_route_add_del_v2",
        "stats_index",
        "no counters of routes are kept",
    ),
    (
        "ip_route_v2_dump",
        "stats_index",
        "no counters of routes are kept",
    ),
    (
        "ip_route_lookup_v2",
        "stats_index",
        "no counters of routes are kept",
    ),
    (
        "cli_inband",
        "reply",
        "text for people, with counters of the recording's traffic",
    ),
    ("cli_inband", "retval", "only some debug commands are known"),
];

/// A request left out: devices are played here, and all of them exist.
const LEFT_OUT: (&str, &str) = ("af_packet_create_v3", "nosuch");

/// Which kind of index a field holds.
fn kind(message: &str, field: &str) -> Option<&'static str> {
    Some(match field {
        "sw_if_index"
        | "sup_sw_if_index"
        | "rx_sw_if_index"
        | "tx_sw_if_index"
        | "ip_sw_if_index"
        | "unnumbered_sw_if_index"
        | "mcast_sw_if_index" => "interface",
        "acl_index" | "acls" => "acl",
        // In memif's messages the client chose it.
        "id" if !message.starts_with("memif_") => "translation",
        "socket_id" => "socket",
        "next_index" | "decap_next_index" => "next",
        _ => return None,
    })
}

/// A connection, and which of its indices is which recorded one.
struct Node {
    client: Client,
    _server: Handle,
    ours: BTreeMap<(&'static str, u64), u64>,
}

impl Node {
    /// A recorded value with our indices.
    fn mapped(&self, message: &str, field: &str, value: &Value) -> Value {
        match value {
            Value::Object(all) => all
                .iter()
                .map(|(key, v)| (key.clone(), self.mapped(message, key, v)))
                .collect(),
            Value::Array(all) => all.iter().map(|v| self.mapped(message, field, v)).collect(),
            Value::Number(number) => {
                let own = kind(message, field)
                    .zip(number.as_u64())
                    .and_then(|key| self.ours.get(&key));
                own.map_or_else(|| value.clone(), |own| Value::from(*own))
            }
            Value::String(name)
                if matches!(field, "interface_name" | "if_name") && name.starts_with("memif") =>
            {
                let sockets = self.ours.iter().filter(|((kind, _), _)| *kind == "socket");
                let named = sockets.fold(name.clone(), |name, ((_, theirs), ours)| {
                    name.replace(&format!("memif{theirs}/"), &format!("memif{ours}/"))
                });
                Value::from(named)
            }
            other => other.clone(),
        }
    }

    fn learn(&mut self, message: &str, recorded: &Value, ours: &[(String, String)]) {
        for (field, theirs) in recorded.as_object().unwrap() {
            let own = ours
                .iter()
                .find(|(path, _)| path.strip_prefix('.') == Some(field));
            if let (Some(kind), Some(theirs), Some((_, own))) = (kind(message, field), theirs.as_u64(), own) {
                self.ours.entry((kind, theirs)).or_insert(own.parse().unwrap());
            }
        }
    }
}

type Fields = Vec<(String, String)>;

/// Fields that are compared.
fn compared(message: &str, fields: Fields) -> Fields {
    let is_left = |path: &str| {
        let last = path.rsplit('.').next().unwrap_or("");
        LEFT.iter().any(|(of, field, _)| *of == message && *field == last)
    };
    fields.into_iter().filter(|(path, _)| !is_left(path)).collect()
}

struct Replay {
    runtime: tokio::runtime::Runtime,
    nodes: BTreeMap<String, Node>,
    at: String,
    answers: usize,
}

impl Replay {
    fn request<R: Request>(&mut self, name: &str, message: &str, args: &Value, record: &Value) {
        let node = self.nodes.get_mut(name).unwrap();
        let request: R = shaped::message(&node.mapped(message, "", args));
        let recorded = &record["reply"];
        let wanted = i32::try_from(recorded["retval"].as_i64().unwrap()).unwrap();
        self.answers += 1;
        match self.runtime.block_on(node.client.call(request)) {
            Ok(reply) => {
                let ours = shaped::fields(&reply);
                if wanted == 0 {
                    node.learn(message, recorded, &ours);
                }
                let theirs = shaped::message::<R::Reply>(&node.mapped(message, "", recorded));
                let theirs = compared(message, shaped::fields(&theirs));
                assert_eq!(compared(message, ours), theirs, "{}", self.at);
            }
            // Of a failure the client tells its code alone.
            Err(error) => {
                let code = error.retval().unwrap_or_else(|| panic!("{}: {error}", self.at)).0;
                let is_left = LEFT
                    .iter()
                    .any(|(of, field, _)| *of == message && *field == "retval");
                assert!(
                    code == wanted || is_left,
                    "{}: {code}, recorded {wanted}",
                    self.at
                );
            }
        }
    }

    fn dump<D: Dump>(&mut self, name: &str, message: &str, args: &Value, record: &Value) {
        let node = &self.nodes[name];
        let request: D = shaped::message(&node.mapped(message, "", args));
        let ours = self.runtime.block_on(node.client.dump(request)).unwrap();
        // VPP lists some in the order of a hash table.
        let ours: BTreeSet<Fields> = ours
            .iter()
            .map(|d| compared(message, shaped::fields(d)))
            .collect();
        let theirs: BTreeSet<Fields> = record["details"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| shaped::message::<D::Details>(&node.mapped(message, "", d)))
            .map(|d| compared(message, shaped::fields(&d)))
            .collect();
        assert_eq!(ours, theirs, "{}", self.at);
        self.answers += 1;
    }

    fn line(&mut self, record: &Value) {
        let Some(message) = record["request"].as_str() else {
            return;
        };
        let (name, args) = (record["node"].as_str().unwrap(), &record["args"]);
        if (message, args["host_if_name"].as_str().unwrap_or("")) == LEFT_OUT {
            return;
        }
        macro_rules! known {
            (requests: $($request:literal $r:ty),+; dumps: $($dump:literal $d:ty),+) => {
                match message {
                    $($request => self.request::<$r>(name, message, args, record),)+
                    $($dump => self.dump::<$d>(name, message, args, record),)+
                    other => panic!("{}: no replay of {other}", self.at),
                }
            };
        }
        known! {
            requests:
                "abf_itf_attach_add_del" abf::AbfItfAttachAddDel,
                "abf_policy_add_del" abf::AbfPolicyAddDel,
                "acl_add_replace" acl::AclAddReplace,
                "acl_del" acl::AclDel,
                "acl_interface_set_acl_list" acl::AclInterfaceSetAclList,
                "add_node_next" vlib::AddNodeNext,
                "af_packet_create_v3" af_packet::AfPacketCreateV3,
                "af_packet_delete" af_packet::AfPacketDelete,
                "cli_inband" vlib::CliInband,
                "cnat_set_snat_addresses_v2" cnat::CnatSetSnatAddressesV2,
                "cnat_set_snat_policy" cnat::CnatSetSnatPolicy,
                "cnat_snat_policy_add_del_exclude_pfx" cnat::CnatSnatPolicyAddDelExcludePfx,
                "cnat_snat_policy_add_del_if" cnat::CnatSnatPolicyAddDelIf,
                "cnat_translation_del" cnat::CnatTranslationDel,
                "cnat_translation_update" cnat::CnatTranslationUpdate,
                "create_loopback" interface::CreateLoopback,
                "feature_cnat_enable_disable" cnat::FeatureCnatEnableDisable,
                "ip_neighbor_add_del" ip_neighbor::IpNeighborAddDel,
                "ip_route_add_del_v2" ip::IpRouteAddDelV2,
                "ip_route_lookup_v2" ip::IpRouteLookupV2,
                "ip_table_add_del" ip::IpTableAddDel,
                "memif_create_v2" memif::MemifCreateV2,
                "memif_delete" memif::MemifDelete,
                "memif_socket_filename_add_del_v2" memif::MemifSocketFilenameAddDelV2,
                "sw_interface_add_del_address" interface::SwInterfaceAddDelAddress,
                "sw_interface_set_flags" interface::SwInterfaceSetFlags,
                "sw_interface_set_l2_xconnect" l2::SwInterfaceSetL2Xconnect,
                "sw_interface_set_table" interface::SwInterfaceSetTable,
                "sw_interface_set_unnumbered" interface::SwInterfaceSetUnnumbered,
                "sw_interface_tag_add_del" interface::SwInterfaceTagAddDel,
                "vxlan_add_del_tunnel_v3" vxlan::VxlanAddDelTunnelV3,
                "want_interface_events" interface::WantInterfaceEvents;
            dumps:
                "abf_itf_attach_dump" abf::AbfItfAttachDump,
                "abf_policy_dump" abf::AbfPolicyDump,
                "acl_dump" acl::AclDump,
                "acl_interface_list_dump" acl::AclInterfaceListDump,
                "cnat_snat_addresses_dump" cnat::CnatSnatAddressesDump,
                "cnat_translation_dump" cnat::CnatTranslationDump,
                "ip_address_dump" ip::IpAddressDump,
                "ip_neighbor_dump" ip_neighbor::IpNeighborDump,
                "ip_route_v2_dump" ip::IpRouteV2Dump,
                "ip_unnumbered_dump" ip::IpUnnumberedDump,
                "l2_xconnect_dump" l2::L2XconnectDump,
                "memif_dump" memif::MemifDump,
                "memif_socket_filename_dump" memif::MemifSocketFilenameDump,
                "sw_interface_dump" interface::SwInterfaceDump,
                "vxlan_tunnel_v2_dump" vxlan::VxlanTunnelV2Dump
        }
    }
}

/// Replays recordings one after the other on two dataplanes.
fn replay(files: &[&str]) {
    let shared = std::env::var_os("CONTIV_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let recordings = shared.join("vpp/recordings");
    if !recordings.is_dir() {
        eprintln!(
            "skipped: no recordings in {} (set CONTIV_SHARED)",
            recordings.display()
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let node = |name: &str| {
        let socket = directory.path().join(format!("{name}.sock"));
        let server = spawn(Config::default(), &socket).unwrap();
        let client = runtime.block_on(Client::connect(&socket, "replay")).unwrap();
        (
            name.to_owned(),
            Node {
                client,
                _server: server,
                ours: BTreeMap::new(),
            },
        )
    };
    let nodes = [node("a"), node("b")].into();
    let mut replay = Replay {
        runtime,
        nodes,
        at: String::new(),
        answers: 0,
    };
    for file in files {
        let text = std::fs::read_to_string(recordings.join(file)).unwrap();
        let before = replay.answers;
        for (number, line) in text.lines().enumerate() {
            replay.at = format!("{file}:{}", number + 1);
            replay.line(&serde_json::from_str(line).unwrap());
        }
        assert!(replay.answers > before, "{file} has no answers");
    }
}

macro_rules! recordings {
    ($($name:ident: $($file:literal)+;)+) => { $(#[test] fn $name() { replay(&[$($file),+]); })+ };
}

recordings! {
    acl: "acl.jsonl";
    chain_abf: "chain-abf.jsonl";
    cnat: "cnat.jsonl";
    cnat_default_snat: "cnat-default-snat.jsonl";
    forwarding: "forwarding.jsonl";
    // It speaks of interfaces 2 and 4, which the other makes.
    l2_xconnect: "acl.jsonl" "l2-xconnect.jsonl";
    memif: "memif.jsonl";
    vxlan_two_nodes: "vxlan-two-nodes.jsonl";
}
