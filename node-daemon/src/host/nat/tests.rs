use super::*;

fn vip(address: &str, port: u16, protocol: Protocol) -> Vip {
    Vip {
        address: address.parse().unwrap(),
        port,
        protocol,
    }
}

fn target(address: &str, port: u16) -> (IpAddr, u16) {
    (address.parse().unwrap(), port)
}

/// One of everything, both families.
fn table() -> Table {
    let cidr = |text: &str| text.parse::<Cidr>().unwrap();
    Table {
        ifname: "contiv0".into(),
        addresses: vec!["192.168.0.1".parse().unwrap(), "fd02::1".parse().unwrap()],
        kept: vec![cidr("10.1.1.0/24"), cidr("169.254.0.3/32"), cidr("fd00:1:1::/64")],
        nodes: vec!["192.168.0.2".parse().unwrap(), "fd02::2".parse().unwrap()],
        masqueraded: vec![cidr("10.1.1.0/24"), cidr("fd00:1:1::/64")],
        rules: Rules {
            entries: [
                (
                    vip("192.168.0.1", 30080, Protocol::Tcp),
                    target("169.254.0.2", 30080),
                ),
                (
                    vip("fd02::1", 30053, Protocol::Udp),
                    target("64:ff9b:1::a9fe:2", 30053),
                ),
            ]
            .into(),
            own: [
                (
                    vip("192.168.0.1", 30080, Protocol::Tcp),
                    vec![target("169.254.0.2", 30080)],
                ),
                (
                    vip("10.96.0.1", 443, Protocol::Tcp),
                    vec![target("172.30.0.1", 6443), target("172.30.0.2", 6443)],
                ),
                (
                    vip("fd00:96::1", 53, Protocol::Udp),
                    vec![target("fd02::9", 53), target("fd02::8", 53)],
                ),
            ]
            .into(),
            refused: [
                (vip("192.168.0.1", 30081, Protocol::Tcp), Refusal::Drop),
                (vip("fd02::1", 30082, Protocol::Udp), Refusal::Reject),
            ]
            .into(),
            own_refused: [
                vip("10.96.0.7", 80, Protocol::Tcp),
                vip("fd00:96::7", 80, Protocol::Udp),
            ]
            .into(),
            admitted: [
                (
                    vip("192.0.2.1", 80, Protocol::Tcp),
                    vec![cidr("203.0.113.0/24"), cidr("10.0.0.0/8")],
                ),
                (vip("2001:db8::1", 80, Protocol::Tcp), vec![]),
            ]
            .into(),
            host_ports: HostPorts {
                all: [
                    ((false, Protocol::Tcp, 8080), target("10.1.1.7", 80)),
                    ((true, Protocol::Sctp, 8080), target("fd00:1:1::7", 80)),
                ]
                .into(),
                one: [(vip("127.0.0.1", 53, Protocol::Udp), target("10.1.1.8", 5353))].into(),
            },
        },
    }
}

#[test]
fn every_entry_names_address_protocol_and_port() {
    let ruleset = table().ruleset();
    for part in [
        "elements = { 192.168.0.1 . tcp . 30080 : 169.254.0.2 . 30080 }",
        "elements = { fd02::1 . udp . 30053 : 64:ff9b:1::a9fe:2 . 30053 }",
        "elements = { 192.168.0.1 . tcp . 30081 : drop }",
        "elements = { tcp . 8080 : 10.1.1.7 . 80 }",
        "elements = { sctp . 8080 : fd00:1:1::7 . 80 }",
        "elements = { 127.0.0.1 . udp . 53 : 10.1.1.8 . 5353 }",
        "elements = { fd02::1 . udp . 30082 : goto refuse }",
        "elements = { 10.96.0.7 . tcp . 80 }",
        "elements = { fd00:96::7 . udp . 80 }",
        "iifname \"contiv0\" ip daddr 169.254.0.8 goto refuse",
        "iifname \"contiv0\" ip6 daddr 64:ff9b:1::a9fe:8 goto refuse",
        "elements = { 192.0.2.1 . tcp . 80 . 203.0.113.0/24, 192.0.2.1 . tcp . 80 . 10.0.0.0/8 }",
        "ip daddr 10.96.0.1 tcp dport 443 dnat ip to jhash ip saddr . tcp sport mod 2 map { 0 : 172.30.0.1 . 6443, 1 : 172.30.0.2 . 6443 }",
        "elements = { fd02::2 }",
        "oifname \"contiv0\" ct status dnat ip saddr @nodes4 snat ip to 192.168.0.1",
        "oifname \"contiv0\" ct status dnat ip daddr != { 10.1.1.0/24, 169.254.0.3/32 } snat ip to 192.168.0.1",
    ] {
        assert!(ruleset.contains(part), "{part}\n{ruleset}");
    }
    assert!(ruleset.starts_with("add table inet contiv\ndelete table inet contiv\ntable inet contiv {"));
}

/// nft itself is the judge of the language: the table is loaded twice (the second time over the first) in a network
/// namespace of its own, and what nft lists has what we meant.
#[test]
fn nft_takes_the_table_and_replaces_it() {
    let empty = Table {
        ifname: "contiv0".into(),
        addresses: vec![],
        kept: vec![],
        nodes: vec![],
        masqueraded: vec![],
        rules: Rules::default(),
    };
    let script = format!(
        "set -e\nnft -f - <<'END'\n{}END\nnft -f - <<'END'\n{}END\nnft list table inet contiv\n\
         nft -f - <<'END'\n{}END\nnft list table inet contiv | grep -c elements || true\n",
        table().ruleset(),
        table().ruleset(),
        empty.ruleset(),
    );
    let mut unshare = std::process::Command::new("unshare");
    let output = unshare.args(["-n", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "as root, with nftables installed: {errors}"
    );
    assert_eq!(said.matches("elements = ").count(), 15, "{said}");
    assert!(
        said.contains("10.0.0.0/8") && said.contains("reject with tcp reset"),
        "{said}"
    );
    assert!(
        said.trim_end().ends_with("\n0"),
        "the empty table has no element: {said}"
    );
}
