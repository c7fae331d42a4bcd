// Measures GoVPP: bench SOCKET (sync|stream) SEQUENTIAL PINGS ROUTES TRANSLATIONS BACKENDS RULES REPEATS. REPEATS of 0
// leaves out all but pings and routes. Prints a line for each workload: name, count, seconds. What it makes it takes away.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"go.fd.io/govpp/adapter/socketclient"
	"go.fd.io/govpp/api"
	"go.fd.io/govpp/binapi/acl"
	"go.fd.io/govpp/binapi/acl_types"
	"go.fd.io/govpp/binapi/cnat"
	"go.fd.io/govpp/binapi/fib_types"
	interfaces "go.fd.io/govpp/binapi/interface"
	"go.fd.io/govpp/binapi/interface_types"
	"go.fd.io/govpp/binapi/ip"
	"go.fd.io/govpp/binapi/ip_types"
	"go.fd.io/govpp/binapi/memclnt"
	"go.fd.io/govpp/core"
)

const (
	none = ^uint32(0)
	// A table of our own, which takes its routes with it.
	table = 4242
	// Answers on their way; the largest that GoVPP's own examples use is smaller.
	window = 256
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func report(name string, count int, work func()) {
	started := time.Now()
	work()
	fmt.Printf("%s %d %f\n", name, count, time.Since(started).Seconds())
}

func route(n int, at interface_types.InterfaceIndex) *ip.IPRouteAddDelV2 {
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], uint32(10<<24+n))
	path := fib_types.FibPath{SwIfIndex: uint32(at), RpfID: none, Weight: 1}
	path.Nh.Address = ip_types.AddressUnionIP4(ip_types.IP4Address{192, 0, 2, 1})
	return &ip.IPRouteAddDelV2{IsAdd: true, Route: ip.IPRouteV2{
		TableID: table,
		Prefix: ip_types.Prefix{
			Address: ip_types.Address{Af: ip_types.ADDRESS_IP4, Un: ip_types.AddressUnionIP4(address)}, Len: 32,
		},
		NPaths: 1,
		Paths:  []fib_types.FibPath{path},
	}}
}

func end(address [4]byte, port uint16) cnat.CnatEndpoint {
	return cnat.CnatEndpoint{
		Addr:      ip_types.Address{Af: ip_types.ADDRESS_IP4, Un: ip_types.AddressUnionIP4(address)},
		SwIfIndex: interface_types.InterfaceIndex(none), Port: port,
	}
}

func translation(n, backends int) *cnat.CnatTranslationUpdate {
	var paths []cnat.CnatEndpointTuple
	for b := 0; b < backends; b++ {
		paths = append(paths, cnat.CnatEndpointTuple{
			DstEp: end([4]byte{10, 200, byte(n), byte(b)}, 8080), SrcEp: end([4]byte{}, 0),
		})
	}
	return &cnat.CnatTranslationUpdate{Translation: cnat.CnatTranslation{
		Vip: end([4]byte{10, 96, byte(n >> 8), byte(n)}, 80), IPProto: ip_types.IP_API_PROTO_TCP,
		Flags: 8, NPaths: uint32(backends), Paths: paths,
	}}
}

func list(index uint32, count int) *acl.ACLAddReplace {
	rules := make([]acl_types.ACLRule, count)
	for n := range rules {
		source, err := ip_types.ParsePrefix(fmt.Sprintf("10.%d.%d.0/24", n>>8, n&255))
		must(err)
		target, err := ip_types.ParsePrefix("10.0.0.0/8")
		must(err)
		rules[n] = acl_types.ACLRule{
			IsPermit: acl_types.ACL_ACTION_API_PERMIT_REFLECT, SrcPrefix: source, DstPrefix: target,
			Proto: ip_types.IP_API_PROTO_TCP, SrcportOrIcmptypeLast: 65535, DstportOrIcmpcodeFirst: 80,
			DstportOrIcmpcodeLast: 80,
		}
	}
	return &acl.ACLAddReplace{ACLIndex: index, Tag: "bench", R: rules}
}

type bench struct {
	channel api.Channel
	stream  api.Stream
	sync    bool
}

func (b *bench) call(request, reply api.Message) {
	must(b.channel.SendRequest(request).ReceiveReply(reply))
}

// all sends many requests, one after the other or with a window; replies are checked for their codes.
func all[R any, P interface {
	*R
	api.Message
}](b *bench, count int, make func(int) api.Message, each func(P)) {
	if b.sync {
		for n := 0; n < count; n++ {
			var reply R
			b.call(make(n), P(&reply))
			each(P(&reply))
		}
		return
	}
	// The stream's reply channel drops answers when it is full, so no more are on their way than fit.
	onTheirWay := newSlots()
	send := func(n int) {
		onTheirWay <- struct{}{}
		must(b.stream.SendMsg(make(n)))
	}
	// The stream learns from what was sent how to read what comes: nothing may come before the first call has returned.
	if count > 0 {
		send(0)
	}
	go func() {
		for n := 1; n < count; n++ {
			send(n)
		}
	}()
	for n := 0; n < count; n++ {
		answer, err := b.stream.RecvMsg()
		must(err)
		<-onTheirWay
		reply, ok := answer.(P)
		if !ok {
			must(fmt.Errorf("answered with %T", answer))
		}
		each(reply)
	}
}

func newSlots() chan struct{} { return make(chan struct{}, window) }

func dump[D any, P interface {
	*D
	api.Message
}](b *bench, request api.Message) int {
	count := 0
	if b.sync {
		answers := b.channel.SendMultiRequest(request)
		for {
			var details D
			last, err := answers.ReceiveReply(P(&details))
			must(err)
			if last {
				return count
			}
			count++
		}
	}
	must(b.stream.SendMsg(request))
	must(b.stream.SendMsg(&memclnt.ControlPing{}))
	for {
		answer, err := b.stream.RecvMsg()
		must(err)
		switch answer.(type) {
		case P:
			count++
		case *memclnt.ControlPingReply:
			return count
		default:
			must(fmt.Errorf("answered with %T", answer))
		}
	}
}

func main() {
	number := func(at int) int {
		value, err := strconv.Atoi(os.Args[at])
		must(err)
		return value
	}
	sequential, pings, routes, translations := number(3), number(4), number(5), number(6)
	backends, rules, repeats := number(7), number(8), number(9)
	connection, err := core.Connect(socketclient.NewVppClient(os.Args[1]))
	must(err)
	defer connection.Disconnect()
	b := &bench{sync: os.Args[2] == "sync"}
	b.channel, err = connection.NewAPIChannel()
	must(err)
	b.stream, err = connection.NewStream(context.Background(), core.WithRequestSize(window), core.WithReplySize(1<<17))
	must(err)
	if b.sync {
		pings, routes = sequential, sequential
	}
	made := &interfaces.CreateLoopbackReply{}
	b.call(&interfaces.CreateLoopback{}, made)
	b.call(&ip.IPTableAddDel{IsAdd: true, Table: ip.IPTable{TableID: table}}, &ip.IPTableAddDelReply{})

	report("pings", pings, func() {
		all(b, pings, func(int) api.Message { return &memclnt.ControlPing{} }, func(*memclnt.ControlPingReply) {})
	})
	report("routes", routes, func() {
		all(b, routes, func(n int) api.Message { return route(n, made.SwIfIndex) },
			func(reply *ip.IPRouteAddDelV2Reply) { must(api.RetvalToVPPApiError(reply.Retval)) })
	})
	if repeats > 0 {
		objects(b, routes, translations, backends, rules, repeats)
	}
	b.call(&ip.IPTableAddDel{Table: ip.IPTable{TableID: table}}, &ip.IPTableAddDelReply{})
	b.call(&interfaces.DeleteLoopback{SwIfIndex: made.SwIfIndex}, &interfaces.DeleteLoopbackReply{})
}

// objects is all but pings and routes.
func objects(b *bench, routes, translations, backends, rules, repeats int) {
	report("route-dump", routes, func() {
		if found := dump[ip.IPRouteV2Details](b, &ip.IPRouteV2Dump{Src: 8, Table: ip.IPTable{TableID: table}}); found != routes {
			must(fmt.Errorf("%d routes are shown", found))
		}
	})
	if b.sync {
		return
	}
	var ids []uint32
	report("translations", translations, func() {
		all(b, translations, func(n int) api.Message { return translation(n, backends) },
			func(reply *cnat.CnatTranslationUpdateReply) {
				must(api.RetvalToVPPApiError(reply.Retval))
				ids = append(ids, reply.ID)
			})
	})
	report("translation-dump", translations, func() {
		if found := dump[cnat.CnatTranslationDetails](b, &cnat.CnatTranslationDump{}); found < translations {
			must(fmt.Errorf("%d translations are shown", found))
		}
	})
	all(b, len(ids), func(n int) api.Message { return &cnat.CnatTranslationDel{ID: ids[n]} },
		func(reply *cnat.CnatTranslationDelReply) { must(api.RetvalToVPPApiError(reply.Retval)) })
	added := &acl.ACLAddReplaceReply{}
	request := list(none, rules)
	b.call(request, added)
	request.ACLIndex = added.ACLIndex
	report("acl-replace", repeats, func() {
		all(b, repeats, func(int) api.Message { return request },
			func(reply *acl.ACLAddReplaceReply) { must(api.RetvalToVPPApiError(reply.Retval)) })
	})
	report("acl-dump", repeats, func() {
		for n := 0; n < repeats; n++ {
			dump[acl.ACLDetails](b, &acl.ACLDump{ACLIndex: added.ACLIndex})
		}
	})
	b.call(&acl.ACLDel{ACLIndex: added.ACLIndex}, &acl.ACLDelReply{})
}
