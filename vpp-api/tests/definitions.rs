//! Our definitions against VPP's: the checksum VPP computes over a definition, computed over ours.
//!
//! The checksum covers names, types and order of all fields, of the types they use, and the members of enums. So a
//! definition with the right checksum is VPP's definition.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error should fail right there"
)]

mod shared;

use serde_json::Value;
use std::collections::BTreeMap;
use vpp_api::message::{Head, MessageInfo};
use vpp_api::messages::{self, cnat};
use vpp_api::shape::{FieldSpec, Repeat, Shape};

/// CRC-32 as of zlib, continued from an earlier one.
fn crc32(text: &str, crc: u32) -> u32 {
    !text.bytes().fold(!crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

/// A field as vppapigen's Python prints it.
fn field_text(field: &FieldSpec) -> String {
    let (type_name, name) = (field.declared().type_name(), field.name());
    match field.repeat {
        Repeat::One => format!("['{type_name}', '{name}']"),
        Repeat::Fixed(length) => format!("['{type_name}', '{name}', {length}, None]"),
        Repeat::Counted(by) => format!("['{type_name}', '{name}', 0, '{by}']"),
        Repeat::Prefixed => format!("['{type_name}', '{name}', 0, None]"),
    }
}

fn block(fields: impl Iterator<Item = String>) -> String {
    format!("[{}]", fields.collect::<Vec<_>>().join(", "))
}

/// Goes on with the types of the fields, depth first.
fn fold(fields: &[FieldSpec], crc: u32) -> u32 {
    fields.iter().fold(crc, |crc, field| match field.declared() {
        Shape::Primitive(_) => crc,
        // vppapigen leaves out what an alias stands for, "to be backwards compatible".
        Shape::Alias(_) => crc32("[]", crc),
        Shape::Enum { members, .. } => crc32(
            &block(members.iter().map(|(name, value)| format!("['{name}', {value}]"))),
            crc,
        ),
        Shape::Struct { fields, .. } | Shape::Union { fields, .. } => {
            fold(fields, crc32(&block(fields.iter().map(field_text)), crc))
        }
    })
}

fn checksum(message: &MessageInfo) -> String {
    let Shape::Struct { fields, .. } = message.shape else {
        panic!("{}: not a struct", message.name)
    };
    let head: &[&str] = match message.head {
        Head::ClientAndContext => &["client_index", "context"],
        Head::Context => &["context"],
        Head::ClientAndPid => &["client_index", "pid"],
    };
    let head = head.iter().map(|name| format!("['u32', '{name}']"));
    let crc = crc32(&block(head.chain(fields.iter().map(field_text))), 0);
    format!("{:08x}", fold(fields, crc))
}

#[test]
fn the_checksum_is_computed_as_zlib_does() {
    // Check value of CRC-32/ISO-HDLC, and a run in two parts.
    assert_eq!(crc32("123456789", 0), 0xcbf4_3926);
    assert_eq!(crc32("6789", crc32("12345", 0)), 0xcbf4_3926);
}

#[test]
fn every_definition_has_the_checksum_it_claims() {
    let all = messages::ALL
        .iter()
        .flat_map(|(_, messages)| *messages)
        .chain(cnat::v0_3::MESSAGES);
    let (mut count, mut wrong) = (0, Vec::new());
    for message in all {
        if checksum(message) != message.crc {
            wrong.push(message.name);
        }
        assert_eq!(format!("{}_{}", message.name, message.crc), message.name_crc);
        count += 1;
    }
    assert_eq!(wrong, [""; 0]);
    assert!(count > 150, "only {count} messages are listed");
}

#[test]
fn the_checksums_are_those_of_vpp_26_06() {
    let Some(shared) = shared::shared() else { return };
    let api = shared.join("vpp/api-26.06");
    for (module, messages) in messages::ALL {
        let file = ["core", "plugins"]
            .map(|kind| api.join(kind).join(format!("{module}.api.json")))
            .into_iter()
            .find(|file| file.is_file())
            .unwrap_or_else(|| panic!("no definition of {module}"));
        let json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let theirs: BTreeMap<&str, &str> = json["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message.as_array().unwrap())
            .map(|message| {
                (
                    message[0].as_str().unwrap(),
                    message.last().unwrap()["crc"].as_str().unwrap(),
                )
            })
            .collect();
        for message in *messages {
            assert_eq!(
                theirs.get(message.name),
                Some(&format!("0x{}", message.crc).as_str()),
                "{}",
                message.name
            );
        }
    }
}

#[test]
fn older_cnat_has_the_checksums_of_vpp_26_02() {
    let Some(shared) = shared::shared() else { return };
    let matrix = std::fs::read_to_string(shared.join("vpp/crc-matrix.tsv")).unwrap();
    let mut lines = matrix.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = header.iter().position(|name| *name == "v26.02").unwrap();
    let theirs: BTreeMap<&str, &str> = lines
        .filter(|line| line[0] == "cnat")
        .map(|line| (line[1], line[column]))
        .collect();
    for message in cnat::v0_3::MESSAGES {
        assert_eq!(theirs.get(message.name), Some(&message.crc), "{}", message.name);
    }
}
