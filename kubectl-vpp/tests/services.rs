//! Services as clients of every kind find them. Expected backends follow the Service documentation ("Virtual IPs and
//! service proxies", "Service internal traffic policy", "Topology aware routing") and the KEPs named with each test.

mod common;

use common::{ask, folder, plugin, pod};
use serde_json::{Value, json};

/// Nodes `n1` (zone a) and `n2` (zone b), clients on both, and pods `web-1` on `n1`, `web-2` on `n2`.
fn base() -> String {
    let node = |name: &str, number: u8, zone: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: {zone}}}}}\n\
             spec: {{podCIDRs: [10.1.{number}.0/24]}}\nstatus: {{addresses: [{{type: InternalIP, address: 192.0.2.{number}}}]}}\n"
        )
    };
    [
        node("n1", 1, "a"),
        node("n2", 2, "b"),
        pod("client-1", "n1", &["10.1.1.9"]),
        pod("client-2", "n2", &["10.1.2.9"]),
        web("web-1", "n1", "10.1.1.5", 8080),
        web("web-2", "n2", "10.1.2.5", 8080),
    ]
    .concat()
}

/// A pod of the app `web` with a port named `http`.
fn web(name: &str, node: &str, ip: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: shop, name: {name}, labels: {{app: web}}}}\n\
         spec: {{nodeName: {node}, containers: [{{name: c, image: i, ports: [{{name: http, containerPort: {port}}}]}}]}}\n\
         status: {{podIPs: [{{ip: {ip}}}]}}\n"
    )
}

/// A Service of the pods of the app `web`.
fn service(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: {name}}}\nspec: {{selector: {{app: web}}, {spec}}}\n"
    )
}

const ONE: &str = "10.1.1.5:8080";
const TWO: &str = "10.1.2.5:8080";

/// From (with `via`, after a comma), to, port, outcome, backends, whether the client's address changes.
type Case<'c> = (&'c str, &'c str, u16, &'c str, &'c [&'c str], bool);

fn check(manifests: &str, cases: &[Case<'_>]) -> Vec<Value> {
    let question = |case: &Case<'_>| {
        let mut question = json!({"to": case.1, "port": case.2});
        match case.0.split_once(',') {
            Some((from, via)) => {
                question["from"] = json!(from);
                question["via"] = json!(via);
            }
            None => question["from"] = json!(case.0),
        }
        question.to_string()
    };
    let queries: Vec<String> = cases.iter().map(question).collect();
    let answers = ask(manifests, &queries);
    for (answer, case) in answers.iter().zip(cases) {
        assert_eq!(answer["outcome"], case.3, "{case:?}: {answer}");
        assert_eq!(answer["backends"], json!(case.4), "{case:?}: {answer}");
        assert_eq!(answer["sourceNat"], case.5, "{case:?}: {answer}");
    }
    answers
}

/// "kube-proxy … each port"; pods' addresses are kept.
#[test]
fn row_1_a_cluster_ip_on_every_port_and_both_protocols() {
    let ports = "clusterIP: 10.96.0.10, ports: [{name: a, port: 53, protocol: UDP, targetPort: 5353}, \
                 {name: b, port: 53, targetPort: 5300}, {name: c, port: 80, targetPort: http}]";
    let manifests = [base(), service("dns", ports)].concat();
    let mut queries = Vec::new();
    for (protocol, port) in [("UDP", 53), ("TCP", 53), ("TCP", 80), ("UDP", 80)] {
        queries.push(common::query("shop/client-1", "shop/dns", protocol, port));
    }
    let answers = ask(&manifests, &queries);
    let both = |port: u16| json!([format!("10.1.1.5:{port}"), format!("10.1.2.5:{port}")]);
    for (answer, port) in answers.iter().zip([5353, 5300, 8080]) {
        assert_eq!(
            (&answer["outcome"], &answer["backends"]),
            (&json!("allowed"), &both(port))
        );
        assert_eq!(answer["sourceNat"], false);
    }
    assert_eq!(answers[3]["outcome"], "dropped", "no such port");
}

/// "Headless Services", "ExternalName"; KEP-2447 (service-proxy-name).
#[test]
fn row_2_and_3_services_without_a_proxy() {
    let labelled = service("other", "clusterIP: 10.96.0.11, ports: [{port: 80}]").replace(
        "name: other}",
        "name: other, labels: {service.kubernetes.io/service-proxy-name: mine}}",
    );
    let manifests = [
        base(),
        service("headless", "clusterIP: None, ports: [{port: 80}]"),
        service("alias", "type: ExternalName, externalName: example.org"),
        labelled,
    ]
    .concat();
    for name in ["headless", "alias", "other"] {
        let folder = folder(&[
            ("o.yaml", &manifests),
            (
                "q.jsonl",
                &common::query("shop/client-1", &format!("shop/{name}"), "TCP", 80),
            ),
        ]);
        let said = plugin(
            folder.path(),
            &["reach", "--objects", "o.yaml", "--queries", "q.jsonl"],
        );
        assert_eq!(said.code, 2, "{said:#?}");
        assert!(
            said.err.contains("q.jsonl:1: ") && said.err.contains("no cluster IP"),
            "{said:#?}"
        );
    }
}

/// "type: NodePort": on every node, whichever has the pods. The client's address is kept by policy Local only.
#[test]
fn row_4_a_node_port_for_every_kind_of_client() {
    let manifests = [
        base(),
        service(
            "web",
            "type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080, targetPort: http}]",
        ),
    ]
    .concat();
    // By another node's port the answer has to come back through that node: there pods are seen as it.
    let answers = check(
        &manifests,
        &[
            (
                "203.0.113.5,node/n1",
                "node/n1",
                30_080,
                "allowed",
                &[ONE, TWO],
                true,
            ),
            (
                "203.0.113.5,node/n2",
                "node/n2",
                30_080,
                "allowed",
                &[ONE, TWO],
                true,
            ),
            ("203.0.113.5", "192.0.2.2", 30_080, "allowed", &[ONE, TWO], true),
            ("shop/client-1", "node/n1", 30_080, "allowed", &[ONE, TWO], false),
            ("shop/client-1", "node/n2", 30_080, "allowed", &[ONE, TWO], true),
            ("node/n1", "node/n2", 30_080, "allowed", &[ONE, TWO], true),
            ("node/n1", "shop/web", 80, "allowed", &[ONE, TWO], false),
        ],
    );
    assert_eq!(answers[0]["via"], "node/n1");
    // The host's own ports stay the host's.
    let other = ask(
        &manifests,
        &[r#"{"from":"203.0.113.5","to":"node/n1","port":22}"#.to_owned()],
    );
    assert_eq!(other[0]["outcome"], "allowed");
    assert!(other[0].get("backends").is_none());
}

/// "externalTrafficPolicy: Local": only endpoints of the node, the client keeps its address; who is on a node has all.
#[test]
fn row_7_external_local_for_clients_outside() {
    let spec = "type: LoadBalancer, externalTrafficPolicy: Local, clusterIP: 10.96.0.10, \
                ports: [{port: 80, nodePort: 30080, targetPort: http}]";
    let balanced = service("web", spec) + "status: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}\n";
    let nodes = base().replace(
        "name: web-2, labels: {app: web}",
        "name: web-2, labels: {app: none}",
    );
    let answers = check(
        &[nodes, balanced].concat(),
        &[
            (
                "203.0.113.5,node/n1",
                "198.51.100.7",
                80,
                "allowed",
                &[ONE],
                false,
            ),
            ("203.0.113.5,node/n2", "198.51.100.7", 80, "dropped", &[], false),
            ("203.0.113.5,node/n2", "node/n2", 30_080, "dropped", &[], false),
            ("shop/client-2", "198.51.100.7", 80, "allowed", &[ONE], false),
            ("node/n2", "198.51.100.7", 80, "allowed", &[ONE], false),
            ("shop/client-2", "shop/web", 80, "allowed", &[ONE], false),
        ],
    );
    let why = answers[1]["by"].as_str().unwrap_or_default();
    assert!(
        why.contains("no ready endpoint on node n2") && why.contains("externalTrafficPolicy is Local"),
        "{why}"
    );
}

/// "Session affinity": one client keeps one backend; which one is not said, so all of them are.
#[test]
fn row_11_a_client_stays_with_one_of_all_backends() {
    let manifests = [
        base(),
        service(
            "web",
            "sessionAffinity: ClientIP, clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: http}]",
        ),
    ]
    .concat();
    check(
        &manifests,
        &[("shop/client-1", "shop/web", 80, "allowed", &[ONE, TWO], false)],
    );
}

/// `publishNotReadyAddresses`: endpoints are ready whatever their pods say.
#[test]
fn row_13_unready_pods_are_reached_where_the_service_publishes_them() {
    let unready = |pod: &str| {
        pod.replace(
            "status: {",
            "status: {conditions: [{type: Ready, status: 'False'}], ",
        )
    };
    let pods = base().replace(
        &web("web-1", "n1", "10.1.1.5", 8080),
        &unready(&web("web-1", "n1", "10.1.1.5", 8080)),
    );
    let pods = pods.replace(
        &web("web-2", "n2", "10.1.2.5", 8080),
        &unready(&web("web-2", "n2", "10.1.2.5", 8080)),
    );
    let manifests = [
        pods,
        service(
            "early",
            "publishNotReadyAddresses: true, clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: http}]",
        ),
        service(
            "late",
            "clusterIP: 10.96.0.11, ports: [{port: 80, targetPort: http}]",
        ),
    ]
    .concat();
    check(
        &manifests,
        &[
            ("shop/client-1", "shop/early", 80, "allowed", &[ONE, TWO], false),
            ("shop/client-1", "shop/late", 80, "rejected", &[], false),
        ],
    );
}

/// KEP-4444 and KEP-3015; endpoints are derived as their controller writes them.
#[test]
fn row_14_traffic_distribution_keeps_to_zone_and_node() {
    let spec = |ip: &str, distribution: &str| {
        format!(
            "trafficDistribution: {distribution}, clusterIP: {ip}, ports: [{{port: 80, targetPort: http}}]"
        )
    };
    let manifests = [
        base(),
        service("close", &spec("10.96.0.10", "PreferClose")),
        service("zone", &spec("10.96.0.11", "PreferSameZone")),
        service("node", &spec("10.96.0.12", "PreferSameNode")),
    ]
    .concat();
    for name in ["close", "zone", "node"] {
        let to = format!("shop/{name}");
        check(
            &manifests,
            &[
                ("shop/client-1", &to, 80, "allowed", &[ONE], false),
                ("shop/client-2", &to, 80, "allowed", &[TWO], false),
                ("node/n2", &to, 80, "allowed", &[TWO], false),
            ],
        );
    }
}

/// A pod that is its Service's only backend; for that connection its address changes.
#[test]
fn row_15_a_backend_reaches_itself() {
    let alone = base().replace(
        "name: web-2, labels: {app: web}",
        "name: web-2, labels: {app: none}",
    );
    let manifests = [
        alone,
        service(
            "web",
            "clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: http}]",
        ),
    ]
    .concat();
    check(
        &manifests,
        &[("shop/web-1", "shop/web", 80, "allowed", &[ONE], true)],
    );
}

/// "targetPort … name": looked up in each pod.
#[test]
fn row_19_a_named_port_is_each_pods_own() {
    let manifests = [
        base(),
        web("web-3", "n2", "10.1.2.6", 9090),
        service(
            "web",
            "clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: http}]",
        ),
    ]
    .concat();
    check(
        &manifests,
        &[(
            "shop/client-1",
            "shop/web",
            80,
            "allowed",
            &[ONE, TWO, "10.1.2.6:9090"],
            false,
        )],
    );
}

/// KEP-1880: clusters have several ranges of cluster IPs.
#[test]
fn row_23_cluster_ips_of_any_range() {
    for ip in ["10.96.0.10", "172.31.255.1", "192.168.77.7", "100.100.0.1"] {
        let manifests = [
            base(),
            service(
                "web",
                &format!("clusterIP: {ip}, ports: [{{port: 80, targetPort: http}}]"),
            ),
        ]
        .concat();
        check(
            &manifests,
            &[("shop/client-1", ip, 80, "allowed", &[ONE, TWO], false)],
        );
    }
}

/// "Services without selectors".
#[test]
fn row_24_endpoints_written_by_hand() {
    let slice = "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: hand-1, labels: {kubernetes.io/service-name: hand}}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints: [{addresses: [203.0.113.80]}, {addresses: [10.1.2.5]}]
";
    let hand = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: hand}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}\n";
    let manifests = [base(), hand.to_owned(), slice.to_owned()].concat();
    // Pods show the world their node's address.
    check(
        &manifests,
        &[
            (
                "shop/client-1",
                "shop/hand",
                80,
                "allowed",
                &[TWO, "203.0.113.80:8080"],
                true,
            ),
            (
                "node/n1",
                "shop/hand",
                80,
                "allowed",
                &[TWO, "203.0.113.80:8080"],
                false,
            ),
        ],
    );
}

/// Where packets from outside enter decides what they meet: it is asked for, not guessed.
#[test]
fn a_client_outside_says_where_it_enters() {
    let balanced = service(
        "web",
        "type: LoadBalancer, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080, targetPort: http}]",
    ) + "status: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}\n";
    let manifests = [base(), balanced].concat();
    let queries = [
        common::query("203.0.113.5", "198.51.100.7", "TCP", 80),
        r#"{"from":"203.0.113.5","via":"n1","to":"198.51.100.7","port":80}"#.to_owned(),
        r#"{"from":"203.0.113.5","via":"node/n7","to":"198.51.100.7","port":80}"#.to_owned(),
    ];
    let folder = folder(&[("o.yaml", &manifests), ("q.jsonl", &queries.join("\n"))]);
    let said = plugin(
        folder.path(),
        &["reach", "--objects", "o.yaml", "--queries", "q.jsonl"],
    );
    assert_eq!(said.code, 2, "{said:#?}");
    for (line, what) in [
        (1, "\"via\":\"node/NAME\""),
        (2, "write node/NAME"),
        (3, "no node n7"),
    ] {
        let told = said
            .err
            .lines()
            .find(|told| told.starts_with(&format!("q.jsonl:{line}: ")));
        assert!(told.is_some_and(|told| told.contains(what)), "{said:#?}");
    }
}
