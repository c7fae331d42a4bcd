//! contiv-cni: the small CNI binary that kubelet or containerd runs, and the types it shares with the daemon.
