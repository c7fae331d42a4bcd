// Asks kube-proxy's own code which endpoints each node uses for Services: cases as JSON on standard input, one answer
// per case on standard output. Nothing of a kernel is touched.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/kubernetes/pkg/proxy"
)

// One Service as one node sees it.
type question struct {
	Node   string
	Zone   string
	Object *v1.Service
	Slices []*discovery.EndpointSlice
}

// One port in one family.
type port struct {
	Family, Name, Protocol, ClusterIP      string
	Port, NodePort, HealthCheckNodePort    int
	AffinitySeconds                        int
	ExternalIPs, LoadBalancerIPs, Ranges   []string
	InternalLocal, ExternalLocal           bool
	UsesCluster, UsesLocal, HasAnyEndpoint bool
	Cluster, Local                         []string
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		fmt.Fprintln(os.Stderr, "the cases cannot be read:", err)
		os.Exit(1)
	}
	answers := make([][]port, 0, len(questions))
	for _, question := range questions {
		answer := []port{}
		for _, family := range []v1.IPFamily{v1.IPv4Protocol, v1.IPv6Protocol} {
			answer = append(answer, ask(question, family)...)
		}
		answers = append(answers, answer)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, "the answers cannot be written:", err)
		os.Exit(1)
	}
}

func ask(question question, family v1.IPFamily) []port {
	services := proxy.NewServiceChangeTracker(family, nil, nil)
	services.Update(nil, question.Object)
	ports := proxy.ServicePortMap{}
	ports.Update(services)
	endpoints := proxy.NewEndpointsChangeTracker(family, question.Node, nil, nil)
	for _, slice := range question.Slices {
		endpoints.EndpointSliceUpdate(slice, false)
	}
	known := proxy.EndpointsMap{}
	known.Update(endpoints)
	labels := map[string]string{v1.LabelHostname: question.Node}
	if question.Zone != "" {
		labels[v1.LabelTopologyZone] = question.Zone
	}
	found := []port{}
	for name, service := range ports {
		cluster, local, _, any := proxy.CategorizeEndpoints(known[name], service, question.Node, labels)
		affinity := 0
		if service.SessionAffinityType() == v1.ServiceAffinityClientIP {
			affinity = service.StickyMaxAgeSeconds()
		}
		found = append(found, port{
			Family: string(family), Name: name.Port, Protocol: string(service.Protocol()),
			ClusterIP: service.ClusterIP().String(), Port: service.Port(),
			NodePort: service.NodePort(), HealthCheckNodePort: service.HealthCheckNodePort(),
			AffinitySeconds: affinity,
			ExternalIPs:     texts(service.ExternalIPs()), LoadBalancerIPs: texts(service.LoadBalancerVIPs()),
			Ranges:        texts(service.LoadBalancerSourceRanges()),
			InternalLocal: service.InternalPolicyLocal(), ExternalLocal: service.ExternalPolicyLocal(),
			UsesCluster: service.UsesClusterEndpoints(), UsesLocal: service.UsesLocalEndpoints(),
			HasAnyEndpoint: any, Cluster: texts(cluster), Local: texts(local),
		})
	}
	return found
}

func texts[T fmt.Stringer](things []T) []string {
	all := []string{}
	for _, thing := range things {
		all = append(all, thing.String())
	}
	sort.Strings(all)
	return all
}
