"""Reads statistics with vpp_papi: stats.py DEFINITIONS STATS_SOCKET. Prints what a test looks for."""

import sys

from vpp_papi.vpp_stats import VPPStats


def main():
    _definitions, socket = sys.argv[1:]
    stats = VPPStats(socket)
    stats.connect()
    assert stats.version == 2
    names = stats["/if/names"]
    for index, name in enumerate(names):
        rx, drops = stats["/if/rx"][:, index], stats["/if/drops"][:, index]
        print(f"interface {index} {name} rx {rx.sum_packets()} {rx.sum_octets()} drops {drops.sum()}")
    print(f"link {stats['/interfaces/tap0/rx'].sum_packets()}")
    print(f"beats {stats['/sys/heartbeat'] > 0}")
    for name, count in sorted(stats.set_errors().items()):
        print(f"error {name} {count}")
    assert sorted(stats.ls("/if/")) == ["/if/drops", "/if/names", "/if/rx", "/if/tx", "/if/tx-error"]
    stats.disconnect()


if __name__ == "__main__":
    main()
