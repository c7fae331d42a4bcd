//! End-to-end harness: a real kube-apiserver, nodes as network namespaces, real packets.
//!
//! ```text
//!  root namespace                        cv<id>-net                     cv<id>-n1, cv<id>-n2, …
//!  etcd, kube-apiserver on 127.0.0.1 ◄── relay on 172.30.0.1 ── br0 ──┬─ eth0  172.30.0.11   contiv-node
//!  contiv-operator                                                    └─ vpp0  (172.31.0.11) vpp-sim or VPP
//! ```
//!
//! Every pod is a namespace `cv<id>-<namespace>-<name>` which cnitool, run on the pod's node, connects
//! through our CNI plugin. There is no kubelet, no scheduler and no controller manager: the harness does
//! what the tests need of them, one step at a time, so that a test can look between the steps.

pub mod assets;
pub mod audit;
pub mod bench;
pub mod bench_services;
pub mod chart;
pub mod cluster;
pub mod cni;
pub mod conformance;
pub mod control;
pub mod dataplane;
pub mod demo;
pub mod images;
pub mod k8s;
pub mod kubectl;
pub mod netns;
pub mod node;
pub mod pod;
pub mod probe;
pub mod process;
pub mod relay;
pub mod run;
pub mod service;
pub mod suite;
pub mod tale;
pub mod tls;
pub mod trace;
pub mod underlay;
pub mod vpp;
pub mod wait;
