//! Plans carried out on the embedded dataplane, in process: what is applied is what is read back.

use std::collections::BTreeSet;

use crds::net::Protocol;
use crds::policy::{PolicyAction, PolicyRule};
use crds::vpp_config::{PodBinding, SteerTarget};
use tempfile::TempDir;
use vpp_api::Client;
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, spawn};

use super::*;
use crate::actual::{self, Remembered};
use crate::desired::tests::{World, backend, chain_world};
use crate::plan::plan;

pub(super) struct Sim {
    pub handle: Handle,
    pub vpp: Vpp,
    _directory: TempDir,
}

pub(super) async fn sim() -> Sim {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let start = socket.clone();
    let handle = tokio::task::spawn_blocking(move || spawn(Config::default(), start).unwrap())
        .await
        .unwrap();
    let client = Client::connect(&socket, "test").await.unwrap();
    let vpp = Vpp::open(client).await.unwrap();
    Sim {
        handle,
        vpp,
        _directory: directory,
    }
}

impl Sim {
    pub async fn apply(&self, state: &mut State, desired: &Objects) -> Report {
        let plan = plan(desired, &state.objects, &BTreeSet::new());
        let report = apply(&self.vpp, state, &plan).await;
        assert_eq!(self.handle.fatal(), None);
        report
    }

    /// What a daemon that starts now reads, given that it remembers what cannot be read.
    pub async fn read(&self, desired: &Objects) -> State {
        let excluded = desired
            .keys()
            .filter_map(|key| match key {
                Key::CnatExclude(prefix) => Some(*prefix),
                _ => None,
            })
            .collect();
        actual::read(&self.vpp, desired, &Remembered { excluded })
            .await
            .unwrap()
    }
}

fn assert_same(read: &State, wanted: &Objects) {
    for (key, object) in wanted {
        assert_eq!(read.objects.get(key), Some(object), "{key}");
    }
    for key in read.objects.keys() {
        assert!(wanted.contains_key(key), "{key} is left over");
    }
}

/// Pods of every sort, policies in both directions, Services with and without backends, a chain within the node and
/// one to another node.
fn everything() -> World {
    let (mut world, ..) = chain_world();
    let mut far = world.spec.chains[0].clone();
    far.chain = "far".into();
    far.to = SteerTarget::Tunnel {
        node: "b".into(),
        vni: 1000,
    };
    world.spec.chains.push(far);
    let client = world.set("client", &["10.1.1.7/32", "fd00:1:1::7/128"]);
    let rule = PolicyRule {
        action: PolicyAction::Accept,
        peers: Some(vec![client]),
        ..PolicyRule::default()
    };
    let policy = world.policy("p", vec![rule.clone()], vec![rule]);
    let place = world.isolated(vec![policy.clone()]);
    world.pod(
        "web",
        9,
        PodBinding {
            ingress: place,
            ..PodBinding::default()
        },
    );
    let place = world.isolated(vec![policy]);
    world.pod(
        "db",
        10,
        PodBinding {
            egress: place,
            interface: crds::cnf::InterfaceKind::Veth,
            ..PodBinding::default()
        },
    );
    world.pod(
        "shm",
        11,
        PodBinding {
            interface: crds::cnf::InterfaceKind::Memif,
            ..PodBinding::default()
        },
    );
    world.service(
        "10.96.0.10",
        &[(Protocol::Tcp, 80), (Protocol::Udp, 53)],
        vec![backend("10.1.1.9", &[80, 0])],
    );
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_what_is_read_back_and_a_restarted_daemon_has_nothing_to_do() {
    let sim = sim().await;
    let desired = everything().desired().objects;
    let mut state = State::default();
    let report = sim.apply(&mut state, &desired).await;
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    assert_eq!(state.objects, desired);
    let read = sim.read(&desired).await;
    assert_same(&read, &desired);
    assert_eq!(read.handles.links, state.handles.links);
    assert_eq!(read.handles.acls, state.handles.acls);
    assert_eq!(read.handles.translations, state.handles.translations);
    let again = plan(&desired, &read.objects, &BTreeSet::new());
    assert!(again.is_empty(), "{again:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_and_foreign_things_stay() {
    use vpp_api::messages::interface::{CreateLoopback, SwInterfaceDump};
    use vpp_api::types::NO_INDEX;
    let sim = sim().await;
    sim.vpp.client.call(CreateLoopback::default()).await.unwrap();
    let list = || async {
        let dump = SwInterfaceDump {
            sw_if_index: NO_INDEX,
            ..SwInterfaceDump::default()
        };
        sim.vpp.client.dump(dump).await.unwrap()
    };
    let before = list().await;
    let desired = everything().desired().objects;
    let mut state = State::default();
    sim.apply(&mut state, &desired).await;
    let read = sim.read(&desired).await;
    let mut state = read;
    let report = sim.apply(&mut state, &Objects::new()).await;
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    assert_eq!(list().await, before);
    let read = sim.read(&Objects::new()).await;
    // The source-NAT addresses stay: cnat's other calls crash VPP 26.06 without them.
    let left: Vec<&Key> = read.objects.keys().filter(|key| **key != Key::CnatSnat).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_found_and_mended() {
    use vpp_api::messages::acl::AclInterfaceSetAclList;
    use vpp_api::messages::ip_neighbor::{IpNeighborAddDel, IpNeighborDump};
    use vpp_api::types::{AddressFamily, NO_INDEX};
    let sim = sim().await;
    let desired = everything().desired().objects;
    let mut state = State::default();
    sim.apply(&mut state, &desired).await;
    // Somebody takes a list off a pod and a neighbour away.
    let (link, _) = state
        .handles
        .links
        .iter()
        .find(|(link, _)| state.objects.contains_key(&Key::AclBinding((*link).clone())))
        .unwrap();
    let off = AclInterfaceSetAclList {
        sw_if_index: state.handles.links[link],
        ..AclInterfaceSetAclList::default()
    };
    sim.vpp.client.call(off).await.unwrap();
    let dump = IpNeighborDump {
        sw_if_index: NO_INDEX,
        af: AddressFamily::ADDRESS_IP4,
    };
    let neighbour = sim.vpp.client.dump(dump).await.unwrap().remove(0).neighbor;
    sim.vpp
        .client
        .call(IpNeighborAddDel {
            is_add: false,
            neighbor: neighbour,
        })
        .await
        .unwrap();

    let mut read = sim.read(&desired).await;
    let mended = plan(&desired, &read.objects, &BTreeSet::new());
    assert_eq!(mended.steps().count(), 2, "{mended:#?}");
    sim.apply(&mut read, &desired).await;
    assert_same(&sim.read(&desired).await, &desired);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_without_tag_is_known_by_what_it_is_made_of() {
    use vpp_api::messages::interface::SwInterfaceTagAddDel;
    let sim = sim().await;
    let desired = everything().desired().objects;
    let mut state = State::default();
    sim.apply(&mut state, &desired).await;
    for index in state.handles.links.values() {
        let untag = SwInterfaceTagAddDel {
            is_add: false,
            sw_if_index: *index,
            tag: String::new(),
        };
        sim.vpp.client.call(untag).await.unwrap();
    }
    let mut read = sim.read(&desired).await;
    assert_eq!(read.handles.links, state.handles.links);
    let settled = plan(&desired, &read.objects, &BTreeSet::new());
    assert!(
        settled
            .steps()
            .all(|step| matches!(step, Step::Update(Key::Interface(_), ..)))
    );
    sim.apply(&mut read, &desired).await;
    assert_same(&sim.read(&desired).await, &desired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_holds_back_only_what_depends_on_it() {
    let sim = sim().await;
    let desired = everything().desired().objects;
    let mut state = State::default();
    let mut broken = desired.clone();
    let tunnel = broken
        .iter_mut()
        .find_map(|(key, object)| match (key, object) {
            (Key::Interface(crate::objects::Link::Tunnel(id)), Object::Interface(i)) if id.vni == 10 => {
                // Source equal to destination: VPP answers SAME_SRC_DST.
                i.device = crate::objects::Device::Vxlan {
                    local: id.remote,
                    ipv6: false,
                };
                Some(key.clone())
            }
            _ => None,
        })
        .unwrap();
    let report = sim.apply(&mut state, &broken).await;
    assert!(report.failed.contains_key(&tunnel));
    let waits = report
        .failed
        .iter()
        .filter(|(key, _)| **key != tunnel)
        .all(|(_, failure)| matches!(failure, Failure::Waits(on) if *on == tunnel));
    assert!(waits, "{:#?}", report.failed);
    let (failed, whole) = (report.failed.len(), desired.len());
    assert_eq!(state.objects.len(), whole - failed);
}
