//! Recorded values as our client's messages, and messages as lists of fields, both by the messages' own definitions.

use std::net::IpAddr;

use serde_json::Value;
use vpp_api::codec::{Reader, Writer};
use vpp_api::message::Message;
use vpp_api::shape::{FieldSpec, Repeat, Shape};

/// The message a recording's fields make; fields that are not there are zero.
pub fn message<M: Message>(value: &Value) -> M {
    let mut out = Vec::new();
    write(&mut out, &M::SHAPE, value);
    M::decode(&mut Reader::new(&out)).unwrap_or_else(|error| panic!("{}: {error} in {value}", M::NAME))
}

/// Every field of a message with its path, numbers as numbers and enums too.
pub fn fields<M: Message>(body: &M) -> Vec<(String, String)> {
    let mut writer = Writer::new(Vec::new());
    body.encode(&mut writer).unwrap();
    let bytes = writer.into_inner();
    let mut found = Vec::new();
    read(&mut Reader::new(&bytes), &M::SHAPE, "", &mut found);
    found
}

fn integer(out: &mut Vec<u8>, primitive: &str, number: u64) {
    let bytes = number.to_be_bytes();
    out.extend(&bytes[8 - width(primitive)..]);
}

fn width(primitive: &str) -> usize {
    match primitive {
        "u8" | "i8" | "bool" => 1,
        "u16" => 2,
        "u32" | "i32" => 4,
        "u64" | "f64" => 8,
        other => panic!("nothing is known of {other}"),
    }
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Bool(truth) => u64::from(*truth),
        Value::Number(number) => number
            .as_u64()
            .unwrap_or_else(|| number.as_i64().unwrap().cast_unsigned()),
        other => panic!("{other} is no number"),
    }
}

fn address(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    match text.parse().unwrap_or_else(|_| panic!("{text} is no address")) {
        IpAddr::V4(a) => out.extend(a.octets()),
        IpAddr::V6(a) => out.extend(a.octets()),
    }
    out.resize(start + 16, 0);
}

fn write(out: &mut Vec<u8>, shape: &Shape, value: &Value) {
    match shape {
        Shape::Primitive("f64") => out.extend(value.as_f64().unwrap_or(0.0).to_le_bytes()),
        Shape::Primitive(primitive) => integer(out, primitive, number(value)),
        Shape::Alias(name) => {
            let (size, text) = (
                match *name {
                    "ip4_address" => 4,
                    "mac_address" => 6,
                    _ => 16,
                },
                value.as_str().unwrap_or_default(),
            );
            let start = out.len();
            if *name == "mac_address" {
                let bytes = text.split(':').filter(|part| !part.is_empty());
                out.extend(bytes.map(|part| u8::from_str_radix(part, 16).unwrap()));
            } else if !text.is_empty() {
                address(out, text);
                out.truncate(start + size);
            }
            out.resize(start + size, 0);
        }
        Shape::Enum { repr, members, .. } => {
            let sum = value.as_str().map(|names| {
                let of = |name: &str| members.iter().find(|(member, _)| *member == name).map(|m| m.1);
                names
                    .split('|')
                    .map(|name| of(name).unwrap_or_else(|| panic!("no {name}")))
                    .sum()
            });
            integer(out, repr, sum.unwrap_or_else(|| number(value)));
        }
        Shape::Union { .. } => {
            // The longer arm says all there is.
            let text = value
                .get("ip6")
                .or_else(|| value.get("ip4"))
                .and_then(Value::as_str);
            address(out, text.unwrap_or("0.0.0.0"));
        }
        Shape::Struct { name: "address", .. } => {
            let text = value.as_str().unwrap_or("0.0.0.0");
            out.push(u8::from(text.contains(':')));
            address(out, text);
        }
        Shape::Struct { fields, .. } => match (value.as_str(), fields) {
            (Some(prefix), [_, _]) => {
                let (of, length) = prefix
                    .split_once('/')
                    .unwrap_or_else(|| panic!("{prefix} is no prefix"));
                write(out, fields[0].shape, &Value::from(of));
                out.push(length.parse().unwrap());
            }
            _ => fields
                .iter()
                .for_each(|field| write_field(out, fields, field, value)),
        },
    }
}

fn write_field(out: &mut Vec<u8>, all: &[FieldSpec], field: &FieldSpec, value: &Value) {
    let own = &value[field.name()];
    let elements = own.as_array().map_or(&[][..], Vec::as_slice);
    // A counter says how many follow, whatever the recording has in its place.
    let counted = all
        .iter()
        .find(|other| other.repeat == Repeat::Counted(field.ident));
    match field.repeat {
        Repeat::One => match counted {
            Some(other) => {
                let count = value[other.name()].as_array().map_or(0, Vec::len);
                write(out, field.shape, &Value::from(count));
            }
            None => write(out, field.shape, own),
        },
        Repeat::Fixed(size) if field.token == "string" => {
            let start = out.len();
            out.extend(own.as_str().unwrap_or_default().as_bytes());
            out.resize(start + size, 0);
        }
        Repeat::Fixed(count) => {
            (0..count).for_each(|at| write(out, field.shape, elements.get(at).unwrap_or(&Value::Null)));
        }
        Repeat::Counted(_) => elements
            .iter()
            .for_each(|element| write(out, field.shape, element)),
        Repeat::Prefixed => {
            let text = own.as_str().unwrap_or_default();
            integer(out, "u32", text.len() as u64);
            out.extend(text.as_bytes());
        }
    }
}

fn read_integer(r: &mut Reader<'_>, primitive: &str) -> u64 {
    let bytes = r.bytes(width(primitive)).unwrap();
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn read(r: &mut Reader<'_>, shape: &Shape, path: &str, found: &mut Vec<(String, String)>) {
    let text = match shape {
        Shape::Primitive(primitive) => read_integer(r, primitive).to_string(),
        Shape::Enum { repr, .. } => read_integer(r, repr).to_string(),
        Shape::Alias("ip4_address") => format!("{:?}", r.bytes(4).unwrap()),
        Shape::Alias("mac_address") => format!("{:02x?}", r.bytes(6).unwrap()),
        Shape::Alias(_) | Shape::Union { .. } => format!("{:?}", r.bytes(16).unwrap()),
        Shape::Struct { fields, .. } => {
            let mut counts: Vec<(&str, u64)> = Vec::new();
            for field in *fields {
                let path = format!("{path}.{}", field.name());
                read_field(r, field, &path, &mut counts, found);
            }
            return;
        }
    };
    found.push((path.to_owned(), text));
}

fn read_field<'a>(
    r: &mut Reader<'_>,
    field: &FieldSpec,
    path: &str,
    counts: &mut Vec<(&'a str, u64)>,
    found: &mut Vec<(String, String)>,
) where
    'static: 'a,
{
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let count = match field.repeat {
        Repeat::One => {
            read(r, field.shape, path, found);
            if let Some((_, last)) = found.last()
                && let Ok(count) = last.parse()
            {
                counts.push((field.ident, count));
            }
            return;
        }
        Repeat::Fixed(size) if field.token == "string" => {
            found.push((path.to_owned(), text(r.bytes(size).unwrap())));
            return;
        }
        Repeat::Prefixed => {
            let length = read_integer(r, "u32");
            found.push((
                path.to_owned(),
                text(r.bytes(usize::try_from(length).unwrap()).unwrap()),
            ));
            return;
        }
        Repeat::Fixed(count) => count as u64,
        Repeat::Counted(by) => counts
            .iter()
            .find(|(name, _)| *name == by)
            .map_or(0, |(_, count)| *count),
    };
    (0..count).for_each(|at| read(r, field.shape, &format!("{path}[{at}]"), found));
}
