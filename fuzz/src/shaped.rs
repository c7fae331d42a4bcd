//! Messages made from their definitions: every one that VPP's compiler would accept as well-formed, in the one way in which we
//! would write it, so that decoding and encoding must give the same bytes.

use arbitrary::{Result, Unstructured};
use vpp_api::message::{Head, MessageInfo};
use vpp_api::shape::{FieldSpec, Repeat, Shape};

use crate::addresses;

/// Texts that some handler looks for.
const TEXTS: [&str; 10] = [
    "",
    "a",
    "eth0",
    "tap0",
    "default",
    "ip4-unicast",
    "ip6-unicast",
    "acl-plugin-in-ip4-fa",
    "vxlan4-input",
    "/run/vpp/memif.sock",
];

/// Lines of `cli_inband`.
const LINES: [&str; 8] = [
    "show version",
    "show interface",
    "show interface address",
    "show errors",
    "show ip fib",
    "show cnat session",
    "show acl-plugin sessions",
    "trace add af-packet-input 10",
];

/// A message from its id on, in a head of the caller's.
///
/// # Errors
/// None; as everywhere in `arbitrary`.
pub fn message(u: &mut Unstructured<'_>, info: &MessageInfo, id: u16, head: (u32, u32)) -> Result<Vec<u8>> {
    let mut out = id.to_be_bytes().to_vec();
    if info.head != Head::Context {
        out.extend(head.0.to_be_bytes());
    }
    out.extend(head.1.to_be_bytes());
    value(u, &mut out, "", "", &info.shape)?;
    Ok(out)
}

fn value(u: &mut Unstructured<'_>, out: &mut Vec<u8>, name: &str, token: &str, shape: &Shape) -> Result<()> {
    match shape {
        Shape::Primitive(primitive) => number(u, out, name, token, primitive),
        Shape::Alias(alias) => {
            match *alias {
                "ip4_address" => out.extend(addresses::v4(u)?.octets()),
                "ip6_address" => out.extend(addresses::v6(u)?.octets()),
                "mac_address" => out.extend(addresses::mac(u)?.0),
                other => panic!("nothing is known of the alias {other}"),
            }
            Ok(())
        }
        Shape::Enum { repr, members, .. } => {
            let number = if members.is_empty() || u.ratio(1, 16)? {
                u.arbitrary()?
            } else if u.ratio(1, 8)? {
                u.choose(members)?.1 | u.choose(members)?.1
            } else {
                u.choose(members)?.1
            };
            integer(out, repr, number);
            Ok(())
        }
        Shape::Union { name, fields } => {
            let length = match *name {
                "address_union" => 16,
                "punt_union" => 4,
                name => panic!("nothing is known of the union {name}"),
            };
            let arm = u.choose_index(fields.len())?;
            let start = out.len();
            value(u, out, "", "", fields[arm].shape)?;
            out.resize(start + length, 0);
            Ok(())
        }
        // What the second field means depends on the first: no other family can be decoded.
        Shape::Struct { name: "address", .. } => {
            let start = out.len();
            if u.arbitrary()? {
                out.push(0);
                out.extend(addresses::v4(u)?.octets());
                out.resize(start + 17, 0);
            } else {
                out.push(1);
                out.extend(addresses::v6(u)?.octets());
            }
            Ok(())
        }
        Shape::Struct { fields, .. } => all(u, out, fields),
    }
}

/// Fields in order; a counter is written with the number of elements that will follow.
fn all(u: &mut Unstructured<'_>, out: &mut Vec<u8>, fields: &[FieldSpec]) -> Result<()> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for field in fields {
        let counts_another = |other: &FieldSpec| other.repeat == Repeat::Counted(field.ident);
        match field.repeat {
            Repeat::One if fields.iter().any(counts_another) => {
                let count = if u.ratio(1, 16)? {
                    u.int_in_range(0..=255)?
                } else {
                    u.int_in_range(0..=3)?
                };
                let Shape::Primitive(primitive) = field.shape else {
                    panic!("{} counts and is no number", field.ident);
                };
                integer(out, primitive, count);
                counts.push((field.ident, usize::try_from(count).unwrap_or_default()));
            }
            Repeat::One => value(u, out, field.name(), field.token, field.shape)?,
            Repeat::Fixed(size) if field.token == "string" => text(u, out, size)?,
            Repeat::Fixed(count) => elements(u, out, field, count)?,
            Repeat::Counted(by) => {
                let count = counts
                    .iter()
                    .find(|(name, _)| *name == by)
                    .map_or(0, |(_, count)| *count);
                elements(u, out, field, count)?;
            }
            Repeat::Prefixed => {
                let line = u.choose(&LINES)?.as_bytes();
                integer(out, "u32", line.len() as u64);
                out.extend(line);
            }
        }
    }
    Ok(())
}

fn elements(u: &mut Unstructured<'_>, out: &mut Vec<u8>, field: &FieldSpec, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| value(u, out, field.name(), field.token, field.shape))
}

fn text(u: &mut Unstructured<'_>, out: &mut Vec<u8>, size: usize) -> Result<()> {
    let start = out.len();
    let mut text = u.choose(&TEXTS)?.as_bytes().to_vec();
    if u.ratio(1, 16)? {
        text = vec![b'x'; size];
    }
    text.truncate(size - 1);
    out.extend(text);
    out.resize(start + size, 0);
    Ok(())
}

fn number(
    u: &mut Unstructured<'_>,
    out: &mut Vec<u8>,
    name: &str,
    token: &str,
    primitive: &str,
) -> Result<()> {
    let number: u64 = match primitive {
        "bool" => u64::from(u.arbitrary::<bool>()?),
        _ if u.ratio(1, 16)? => u.arbitrary()?,
        _ if token == "InterfaceIndex" || name.contains("index") || name.contains("acls") => {
            *u.choose(&[0, 1, 2, 3, 4, 5, 6, 7, 8, u64::MAX])?
        }
        _ if name.contains("port") => u64::from(addresses::port(u)?),
        _ if name.contains("len") => *u.choose(&[0, 8, 16, 24, 32, 64, 96, 128])?,
        _ if name.contains("proto") => *u.choose(&[0, 1, 6, 17, 58, 132])?,
        _ if name.contains("mtu") => *u.choose(&[0, 64, 576, 1280, 1500, 9000])?,
        _ => *u.choose(&[0, 0, 1, 1, 2, 3, 5, 100, u64::MAX])?,
    };
    integer(out, primitive, number);
    Ok(())
}

/// The low bytes of a number in the width of a type; floats get the bits of a small one, which is no NaN.
fn integer(out: &mut Vec<u8>, primitive: &str, number: u64) {
    let width = match primitive {
        "u8" | "bool" => 1,
        "u16" => 2,
        "u32" | "i32" => 4,
        "u64" => 8,
        "f64" => return out.extend(f64::from(number as u16).to_le_bytes()),
        other => panic!("nothing is known of the type {other}"),
    };
    out.extend(&number.to_be_bytes()[8 - width..]);
}
