//! The pure engine of the embedded dataplane: VPP's tables, its API-like operations and the walk of a
//! packet through its graph. No I/O, no clock (`now` is an argument, in nanoseconds), no async.
//!
//! Behaviour follows VPP 26.06: its source (named where a rule is not obvious) and recordings of it.
//! Operations return VPP's retval as [`OpError::Retval`]; input that kills real VPP is [`OpError::Fatal`].
mod abf;
mod acl;
mod address;
mod bridge;
mod cnat;
mod errors;
mod feature;
mod fib;
mod graph;
mod interface;
mod ipip;
mod ipsec;
mod l2;
mod lifecycle;
mod memif;
mod nat44;
mod neighbor;
mod neighbor_watch;
mod packet;
mod path_mtu;
mod policer;
mod pool;
mod punt;
mod replay;
mod srv6;
mod trace;
mod types;
mod urpf;
mod vxlan;
mod walk;
mod wireguard;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

pub use abf::{AbfAttachment, AbfPolicyDetails};
pub use acl::{Acl, AclAction, AclBinding, AclRule, SessionDetails};
pub use bridge::{BridgeDomainConfig, BridgeDomainDetails, BridgePort, L2FibEntry, bridge_feature};
pub use cnat::{
    ArcSession, CnatEndpoint, CnatNode, CnatPath, CnatSessionDetails, LoadBalance, SessionKeyDetails,
    SnatAddresses, SnatPolicy, SnatTable, TranslationDetails, TranslationUpdate, path_flag, snat_flag,
    translation_flag,
};
pub use fib::source as fib_source;
pub use fib::{DEFAULT_TABLE, FLOW_HASH_DEFAULT, RouteDetails, RouteUpdate, TableDetails};
pub use graph::GraphNode;
pub use interface::{Counters, Interface, InterfaceEvent, Kind, MemifConfig, TapConfig};
pub use ipip::{IpipDetails, IpipTunnel, TeibEntry, tunnel_flag};
pub use ipsec::{
    IpsecItfDetails, Protection, SaConfig, SaDetails, SaTunnel, crypto as ipsec_crypto, sa_flag,
};
pub use l2::L3xcDetails;
pub use nat44::{
    Nat44Address, Nat44Backend, Nat44Config, Nat44Interface, Nat44LbMapping, Nat44Mapping,
    Nat44SessionDetails, Nat44Timeouts, Nat44User, Nat44VrfTable, mapping_flag as nat44_mapping_flag,
};
pub use neighbor::Neighbor;
pub use neighbor_watch::{NeighborBounds, NeighborEvent, NeighborWatcher};
pub use packet::checksum::verify as verify_checksums;
pub use path_mtu::PathMtu;
pub use policer::{Policed, Policer, PolicerAction, PolicerConfig};
pub use punt::{PUNT_REASONS, PuntClass, PuntRedirect, punt_reason_is_known};
pub use srv6::{
    LocalSidConfig, LocalSidDetails, PolicyDetails, PolicyUpdate, SegmentListDetails, SteeredTraffic,
    SteeringDetails, behavior as sr_behavior, policy_type as sr_policy_type,
};
pub use trace::{Fate, Trace, TraceNode};
pub use types::{Family, Mac, NONE, OpError, OpResult, PathKind, Prefix, RoutePath, retval};
pub use urpf::{Urpf, UrpfMode};
pub use vxlan::{VXLAN_PORT, VxlanDetails, VxlanTunnel};
pub use wireguard::{
    WireguardConfig, WireguardDetails, WireguardEvent, WireguardPeer, WireguardPeerDetails,
    has_preshared_key, peer_flag as wireguard_peer_flag, shown_endpoint,
};

/// Start-up options.
#[derive(Clone, Debug)]
pub struct Config {
    /// `acl-plugin { reclassify sessions 1 }`: changed lists end the sessions they no longer permit.
    pub reclassify_sessions: bool,
    /// Seed of the MACs and keys which VPP would draw at random.
    pub seed: u64,
    /// Unix time in nanoseconds at which `now` was 0: for the timestamps of WireGuard, which may never go back.
    pub unix_start: u64,
    /// `unix { runtime-dir }`: where memif's sockets of relative names are.
    pub runtime_dir: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reclassify_sessions: true,
            seed: 0,
            unix_start: 0,
            runtime_dir: "/run/vpp".to_owned(),
        }
    }
}

/// A frame to be sent on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub sw_if_index: u32,
    pub frame: Vec<u8>,
}

/// One VPP: all its tables. Cloning it makes an independent copy, for what-if questions.
#[derive(Clone, Debug)]
pub struct Vpp {
    config: Config,
    interfaces: interface::Interfaces,
    events: Vec<InterfaceEvent>,
    mac_counter: u64,
    fibs: fib::Fibs,
    neighbors: neighbor::Neighbors,
    acl: acl::AclPlugin,
    cnat: cnat::Cnat,
    abf: abf::Abf,
    l2: l2::L2,
    bridges: bridge::Bridges,
    memif: memif::Memif,
    features: feature::Features,
    nat44: nat44::Nat44,
    vxlan: vxlan::Vxlan,
    srv6: srv6::Srv6,
    ipip: ipip::Ipip,
    wireguard: wireguard::Wireguard,
    ipsec: ipsec::Ipsec,
    /// Identification of IPv6 fragments VPP makes.
    fragment_id: u32,
    /// Next hops that routes and tunnels were just given: (table, address), asked for once.
    fresh_next_hops: Vec<(u32, IpAddr)>,
    errors: errors::Errors,
    /// Shared by copies until one of them changes it.
    graph: Arc<graph::Graph>,
    policers: policer::Policers,
    urpf: urpf::UrpfChecks,
    punts: punt::Punts,
    path_mtus: path_mtu::PathMtus,
    neighbor_watch: neighbor_watch::NeighborWatch,
    default_rx_mode: u32,
    /// Addresses that go with the end of a replacement unless they are added again.
    stale_addresses: BTreeSet<(u32, Prefix)>,
}

impl Default for Vpp {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Vpp {
    /// A VPP as it is after start: `local0`, tables 0, memif socket 0.
    pub fn new(config: Config) -> Self {
        let mut acl = acl::AclPlugin::default();
        acl.reclassify = config.reclassify_sessions;
        let memif = memif::Memif::new(&config.runtime_dir);
        let mut vpp = Self {
            config,
            interfaces: interface::Interfaces::default(),
            events: Vec::new(),
            mac_counter: 0,
            fibs: fib::Fibs::new(),
            neighbors: neighbor::Neighbors::default(),
            acl,
            cnat: cnat::Cnat::default(),
            abf: abf::Abf::default(),
            l2: l2::L2::default(),
            bridges: bridge::Bridges::default(),
            memif,
            features: feature::Features::default(),
            nat44: nat44::Nat44::default(),
            vxlan: vxlan::Vxlan::default(),
            srv6: srv6::Srv6::default(),
            ipip: ipip::Ipip::default(),
            wireguard: wireguard::Wireguard::default(),
            ipsec: ipsec::Ipsec::default(),
            fragment_id: 0,
            fresh_next_hops: Vec::new(),
            errors: errors::Errors::default(),
            graph: Arc::default(),
            policers: policer::Policers::default(),
            urpf: urpf::UrpfChecks::default(),
            punts: punt::Punts::default(),
            path_mtus: path_mtu::PathMtus::default(),
            neighbor_watch: neighbor_watch::NeighborWatch::default(),
            default_rx_mode: interface::RX_POLLING,
            stale_addresses: BTreeSet::new(),
        };
        vpp.new_interface("local0".to_owned(), "local", Kind::Local, Mac::default());
        vpp
    }

    /// Ages sessions, and asks for the next hops of new routes and tunnels as VPP does when it makes an
    /// adjacency (`ip_neighbor_update`); the frames to send. To be called about once a second, and
    /// better also after each batch of API requests: else the first packet is lost to ARP.
    pub fn tick(&mut self, now: u64) -> Vec<Output> {
        self.acl.sessions.tick(now);
        self.cnat.tick(now);
        self.neighbors.tick(now);
        self.bridges.tick(now);
        let mut outputs = self.probe_fresh_next_hops(now);
        outputs.extend(self.probe_old_neighbors(now));
        outputs.extend(self.wireguard_tick(now));
        outputs
    }
}
