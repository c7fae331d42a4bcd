//! Our network under a real Kubernetes: policies at a pod's first packet, a chain through a function's Deployment, pods on
//! their node's network, daemons replaced under live connections, and what a daemon's token may write.

mod refusals;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crds::VppConfig;
use e2e::cases;
use e2e::k8s::cluster::Cluster;
use e2e::k8s::workload::{PROBE, client, default_deny, manifest, namespace, servers, service};
use e2e::probe::{Answers, Marks};
use e2e::wait::{eventually, expect};
use kube::api::{Api, Patch};
use refusals::{denied, dry, forbidden, patch_status};
use serde_json::{Value, json};

/// How long something of Kubernetes may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    e2e::suite::main(
        "k8s_network",
        2,
        cases![
            policies_hold_at_a_pods_first_packet,
            a_chain_leads_through_a_functions_deployment,
            pods_on_their_nodes_network_are_clients_and_servers,
            a_port_of_a_node_leads_to_the_pod_that_has_it,
            replacing_the_daemons_leaves_connections_alone,
            a_daemons_token_speaks_for_its_node_alone,
            the_table_of_nodes_is_true,
        ],
    )
}

/// Applies these objects in a namespace of their own, and waits for its Deployments.
async fn deploy(cluster: &Cluster, space: &str, objects: &[Value]) -> Result<()> {
    let all: Vec<Value> = std::iter::once(namespace(space))
        .chain(objects.iter().cloned())
        .collect();
    cluster.kubectl().apply(&manifest(&all)).await?;
    cluster.wait_rollout(space, "deployment").await
}

/// One field of an object, by kubectl's jsonpath.
async fn field(cluster: &Cluster, space: &str, object: &[&str], path: &str) -> Result<String> {
    let path = format!("jsonpath={path}");
    let args: Vec<&str> = ["get", "-n", space]
        .iter()
        .chain(object)
        .copied()
        .chain(["-o", &path])
        .collect();
    cluster.kubectl().run(&args).await
}

/// A pod on a node that runs the probe with these arguments, once.
fn once(space: &str, name: &str, app: &str, node: &str, arguments: &[&str]) -> Value {
    let mut pod = client(space, name, Some(node));
    pod["metadata"]["labels"]["app"] = json!(app);
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"][0]["args"] = json!(arguments);
    pod
}

/// The same workload, only on this node.
fn only_on(mut deployment: Value, node: &str) -> Value {
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    deployment
}

/// What a pod printed, once it has ended.
async fn last_words(cluster: &Cluster, space: &str, pod: &str) -> Result<String> {
    eventually(&format!("pod {pod} has ended"), PATIENCE, async || {
        let phase = field(cluster, space, &["pod", pod], "{.status.phase}").await?;
        let over = ["Succeeded", "Failed"].contains(&phase.as_str());
        Ok(expect(over, || phase))
    })
    .await?;
    cluster.kubectl().run(&["logs", "-n", space, pod]).await
}

/// Lets `app=client` reach `app=web` on TCP 80, from both sides.
fn exceptions(space: &str) -> [Value; 2] {
    let policy = |name: &str, app: &str, spec: Value| {
        let mut policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": space}, "spec": spec,
        });
        policy["spec"]["podSelector"] = json!({"matchLabels": {"app": app}});
        policy
    };
    let peer = |app: &str| json!([{"podSelector": {"matchLabels": {"app": app}}}]);
    let ports = json!([{"protocol": "TCP", "port": 80}]);
    [
        policy(
            "web-lets-clients-in",
            "web",
            json!({"policyTypes": ["Ingress"], "ingress": [{"from": peer("client"), "ports": ports}]}),
        ),
        policy(
            "clients-may-leave-to-web",
            "client",
            json!({"policyTypes": ["Egress"], "egress": [{"to": peer("web"), "ports": ports}]}),
        ),
    ]
}

async fn policies_hold_at_a_pods_first_packet(cluster: &mut Cluster) -> Result<()> {
    let space = "first-packet";
    let mut objects = vec![servers(space, "web", 2), default_deny(space)];
    objects[0]["spec"]["template"]["spec"]["containers"][0]["args"] =
        json!(["serve", "--tcp", "80", "--tcp", "81"]);
    objects.extend(exceptions(space));
    deploy(cluster, space, &objects).await?;
    let web = cluster.pods(space, "app=web").await?;
    // The one question is the first thing that each of these pods does.
    let ask = |to: &str| -> Vec<String> {
        ["ask", "--to", to, "--count", "1", "--timeout-ms", "3000"]
            .map(str::to_owned)
            .into()
    };
    let mut pods = Vec::new();
    let mut expected = Vec::new();
    for number in 0..4 {
        let node = ["node-1", "node-2"][number % 2];
        let server = &web[number / 2 % web.len()].address;
        for (kind, app, port, allowed) in [
            ("client", "client", 80, true),
            ("client-to-81", "client", 81, false),
            ("stranger", "stranger", 80, false),
        ] {
            let name = format!("{kind}-{number}");
            let arguments = ask(&format!("{server}:{port}"));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            pods.push(once(space, &name, app, node, &arguments));
            expected.push((name, allowed));
        }
    }
    cluster.kubectl().apply(&manifest(&pods)).await?;
    for (name, allowed) in &expected {
        let answers = Answers::parse(&last_words(cluster, space, name).await?)?;
        let holds = if *allowed {
            answers.all_answered()
        } else {
            answers.none_answered()
        };
        ensure!(holds, "{name}, allowed: {allowed}: {answers}");
    }
    Ok(())
}

/// The function: nothing but TCP 80 passes, and what does is counted.
fn firewall(space: &str) -> [Value; 2] {
    let rules = "table inet firewall {\n  chain forward {\n    type filter hook forward priority 0; policy drop;\n    \
                 tcp dport 80 counter accept\n    tcp sport 80 counter accept\n  }\n}\n";
    let labels = json!({"app": "firewall"});
    let probe = json!({"exec": {"command": ["/usr/sbin/nft", "list", "table", "inet", "firewall"]}, "periodSeconds": 1, "timeoutSeconds": 5});
    [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "firewall", "namespace": space},
            "data": {"rules.nft": rules},
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "firewall", "namespace": space},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "firewall", "image": "contiv.local/cnf:e2e", "imagePullPolicy": "IfNotPresent",
                        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
                        "readinessProbe": probe,
                        "volumeMounts": [{"name": "rules", "mountPath": "/etc/cnf"}],
                    }],
                    "volumes": [{"name": "rules", "configMap": {"name": "firewall"}}],
                }},
            },
        }),
    ]
}

/// Packets that a rule of the function has counted.
fn counted(ruleset: &str, rule: &str) -> u64 {
    let line = ruleset
        .lines()
        .find(|line| line.contains(rule))
        .unwrap_or_default();
    let packets = line
        .split("packets ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    packets.and_then(|number| number.parse().ok()).unwrap_or_default()
}

async fn a_chain_leads_through_a_functions_deployment(cluster: &mut Cluster) -> Result<()> {
    let space = "shop";
    let mut web = only_on(servers(space, "web", 1), "node-1");
    web["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["serve", "--tcp", "80", "--tcp", "81"]);
    deploy(cluster, space, &[web, client(space, "client", Some("node-2"))]).await?;
    let web = cluster.pods(space, "app=web").await?;
    let web = web.first().context("web has no pod")?.address;
    let (http, other) = (format!("{web}:80"), format!("{web}:81"));
    for to in [&http, &other] {
        cluster.expect_answers(space, "client", to, true).await?;
    }

    // The CNF comes before its pods: they get the function's interfaces when they are attached.
    cluster.apply_example("service-chain/firewall.yaml").await?;
    deploy(cluster, space, &firewall(space)).await?;
    let example = e2e::assets::source_root().join("examples/service-chain/client-to-web.yaml");
    let mut chain: Value = serde_norway::from_str(&std::fs::read_to_string(example)?)?;
    // Of all ports, so that the function's own rules have something to refuse.
    let classifier = chain["spec"]["classifier"]
        .as_object_mut()
        .context("a classifier")?;
    classifier.remove("ports").context("the example names ports")?;
    cluster.kubectl().apply(&chain.to_string()).await?;
    cluster
        .wait_jsonpath(
            &["-n", space, "servicechain", "client-to-web"],
            r#"{.status.conditions[?(@.type=="Ready")].status}"#,
            "True",
        )
        .await?;
    cluster.expect_answers(space, "client", &http, true).await?;
    cluster.expect_answers(space, "client", &other, false).await?;
    let list = ["/usr/sbin/nft", "list", "table", "inet", "firewall"];
    let rules = cluster.exec(space, "deploy/firewall", &list).await?;
    for direction in ["dport 80", "sport 80"] {
        ensure!(
            counted(&rules, direction) > 0,
            "nothing of {direction} passed the function:\n{rules}"
        );
    }

    // Without a function the chain drops; with a new one it goes on.
    for (replicas, answered) in [("--replicas=0", false), ("--replicas=1", true)] {
        cluster
            .kubectl()
            .run(&["scale", "-n", space, "deployment/firewall", replicas])
            .await?;
        cluster.wait_rollout(space, "deployment").await?;
        cluster.expect_answers(space, "client", &http, answered).await?;
    }
    Ok(())
}

async fn pods_on_their_nodes_network_are_clients_and_servers(cluster: &mut Cluster) -> Result<()> {
    let space = "host-network";
    let on_host = |name: &str, node: &str| {
        let mut deployment = only_on(servers(space, name, 1), node);
        let pod = &mut deployment["spec"]["template"]["spec"];
        pod["hostNetwork"] = json!(true);
        pod["containers"][0]["args"] = json!(["serve", "--tcp", "18080"]);
        pod["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 18080}]);
        deployment
    };
    let objects = [
        servers(space, "own", 2),
        service(space, "own"),
        on_host("host-1", "node-1"),
        on_host("host-2", "node-2"),
    ];
    deploy(cluster, space, &objects).await?;
    let own = cluster.pods(space, "app=own").await?;
    ensure!(own[0].node != own[1].node, "one on each node: {own:?}");
    let service = field(cluster, space, &["service", "own"], "{.spec.clusterIP}").await?;
    for (name, node) in [("host-1", 1), ("host-2", 2)] {
        let host = cluster.pods(space, &format!("app={name}")).await?;
        let address = host.first().context("no pod")?.address;
        ensure!(
            address == cluster.machine(node)?.addresses().host4(),
            "{name} has {address}"
        );
        // As a client of pods of both nodes and of a Service, and as a server of those pods.
        for pod in &own {
            let to = format!("{}:80", pod.address);
            cluster
                .expect_answers(space, &format!("deploy/{name}"), &to, true)
                .await?;
            cluster
                .expect_answers(space, &pod.name, &format!("{address}:18080"), true)
                .await?;
        }
        let to = format!("{service}:80");
        cluster
            .expect_answers(space, &format!("deploy/{name}"), &to, true)
            .await?;
    }
    Ok(())
}

async fn a_port_of_a_node_leads_to_the_pod_that_has_it(cluster: &mut Cluster) -> Result<()> {
    let space = "host-port";
    let with_port = |name: &str| {
        let mut deployment = only_on(servers(space, name, 1), "node-1");
        let pod = &mut deployment["spec"]["template"]["spec"];
        pod["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 80, "hostPort": 18081}]);
        deployment["spec"]["strategy"] = json!({"type": "Recreate"});
        deployment
    };
    let mut host = client(space, "host", Some("node-2"));
    host["spec"]["hostNetwork"] = json!(true);
    let objects = [
        with_port("web"),
        client(space, "near", Some("node-1")),
        client(space, "far", Some("node-2")),
        host,
    ];
    deploy(cluster, space, &objects).await?;
    let port = |number: u8| -> Result<String> {
        Ok(format!("{}:18081", cluster.machine(number)?.addresses().host4()))
    };
    let clients = ["near", "far", "host"];
    for from in clients {
        cluster.expect_answers(space, from, &port(1)?, true).await?;
        // It is a port of that node alone.
        cluster.expect_answers(space, from, &port(2)?, false).await?;
    }
    // A rollout frees the port and takes it again.
    cluster
        .kubectl()
        .run(&["-n", space, "rollout", "restart", "deployment/web"])
        .await?;
    cluster.wait_rollout(space, "deployment").await?;
    for from in clients {
        cluster.expect_answers(space, from, &port(1)?, true).await?;
    }
    cluster
        .kubectl()
        .run(&["-n", space, "scale", "deployment/web", "--replicas=0"])
        .await?;
    cluster.wait_rollout(space, "deployment").await?;
    for from in clients {
        cluster.expect_answers(space, from, &port(1)?, false).await?;
    }
    Ok(())
}

async fn replacing_the_daemons_leaves_connections_alone(cluster: &mut Cluster) -> Result<()> {
    let space = "upgrade";
    deploy(cluster, space, &[servers(space, "web", 2)]).await?;
    let mut pods = Vec::new();
    let mut flows = Vec::new();
    for (number, server) in cluster.pods(space, "app=web").await?.iter().enumerate() {
        for node in ["node-1", "node-2"] {
            let name = format!("flow-{number}-from-{node}");
            let to = format!("{}:80", server.address);
            let arguments = ["flow", "--to", &to, "--seconds", "600", "--patience-ms", "3000"];
            pods.push(once(space, &name, "flow", node, &arguments));
            flows.push(name);
        }
    }
    cluster.kubectl().apply(&manifest(&pods)).await?;
    let marks = async |flow: &str| -> Result<Marks> {
        Ok(Marks::parse(
            &cluster.kubectl().run(&["logs", "-n", space, flow]).await?,
        ))
    };
    for flow in &flows {
        eventually(&format!("{flow} has its first answers"), PATIENCE, async || {
            let marks = marks(flow).await?;
            Ok(expect(marks.0.iter().any(|mark| mark.1), || marks.to_string()))
        })
        .await?;
    }
    let daemons = "daemonset/contiv-node";
    cluster
        .kubectl()
        .run(&["-n", "contiv-system", "rollout", "restart", daemons])
        .await?;
    let ready = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}"#;
    let rolled = [
        "-n",
        "contiv-system",
        "rollout",
        "status",
        daemons,
        "--timeout=180s",
    ];
    let rolled = cluster.kubectl().run(&rolled);
    tokio::pin!(rolled);
    loop {
        tokio::select! {
            done = &mut rolled => {
                done?;
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(500)) => {
                let now = cluster.kubectl().run(&["get", "nodes", "-o", ready]).await?;
                ensure!(now.trim() == "True True", "nodes are not Ready all the while: {now}");
            }
        }
    }
    // Some more questions, after the last daemon has compared what it found.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for flow in &flows {
        let marks = marks(flow).await?;
        ensure!(
            marks.0.len() > 50 && marks.lost() == 0,
            "{flow}: {} questions, {marks}",
            marks.0.len()
        );
    }
    // And the new daemons take pods.
    cluster
        .kubectl()
        .run(&["scale", "-n", space, "deployment/web", "--replicas=4"])
        .await?;
    cluster.wait_rollout(space, "deployment").await
}

async fn a_daemons_token_speaks_for_its_node_alone(cluster: &mut Cluster) -> Result<()> {
    let daemons = [
        "pods",
        "-l",
        "app.kubernetes.io/name=contiv-node",
        "--field-selector",
        "spec.nodeName=node-1",
    ];
    let pod = field(cluster, "contiv-system", &daemons, "{.items[0].metadata.name}").await?;
    // What kubelet asks for when it mounts the token of this pod.
    let request = [
        "create",
        "token",
        "contiv-node",
        "-n",
        "contiv-system",
        "--bound-object-kind=Pod",
        "--bound-object-name",
        &pod,
    ];
    let token = cluster.kubectl().run(&request).await?;
    let client = e2e::control::client_with_token(cluster.kubeconfig(), token.trim()).await?;
    patch_status(&client, "node-1").await.context("its own status")?;
    let words = "the daemon on node-1 may write the status of VppConfig node-1";
    denied(
        "another node's status",
        patch_status(&client, "node-2").await,
        words,
    )?;
    let configs: Api<VppConfig> = Api::all(client);
    let spec = Patch::Merge(json!({"spec": {"revision": "mine"}}));
    for node in ["node-1", "node-2"] {
        forbidden("a spec", configs.patch(node, &dry(), &spec).await)?;
    }
    Ok(())
}

/// Pods of a node that have an address of our network, as Kubernetes counts them.
async fn pods_of(cluster: &Cluster, node: &str) -> Result<usize> {
    let selector = format!("--field-selector=spec.nodeName={node},status.phase=Running");
    let path = r#"jsonpath={range .items[*]}{.metadata.name}={.spec.hostNetwork} {end}"#;
    let listed = cluster
        .kubectl()
        .run(&["get", "pods", "-A", &selector, "-o", path])
        .await?;
    Ok(listed
        .split_whitespace()
        .filter(|pod| !pod.ends_with("=true"))
        .count())
}

async fn the_table_of_nodes_is_true(cluster: &mut Cluster) -> Result<()> {
    let space = "table";
    for replicas in [4, 1] {
        deploy(cluster, space, &[servers(space, "web", replicas)]).await?;
        for node in ["node-1", "node-2"] {
            eventually(&format!("{node} counts its pods"), PATIENCE, async || {
                let pods = pods_of(cluster, node).await?;
                let table = ["get", "vppconfig", node, "-o", "wide", "--no-headers"];
                let table = cluster.kubectl().run(&table).await?;
                let cells: Vec<&str> = table.split_whitespace().collect();
                let wanted = [node, "True", &format!("{pods}/{pods}"), "True", "True", "True"];
                Ok(expect(cells.starts_with(&wanted), || {
                    format!("{wanted:?}, and the table says {table}")
                }))
            })
            .await?;
        }
    }
    // Every image that runs was made here.
    let images = cluster
        .kubectl()
        .run(&[
            "get",
            "pods",
            "-A",
            "-o",
            "jsonpath={.items[*].spec.containers[*].image}",
        ])
        .await?;
    let registry = PROBE.split('/').next().unwrap_or_default();
    let foreign: Vec<&str> = images
        .split_whitespace()
        .filter(|image| !image.starts_with(registry))
        .collect();
    ensure!(foreign.is_empty(), "{foreign:?}");
    Ok(())
}
