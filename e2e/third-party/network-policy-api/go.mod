// Pins the ClusterNetworkPolicy API: its CRD is what the tests install. Nothing of it is built.
module contiv-vpp.e2e/third-party/network-policy-api

go 1.26.0

require sigs.k8s.io/network-policy-api v0.2.0
