//! A node in the test's process: an embedded dataplane with real devices, an agent, the CNI server; pods are network
//! namespaces, and CNI commands go through the shim's code.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as expected"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cni_shim::{CniResult, shim};
use crds::vpp_config::{NodeIdentity, PodBinding, Transport};
use crds::{VppConfig, VppConfigSpec};
use node_daemon::agent::{Agent, Event, Parts, Snapshot};
use node_daemon::attachments::AttachmentStore;
use node_daemon::cluster::Cluster;
use node_daemon::desired::Local;
use node_daemon::metrics::Metrics;
use node_daemon::statefile::StateFile;
use node_daemon::vpp::Vpp;
use node_daemon::watch::{Change, KindChange};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vpp_api::messages::{acl, cnat, interface, ip, ip_neighbor};
use vpp_api::types::{AddressFamily, IpTable, NO_INDEX};
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, Identity, Release, spawn_on_host};

use super::netns::Netns;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A pod: its namespace and what the runtime calls it.
pub struct Pod {
    pub netns: Netns,
    pub name: String,
    pub uid: String,
    pub container: String,
}

static PODS: AtomicU32 = AtomicU32::new(0);

impl Pod {
    pub fn new(name: &str) -> Self {
        let number = PODS.fetch_add(1, Ordering::Relaxed);
        Self {
            netns: Netns::new(&format!("{number}-{name}")),
            name: name.to_owned(),
            uid: format!("uid-{number}-{name}"),
            container: format!("c{number}-{}", std::process::id()),
        }
    }

    /// The binding of a pod that nothing restricts.
    pub fn binding(&self) -> PodBinding {
        PodBinding {
            namespace: "default".into(),
            name: self.name.as_str().into(),
            uid: self.uid.as_str().into(),
            ..PodBinding::default()
        }
    }

    /// A socket within the pod.
    pub fn socket(&self, address: IpAddr, port: u16) -> UdpSocket {
        self.netns.within(|| {
            let socket = UdpSocket::bind((address, port)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            socket
        })
    }
}

/// What a CNI command gave.
#[derive(Debug)]
pub struct Outcome {
    pub exit: u8,
    pub json: Value,
}

impl Outcome {
    pub fn ok(self) -> Value {
        assert_eq!(self.exit, 0, "{}", self.json);
        self.json
    }

    pub fn code(&self) -> u64 {
        assert_eq!(self.exit, 1, "{}", self.json);
        self.json["code"].as_u64().unwrap()
    }
}

/// Addresses in an ADD's result, IPv4 first.
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let result = CniResult::from_any_version(result).unwrap();
    let bare = |text: &str| text.split('/').next().unwrap().parse().unwrap();
    result.ips.iter().map(|each| bare(&each.address)).collect()
}

/// The node.
pub struct Node {
    pub directory: tempfile::TempDir,
    /// A VPP that somebody else started, by its API socket.
    given: Option<PathBuf>,
    /// Which release the embedded dataplane is.
    release: Release,
    sim: Option<Handle>,
    running: Option<Running>,
}

struct Running {
    agent: JoinHandle<()>,
    server: JoinHandle<()>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
    snapshots: watch::Receiver<Snapshot>,
}

/// The configuration of a dual-stack node with these pods.
pub fn spec(bindings: Vec<PodBinding>) -> VppConfigSpec {
    spec_with_cidrs(bindings, &["10.77.1.0/24", "fd00:77:1::/64"])
}

pub fn spec_with_cidrs(mut pods: Vec<PodBinding>, cidrs: &[&str]) -> VppConfigSpec {
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    static REVISION: AtomicU32 = AtomicU32::new(0);
    VppConfigSpec {
        revision: REVISION.fetch_add(1, Ordering::Relaxed).to_string(),
        node: NodeIdentity {
            id: 1,
            addresses: vec![],
            pod_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
            zone: None,
        },
        transport: Transport::default(),
        policy_sets: vec![],
        pods,
        chains: vec![],
    }
}

impl Node {
    /// A node that knows `spec`, and nothing else of a cluster.
    pub async fn start(spec: Option<VppConfigSpec>) -> Self {
        Self::start_on(None, Release::default(), spec).await
    }

    /// The same on a VPP that is there already, or on another release.
    pub async fn start_on(given: Option<PathBuf>, release: Release, spec: Option<VppConfigSpec>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Self {
            directory,
            given,
            release,
            sim: None,
            running: None,
        };
        if node.given.is_none() {
            node.start_vpp().await;
        }
        node.start_daemon(spec).await;
        node
    }

    fn vpp_socket(&self) -> PathBuf {
        self.given
            .clone()
            .unwrap_or_else(|| self.directory.path().join("vpp.sock"))
    }

    fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn cni_socket(&self) -> PathBuf {
        self.directory.path().join("cni.sock")
    }

    async fn start_vpp(&mut self) {
        let socket = self.vpp_socket();
        let identity = Identity::of(self.release);
        let start = move || spawn_on_host(Config::default(), identity, socket).unwrap();
        self.sim = Some(tokio::task::spawn_blocking(start).await.unwrap());
    }

    /// Kills the dataplane and starts a new, empty one; tells the daemon as its connection would.
    pub async fn restart_vpp(&mut self) {
        let events = self.running.as_ref().unwrap().events.clone();
        let old = self.sim.take();
        tokio::task::spawn_blocking(move || drop(old)).await.unwrap();
        events.send(Event::VppDown("killed".into())).await.unwrap();
        self.start_vpp().await;
        events.send(self.vpp_up().await).await.unwrap();
    }

    async fn vpp_up(&self) -> Event {
        let client = vpp_api::Client::connect(self.vpp_socket(), "test-node")
            .await
            .unwrap();
        Event::VppUp(Box::new(Vpp::open(client).await.unwrap()))
    }

    /// Starts the daemon; without `spec` it knows what is on its disk.
    pub async fn start_daemon(&mut self, spec: Option<VppConfigSpec>) {
        let (events, queue) = mpsc::channel(1024);
        let (snapshots_in, snapshots) = watch::channel(Snapshot::default());
        let state_dir = self.state_dir();
        std::fs::create_dir_all(&state_dir).unwrap();
        let parts = Parts {
            events: events.clone(),
            local: Local {
                node: "node-1".into(),
                cnat: true,
                cnat_v1: false,
                abf: true,
                ..Local::default()
            },
            resync: Duration::from_secs(300),
            metrics: Metrics::register(&mut Registry::default()),
            snapshots: snapshots_in,
            store: AttachmentStore::open(&state_dir).unwrap(),
            statefile: StateFile::new(&state_dir),
            stats_socket: self.directory.path().join("stats.sock"),
        };
        let agent = tokio::task::spawn_blocking(move || Agent::restore(parts).unwrap());
        let agent = agent.await.unwrap();
        let stop = CancellationToken::new();
        let agent = tokio::spawn(agent.run(queue, stop.clone()));
        let (calls, mut incoming) = mpsc::channel(64);
        let listener = node_daemon::cni::bind(&self.cni_socket()).await.unwrap();
        let stopped = stop.clone();
        let server = tokio::spawn(async move {
            node_daemon::cni::replay(&state_dir, &calls).await;
            node_daemon::cni::serve(listener, calls, stopped).await;
        });
        let forward = events.clone();
        tokio::spawn(async move {
            while let Some(call) = incoming.recv().await {
                if forward.send(Event::Cni(Box::new(call))).await.is_err() {
                    break;
                }
            }
        });
        self.running = Some(Running {
            agent,
            server,
            events,
            stop,
            snapshots,
        });
        self.tell(self.vpp_up().await).await;
        if let Some(spec) = spec {
            self.sync(Cluster::default()).await;
            self.configure(spec).await;
        }
    }

    /// Stops the daemon; VPP and pods stay.
    pub async fn stop_daemon(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.cancel();
        running.server.await.unwrap();
        running.agent.await.unwrap();
    }

    pub async fn tell(&self, event: Event) {
        self.running.as_ref().unwrap().events.send(event).await.unwrap();
    }

    /// Another configuration, as from the API server.
    pub async fn configure(&self, spec: VppConfigSpec) {
        let mut config = VppConfig::new("node-1", spec);
        config.metadata.generation = Some(1);
        self.tell(Event::Config(Some(Box::new(config)))).await;
    }

    /// The first lists of everything else.
    pub async fn sync(&self, cluster: Cluster) {
        for change in [
            Change::Policies(KindChange::Replace(cluster.policies)),
            Change::Sets(KindChange::Replace(cluster.sets)),
            Change::Services(KindChange::Replace(cluster.services)),
            Change::Peers(KindChange::Replace(cluster.peers)),
        ] {
            self.tell(Event::Cluster(change)).await;
        }
    }

    /// Waits until the daemon says something of itself.
    pub async fn until(&self, wanted: impl FnMut(&Snapshot) -> bool) {
        let mut snapshots = self.running.as_ref().unwrap().snapshots.clone();
        let last = snapshots.clone();
        let waited = tokio::time::timeout(PATIENCE, snapshots.wait_for(wanted)).await;
        assert!(waited.is_ok(), "still: {:?}", *last.borrow());
    }

    /// A CNI command through the shim, for the pod's `eth0`.
    pub async fn cni(&self, command: &str, pod: &Pod) -> Outcome {
        self.cni_with(command, pod, json!({})).await
    }

    /// The same with further configuration.
    pub async fn cni_with(&self, command: &str, pod: &Pod, more: Value) -> Outcome {
        let netns = pod.netns.path.to_string_lossy().into_owned();
        self.cni_in(command, pod, &netns, more).await
    }

    /// The same in another namespace than the pod's.
    pub async fn cni_in(&self, command: &str, pod: &Pod, netns: &str, more: Value) -> Outcome {
        let mut config = json!({
            "cniVersion": "1.1.0",
            "name": "contiv",
            "type": "contiv-cni",
            "socket": self.cni_socket(),
            "stateDir": self.state_dir(),
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let environment: BTreeMap<&str, String> = [
            ("CNI_COMMAND", command.to_owned()),
            ("CNI_CONTAINERID", pod.container.clone()),
            ("CNI_NETNS", netns.to_owned()),
            ("CNI_IFNAME", "eth0".to_owned()),
            (
                "CNI_ARGS",
                format!(
                    "K8S_POD_NAMESPACE=default;K8S_POD_NAME={};K8S_POD_UID={}",
                    pod.name, pod.uid
                ),
            ),
        ]
        .into();
        let environment: BTreeMap<String, String> = environment
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let outcome = tokio::task::spawn_blocking(move || {
            let variable = |name: &str| environment.get(name).cloned();
            shim::run(variable, config.to_string().as_bytes(), shim::DEADLINE)
        });
        let outcome = outcome.await.unwrap();
        Outcome {
            exit: outcome.exit,
            json: serde_json::from_str(&outcome.stdout).unwrap_or_default(),
        }
    }

    /// Files of attachments.
    pub fn files(&self) -> usize {
        std::fs::read_dir(self.state_dir().join("attachments")).map_or(0, Iterator::count)
    }

    /// Everything that VPP has, in its own words, asked by another client.
    pub async fn dump(&self) -> BTreeMap<&'static str, Vec<String>> {
        fn words<T: Debug>(details: Vec<T>) -> Vec<String> {
            let mut words: Vec<String> = details.iter().map(|each| format!("{each:?}")).collect();
            words.sort();
            words
        }
        let client = vpp_api::Client::connect(self.vpp_socket(), "test-eye")
            .await
            .unwrap();
        let mut all = BTreeMap::new();
        let interfaces = interface::SwInterfaceDump {
            sw_if_index: NO_INDEX,
            ..interface::SwInterfaceDump::default()
        };
        all.insert("interfaces", words(client.dump(interfaces).await.unwrap()));
        for (name, is_ip6) in [("routes", false), ("routes6", true)] {
            let table = IpTable {
                is_ip6,
                ..IpTable::default()
            };
            let request = ip::IpRouteV2Dump { src: 0, table };
            let mut details = client.dump(request).await.unwrap();
            // A number that VPP draws, another one for each time the same route is made.
            details.iter_mut().for_each(|each| each.route.stats_index = 0);
            all.insert(name, words(details));
        }
        for (name, af) in [
            ("neighbours", AddressFamily::ADDRESS_IP4),
            ("neighbours6", AddressFamily::ADDRESS_IP6),
        ] {
            let request = ip_neighbor::IpNeighborDump {
                sw_if_index: NO_INDEX,
                af,
            };
            // Ages pass.
            let details = client.dump(request).await.unwrap();
            let bare = details.into_iter().map(|each| each.neighbor).collect();
            all.insert(name, words::<ip_neighbor::IpNeighbor>(bare));
        }
        let acls = acl::AclDump { acl_index: NO_INDEX };
        all.insert("acls", words(client.dump(acls).await.unwrap()));
        let lists = acl::AclInterfaceListDump {
            sw_if_index: NO_INDEX,
        };
        let lists = client.dump(lists).await.unwrap();
        let bound = lists.into_iter().filter(|each| !each.acls.is_empty()).collect();
        all.insert("acl lists", words::<acl::AclInterfaceListDetails>(bound));
        let translations = client.dump(cnat::CnatTranslationDump::default()).await.unwrap();
        all.insert("translations", words(translations));
        client.disconnect().await;
        all
    }

    /// Waits until VPP has exactly this.
    pub async fn until_dump_is(&self, wanted: &BTreeMap<&'static str, Vec<String>>) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let now = self.dump().await;
            if now == *wanted {
                return;
            }
            if tokio::time::Instant::now() > deadline {
                for (kind, words) in &now {
                    let more = words.iter().filter(|each| !wanted[kind].contains(each));
                    let less = wanted[kind].iter().filter(|each| !words.contains(each));
                    assert_eq!(more.collect::<Vec<_>>(), less.collect::<Vec<_>>(), "{kind}");
                }
                panic!("the same things in other numbers");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Why the dataplane died, if it met something that kills VPP.
    pub fn fatal(&self) -> Option<String> {
        self.sim.as_ref().and_then(Handle::fatal)
    }
}

/// Whether a datagram from one socket arrives at the other.
pub fn reaches(from: &UdpSocket, to: &UdpSocket) -> bool {
    let mut buffer = [0; 64];
    let target: SocketAddr = to.local_addr().unwrap();
    from.send_to(b"ping", target).unwrap();
    to.recv_from(&mut buffer).is_ok()
}
