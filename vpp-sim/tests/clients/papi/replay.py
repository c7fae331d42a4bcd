"""Replays a recording of real VPP: replay.py DEFINITIONS RECORDING SOCKET_OF_A SOCKET_OF_B.

Requests are sent as they were recorded, with the indices mapped; replies and dumps are compared field by field. Probes
are left out: packets are compared by the engine's own replay. Prints what it did and each difference; exits with 1 when there is one
that is not listed here.
"""

import collections
import json
import sys

from common import connect, plain

# Which kind of index a field holds.
KINDS = {
    "sw_if_index": "interface",
    "sup_sw_if_index": "interface",
    "rx_sw_if_index": "interface",
    "tx_sw_if_index": "interface",
    "ip_sw_if_index": "interface",
    "unnumbered_sw_if_index": "interface",
    "mcast_sw_if_index": "interface",
    "acl_index": "acl",
    "acls": "acl",
    "id": "translation",
    "socket_id": "socket",
    "next_index": "next",
    "decap_next_index": "next",
}

# Messages in which `id` is something the client chose.
OWN_IDS = ("memif_",)

# Differences left, by (message, field), each with its reason.
LEFT = {
    ("sw_interface_dump", "l2_address"): "drawn at random",
    ("memif_dump", "hw_addr"): "drawn at random",
    ("ip_neighbor_add_del", "stats_index"): "no counters of adjacencies are kept",
    ("ip_neighbor_dump", "age"): "time passes",
    ("ip_route_add_del_v2", "stats_index"): "no counters of routes are kept",
    ("ip_route_v2_dump", "stats_index"): "no counters of routes are kept",
    ("ip_route_lookup_v2", "stats_index"): "no counters of routes are kept",
    ("cli_inband", "reply"): "text for people, with counters of the recording's traffic",
    ("cli_inband", "retval"): "only some debug commands are known",
    ("memif_socket_filename_dump", "socket_filename"): "the first socket is in the runtime directory",
    ("memif_dump", "flags"): "no peer is connected: shared memory is not played",
}

# Requests left out, by (message, argument, value), each with its reason.
LEFT_OUT = {
    ("af_packet_create_v3", "host_if_name", "nosuch"): "devices are played here, and all of them exist",
}


class Node:
    """One connection, and which of its indices is which recorded one."""

    def __init__(self, client):
        self.client = client
        self.ours = collections.defaultdict(dict)

    def kind(self, message, field):
        if field == "id" and message.startswith(OWN_IDS):
            return None
        return KINDS.get(field)

    def mapped(self, message, value, field=None):
        """A recorded value with our indices."""
        if isinstance(value, dict):
            return {key: self.mapped(message, inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.mapped(message, inner, field) for inner in value]
        kind = self.kind(message, field)
        if kind and isinstance(value, int):
            return self.ours[kind].get(value, value)
        if field in ("interface_name", "if_name") and value.startswith("memif"):
            for theirs, ours in self.ours["socket"].items():
                value = value.replace(f"memif{theirs}/", f"memif{ours}/")
        return value

    def learn(self, message, recorded, ours):
        """Takes note of the indices a successful reply gives."""
        if ours.get("retval") != 0 or recorded.get("retval") != 0:
            return
        for field, value in recorded.items():
            kind = self.kind(message, field)
            if kind and isinstance(ours.get(field), int):
                self.ours[kind].setdefault(value, ours[field])


def is_left_out(message, arguments):
    """Whether a request is not to be sent."""
    return any(message == m and arguments.get(a) == value for m, a, value in LEFT_OUT)


def differences(message, path, recorded, ours):
    """Paths at which two values differ, each with the reason or None."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for key in sorted(set(recorded) | set(ours)):
            yield from differences(message, f"{path}.{key}", recorded.get(key), ours.get(key))
    elif isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        for index, (left, right) in enumerate(zip(recorded, ours)):
            yield from differences(message, f"{path}[{index}]", left, right)
    elif recorded != ours:
        reason = LEFT.get((message, path.rpartition(".")[2]))
        yield f"{message}{path}: recorded {recorded!r}, ours {ours!r}", reason


def order(details):
    """An order for dumps that VPP lists in the order of a hash table: by indices, then by what is compared."""
    ignored = {field for _, field in LEFT}
    indices = [details.get(field) for field in KINDS if isinstance(details.get(field), int)]
    return json.dumps([indices, {name: details[name] for name in sorted(set(details) - ignored)}])


def main():
    definitions, recording, *sockets = sys.argv[1:]
    nodes = {
        name: Node(connect(definitions, socket, f"replay-{name}")) for name, socket in zip("ab", sockets)
    }
    answers, left, wrong = 0, collections.Counter(), []
    with open(recording, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            record = json.loads(line)
            message = record.get("request")
            if message is None or is_left_out(message, record["args"]):
                continue
            node = nodes[record["node"]]
            arguments = node.mapped(message, record["args"])
            answer = plain(getattr(node.client.api, message)(**arguments))
            answers += 1
            if "details" in record:
                recorded = sorted(node.mapped(message, record["details"]), key=order)
                answer.sort(key=order)
            else:
                node.learn(message, record["reply"], answer)
                recorded = node.mapped(message, record["reply"])
            for difference, reason in differences(message, "", recorded, answer):
                if reason:
                    left[f"{message}: {reason}"] += 1
                else:
                    wrong.append(f"line {number}: {difference}")
    for node in nodes.values():
        node.client.disconnect()
    print(f"{answers} answers compared, {len(wrong)} differences")
    for reason, count in sorted(left.items()):
        print(f"left {count}x {reason}")
    for difference in wrong:
        print(difference)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
