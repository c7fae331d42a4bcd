//! The loop against a scripted API server that keeps a list of what it was asked, with the time.

use super::*;
use compiler::ObjectKey;
use compiler::facts::{Kind, Node, Policy, Service};
use kube::client::Body;
use prometheus_client::registry::Registry;
use runtime::Readiness;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A change asked of the API server: when (ms since the start), the verb and the object's path.
type Asked = (u128, String);

/// Answers lists of VppConfigs with `ids`, and applies with what was sent; refuses as many applies of
/// paths that end as `refusals` says.
#[derive(Clone)]
struct Server {
    start: Instant,
    asked: Arc<Mutex<Vec<Asked>>>,
    version: Arc<Mutex<u64>>,
    ids: Arc<Vec<(&'static str, u16)>>,
    refusals: Arc<Mutex<(&'static str, u32)>>,
    /// Id in the last VppConfig applied, by node.
    node_ids: Arc<Mutex<std::collections::BTreeMap<String, Value>>>,
}

impl Server {
    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        let method = request.method().to_string();
        let body = request.into_body().collect_bytes().await.unwrap();
        if method == "GET" {
            assert!(path.ends_with("/vppconfigs"), "{path}");
            let items: Vec<Value> = self
                .ids
                .iter()
                .map(|(name, id)| {
                    json!({
                        "apiVersion": "contivpp.io/v1alpha1", "kind": "VppConfig",
                        "metadata": {"name": name, "resourceVersion": "1"},
                        "spec": {"revision": "old", "node": {"id": id}},
                    })
                })
                .collect();
            return reply(
                200,
                &json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}),
            );
        }
        let name = path.rsplit("/v1alpha1/").next().unwrap().to_owned();
        let at = self.start.elapsed().as_millis();
        self.asked.lock().unwrap().push((at, format!("{method} {name}")));
        {
            let mut refusals = self.refusals.lock().unwrap();
            if refusals.1 > 0 && name.ends_with(refusals.0) {
                refusals.1 -= 1;
                // 500: kube's client itself retries 503.
                return reply(
                    500,
                    &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "code": 500, "reason": "InternalError", "message": "not now"}),
                );
            }
        }
        let version = {
            let mut version = self.version.lock().unwrap();
            *version += 1;
            *version
        };
        let mut object: Value = serde_json::from_slice(&body).unwrap_or_else(|_| {
            json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"})
        });
        if let Some(node) = name.strip_prefix("vppconfigs/") {
            let id = object["spec"]["node"]["id"].clone();
            self.node_ids.lock().unwrap().insert(node.to_owned(), id);
        }
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object["metadata"]["generation"] = json!(1);
        reply(200, &object)
    }
}

fn reply(status: u16, body: &Value) -> http::Response<Body> {
    http::Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string().into_bytes()))
        .unwrap()
}

/// A loop under test.
struct Bench {
    server: Server,
    inputs: mpsc::Sender<Input>,
    leader: watch::Sender<bool>,
    events: mpsc::Receiver<Problem>,
    readiness: Readiness,
    token: CancellationToken,
}

impl Bench {
    fn start(leads: bool, ids: Vec<(&'static str, u16)>, refusals: (&'static str, u32)) -> Self {
        let server = Server {
            start: Instant::now(),
            asked: Arc::default(),
            version: Arc::new(Mutex::new(10)),
            ids: Arc::new(ids),
            refusals: Arc::new(Mutex::new(refusals)),
            node_ids: Arc::default(),
        };
        let answering = server.clone();
        let client = Client::new(
            tower::service_fn(move |request| {
                let server = answering.clone();
                async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
            }),
            "default",
        );
        let (inputs, receiver) = mpsc::channel(64);
        let (event_sender, events) = mpsc::channel(64);
        let (leader, leads) = watch::channel(leads);
        let readiness = Readiness::default();
        let links = Links {
            client,
            inputs: receiver,
            events: event_sender,
            leader: leads,
            gate: readiness.gate("configuration", "not compiled yet"),
        };
        let metrics = Metrics::register(&mut Registry::default());
        let token = CancellationToken::new();
        let control = Control::new(Settings::default(), metrics, links);
        tokio::spawn(control.run(token.clone()));
        Self {
            server,
            inputs,
            leader,
            events,
            readiness,
            token,
        }
    }

    async fn send(&self, input: Input) {
        self.inputs.send(input).await.unwrap();
    }

    /// Complete lists of every kind but NetworkPolicies: one node, nothing else.
    async fn lists(&self) {
        fn empty<T>() -> Change<T> {
            list(vec![])
        }
        self.send(Input::Nodes(list(vec![node("a")]))).await;
        self.send(Input::Pods(empty())).await;
        self.send(Input::Namespaces(empty())).await;
        self.send(Input::ClusterPolicies(empty())).await;
        self.send(Input::Services(empty())).await;
        self.send(Input::EndpointSlices(empty())).await;
        self.send(Input::Chains(empty())).await;
        self.send(Input::Cnfs(empty())).await;
        for kind in crate::objects::OutputKind::ALL {
            self.send(Input::Outputs(kind, empty())).await;
        }
    }

    async fn policies(&self) {
        self.send(Input::Policies(list(vec![policy("p")]))).await;
    }

    /// What was asked since the last call, after letting `time` pass.
    async fn asked_within(&self, time: u64) -> Vec<Asked> {
        tokio::time::sleep(Duration::from_millis(time)).await;
        std::mem::take(&mut *self.server.asked.lock().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

fn list<T>(objects: Vec<(ObjectKey, T)>) -> Change<T> {
    Change::Replace {
        objects,
        unreadable: vec![],
    }
}

fn node(name: &str) -> (ObjectKey, Node) {
    let fact = Node {
        name: name.into(),
        uid: format!("uid-{name}"),
        pod_cidrs: vec![format!("10.1.{}.0/24", name.as_bytes()[0]).parse().unwrap()],
        ..Node::default()
    };
    (ObjectKey::new("", name), fact)
}

/// A policy that lets nobody in.
fn policy(name: &str) -> (ObjectKey, Policy) {
    let fact = Policy {
        namespace: "n".into(),
        name: name.into(),
        ingress: Some(vec![]),
        ..Policy::default()
    };
    (ObjectKey::new("n", name), fact)
}

fn what(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|(_, what)| what.as_str()).collect()
}

const FIRST: [&str; 3] = [
    "PATCH vpppeerslices/peers-0",
    "PATCH namespaces/n/vpppolicies/p",
    "PATCH vppconfigs/a",
];

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_the_last_list_then_all_in_order_and_once() {
    let bench = Bench::start(true, vec![], ("", 0));
    bench.lists().await;
    assert_eq!(what(&bench.asked_within(10_000).await), [""; 0]);
    assert_eq!(
        bench.readiness.missing(),
        ["configuration: waiting for the first list of NetworkPolicy"]
    );
    bench.policies().await;
    assert_eq!(what(&bench.asked_within(10_000).await), FIRST);
    assert!(bench.readiness.missing().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_standby_writes_nothing_until_it_leads() {
    let bench = Bench::start(false, vec![], ("", 0));
    bench.lists().await;
    bench.policies().await;
    assert_eq!(what(&bench.asked_within(60_000).await), [""; 0]);
    assert!(bench.readiness.missing().is_empty(), "ready to take over");
    bench.leader.send_replace(true);
    let asked = bench.asked_within(1000).await;
    assert_eq!(what(&asked), FIRST);
    assert_eq!(asked[0].0, 60_000, "at once");
}

#[tokio::test(start_paused = true)]
async fn the_first_change_goes_at_once_and_those_close_behind_go_together() {
    let bench = Bench::start(true, vec![], ("", 0));
    bench.lists().await;
    bench.policies().await;
    bench.asked_within(1000).await;
    bench
        .send(Input::Policies(Change::Apply(policy("q").0, policy("q").1)))
        .await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    for name in ["r", "s"] {
        let (key, fact) = policy(name);
        bench.send(Input::Policies(Change::Apply(key, fact))).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = bench.asked_within(1000).await;
    let path = |name: &str| format!("PATCH namespaces/n/vpppolicies/{name}");
    assert_eq!(asked, [(1000, path("q")), (1100, path("r")), (1100, path("s"))]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_tried_again_and_stops_nothing() {
    let bench = Bench::start(true, vec![], ("vpppolicies/p", 2));
    bench.lists().await;
    bench.policies().await;
    let asked = bench.asked_within(10_000).await;
    // Half a second, then a whole one.
    let policy = "PATCH namespaces/n/vpppolicies/p".to_owned();
    assert_eq!(what(&asked)[..3], FIRST, "the VppConfig does not wait");
    assert_eq!(asked[3..], [(500, policy.clone()), (1500, policy)]);
}

#[tokio::test(start_paused = true)]
async fn node_ids_are_learnt_from_a_fresh_list() {
    // The cache of VppConfigs is empty: the last leader's writes have not reached it.
    let bench = Bench::start(true, vec![("a", 9), ("gone", 1)], ("", 0));
    bench.lists().await;
    bench.policies().await;
    let (key, fact) = node("b");
    bench.send(Input::Nodes(Change::Apply(key, fact))).await;
    bench.asked_within(1000).await;
    let ids = bench.server.node_ids.lock().unwrap().clone();
    let expected = [("a", 9), ("b", 1)].map(|(name, id)| (name.to_owned(), json!(id)));
    assert_eq!(ids, expected.into());
}

#[tokio::test(start_paused = true)]
async fn a_problem_is_told_once() {
    let mut bench = Bench::start(true, vec![], ("", 0));
    bench.lists().await;
    let problem = Problem {
        object: Kind::SERVICE.of("n", "s", "u"),
        reason: "Unusable",
        message: "port 0 is no port".into(),
    };
    let service = Service {
        namespace: "n".into(),
        name: "s".into(),
        uid: "u".into(),
        problems: vec![problem.clone()],
        ..Service::default()
    };
    let change = Change::Apply(ObjectKey::new("n", "s"), service);
    bench.send(Input::Services(change)).await;
    bench.policies().await;
    bench.asked_within(1000).await;
    assert_eq!(bench.events.recv().await, Some(problem));
    bench
        .send(Input::Policies(Change::Apply(policy("q").0, policy("q").1)))
        .await;
    bench.asked_within(1000).await;
    assert!(bench.events.try_recv().is_err(), "not with every compile");
}
