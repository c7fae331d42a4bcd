//! The newtypes' text forms, port ranges, and the condition setter.

use std::collections::BTreeMap;

use crds::conditions;
use crds::net::{Cidr, PortMatch, Protocol};
use crds::vpp_config::PolicyRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

#[test]
fn cidr_text_forms() {
    let cases = [
        ("10.0.0.0/8", Some("10.0.0.0/8")),
        ("10.1.2.3/8", Some("10.0.0.0/8")),
        ("192.0.2.7", Some("192.0.2.7/32")),
        ("2001:db8::1", Some("2001:db8::1/128")),
        ("2001:DB8:0::/32", Some("2001:db8::/32")),
        ("0.0.0.0/0", Some("0.0.0.0/0")),
        ("10.0.0.0/33", None),
        ("10.0.0/8", None),
        ("::/129", None),
        ("", None),
    ];
    for (text, expected) in cases {
        let parsed = text.parse::<Cidr>().map(|cidr| cidr.to_string());
        assert_eq!(parsed.as_deref().ok(), expected, "{text:?}");
    }
}

#[test]
fn cidr_never_matches_the_other_family() {
    let all: Cidr = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains("198.51.100.1".parse().unwrap()));
    assert!(!all.contains("::ffff:198.51.100.1".parse().unwrap()));
}

#[test]
fn a_bad_cidr_is_refused_with_what_to_write_instead() {
    let error = serde_json::from_str::<Cidr>("\"10.0.0/8\"")
        .unwrap_err()
        .to_string();
    assert!(error.contains("write ADDRESS/LENGTH"), "{error}");
}

#[test]
fn references_are_one_text() {
    let reference = PolicyRef {
        namespace: "shop".into(),
        name: "allow-web".into(),
    };
    assert_eq!(serde_json::to_string(&reference).unwrap(), "\"shop/allow-web\"");
    assert_eq!("shop/allow-web".parse(), Ok(reference));
    for text in ["shop", "/allow-web", "shop/", "shop/allow/web", ""] {
        let error = serde_json::from_str::<PolicyRef>(&format!("{text:?}")).unwrap_err();
        assert!(error.to_string().contains("write NAMESPACE/NAME"), "{error}");
    }
}

#[test]
fn port_ranges_are_inclusive_and_absent_means_all() {
    let of = |port, end_port| {
        PortMatch {
            protocol: Protocol::Tcp,
            port,
            end_port,
        }
        .range()
    };
    assert_eq!(of(None, None), (0, 65535));
    assert_eq!(of(Some(80), None), (80, 80));
    assert_eq!(of(Some(80), Some(90)), (80, 90));
}

#[test]
fn equal_values_have_equal_hashes_and_order_of_insertion_does_not_matter() {
    let one: BTreeMap<&str, u8> = [("a", 1), ("b", 2)].into();
    let other: BTreeMap<&str, u8> = [("b", 2), ("a", 1)].into();
    assert_eq!(crds::revision::hash(&one), crds::revision::hash(&other));
    assert_ne!(
        crds::revision::short_hash(&one),
        crds::revision::short_hash(&BTreeMap::<&str, u8>::new())
    );
    assert_eq!(crds::revision::short_hash(&one).len(), 16);
}

#[test]
fn a_condition_keeps_its_transition_time_until_its_status_changes() {
    let at = |second| Time(Timestamp::from_second(second).unwrap());
    let mut list = Vec::new();
    assert!(conditions::set(
        &mut list,
        "Ready",
        Some(false),
        "Starting",
        "no VPP yet",
        Some(1),
        at(1)
    ));
    // Another message, same status: changed, but no transition.
    assert!(conditions::set(
        &mut list,
        "Ready",
        Some(false),
        "Starting",
        "still none",
        Some(1),
        at(2)
    ));
    assert_eq!(list[0].last_transition_time, at(1));
    // Nothing new.
    assert!(!conditions::set(
        &mut list,
        "Ready",
        Some(false),
        "Starting",
        "still none",
        Some(2),
        at(3)
    ));
    assert_eq!(list[0].observed_generation, Some(2));
    assert!(conditions::set(
        &mut list,
        "Ready",
        Some(true),
        "Applied",
        "",
        Some(2),
        at(4)
    ));
    assert_eq!(list[0].last_transition_time, at(4));
    assert!(conditions::is_true(&list, "Ready"));
    // Sorted by type whatever the order of setting; unknown is neither true nor false.
    conditions::set(&mut list, "Accepted", None, "Waiting", "", None, at(5));
    assert_eq!(
        list.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(),
        ["Accepted", "Ready"]
    );
    assert!(!conditions::is_true(&list, "Accepted"));
}

#[test]
fn a_condition_message_is_cut_at_256_characters_not_bytes() {
    let mut list = Vec::new();
    conditions::set(
        &mut list,
        "Ready",
        Some(true),
        "R",
        &"ü".repeat(300),
        None,
        Time(Timestamp::UNIX_EPOCH),
    );
    assert_eq!(list[0].message.chars().count(), 256);
}
