"""Connecting vpp_papi to a dataplane, and its values as plain data."""

import enum
import ipaddress
import pathlib

from vpp_papi import VPPApiClient
from vpp_papi.macaddress import MACAddress


def connect(definitions, socket, name):
    """A client that knows the definitions below a folder."""
    files = [str(path) for path in sorted(pathlib.Path(definitions).rglob("*.api.json"))]
    client = VPPApiClient(apifiles=files, server_address=socket)
    client.connect(name)
    return client


def plain(value):
    """Replies in the form of the recordings: enums by name, addresses as text, messages without their heads."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (ipaddress._IPAddressBase, MACAddress)):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "_fields"):
        heads = ("_0", "context", "client_index")
        return {field: plain(getattr(value, field)) for field in value._fields if field not in heads}
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    return value
