//! Services for clients outside: node ports, external and load-balancer addresses, traffic policies, source ranges; and
//! the way of pods and nodes to the world.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::probe::Probe;
use e2e::underlay::{GATEWAY4, GATEWAY6};
use e2e::wait::{eventually, expect};

fn main() -> ExitCode {
    e2e::suite::main(
        "nodeports",
        2,
        cases![
            a_node_port_serves_everybody_on_every_node,
            external_local_keeps_the_client_and_drops_elsewhere,
            a_node_port_without_endpoints_refuses_at_once,
            a_load_balancer_address_and_its_source_ranges,
            a_load_balancer_address_without_node_ports,
            connections_spread_evenly,
            pods_and_nodes_reach_kubernetes_by_its_service,
        ],
    )
}

const WEB: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: NodePort
  selector: {app: web}
  ipFamilyPolicy: PreferDualStack
  ports:
  - {name: http, protocol: TCP, port: 8000, targetPort: 80, nodePort: 30080}
  - {name: dns, protocol: UDP, port: 53, targetPort: 8080, nodePort: 30053}
"#;

fn web(name: &str, node: u8) -> PodSpec {
    PodSpec::new(name, node).label("app", "web")
}

/// Waits until questions reach exactly these servers and, if given, under these client addresses.
async fn wait_answers(
    cluster: &Cluster,
    from: &str,
    probe: Probe,
    servers: &[&str],
    clients: Option<&[IpAddr]>,
) -> Result<()> {
    let servers: BTreeSet<&str> = servers.iter().copied().collect();
    let seen: Option<BTreeSet<String>> = clients.map(|all| all.iter().map(ToString::to_string).collect());
    let what = format!("{from}: {probe:?} leads to {servers:?}, seen as {seen:?}");
    eventually(&what, Duration::from_secs(30), async || {
        let answers = cluster.ask(from, &probe.clone().times(40)).await?;
        let clients: BTreeSet<String> = answers.clients().into_iter().map(str::to_owned).collect();
        let right = answers.all_answered()
            && answers.servers() == servers
            && seen.as_ref().is_none_or(|seen| *seen == clients);
        Ok(expect(right, || answers.to_string()))
    })
    .await
}

async fn a_node_port_serves_everybody_on_every_node(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    cluster
        .start_pods([web("web-1", 1), web("web-2", 2), web("web-3", 2)])
        .await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    let all = ["web-1", "web-2", "web-3"];
    let pod = [cluster.pod("client")?.ip4()?, cluster.pod("client")?.ip6()?];
    for number in [1, 2] {
        let addresses = cluster.node_addresses(number)?;
        for (family, address) in addresses.into_iter().enumerate() {
            for probe in [Probe::tcp(address, 30080), Probe::udp(address, 30053)] {
                // externalTrafficPolicy Cluster: the client outside is seen as the node.
                wait_answers(cluster, "outside", probe.clone(), &all, Some(&[address])).await?;
                wait_answers(cluster, &format!("node/{number}"), probe, &all, Some(&[address])).await?;
            }
            // The pod's own node short-circuits; the other node may put its own address in place of the pod's.
            let probe = Probe::tcp(address, 30080);
            let seen = (number == 1).then(|| &pod[family..=family]);
            wait_answers(cluster, "client", probe, &all, seen).await?;
        }
    }
    // The node's own ports stay its own: what is no node port is answered by the kernel as ever.
    let address = cluster.node_addresses(1)?[0];
    cluster
        .wait_error("outside", Probe::tcp(address, 30081), "refused")
        .await?;
    cluster.kubectl().delete(WEB).await?;
    cluster
        .wait_error("outside", Probe::tcp(address, 30080), "refused")
        .await
}

async fn external_local_keeps_the_client_and_drops_elsewhere(cluster: &mut Cluster) -> Result<()> {
    let local = WEB.replace("spec:\n", "spec:\n  externalTrafficPolicy: Local\n");
    cluster.kubectl().apply(&local).await?;
    cluster.start_pods([web("web-2", 2), web("web-3", 2)]).await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    let [four, six] = cluster.node_addresses(2)?;
    let both = ["web-2", "web-3"];
    wait_answers(
        cluster,
        "outside",
        Probe::tcp(four, 30080),
        &both,
        Some(&[GATEWAY4.into()]),
    )
    .await?;
    wait_answers(
        cluster,
        "outside",
        Probe::udp(four, 30053),
        &both,
        Some(&[GATEWAY4.into()]),
    )
    .await?;
    wait_answers(
        cluster,
        "outside",
        Probe::tcp(six, 30080),
        &both,
        Some(&[GATEWAY6.into()]),
    )
    .await?;
    for empty in cluster.node_addresses(1)? {
        cluster
            .wait_error("outside", Probe::tcp(empty, 30080), "timeout")
            .await?;
        // The node itself and its pods are not clients outside.
        wait_answers(cluster, "node/1", Probe::tcp(empty, 30080), &both, None).await?;
        wait_answers(cluster, "client", Probe::tcp(empty, 30080), &both, None).await?;
    }
    cluster.start_pod(web("web-1", 1)).await?;
    let now_local = cluster.node_addresses(1)?[0];
    wait_answers(
        cluster,
        "outside",
        Probe::tcp(now_local, 30080),
        &["web-1"],
        Some(&[GATEWAY4.into()]),
    )
    .await
}

async fn a_node_port_without_endpoints_refuses_at_once(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    for address in cluster.node_addresses(1)? {
        cluster
            .wait_error("outside", Probe::tcp(address, 30080), "refused")
            .await?;
    }
    cluster.start_pod(web("web-1", 2)).await?;
    let address = cluster.node_addresses(1)?[0];
    wait_answers(cluster, "outside", Probe::udp(address, 30053), &["web-1"], None).await
}

/// Sets fields of `web`'s spec.
async fn specify(cluster: &Cluster, fields: &str) -> Result<String> {
    let patch = format!(r#"{{"spec":{{{fields}}}}}"#);
    let patch = ["patch", "service", "web", "--type=merge", "-p", &patch];
    cluster.kubectl().run(&patch).await
}

/// Gives `web` a load balancer's address, and clients outside a way to it over node 1, as a balancer does that announces it
/// from there.
async fn balance(cluster: &Cluster) -> Result<IpAddr> {
    let vip: IpAddr = "192.0.2.10".parse()?;
    let status = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.10"}]}}}"#;
    let patch = [
        "patch",
        "service",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ];
    cluster.kubectl().run(&patch).await?;
    let via = format!("{}", cluster.node_ref(1)?.addresses().host4());
    let outside = cluster.netns_of("outside")?;
    let ip = [
        "ip",
        "netns",
        "exec",
        outside.as_str(),
        "ip",
        "route",
        "replace",
        "192.0.2.10/32",
        "via",
        via.as_str(),
    ];
    let done = tokio::process::Command::new(ip[0])
        .args(&ip[1..])
        .status()
        .await?;
    ensure!(done.success(), "{ip:?}");
    Ok(vip)
}

/// `allocateLoadBalancerNodePorts: false`: each address has its policy without a node port.
async fn a_load_balancer_address_without_node_ports(cluster: &mut Cluster) -> Result<()> {
    let balanced = WEB
        .replace(
            "type: NodePort",
            "type: LoadBalancer\n  allocateLoadBalancerNodePorts: false",
        )
        .replace(", nodePort: 30080", "")
        .replace(", nodePort: 30053", "");
    ensure!(!balanced.contains("nodePort:"), "{balanced}");
    cluster.kubectl().apply(&balanced).await?;
    cluster.start_pods([web("web-1", 1), web("web-2", 2)]).await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    let vip = balance(cluster).await?;
    let both = ["web-1", "web-2"];
    wait_answers(cluster, "outside", Probe::tcp(vip, 8000), &both, None).await?;
    specify(cluster, r#""externalTrafficPolicy":"Local""#).await?;
    let outside = [GATEWAY4.into()];
    for probe in [Probe::tcp(vip, 8000), Probe::udp(vip, 53)] {
        wait_answers(cluster, "outside", probe.clone(), &["web-1"], Some(&outside)).await?;
        // Neither the node nor its pods are clients outside.
        for from in ["client", "node/1", "node/2"] {
            wait_answers(cluster, from, probe.clone(), &both, None).await?;
        }
    }
    cluster.report("web-1", false).await?;
    cluster
        .wait_error("outside", Probe::tcp(vip, 8000), "timeout")
        .await?;
    specify(
        cluster,
        r#""externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Local""#,
    )
    .await?;
    cluster.report("web-1", true).await?;
    wait_answers(cluster, "outside", Probe::tcp(vip, 8000), &both, None).await?;
    let cluster_ip = cluster.service_addresses("web").await?[0];
    wait_answers(cluster, "client", Probe::tcp(cluster_ip, 8000), &["web-1"], None).await
}

async fn a_load_balancer_address_and_its_source_ranges(cluster: &mut Cluster) -> Result<()> {
    let balanced = WEB.replace("NodePort", "LoadBalancer");
    cluster.kubectl().apply(&balanced).await?;
    cluster.start_pods([web("web-1", 1), web("web-2", 2)]).await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    let vip = balance(cluster).await?;
    let both = ["web-1", "web-2"];
    wait_answers(cluster, "outside", Probe::tcp(vip, 8000), &both, None).await?;
    wait_answers(cluster, "client", Probe::tcp(vip, 8000), &both, None).await?;
    wait_answers(cluster, "node/1", Probe::tcp(vip, 8000), &both, None).await?;

    let set = async |cluster: &Cluster, ranges: &str| {
        specify(cluster, &format!(r#""loadBalancerSourceRanges":{ranges}"#)).await
    };
    set(cluster, r#"["198.51.100.0/24"]"#).await?;
    for from in ["outside", "client", "node/1"] {
        cluster.wait_error(from, Probe::tcp(vip, 8000), "timeout").await?;
    }
    // The node port and the cluster IP are not the load balancer's.
    let address = cluster.node_addresses(1)?[0];
    wait_answers(cluster, "outside", Probe::tcp(address, 30080), &both, None).await?;
    let cluster_ip = cluster.service_addresses("web").await?[0];
    wait_answers(cluster, "client", Probe::tcp(cluster_ip, 8000), &both, None).await?;
    // The nodes' network (the client outside is on it), but not the pods'.
    set(cluster, r#"["172.30.0.0/24"]"#).await?;
    wait_answers(cluster, "outside", Probe::tcp(vip, 8000), &both, None).await?;
    wait_answers(cluster, "node/1", Probe::tcp(vip, 8000), &both, None).await?;
    cluster
        .wait_error("client", Probe::tcp(vip, 8000), "timeout")
        .await?;
    set(cluster, r#"["10.0.0.0/8"]"#).await?;
    wait_answers(cluster, "client", Probe::tcp(vip, 8000), &both, None).await?;
    cluster
        .wait_error("outside", Probe::tcp(vip, 8000), "timeout")
        .await
}

/// 1,000 connections over 5 backends: the chi-square statistic with 4 degrees of freedom exceeds 23.5 once in 10,000
/// even draws (NIST/SEMATECH e-Handbook 1.3.6.7.4).
async fn connections_spread_evenly(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    let names = ["web-1", "web-2", "web-3", "web-4", "web-5"];
    let pods = names.iter().zip([1, 1, 2, 2, 2]);
    cluster
        .start_pods(pods.map(|(name, node)| web(name, node)))
        .await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    let vip = cluster.service_addresses("web").await?[0];
    wait_answers(cluster, "client", Probe::tcp(vip, 8000), &names, None).await?;
    let answers = cluster.ask("client", &Probe::tcp(vip, 8000).times(1000)).await?;
    ensure!(answers.all_answered(), "{answers}");
    let expected = 1000.0 / 5.0;
    let chi_square: f64 = answers
        .0
        .values()
        .map(|&n| (f64::from(n) - expected).powi(2) / expected)
        .sum();
    ensure!(
        answers.0.len() == 5 && chi_square < 23.5,
        "chi-square {chi_square:.1}: {answers}"
    );
    Ok(())
}

/// `kubernetes.default` has an address of the API server behind it, which is no pod's: pods get there through VPP and
/// the node's kernel, nodes through the kernel alone.
async fn pods_and_nodes_reach_kubernetes_by_its_service(cluster: &mut Cluster) -> Result<()> {
    let port = cluster.control().port();
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    let service = cluster.service_addresses("kubernetes").await?;
    let vip = *service.first().context("kubernetes has no address")?;
    let slice = format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"api","namespace":"default"}},
            "spec":{{"ports":[{{"port":443,"targetPort":{port}}}]}}}}"#
    );
    cluster.kubectl().apply(&slice).await?;
    let slice = format!(
        r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"api","namespace":"default",
            "labels":{{"kubernetes.io/service-name":"api"}}}},"addressType":"IPv4",
            "endpoints":[{{"addresses":["{GATEWAY4}"]}}],"ports":[{{"port":{port}}}]}}"#
    );
    cluster.kubectl().apply(&slice).await?;
    let manual = cluster.service_addresses("api").await?[0];
    for from in ["client", "node/1"] {
        let netns = cluster.netns_of(from)?;
        eventually(
            &format!("{from} reaches the API server by {manual} (kubernetes is {vip})"),
            Duration::from_secs(30),
            async || {
                let script = format!("exec 3<>/dev/tcp/{manual}/443 && echo connected");
                let output = tokio::process::Command::new("ip")
                    .args(["netns", "exec", &netns, "timeout", "3", "bash", "-c", &script])
                    .output()
                    .await?;
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                Ok(expect(said.trim() == "connected", || format!("{said}{errors}")))
            },
        )
        .await?;
    }
    cluster
        .kubectl()
        .run(&["delete", "endpointslice", "api"])
        .await
        .map(drop)
}
