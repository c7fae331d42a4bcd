//! What the charts install, as helm renders them: every value does something, wrong ones are refused with a sentence, and
//! pods, rights and images are what a cluster's administrator would accept.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as expected"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use e2e::assets;
use e2e::chart::{self, Render, helm};
use serde_json::{Value, json};

fn rendered(values: Value) -> Vec<Value> {
    let render = Render {
        values,
        ..Render::default()
    };
    render.objects().unwrap()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

fn pod<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let object = find(objects, kind, name).unwrap_or_else(|| panic!("no {kind} {name}"));
    &object["spec"]["template"]["spec"]
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The pods of the chart: name, and the pod's spec.
fn pods(objects: &[Value]) -> [(&'static str, &Value); 3] {
    [
        ("contiv-operator", pod(objects, "Deployment", "contiv-operator")),
        ("contiv-node", pod(objects, "DaemonSet", "contiv-node")),
        ("contiv-vpp", pod(objects, "DaemonSet", "contiv-vpp")),
    ]
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    array(&pod["initContainers"])
        .iter()
        .chain(array(&pod["containers"]))
}

#[test]
fn lint_finds_nothing() {
    let charts = assets::source_root().join("charts");
    for (chart, values) in [
        ("contiv-crds", None),
        ("contiv-vpp", None),
        ("contiv-vpp", Some("contiv-vpp/values-vpp-sim.yaml")),
    ] {
        let mut arguments = vec![
            "lint".into(),
            "--strict".into(),
            charts.join(chart).into_os_string(),
        ];
        if let Some(file) = values {
            arguments.extend(["--values".into(), charts.join(file).into_os_string()]);
        }
        let said = helm(&arguments, "").unwrap();
        assert!(said.contains(" 0 chart(s) failed"), "{chart}: {said}");
        for bad in ["[WARNING]", "[ERROR]"] {
            assert!(!said.contains(bad), "{chart}: {said}");
        }
    }
}

/// Every value of values.yaml with another one that must show in the manifests.
fn changes() -> BTreeMap<&'static str, Value> {
    let admin = || json!("0.0.0.0");
    BTreeMap::from([
        ("images.registry", json!("registry.example/contiv")),
        ("images.tag", json!("1.2.3")),
        ("images.pullPolicy", json!("Never")),
        ("images.pullSecrets", json!(["key"])),
        ("apiServer.host", json!("192.0.2.1")),
        ("apiServer.port", json!(443)),
        ("network.transport", json!("none")),
        ("network.vni", json!(77)),
        ("network.podCIDRs", json!(["10.1.0.0/16"])),
        ("network.nodePrefixLength.ipv4", json!(25)),
        ("network.nodePrefixLength.ipv6", json!(72)),
        ("network.externalIPs", json!(false)),
        ("network.mtu", json!(9000)),
        ("uplink.interface", json!("eth7")),
        (
            "uplink.nodes",
            json!({"n": {"interface": "eth1", "addresses": ["192.0.2.11/24"], "gateways": ["192.0.2.1"]}}),
        ),
        ("operator.image", json!("other/operator:1")),
        ("operator.replicas", json!(3)),
        ("operator.admin.host", admin()),
        ("operator.admin.port", json!(1234)),
        ("operator.resources.requests.cpu", json!("1")),
        ("operator.resources.requests.memory", json!("1Gi")),
        ("operator.nodeSelector", json!({"a": "b"})),
        ("operator.extraArgs", json!(["--no-leader-election"])),
        ("node.image", json!("other/node:1")),
        ("node.admin.host", admin()),
        ("node.admin.port", json!(1234)),
        ("node.cni.confDir", json!("/etc/other/net.d")),
        ("node.cni.binDir", json!("/opt/other/bin")),
        ("node.kernelInterfaces", json!("veth")),
        ("node.aclLists", json!("isolated")),
        ("node.maxUnavailable", json!("10%")),
        ("node.resources.requests.cpu", json!("1")),
        ("node.resources.requests.memory", json!("1Gi")),
        ("node.nodeSelector", json!({"a": "b"})),
        ("node.extraArgs", json!(["--heartbeat-seconds=5"])),
        ("vpp.enabled", json!(false)),
        ("vpp.image", json!("other/vpp:1")),
        ("vpp.name", json!("vpp-other")),
        ("vpp.command", json!(["/vpp"])),
        ("vpp.runDir", json!("/run/other")),
        ("vpp.updateStrategy", json!("RollingUpdate")),
        ("vpp.startupConf", json!("acl-plugin { reclassify sessions 1 }")),
        ("vpp.resources.requests.cpu", json!("1")),
        ("vpp.resources.requests.memory", json!("1Gi")),
        ("vpp.nodeSelector", json!({"a": "b"})),
        ("log.level", json!("debug")),
        ("log.format", json!("text")),
        ("cleanup", json!(true)),
    ])
}

/// What must be set as well for a value to matter.
fn beside(path: &str) -> Value {
    match path {
        "apiServer.port" => json!({"apiServer": {"host": "192.0.2.1"}}),
        "network.nodePrefixLength.ipv4" | "network.nodePrefixLength.ipv6" => {
            json!({"network": {"podCIDRs": ["10.1.0.0/16"]}})
        }
        "uplink.interface" => {
            json!({"uplink": {"interface": "eth6", "nodes": {"n": {"addresses": ["192.0.2.11/24"]}}}})
        }
        _ => json!({}),
    }
}

fn leaves(prefix: &str, value: &Value, out: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                leaves(&path, value, out);
            }
        }
        _ => {
            out.insert(prefix.to_owned());
        }
    }
}

fn set(into: &mut Value, path: &str, value: Value) {
    let mut place = into;
    for key in path.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[key];
    }
    *place = value;
}

#[test]
fn every_value_is_used() {
    let file = std::fs::read_to_string(chart::directory().join("values.yaml")).unwrap();
    let values: Value = serde_norway::from_str(&file).unwrap();
    let mut known = BTreeSet::new();
    leaves("", &values, &mut known);
    let changes = changes();
    let tried: BTreeSet<String> = changes.keys().map(|path| (*path).to_owned()).collect();
    assert_eq!(known, tried, "each value of values.yaml has a line in this test");
    for (path, change) in changes {
        let without = beside(path);
        let mut with = without.clone();
        set(&mut with, path, change);
        assert_ne!(rendered(without), rendered(with), "{path} changes nothing");
    }
}

#[test]
fn wrong_values_are_refused_with_a_sentence() {
    let cases = [
        (json!({"replicas": 3}), "replicas"),
        (json!({"operator": {"replicas": 0}}), "/operator/replicas"),
        (
            json!({"operator": {"image": "x/operator:latest"}}),
            "image x/operator:latest: latest says nothing of what runs",
        ),
        (json!({"operator": {"image": "x/operator"}}), "/operator/image"),
        (
            json!({"operator": {"extraArgs": ["no-dash"]}}),
            "/operator/extraArgs/0",
        ),
        (
            json!({"images": {"tag": "latest"}}),
            "latest says nothing of what runs",
        ),
        (json!({"images": {"tag": "a b"}}), "/images/tag"),
        (
            json!({"images": {"pullPolicy": "Sometimes"}}),
            "'IfNotPresent', 'Always', 'Never'",
        ),
        (json!({"apiServer": {"host": "https://x"}}), "/apiServer/host"),
        (json!({"apiServer": {"port": 70000}}), "/apiServer/port"),
        (json!({"network": {"transport": "geneve"}}), "'vxlan', 'none'"),
        (json!({"network": {"vni": 16_777_215}}), "/network/vni"),
        (
            json!({"network": {"podCIDRs": ["10.1.0.0"]}}),
            "/network/podCIDRs/0",
        ),
        (json!({"network": {"mtu": 500}}), "/network/mtu"),
        (
            json!({"uplink": {"interface": "a-name-of-16-chars"}}),
            "/uplink/interface",
        ),
        (
            json!({"uplink": {"nodes": {"n": {"addresses": ["192.0.2.1"]}}}}),
            "/uplink/nodes/n/addresses/0",
        ),
        (
            json!({"uplink": {"nodes": {"n": {"address": "192.0.2.1/24"}}}}),
            "address",
        ),
        (
            json!({"uplink": {"nodes": {"n": {"addresses": ["192.0.2.1/24"]}}}}),
            "uplink.nodes.n names no interface and uplink.interface is empty: set one of them",
        ),
        (
            json!({"node": {"cni": {"binDir": "opt/cni/bin"}}}),
            "/node/cni/binDir",
        ),
        (json!({"node": {"aclLists": "some"}}), "'all', 'isolated'"),
        (json!({"node": {"maxUnavailable": 0}}), "/node/maxUnavailable"),
        (
            json!({"vpp": {"updateStrategy": "Recreate"}}),
            "'OnDelete', 'RollingUpdate'",
        ),
        (
            json!({"vpp": {"startupConf": "unix { nodaemon }"}}),
            "vpp.startupConf does not say `acl-plugin { reclassify sessions 1 }`",
        ),
        (
            json!({"vpp": {"resources": {"requests": {"cpu": "lots"}}}}),
            "/vpp/resources/requests/cpu",
        ),
        (json!({"log": {"format": "xml"}}), "'json', 'text'"),
        (json!({"cleanup": "yes"}), "/cleanup"),
    ];
    for (values, words) in cases {
        let render = Render {
            values: values.clone(),
            ..Render::default()
        };
        match render.text() {
            Ok(_) => panic!("{values} was taken"),
            Err(error) => assert!(error.to_string().contains(words), "{values}: {error}"),
        }
    }
}

#[test]
fn images_have_versions_and_come_from_the_registry() {
    let values =
        json!({"images": {"registry": "registry.example/contiv", "tag": "1.2.3", "pullSecrets": ["key"]}});
    let objects = rendered(values);
    let mut seen = BTreeSet::new();
    for (name, pod) in pods(&objects) {
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "key"}]), "{name}");
        for container in containers(pod) {
            seen.insert(container["image"].as_str().unwrap().to_owned());
        }
    }
    let wanted = ["node", "operator", "vpp"].map(|name| format!("registry.example/contiv/{name}:1.2.3"));
    assert_eq!(seen, BTreeSet::from(wanted));
    // By default the version of the chart's programs, which is the workspace's.
    let version = env!("CARGO_PKG_VERSION");
    for (_, pod) in pods(&rendered(json!({}))) {
        for container in containers(pod) {
            let image = container["image"].as_str().unwrap();
            assert!(image.ends_with(&format!(":{version}")), "{image}");
        }
    }
}

/// Kubernetes' rule (pod and node taints): an empty key with Exists tolerates all, an empty effect all effects.
fn tolerates(pod: &Value, key: &str, effect: &str) -> bool {
    array(&pod["tolerations"]).iter().any(|toleration| {
        toleration["operator"] == "Exists"
            && toleration.get("key").is_none_or(|it| it == key)
            && toleration.get("effect").is_none_or(|it| it == effect)
    })
}

#[test]
fn all_pods_start_where_there_is_no_network_yet() {
    let objects = rendered(json!({}));
    for (name, pod) in pods(&objects) {
        assert_eq!(pod["hostNetwork"], true, "{name}");
        assert!(
            tolerates(pod, "node.kubernetes.io/not-ready", "NoSchedule"),
            "{name}"
        );
        assert!(
            tolerates(pod, "node-role.kubernetes.io/control-plane", "NoSchedule"),
            "{name}"
        );
    }
    for name in ["contiv-node", "contiv-vpp"] {
        let pod = pod(&objects, "DaemonSet", name);
        assert!(tolerates(pod, "whatever.example/taint", "NoExecute"), "{name}");
        assert_eq!(pod["priorityClassName"], "system-node-critical", "{name}");
    }
    // An operator on a node that is gone must move on.
    let operator = pod(&objects, "Deployment", "contiv-operator");
    assert!(!tolerates(
        operator,
        "node.kubernetes.io/unreachable",
        "NoExecute"
    ));
}

#[test]
fn programs_know_their_flags() {
    let values = json!({
        "network": {"podCIDRs": ["10.1.0.0/16", "fd00:10::/48"], "mtu": 1400, "externalIPs": false},
        "operator": {"admin": {"host": "::", "port": 9479}},
    });
    let objects = rendered(values);
    let operator = pod(&objects, "Deployment", "contiv-operator");
    let node = pod(&objects, "DaemonSet", "contiv-node");
    let sim = Render {
        values: json!({}),
        vpp_sim: true,
        namespace: None,
    };
    let sim = sim.objects().unwrap();
    let sim = pod(&sim, "DaemonSet", "contiv-vpp");
    let cleanup = rendered(json!({"cleanup": true}));
    let cleanup = pod(&cleanup, "DaemonSet", "contiv-node");
    let mut asked = 0;
    for container in [operator, node, sim, cleanup].into_iter().flat_map(containers) {
        let words = array(&container["command"])
            .iter()
            .chain(array(&container["args"]));
        let words: Vec<&str> = words.map(|word| word.as_str().unwrap()).collect();
        let (program, arguments) = match words.split_first() {
            Some((path, rest)) if path.starts_with('/') => (path.rsplit('/').next().unwrap(), rest),
            _ if container["name"] == "operator" => ("contiv-operator", words.as_slice()),
            _ => ("contiv-node", words.as_slice()),
        };
        // Help comes last: what stands before it is parsed, and refused where it is wrong.
        let done = Command::new(assets::own(program).unwrap())
            .args(arguments)
            .arg("--help")
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        asked += 1;
    }
    assert_eq!(asked, 6);
}

#[test]
fn probes_ask_where_the_endpoints_are() {
    for (host, asked) in [
        ("127.0.0.1", json!("127.0.0.1")),
        ("0.0.0.0", Value::Null),
        ("::", Value::Null),
    ] {
        let admin = json!({"host": host, "port": 1234});
        let objects = rendered(json!({"operator": {"admin": admin}, "node": {"admin": admin}}));
        for (kind, name) in [("Deployment", "contiv-operator"), ("DaemonSet", "contiv-node")] {
            let container = &pod(&objects, kind, name)["containers"][0];
            for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
                let get = &container[probe]["httpGet"];
                assert_eq!((&get["host"], &get["path"]), (&asked, &json!(path)), "{name}");
                assert_eq!(get["port"], 1234, "{name}");
            }
            assert_eq!(container["ports"][0]["containerPort"], 1234, "{name}");
        }
    }
}

/// A path means the same on the node and in the container: sockets and namespaces are named by path in requests.
#[test]
fn mounts_are_of_the_nodes_own_paths() {
    let objects = rendered(json!({}));
    for (name, pod) in pods(&objects) {
        let volumes: BTreeMap<&str, &Value> = array(&pod["volumes"])
            .iter()
            .map(|volume| (volume["name"].as_str().unwrap(), volume))
            .collect();
        let mut used = BTreeSet::new();
        for mount in containers(pod).flat_map(|container| array(&container["volumeMounts"])) {
            let volume = mount["name"].as_str().unwrap();
            used.insert(volume);
            if let Some(path) = volumes[volume]["hostPath"]["path"].as_str() {
                assert_eq!(mount["mountPath"], path, "{name}");
            }
            if volume == "netns" {
                assert_eq!(mount["mountPropagation"], "HostToContainer", "{name}");
            }
        }
        assert_eq!(
            used,
            volumes.keys().copied().collect(),
            "{name}: every volume is mounted"
        );
    }
    let sockets = |pod: &Value| {
        array(&pod["containers"][0]["volumeMounts"])
            .iter()
            .any(|mount| mount["mountPath"] == "/run/vpp")
    };
    assert!(
        sockets(pod(&objects, "DaemonSet", "contiv-node"))
            && sockets(pod(&objects, "DaemonSet", "contiv-vpp"))
    );
}

#[test]
fn the_operator_and_the_installer_have_no_rights_on_their_node() {
    let objects = rendered(json!({}));
    let operator = pod(&objects, "Deployment", "contiv-operator");
    assert_eq!(operator["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        operator["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let context = &operator["containers"][0]["securityContext"];
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert!(operator.get("volumes").is_none(), "no host paths");
    let installer = &pod(&objects, "DaemonSet", "contiv-node")["initContainers"][0];
    assert!(installer["securityContext"].get("privileged").is_none());
    assert_eq!(
        installer["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    // VPP has no business with the API server.
    let vpp = pod(&objects, "DaemonSet", "contiv-vpp");
    assert_eq!(vpp["automountServiceAccountToken"], false);
    assert!(vpp.get("serviceAccountName").is_none());
}

/// group/resource → verbs of all roles bound to an account.
fn rights(objects: &[Value], account: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for binding in objects {
        let subjects = array(&binding["subjects"]);
        if !subjects.iter().any(|subject| subject["name"] == account) {
            continue;
        }
        let role = &binding["roleRef"];
        let role = find(
            objects,
            role["kind"].as_str().unwrap(),
            role["name"].as_str().unwrap(),
        )
        .unwrap();
        for rule in array(&role["rules"]) {
            for group in array(&rule["apiGroups"]) {
                for resource in array(&rule["resources"]) {
                    let key = format!("{}/{}", group.as_str().unwrap(), resource.as_str().unwrap());
                    let verbs = array(&rule["verbs"])
                        .iter()
                        .map(|verb| verb.as_str().unwrap().to_owned());
                    rights.entry(key).or_default().extend(verbs);
                }
            }
        }
    }
    rights
}

#[test]
fn rights_are_no_wider_than_needed() {
    let objects = rendered(json!({}));
    let reading = ["get", "list", "watch"].map(str::to_owned);
    let writes = |account: &str| -> BTreeMap<String, BTreeSet<String>> {
        let mut all = rights(&objects, account);
        for (resource, verbs) in &mut all {
            assert!(
                !resource.contains('*') && !verbs.contains("*"),
                "{account}: {resource} {verbs:?}"
            );
            assert!(!resource.ends_with("/secrets"), "{account} reads secrets");
            verbs.retain(|verb| !reading.contains(verb));
        }
        all.retain(|_, verbs| !verbs.is_empty());
        all
    };
    let table = |rows: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
        rows.iter()
            .map(|(resource, verbs)| {
                (
                    (*resource).to_owned(),
                    verbs.iter().map(|v| (*v).to_owned()).collect(),
                )
            })
            .collect()
    };
    assert_eq!(
        writes("contiv-node"),
        table(&[
            ("contivpp.io/vppconfigs/status", &["patch"]),
            ("coordination.k8s.io/leases", &["create", "patch"]),
            ("events.k8s.io/events", &["create", "patch"]),
        ])
    );
    let seen: BTreeSet<String> = rights(&objects, "contiv-node").into_keys().collect();
    let foreign: Vec<_> = seen
        .iter()
        .filter(|resource| {
            !["contivpp.io/", "coordination.k8s.io/", "events.k8s.io/"]
                .iter()
                .any(|own| resource.starts_with(own))
        })
        .collect();
    assert!(
        foreign.is_empty(),
        "a daemon reads compiled objects only: {foreign:?}"
    );
    let compiled: &[&str] = &["create", "update", "patch", "delete"];
    assert_eq!(
        writes("contiv-operator"),
        table(&[
            ("/namespaces", &["create"]),
            ("/nodes/finalizers", &["update"]),
            ("/services/finalizers", &["update"]),
            ("contivpp.io/cnfs/status", &["patch", "update"]),
            ("contivpp.io/servicechains/status", &["patch", "update"]),
            ("contivpp.io/vppaddresssets", compiled),
            ("contivpp.io/vppconfigs", compiled),
            ("contivpp.io/vppconfigs/status", &["patch"]),
            ("contivpp.io/vpppeerslices", compiled),
            ("contivpp.io/vpppolicies", compiled),
            ("contivpp.io/vppserviceslices", compiled),
            ("coordination.k8s.io/leases", &["create", "update", "patch"]),
            ("events.k8s.io/events", &["create", "patch"]),
            ("networking.k8s.io/networkpolicies/finalizers", &["update"]),
        ])
    );
    assert!(rights(&objects, "default").is_empty());
}

#[test]
fn each_node_finds_its_uplink() {
    let values = json!({"uplink": {"interface": "eth1", "nodes": {
        "a": {"addresses": ["192.0.2.11/24", "2001:db8::11/64"]},
        "b.example": {"interface": "eth2", "gateways": ["192.0.2.1"]},
    }}});
    let objects = rendered(values);
    let data = &find(&objects, "ConfigMap", "contiv-uplinks").unwrap()["data"];
    let parse = |key: &str| -> Value { serde_json::from_str(data[key].as_str().unwrap()).unwrap() };
    assert_eq!(
        parse("a.json"),
        json!({"interface": "eth1", "addresses": ["192.0.2.11/24", "2001:db8::11/64"], "gateways": []})
    );
    assert_eq!(
        parse("b.example.json"),
        json!({"interface": "eth2", "addresses": [], "gateways": ["192.0.2.1"]})
    );
    let arguments = &pod(&objects, "DaemonSet", "contiv-node")["containers"][0]["args"];
    assert!(
        array(arguments).contains(&json!("--uplink-file=/etc/contiv/uplinks/$(NODE_NAME).json")),
        "{arguments}"
    );
}

/// Helm makes the namespace of a release itself, and refuses one that it does not own.
#[test]
fn the_namespace_is_made_unless_the_release_lives_in_it() {
    let render = |namespace: &str| Render {
        values: json!({}),
        vpp_sim: false,
        namespace: Some(namespace.to_owned()),
    };
    assert!(
        find(
            &render("default").objects().unwrap(),
            "Namespace",
            chart::NAMESPACE
        )
        .is_some()
    );
    let within = render(chart::NAMESPACE).objects().unwrap();
    assert!(find(&within, "Namespace", chart::NAMESPACE).is_none());
    for object in &within {
        let namespace = object["metadata"]["namespace"].as_str();
        assert!(namespace.is_none_or(|it| it == chart::NAMESPACE), "{object}");
    }
}

#[test]
fn cleaning_up_takes_vpp_away_and_the_configuration_with_it() {
    let objects = rendered(json!({"cleanup": true}));
    assert!(find(&objects, "DaemonSet", "contiv-vpp").is_none());
    let node = pod(&objects, "DaemonSet", "contiv-node");
    for container in containers(node) {
        assert_eq!(container["command"][1], "cleanup");
        for path in ["/etc/cni/net.d", "/opt/cni/bin", "/var/lib/contiv"] {
            let mounts = array(&container["volumeMounts"]);
            assert!(mounts.iter().any(|mount| mount["mountPath"] == path), "{path}");
        }
    }
}
