// Drives a dataplane with GoVPP: govpp API_SOCKET [STATS_SOCKET]. Fails at the first answer that is not VPP's.
package main

import (
	"fmt"
	"net"
	"os"
	"reflect"

	"go.fd.io/govpp/adapter/socketclient"
	"go.fd.io/govpp/adapter/statsclient"
	"go.fd.io/govpp/api"
	"go.fd.io/govpp/binapi/abf"
	"go.fd.io/govpp/binapi/acl"
	"go.fd.io/govpp/binapi/acl_types"
	"go.fd.io/govpp/binapi/af_packet"
	"go.fd.io/govpp/binapi/cnat"
	"go.fd.io/govpp/binapi/ethernet_types"
	"go.fd.io/govpp/binapi/fib_types"
	interfaces "go.fd.io/govpp/binapi/interface"
	"go.fd.io/govpp/binapi/interface_types"
	"go.fd.io/govpp/binapi/ip"
	"go.fd.io/govpp/binapi/ip_neighbor"
	"go.fd.io/govpp/binapi/ip_types"
	"go.fd.io/govpp/binapi/l2"
	"go.fd.io/govpp/binapi/l3xc"
	"go.fd.io/govpp/binapi/memif"
	"go.fd.io/govpp/binapi/tapv2"
	"go.fd.io/govpp/binapi/vlib"
	"go.fd.io/govpp/binapi/vpe"
	"go.fd.io/govpp/binapi/vxlan"
	"go.fd.io/govpp/core"
)

const none = ^uint32(0)

// What a node of ours uses and release 25.10, of which GoVPP's bindings are, has with the same checksum.
var used = []api.Message{
	&vpe.ShowVersion{}, &vpe.ShowVersionReply{}, &vlib.CliInband{}, &vlib.CliInbandReply{}, &vlib.AddNodeNext{},
	&interfaces.CreateLoopback{}, &interfaces.CreateLoopbackReply{}, &interfaces.DeleteLoopback{},
	&interfaces.SwInterfaceDump{}, &interfaces.SwInterfaceDetails{}, &interfaces.SwInterfaceSetFlags{},
	&interfaces.SwInterfaceAddDelAddress{}, &interfaces.SwInterfaceSetTable{}, &interfaces.SwInterfaceSetMtu{},
	&interfaces.SwInterfaceSetUnnumbered{}, &interfaces.SwInterfaceTagAddDel{}, &interfaces.WantInterfaceEvents{},
	&interfaces.SwInterfaceEvent{}, &tapv2.TapCreateV3{}, &tapv2.TapCreateV3Reply{}, &tapv2.TapDeleteV2{},
	&tapv2.SwInterfaceTapV2Dump{}, &tapv2.SwInterfaceTapV2Details{}, &af_packet.AfPacketCreateV3{},
	&af_packet.AfPacketDelete{}, &af_packet.AfPacketDump{}, &memif.MemifCreateV2{}, &memif.MemifDelete{},
	&memif.MemifSocketFilenameAddDelV2{}, &memif.MemifDump{}, &memif.MemifDetails{},
	&vxlan.VxlanAddDelTunnelV3{}, &vxlan.VxlanTunnelV2Dump{}, &vxlan.VxlanTunnelV2Details{},
	&ip.IPTableAddDel{}, &ip.IPTableDump{}, &ip.IPRouteAddDelV2{}, &ip.IPRouteV2Dump{}, &ip.IPRouteV2Details{},
	&ip.IPRouteLookupV2{}, &ip.IPAddressDump{}, &ip.IPUnnumberedDump{}, &ip_neighbor.IPNeighborAddDel{},
	&ip_neighbor.IPNeighborDump{}, &ip_neighbor.IPNeighborDetails{}, &acl.ACLAddReplace{},
	&acl.ACLAddReplaceReply{}, &acl.ACLDel{}, &acl.ACLDump{}, &acl.ACLDetails{},
	&acl.ACLInterfaceSetACLList{}, &acl.ACLInterfaceListDump{}, &acl.ACLInterfaceListDetails{},
	&cnat.CnatTranslationUpdate{}, &cnat.CnatTranslationUpdateReply{}, &cnat.CnatTranslationDel{},
	&cnat.CnatTranslationDump{}, &cnat.CnatTranslationDetails{}, &cnat.CnatSnatPolicyAddDelIf{},
	&abf.AbfPolicyAddDel{}, &abf.AbfPolicyDump{}, &abf.AbfItfAttachAddDel{}, &abf.AbfItfAttachDump{},
	&l2.SwInterfaceSetL2Xconnect{}, &l2.L2XconnectDump{}, &l3xc.L3xcUpdate{}, &l3xc.L3xcDel{}, &l3xc.L3xcDump{},
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func equal(what string, ours, expected any) {
	if !reflect.DeepEqual(ours, expected) {
		fail("%s: %#v is not %#v", what, ours, expected)
	}
}

// call fails unless the return code is this one, which GoVPP gives as an error.
func call(channel api.Channel, code api.VPPApiError, request, reply api.Message) {
	err := channel.SendRequest(request).ReceiveReply(reply)
	if code == 0 && err == nil {
		return
	}
	if code != 0 && err == code {
		return
	}
	fail("%s: %v is not %d", request.GetMessageName(), err, code)
}

func dump[D any, P interface {
	*D
	api.Message
}](channel api.Channel, request api.Message) []D {
	var all []D
	answers := channel.SendMultiRequest(request)
	for {
		var details D
		last, err := answers.ReceiveReply(P(&details))
		if err != nil {
			fail("%s: %v", request.GetMessageName(), err)
		}
		if last {
			return all
		}
		all = append(all, details)
	}
}

func address(text string) ip_types.Address {
	return ip_types.NewAddress(net.ParseIP(text))
}

func prefix(text string) ip_types.Prefix {
	parsed, err := ip_types.ParsePrefix(text)
	if err != nil {
		fail("%s: %v", text, err)
	}
	return parsed
}

func loopback(channel api.Channel) interface_types.InterfaceIndex {
	mac, err := net.ParseMAC("02:00:00:00:00:01")
	if err != nil {
		fail("%v", err)
	}
	made := &interfaces.CreateLoopbackReply{}
	call(channel, 0, &interfaces.CreateLoopback{MacAddress: ethernet_types.NewMacAddress(mac)}, made)
	own, err := ip_types.ParseAddressWithPrefix("10.2.0.1/24")
	if err != nil {
		fail("%v", err)
	}
	call(channel, 0, &interfaces.SwInterfaceAddDelAddress{SwIfIndex: made.SwIfIndex, IsAdd: true, Prefix: own},
		&interfaces.SwInterfaceAddDelAddressReply{})
	up := interface_types.IF_STATUS_API_FLAG_ADMIN_UP
	call(channel, 0, &interfaces.SwInterfaceSetFlags{SwIfIndex: made.SwIfIndex, Flags: up},
		&interfaces.SwInterfaceSetFlagsReply{})
	call(channel, api.INVALID_SW_IF_INDEX, &interfaces.SwInterfaceSetFlags{SwIfIndex: 77, Flags: up},
		&interfaces.SwInterfaceSetFlagsReply{})
	all := dump[interfaces.SwInterfaceDetails](channel, &interfaces.SwInterfaceDump{
		SwIfIndex: interface_types.InterfaceIndex(none),
	})
	equal("interfaces", len(all), 2)
	equal("name", all[1].InterfaceName, "loop0")
	equal("mac", all[1].L2Address.String(), mac.String())
	equal("flags", all[1].Flags, up|interface_types.IF_STATUS_API_FLAG_LINK_UP)
	shown := dump[ip.IPAddressDetails](channel, &ip.IPAddressDump{SwIfIndex: made.SwIfIndex})
	equal("address", shown[0].Prefix.String(), own.String())
	return made.SwIfIndex
}

func routes(channel api.Channel, at interface_types.InterfaceIndex) {
	path := fib_types.FibPath{SwIfIndex: uint32(at), Weight: 1, Nh: fib_types.FibPathNh{Address: address("10.2.0.9").Un}}
	route := ip.IPRouteV2{Prefix: prefix("10.7.0.0/16"), NPaths: 1, Paths: []fib_types.FibPath{path}}
	call(channel, 0, &ip.IPRouteAddDelV2{IsAdd: true, Route: route}, &ip.IPRouteAddDelV2Reply{})
	var found *fib_types.FibPath
	for _, details := range dump[ip.IPRouteV2Details](channel, &ip.IPRouteV2Dump{}) {
		if details.Route.Prefix == route.Prefix {
			found = &details.Route.Paths[0]
		}
	}
	if found == nil {
		fail("the route is not shown")
	}
	equal("path", found.Nh.Address.GetIP4(), path.Nh.Address.GetIP4())
	equal("by", found.SwIfIndex, uint32(at))
	call(channel, 0, &ip.IPRouteAddDelV2{Route: route}, &ip.IPRouteAddDelV2Reply{})
}

func acls(channel api.Channel, at interface_types.InterfaceIndex) {
	rule := acl_types.ACLRule{
		IsPermit: acl_types.ACL_ACTION_API_PERMIT_REFLECT, SrcPrefix: prefix("10.0.0.0/8"),
		DstPrefix: prefix("10.2.0.9/32"), Proto: ip_types.IP_API_PROTO_TCP, SrcportOrIcmptypeLast: 65535,
		DstportOrIcmpcodeFirst: 443, DstportOrIcmpcodeLast: 443,
	}
	made := &acl.ACLAddReplaceReply{}
	call(channel, 0, &acl.ACLAddReplace{ACLIndex: none, Tag: "govpp", R: []acl_types.ACLRule{rule}}, made)
	shown := dump[acl.ACLDetails](channel, &acl.ACLDump{ACLIndex: none})
	equal("lists", len(shown), 1)
	equal("tag", shown[0].Tag, "govpp")
	equal("rules", shown[0].R, []acl_types.ACLRule{rule})
	bind := &acl.ACLInterfaceSetACLList{SwIfIndex: at, NInput: 1, Acls: []uint32{made.ACLIndex}}
	call(channel, 0, bind, &acl.ACLInterfaceSetACLListReply{})
	call(channel, api.ACL_IN_USE_INBOUND, &acl.ACLDel{ACLIndex: made.ACLIndex}, &acl.ACLDelReply{})
	bound := dump[acl.ACLInterfaceListDetails](channel, &acl.ACLInterfaceListDump{SwIfIndex: at})
	equal("bound", bound[0].Acls, []uint32{made.ACLIndex})
	call(channel, 0, &acl.ACLInterfaceSetACLList{SwIfIndex: at}, &acl.ACLInterfaceSetACLListReply{})
	call(channel, 0, &acl.ACLDel{ACLIndex: made.ACLIndex}, &acl.ACLDelReply{})
}

func translations(channel api.Channel) {
	end := func(text string, port uint16) cnat.CnatEndpoint {
		return cnat.CnatEndpoint{Addr: address(text), SwIfIndex: interface_types.InterfaceIndex(none), Port: port}
	}
	translation := cnat.CnatTranslation{
		Vip: end("10.96.0.20", 53), IPProto: ip_types.IP_API_PROTO_UDP, LbType: cnat.CNAT_LB_TYPE_MAGLEV,
		NPaths: 1, Paths: []cnat.CnatEndpointTuple{{DstEp: end("10.2.0.9", 5353), SrcEp: end("0.0.0.0", 0)}},
	}
	made := &cnat.CnatTranslationUpdateReply{}
	call(channel, 0, &cnat.CnatTranslationUpdate{Translation: translation}, made)
	shown := dump[cnat.CnatTranslationDetails](channel, &cnat.CnatTranslationDump{})
	equal("translations", len(shown), 1)
	equal("id", shown[0].Translation.ID, made.ID)
	equal("vip", shown[0].Translation.Vip.Addr.String(), "10.96.0.20")
	equal("backend", shown[0].Translation.Paths[0].DstEp.Port, uint16(5353))
	call(channel, 0, &cnat.CnatTranslationDel{ID: made.ID}, &cnat.CnatTranslationDelReply{})
}

// stats reads the statistics: loop0 has had packets.
func stats(socket string) {
	connection, err := core.ConnectStats(statsclient.NewStatsClient(socket))
	if err != nil {
		fail("stats: %v", err)
	}
	defer connection.Disconnect()
	counted := &api.InterfaceStats{}
	if err := connection.GetInterfaceStats(counted); err != nil {
		fail("interface stats: %v", err)
	}
	for _, one := range counted.Interfaces {
		fmt.Printf("interface %d %s rx %d %d tx %d %d drops %d\n", one.InterfaceIndex, one.InterfaceName,
			one.Rx.Packets, one.Rx.Bytes, one.Tx.Packets, one.Tx.Bytes, one.Drops)
	}
	system := &api.SystemStats{}
	if err := connection.GetSystemStats(system); err != nil {
		fail("system stats: %v", err)
	}
	fmt.Printf("workers %d beats %v\n", system.NumWorkerThreads, system.Heartbeat > 0)
	errors := &api.ErrorStats{}
	if err := connection.GetErrorStats(errors); err != nil {
		fail("error stats: %v", err)
	}
	for _, one := range errors.Errors {
		fmt.Printf("error %s %d\n", one.CounterName, one.Values)
	}
}

func main() {
	if len(os.Args) == 3 {
		stats(os.Args[2])
		return
	}
	connection, err := core.Connect(socketclient.NewVppClient(os.Args[1]))
	if err != nil {
		fail("connect: %v", err)
	}
	defer connection.Disconnect()
	channel, err := connection.NewAPIChannel()
	if err != nil {
		fail("channel: %v", err)
	}
	defer channel.Close()
	if err := channel.CheckCompatiblity(used...); err != nil {
		if incompatible, ok := err.(*api.CompatibilityError); ok {
			fail("not offered: %v", incompatible.IncompatibleMessages)
		}
		fail("compatibility: %v", err)
	}
	version := &vpe.ShowVersionReply{}
	call(channel, 0, &vpe.ShowVersion{}, version)
	equal("program", version.Program, "vpe")
	at := loopback(channel)
	routes(channel, at)
	acls(channel, at)
	translations(channel)
	call(channel, 0, &interfaces.DeleteLoopback{SwIfIndex: at}, &interfaces.DeleteLoopbackReply{})
	fmt.Println("done")
}
