//! A whole Kubernetes on one machine: every node a machine in namespaces, with its own containerd and kubelet.
//!
//! ```text
//!  root namespace         cv<id>-net                                   cv<id>-n1, cv<id>-n2, …
//!  127.0.0.1:<port> ──►   etcd, kube-apiserver 172.30.0.1:6443,        init (contiv-e2e node-init): containerd, kubelet
//!   (relay)               kube-controller-manager, kube-scheduler      pods: contiv-operator, contiv-node, dataplane, …
//!                         br0 ─────────────────────────────────────┬── eth0  172.30.0.11
//!                                                                  └── vpp0  for VPP
//! ```
//!
//! A node has a network, mount, PID, host name and cgroup namespace, and a root file system of its own: the machine's, with
//! what the node writes kept in memory. So everything on it is where it is on any node (`/var/lib/kubelet`, `/etc/cni/net.d`),
//! and everything of it, containers and mounts too, ends with its first process.
//!
//! Nothing of Kubernetes is played here; the harness of the older tests (`crate::cluster`) plays kubelet, scheduler and controllers.

pub mod cgroups;
pub mod cluster;
pub mod init;
pub mod install;
pub mod look;
pub mod machine;
pub mod plane;
pub mod workload;
