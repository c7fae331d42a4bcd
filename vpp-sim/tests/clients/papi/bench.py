"""Measures vpp_papi: bench.py DEFINITIONS SOCKET (sync|async) SEQUENTIAL PINGS ROUTES TRANSLATIONS BACKENDS RULES REPEATS.
REPEATS of 0 leaves out all but pings and routes.

Prints a line for each workload: name, count, seconds. What it makes it takes away.
"""

import pathlib
import sys
import threading
import time

from vpp_papi import VPPApiClient

NONE = 0xFFFFFFFF
# A table of our own, which takes its routes with it.
TABLE = 4242
# Requests on their way.
WINDOW = 256
NEEDED = ("acl", "acl_types", "cnat", "ethernet_types", "fib_types", "interface", "interface_types", "ip", "ip_types")
NEEDED += ("memclnt", "mfib_types", "tunnel_types", "vlib", "vpe", "vpe_types")


def connect(definitions, socket, do_async):
    """A client with the definitions that are used; more would only take longer to load."""
    files = [str(path) for path in pathlib.Path(definitions).rglob("*.api.json") if path.name.split(".")[0] in NEEDED]
    client = VPPApiClient(apifiles=sorted(files), server_address=socket)
    client.connect("bench", do_async=do_async)
    return client


def report(name, count, work):
    """Times one workload."""
    started = time.monotonic()
    work()
    print(name, count, time.monotonic() - started, flush=True)


class Pipeline:
    """Many requests on their way; answers come to a callback in another thread."""

    def __init__(self, client):
        self.client = client
        self.slots = threading.Semaphore(WINDOW)
        self.answers = []
        client.register_event_callback(self.answered)

    def answered(self, _, message):
        """Called with each decoded answer."""
        assert message.retval == 0, message
        self.answers.append(message)
        self.slots.release()

    def all(self, function, requests):
        """Sends all and waits for all answers."""
        self.answers = []
        for request in requests:
            self.slots.acquire()
            function(**request)
        for _ in range(WINDOW):
            self.slots.acquire()
        for _ in range(WINDOW):
            self.slots.release()
        return self.answers


def route(n, sw_if_index):
    """A host route."""
    path = {
        "sw_if_index": sw_if_index,
        "rpf_id": NONE,
        "weight": 1,
        "proto": 0,
        "nh": {"address": {"ip4": "192.0.2.1"}},
        "n_labels": 0,
        "label_stack": [{}] * 16,
    }
    prefix = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32"
    return {
        "is_add": True,
        "is_multipath": False,
        "route": {"table_id": TABLE, "prefix": prefix, "n_paths": 1, "paths": [path], "src": 0},
    }


def translation(n, backends):
    """A service."""
    nowhere = {"if_af": 0, "sw_if_index": NONE, "port": 0, "addr": "0.0.0.0"}
    paths = [
        {"dst_ep": {**nowhere, "addr": f"10.200.{n & 255}.{b}", "port": 8080}, "src_ep": nowhere, "flags": 0}
        for b in range(backends)
    ]
    translation = {
        "vip": {**nowhere, "addr": f"10.96.{n >> 8}.{n & 255}", "port": 80},
        "ip_proto": 6,
        "is_real_ip": 0,
        "flags": 8,
        "lb_type": 0,
        "flow_hash_config": 0,
        "n_paths": backends,
        "paths": paths,
    }
    return {"translation": translation}


def rules(count):
    """The rules of a list."""
    return [
        {
            "is_permit": 2,
            "src_prefix": f"10.{n >> 8}.{n & 255}.0/24",
            "dst_prefix": "10.0.0.0/8",
            "proto": 6,
            "srcport_or_icmptype_first": 0,
            "srcport_or_icmptype_last": 65535,
            "dstport_or_icmpcode_first": 80,
            "dstport_or_icmpcode_last": 80,
        }
        for n in range(count)
    ]


def objects(api, fast, pipeline, translations, backends, rule_count, repeats):
    """Services, and one long list."""
    services = (translation(n, backends) for n in range(translations))
    report("translations", translations, lambda: pipeline.all(fast.cnat_translation_update, services))
    made = [answer.id for answer in pipeline.answers]
    report("translation-dump", translations, api.cnat_translation_dump)
    pipeline.all(fast.cnat_translation_del, ({"id": one} for one in made))
    acl = {"tag": "bench", "count": rule_count, "r": rules(rule_count)}
    index = api.acl_add_replace(acl_index=NONE, **acl).acl_index
    again = ({"acl_index": index, **acl} for _ in range(repeats))
    report("acl-replace", repeats, lambda: pipeline.all(fast.acl_add_replace, again))
    report("acl-dump", repeats, lambda: [api.acl_dump(acl_index=index) for _ in range(repeats)])
    api.acl_del(acl_index=index)


def main():
    definitions, socket, mode = sys.argv[1:4]
    sequential, pings, routes, translations, backends, rule_count, repeats = map(int, sys.argv[4:])
    client = connect(definitions, socket, False)
    api = client.api
    loop = api.create_loopback(mac_address="00:00:00:00:00:00").sw_if_index
    table = {"table_id": TABLE, "is_ip6": False}
    api.ip_table_add_del(is_add=True, table=table)

    def dump(count):
        found = len(api.ip_route_v2_dump(src=8, table=table))
        assert found == count, found

    if mode == "sync":
        report("pings", sequential, lambda: [api.control_ping() for _ in range(sequential)])
        report("routes", sequential, lambda: [api.ip_route_add_del_v2(**route(n, loop)) for n in range(sequential)])
        if repeats:
            report("route-dump", sequential, lambda: dump(sequential))
    else:
        fast = connect(definitions, socket, True)
        pipeline = Pipeline(fast)
        report("pings", pings, lambda: pipeline.all(fast.api.control_ping, ({} for _ in range(pings))))
        all_routes = (route(n, loop) for n in range(routes))
        report("routes", routes, lambda: pipeline.all(fast.api.ip_route_add_del_v2, all_routes))
        if repeats:
            report("route-dump", routes, lambda: dump(routes))
            objects(api, fast.api, pipeline, translations, backends, rule_count, repeats)
    api.ip_table_add_del(is_add=False, table=table)
    api.delete_loopback(sw_if_index=loop)
    # Its reader threads wait for more: nothing is lost by leaving them behind.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
