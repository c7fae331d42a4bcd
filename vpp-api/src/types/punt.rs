//! What VPP hands to the host (VPP: `vnet/ip/punt.api`).

use super::{AddressFamily, IpProto};
use crate::codec::{Decode, DecodeError, Encode, EncodeError, Reader, Wire, Writer, Zero};
use crate::shape::{FieldSpec, Repeat, Shape};

crate::wire_enum! {
    /// By what packets are chosen.
    pub enum PuntType("punt_type"): u32 {
        PUNT_API_TYPE_L4 = 0,
        PUNT_API_TYPE_IP_PROTO = 1,
        PUNT_API_TYPE_EXCEPTION = 2,
    }
}

crate::wire_struct! {
    /// Packets to a port.
    pub struct PuntL4("punt_l4") {
        af: AddressFamily,
        protocol: IpProto,
        port: u16,
    }
}

crate::wire_struct! {
    /// Packets of a protocol.
    pub struct PuntIpProto("punt_ip_proto") {
        af: AddressFamily,
        protocol: IpProto,
    }
}

crate::wire_struct! {
    /// Packets that a node of VPP gives up for a reason.
    pub struct PuntException("punt_exception") {
        /// As `punt_reason_dump` says.
        id: u32,
    }
}

crate::wire_struct! {
    /// Which packets are meant.
    pub struct Punt("punt") {
        type_: PuntType,
        /// Read it by the type.
        punt: PuntUnion,
    }
}

crate::wire_struct! {
    /// A reason for which VPP gives packets up.
    pub struct PuntReason("punt_reason") {
        id: u32,
        name: string[],
    }
}

/// `punt_union`: one of [`PuntL4`], [`PuntIpProto`] and [`PuntException`], in four bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PuntUnion(pub [u8; 4]);

impl PuntUnion {
    /// The bytes read as a port.
    #[must_use]
    pub const fn l4(self) -> PuntL4 {
        let [af, protocol, high, low] = self.0;
        PuntL4 {
            af: AddressFamily(af),
            protocol: IpProto(protocol),
            port: u16::from_be_bytes([high, low]),
        }
    }

    /// The bytes read as a protocol.
    #[must_use]
    pub const fn ip_proto(self) -> PuntIpProto {
        let [af, protocol, ..] = self.0;
        PuntIpProto {
            af: AddressFamily(af),
            protocol: IpProto(protocol),
        }
    }

    /// The bytes read as a reason.
    #[must_use]
    pub const fn exception(self) -> PuntException {
        PuntException {
            id: u32::from_be_bytes(self.0),
        }
    }
}

impl Punt {
    /// Packets to a port of UDP or TCP; 65535 is all ports that nobody listens on.
    #[must_use]
    pub const fn l4(af: AddressFamily, protocol: IpProto, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        Self {
            type_: PuntType::PUNT_API_TYPE_L4,
            punt: PuntUnion([af.0, protocol.0, high, low]),
        }
    }

    /// Packets of a protocol.
    #[must_use]
    pub const fn ip_proto(af: AddressFamily, protocol: IpProto) -> Self {
        Self {
            type_: PuntType::PUNT_API_TYPE_IP_PROTO,
            punt: PuntUnion([af.0, protocol.0, 0, 0]),
        }
    }

    /// Packets given up for a reason.
    #[must_use]
    pub const fn exception(id: u32) -> Self {
        Self {
            type_: PuntType::PUNT_API_TYPE_EXCEPTION,
            punt: PuntUnion(id.to_be_bytes()),
        }
    }
}

impl Encode for PuntUnion {
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        w.bytes(&self.0);
        Ok(())
    }
}

impl Decode for PuntUnion {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(r.array()?))
    }
}

impl Zero for PuntUnion {
    fn zero() -> Self {
        Self::default()
    }
}

const fn member(ident: &'static str, token: &'static str, shape: &'static Shape) -> FieldSpec {
    FieldSpec {
        ident,
        token,
        shape,
        repeat: Repeat::One,
    }
}

impl Wire for PuntUnion {
    const MIN_SIZE: usize = 4;
    const SHAPE: Shape = Shape::Union {
        name: "punt_union",
        fields: &[
            member("exception", "PuntException", &PuntException::SHAPE),
            member("l4", "PuntL4", &PuntL4::SHAPE),
            member("ip_proto", "PuntIpProto", &PuntIpProto::SHAPE),
        ],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_is_read_as_it_was_written() {
        let l4 = Punt::l4(AddressFamily::ADDRESS_IP6, IpProto::IP_API_PROTO_UDP, 4789);
        assert_eq!(l4.punt.0, [1, 17, 0x12, 0xb5]);
        assert_eq!(
            l4.punt.l4(),
            PuntL4 {
                af: AddressFamily::ADDRESS_IP6,
                protocol: IpProto::IP_API_PROTO_UDP,
                port: 4789
            }
        );
        let proto = Punt::ip_proto(AddressFamily::ADDRESS_IP4, IpProto::IP_API_PROTO_OSPF);
        assert_eq!(proto.punt.ip_proto().protocol, IpProto::IP_API_PROTO_OSPF);
        assert_eq!(Punt::exception(7).punt.exception().id, 7);
    }
}
