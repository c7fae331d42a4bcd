//! Whatever comes over the socket: no panic, no allocation beyond what came.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error should fail right there"
)]

use proptest::prelude::*;
use vpp_api::codec::{DecodeError, EncodeError};
use vpp_api::message::{Header, Message, MessageInfo, decode_message, encode_frame, encode_message};
use vpp_api::messages::{self, acl::*, feature::FeatureEnableDisable, interface::*, ip::IpRouteAddDelV2};
use vpp_api::types::{FibPath, FibPathType, IpRouteV2};

/// Encodes what was decoded; the second time round nothing may change.
fn settles(message: &MessageInfo, bytes: &[u8]) {
    let mut once = Vec::new();
    // Replacing bytes that are not UTF-8 can make a string too long for its field.
    let Ok(Ok(())) = (message.recode)(bytes, &mut once) else {
        return;
    };
    let mut twice = Vec::new();
    (message.recode)(&once, &mut twice).unwrap().unwrap();
    assert_eq!(once, twice, "{}", message.name);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for (_, messages) in messages::ALL {
            for message in *messages {
                let _ = (message.readable)(&bytes);
            }
        }
    }

    #[test]
    fn decoding_and_encoding_settle(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..900)) {
        for message in messages::ALL.iter().flat_map(|(_, messages)| *messages) {
            settles(message, &bytes);
        }
    }

    #[test]
    fn every_cut_of_a_message_is_too_short(cut in 0usize..373) {
        let route = IpRouteV2 {
            paths: vec![FibPath::attached(1, false), FibPath::attached(2, false)],
            ..Default::default()
        };
        let whole = encoded(&IpRouteAddDelV2 { is_add: true, is_multipath: false, route });
        prop_assert_eq!(whole.len(), 374);
        let error = decode_message::<IpRouteAddDelV2>(&whole[..cut]).unwrap_err();
        let is_short = matches!(error, DecodeError::Short { .. });
        prop_assert!(is_short, "cut at {}: {}", cut, error);
    }
}

fn encoded<M: Message>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_message(&mut bytes, 1, Header::default(), message).unwrap();
    bytes
}

#[test]
fn a_count_beyond_the_message_is_refused_before_allocating() {
    let mut bytes = encoded(&AclAddReplace::default());
    let count = bytes.len() - 4;
    bytes[count..].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(
        decode_message::<AclAddReplace>(&bytes).unwrap_err(),
        DecodeError::Short {
            needed: u32::MAX as usize * 48,
            left: 0
        }
    );
}

#[test]
fn bytes_behind_the_last_field_are_ignored() {
    let mut bytes = encoded(&AclDel { acl_index: 9 });
    bytes.extend([0xff; 40]);
    assert_eq!(
        decode_message::<AclDel>(&bytes).unwrap().2,
        AclDel { acl_index: 9 }
    );
}

#[test]
fn values_without_a_name_survive() {
    let path = FibPath {
        type_: FibPathType(4711),
        ..Default::default()
    };
    let route = IpRouteV2 {
        paths: vec![path],
        ..Default::default()
    };
    let message = IpRouteAddDelV2 {
        is_add: true,
        is_multipath: false,
        route,
    };
    assert_eq!(
        decode_message::<IpRouteAddDelV2>(&encoded(&message)).unwrap().2,
        message
    );
    assert_eq!(format!("{:?}", FibPathType(4711)), "FibPathType(4711)");
    assert_eq!(format!("{:?}", FibPathType(2)), "FIB_API_PATH_TYPE_DROP");
}

#[test]
fn an_unknown_address_family_is_an_error() {
    let mut bytes = encoded(&SwInterfaceAddDelAddress::default());
    let family = bytes.len() - 18;
    bytes[family] = 7;
    assert_eq!(
        decode_message::<SwInterfaceAddDelAddress>(&bytes).unwrap_err(),
        DecodeError::AddressFamily(7)
    );
}

#[test]
fn what_does_not_fit_is_an_error_and_leaves_the_buffer_alone() {
    let mut buffer = vec![1, 2, 3];
    let mut encode = |tag: String| {
        let message = SwInterfaceTagAddDel {
            is_add: true,
            sw_if_index: 1,
            tag,
        };
        encode_frame(&mut buffer, 1, Header::default(), &message)
    };
    assert_eq!(
        encode("x".repeat(64)).unwrap_err(),
        EncodeError::StringTooLong {
            field: "tag",
            length: 64,
            max: 63
        }
    );
    assert_eq!(
        encode("a\0b".to_owned()).unwrap_err(),
        EncodeError::NulInString { field: "tag" }
    );
    assert_eq!(buffer, [1, 2, 3]);

    let longest = SwInterfaceTagAddDel {
        is_add: true,
        sw_if_index: 1,
        tag: "x".repeat(63),
    };
    assert_eq!(
        decode_message::<SwInterfaceTagAddDel>(&encoded(&longest))
            .unwrap()
            .2,
        longest
    );

    // The counter of the list is one byte.
    let list = AclInterfaceSetAclList {
        sw_if_index: 1,
        n_input: 0,
        acls: vec![0; 256],
    };
    assert_eq!(
        encode_message(&mut buffer, 1, Header::default(), &list).unwrap_err(),
        EncodeError::TooManyElements {
            field: "acls",
            length: 256,
            max: 255
        }
    );
}

#[test]
fn a_fixed_string_ends_at_its_first_nul() {
    let mut bytes = encoded(&FeatureEnableDisable {
        arc_name: "ip4-unicast".to_owned(),
        ..Default::default()
    });
    let arc_name = 2 + 4 + 4 + 4 + 1;
    bytes[arc_name + 4..arc_name + 8].copy_from_slice(b"\0\xff\xfe!");
    assert_eq!(
        decode_message::<FeatureEnableDisable>(&bytes).unwrap().2.arc_name,
        "ip4-"
    );
}
