//! Services and EndpointSlices as an API server may hold them, drawn.

use proptest::prelude::Rng as _;
use proptest::test_runner::TestRng;
use serde_json::{Value, json};

/// Draws from a fixed sequence.
pub struct Draw(pub TestRng);

impl Draw {
    fn below(&mut self, limit: u32) -> usize {
        (self.0.next_u32() % limit) as usize
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.below(chances) == 0
    }

    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32)].clone()
    }

    /// A field that is absent, true or false.
    fn condition(&mut self, object: &mut Value, name: &str) {
        if let Some(value) = self.of(&[None, Some(true), Some(true), Some(false)]) {
            object[name] = value.into();
        }
    }

    /// A Service, with its type's fields as an API server admits them.
    pub fn service(&mut self) -> Value {
        let kind = self.of(&["ClusterIP", "ClusterIP", "NodePort", "LoadBalancer"]);
        let dual = self.one_in(2);
        let addresses = if dual {
            vec!["10.96.0.10", "fd00:96::10"]
        } else {
            vec!["10.96.0.10"]
        };
        let mut ports = vec![json!({"name": "http", "port": 80, "protocol": "TCP"})];
        if self.one_in(2) {
            ports.push(json!({"name": "dns", "port": 80, "protocol": "UDP"}));
        }
        let mut spec = json!({"type": kind, "clusterIP": addresses[0], "clusterIPs": addresses});
        let local = |draw: &mut Self| draw.of(&["Cluster", "Local"]);
        if self.one_in(2) {
            spec["internalTrafficPolicy"] = local(self).into();
        }
        if self.one_in(3) {
            spec["externalIPs"] = json!(["192.0.2.7", "2001:db8::7"]);
        }
        if self.one_in(4) {
            spec["sessionAffinity"] = "ClientIP".into();
            let seconds = self.of(&[1, 77, 10_800, 86_400]);
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
        }
        let with_node_ports = kind == "NodePort" || (kind == "LoadBalancer" && !self.one_in(3));
        if with_node_ports {
            for (number, port) in (30_080..).zip(&mut ports) {
                port["nodePort"] = number.into();
            }
        }
        if kind != "ClusterIP" {
            spec["externalTrafficPolicy"] = local(self).into();
        }
        let mut status = json!({});
        if kind == "LoadBalancer" {
            if spec["externalTrafficPolicy"] == "Local" {
                spec["healthCheckNodePort"] = 31_000.into();
            }
            if self.one_in(2) {
                let ranges: [&[&str]; 3] = [
                    &[" 203.0.113.0/24 ", "2001:db8:1::/48"],
                    &["0.0.0.0/0"],
                    &["10.0.0.0/8"],
                ];
                spec["loadBalancerSourceRanges"] = json!(self.of(&ranges));
            }
            let ingress = [
                json!({"ip": "198.51.100.1"}),
                json!({"ip": "198.51.100.2", "ipMode": "VIP"}),
                json!({"ip": "198.51.100.3", "ipMode": "Proxy"}),
                json!({"ip": "2001:db8:2::1"}),
                json!({"hostname": "lb.example"}),
            ];
            let chosen: Vec<_> = ingress.into_iter().filter(|_| self.one_in(2)).collect();
            status = json!({"loadBalancer": {"ingress": chosen}});
        }
        spec["ports"] = ports.into();
        let mut labels = json!({});
        match self.below(24) {
            0 => labels = json!({"service.kubernetes.io/service-proxy-name": "other"}),
            1 => labels = json!({"service.kubernetes.io/headless": ""}),
            2 => (spec["clusterIP"], spec["clusterIPs"]) = ("None".into(), json!(["None"])),
            3 => spec = json!({"type": "ExternalName", "externalName": "example.org"}),
            _ => {}
        }
        json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u", "labels": labels}, "spec": spec, "status": status})
    }

    /// Slices that agree on an endpoint where several have it: kube-proxy takes any of them.
    pub fn slices(&mut self) -> Vec<Value> {
        let hinted = self.below(4);
        let endpoints: Vec<Value> = (0..6)
            .map(|_| {
                let mut conditions = json!({});
                for name in ["ready", "serving", "terminating"] {
                    self.condition(&mut conditions, name);
                }
                let mut endpoint = json!({"conditions": conditions});
                if !self.one_in(6) {
                    endpoint["nodeName"] = self.of(&["n1", "n2", "n3", "n4"]).into();
                }
                let mut hints = json!({});
                if hinted & 1 != 0 && !self.one_in(12) {
                    hints["forZones"] = json!([{"name": self.of(&["a", "b"])}]);
                }
                if hinted & 2 != 0 && !self.one_in(12) {
                    hints["forNodes"] = json!([{"name": self.of(&["n1", "n2", "n4"])}]);
                }
                if hints != json!({}) {
                    endpoint["hints"] = hints;
                }
                endpoint
            })
            .collect();
        let mut slices = Vec::new();
        for (family, prefix) in [("IPv4", "10.1.0."), ("IPv6", "fd00:1::")] {
            for number in 0..self.below(4) {
                let mut ports = Vec::new();
                for (name, protocol) in [("http", "TCP"), ("dns", "UDP")] {
                    if !self.one_in(6) {
                        ports.push(
                            json!({"name": name, "protocol": protocol, "port": self.of(&[8080, 8080, 9090])}),
                        );
                    }
                }
                let chosen: Vec<Value> = (0..6)
                    .filter_map(|each| {
                        let mut endpoint = self.one_in(3).then(|| endpoints[each].clone())?;
                        endpoint["addresses"] = json!([format!("{prefix}{}", each + 1)]);
                        Some(endpoint)
                    })
                    .collect();
                slices.push(json!({
                    "metadata": {"namespace": "shop", "name": format!("web-{family}-{number}").to_lowercase(),
                                 "labels": {"kubernetes.io/service-name": "web"}},
                    "addressType": family, "ports": ports, "endpoints": chosen,
                }));
            }
        }
        slices
    }
}
