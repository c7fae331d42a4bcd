//! Control messages: 128 bytes each, packed, in the host's byte order, as both ends share its memory
//! (VPP `src/plugins/memif/memif.h`, `memif_msg_t`).

use super::Refusal;

/// Of every message; what is shorter is malformed.
pub const LENGTH: usize = 128;

/// `MEMIF_VERSION`: 2.0.
pub const VERSION: u16 = 0x0200;

/// `MEMIF_MAX_M2S_RING`, `MEMIF_MAX_S2M_RING` and `MEMIF_MAX_REGION`: the highest index.
pub const MAX_INDEX: u16 = 256;

/// `MEMIF_MAX_LOG2_RING_SIZE`.
pub const MAX_LOG2_RING_SIZE: u8 = 14;

/// Bytes of a name, its terminator among them.
const NAME: usize = 32;
/// `MEMIF_SECRET_SIZE`.
const SECRET: usize = 24;
/// Bytes of a `DISCONNECT`'s text.
const REASON: usize = 96;

/// `MEMIF_MSG_ADD_RING_FLAG_S2M`.
const RING_IS_S2M: u16 = 1;

/// What a master offers to whoever connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The program.
    pub name: String,
    pub min_version: u16,
    pub max_version: u16,
    pub max_region: u16,
    pub max_m2s_ring: u16,
    pub max_s2m_ring: u16,
    pub max_log2_ring_size: u8,
}

impl Hello {
    /// VPP's offer under a name.
    pub fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            min_version: VERSION,
            max_version: VERSION,
            max_region: MAX_INDEX,
            max_m2s_ring: MAX_INDEX,
            max_s2m_ring: MAX_INDEX,
            max_log2_ring_size: MAX_LOG2_RING_SIZE,
        }
    }
}

/// Which interface a slave wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    pub version: u16,
    /// Of the interface, on this socket.
    pub id: u32,
    /// `memif_interface_mode_t`.
    pub mode: u8,
    pub secret: String,
    /// The program.
    pub name: String,
}

/// Where a ring is, and which way its packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddRing {
    /// From slave to master.
    pub is_s2m: bool,
    pub index: u16,
    pub region: u16,
    pub offset: u32,
    pub log2_ring_size: u8,
    pub private_hdr_size: u16,
}

/// One control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Ack,
    Hello(Hello),
    Init(Init),
    /// Comes with the region's descriptor.
    AddRegion {
        index: u16,
        size: u64,
    },
    /// Comes with the ring's interrupt.
    AddRing(AddRing),
    Connect {
        if_name: String,
    },
    Connected {
        if_name: String,
    },
    Disconnect {
        code: u32,
        reason: String,
    },
}

/// Writes fields one after the other.
struct Writer {
    bytes: [u8; LENGTH],
    at: usize,
}

impl Writer {
    fn new(kind: u16) -> Self {
        let writer = Self {
            bytes: [0; LENGTH],
            at: 0,
        };
        writer.put(&kind.to_ne_bytes())
    }

    fn put(mut self, field: &[u8]) -> Self {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    /// Cut so that a terminator stays.
    fn text(mut self, text: &str, room: usize) -> Self {
        let length = text.len().min(room - 1);
        self.bytes[self.at..self.at + length].copy_from_slice(&text.as_bytes()[..length]);
        self.at += room;
        self
    }
}

/// Reads fields one after the other; the messages' fields all lie within [`LENGTH`].
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        field[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        field
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn text<const N: usize>(&mut self) -> String {
        let field: [u8; N] = self.take();
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(N);
        String::from_utf8_lossy(&field[..end]).into_owned()
    }
}

impl Message {
    /// Its bytes.
    pub fn encode(&self) -> [u8; LENGTH] {
        let written = match self {
            Self::Ack => Writer::new(1),
            Self::Hello(hello) => Writer::new(2)
                .text(&hello.name, NAME)
                .put(&hello.min_version.to_ne_bytes())
                .put(&hello.max_version.to_ne_bytes())
                .put(&hello.max_region.to_ne_bytes())
                .put(&hello.max_m2s_ring.to_ne_bytes())
                .put(&hello.max_s2m_ring.to_ne_bytes())
                .put(&[hello.max_log2_ring_size]),
            Self::Init(init) => Writer::new(3)
                .put(&init.version.to_ne_bytes())
                .put(&init.id.to_ne_bytes())
                .put(&[init.mode])
                .text(&init.secret, SECRET)
                .text(&init.name, NAME),
            Self::AddRegion { index, size } => {
                Writer::new(4).put(&index.to_ne_bytes()).put(&size.to_ne_bytes())
            }
            Self::AddRing(ring) => Writer::new(5)
                .put(&if ring.is_s2m { RING_IS_S2M } else { 0 }.to_ne_bytes())
                .put(&ring.index.to_ne_bytes())
                .put(&ring.region.to_ne_bytes())
                .put(&ring.offset.to_ne_bytes())
                .put(&[ring.log2_ring_size])
                .put(&ring.private_hdr_size.to_ne_bytes()),
            Self::Connect { if_name } => Writer::new(6).text(if_name, NAME),
            Self::Connected { if_name } => Writer::new(7).text(if_name, NAME),
            Self::Disconnect { code, reason } => Writer::new(8).put(&code.to_ne_bytes()).text(reason, REASON),
        };
        written.bytes
    }

    /// What the bytes say.
    ///
    /// # Errors
    /// A type there is none of.
    pub fn decode(bytes: &[u8; LENGTH]) -> Result<Self, Refusal> {
        let mut from = Reader(bytes);
        // The order of evaluation is that of the fields as written.
        Ok(match from.u16() {
            1 => Self::Ack,
            2 => Self::Hello(Hello {
                name: from.text::<NAME>(),
                min_version: from.u16(),
                max_version: from.u16(),
                max_region: from.u16(),
                max_m2s_ring: from.u16(),
                max_s2m_ring: from.u16(),
                max_log2_ring_size: from.u8(),
            }),
            3 => Self::Init(Init {
                version: from.u16(),
                id: from.u32(),
                mode: from.u8(),
                secret: from.text::<SECRET>(),
                name: from.text::<NAME>(),
            }),
            4 => Self::AddRegion {
                index: from.u16(),
                size: u64::from_ne_bytes(from.take()),
            },
            5 => Self::AddRing(AddRing {
                is_s2m: from.u16() & RING_IS_S2M != 0,
                index: from.u16(),
                region: from.u16(),
                offset: from.u32(),
                log2_ring_size: from.u8(),
                private_hdr_size: from.u16(),
            }),
            6 => Self::Connect {
                if_name: from.text::<NAME>(),
            },
            7 => Self::Connected {
                if_name: from.text::<NAME>(),
            },
            8 => Self::Disconnect {
                code: from.u32(),
                reason: from.text::<REASON>(),
            },
            _ => return Err(Refusal("unknown message type")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes at an offset, the rest zero: offsets are those of the packed structures of `memif.h`.
    fn bytes(fields: &[(usize, &[u8])]) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        for (at, field) in fields {
            bytes[*at..*at + field.len()].copy_from_slice(field);
        }
        bytes
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn messages_are_laid_out_as_in_memif_h() {
        let hello = Hello::of("VPP 26.06");
        let init = Init {
            version: VERSION,
            id: 0x0102_0304,
            mode: 1,
            secret: "s3cret".into(),
            name: "me".into(),
        };
        let ring = AddRing {
            is_s2m: true,
            index: 2,
            region: 3,
            offset: 0x1122_3344,
            log2_ring_size: 10,
            private_hdr_size: 0x5566,
        };
        let if_name = String::from("memif1/0");
        let reason = String::from("mode mismatch");
        let table: [(Message, [u8; LENGTH]); 8] = [
            (Message::Ack, bytes(&[(0, &[1, 0])])),
            (
                Message::Hello(hello),
                bytes(&[
                    (0, &[2, 0]),
                    (2, b"VPP 26.06"),
                    (34, &[0, 2]),
                    (36, &[0, 2]),
                    (38, &[0, 1]),
                    (40, &[0, 1]),
                    (42, &[0, 1]),
                    (44, &[14]),
                ]),
            ),
            (
                Message::Init(init),
                bytes(&[
                    (0, &[3, 0]),
                    (2, &[0, 2]),
                    (4, &[4, 3, 2, 1]),
                    (8, &[1]),
                    (9, b"s3cret"),
                    (33, b"me"),
                ]),
            ),
            (
                Message::AddRegion {
                    index: 1,
                    size: 0x0102_0304_0506_0708,
                },
                bytes(&[(0, &[4, 0]), (2, &[1, 0]), (4, &[8, 7, 6, 5, 4, 3, 2, 1])]),
            ),
            (
                Message::AddRing(ring),
                bytes(&[
                    (0, &[5, 0]),
                    (2, &[1, 0]),
                    (4, &[2, 0]),
                    (6, &[3, 0]),
                    (8, &[0x44, 0x33, 0x22, 0x11]),
                    (12, &[10]),
                    (13, &[0x66, 0x55]),
                ]),
            ),
            (
                Message::Connect {
                    if_name: if_name.clone(),
                },
                bytes(&[(0, &[6, 0]), (2, b"memif1/0")]),
            ),
            (
                Message::Connected { if_name },
                bytes(&[(0, &[7, 0]), (2, b"memif1/0")]),
            ),
            (
                Message::Disconnect { code: 5, reason },
                bytes(&[(0, &[8, 0]), (2, &[5, 0, 0, 0]), (6, b"mode mismatch")]),
            ),
        ];
        for (message, bytes) in table {
            assert_eq!(message.encode(), bytes, "{message:?}");
            assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn texts_are_cut_and_need_no_terminator() {
        let if_name = "x".repeat(40);
        let bytes = Message::Connect { if_name }.encode();
        assert_eq!((bytes[2 + 30], bytes[2 + 31]), (b'x', 0));
        let full = bytes_of_connect([b'y'; NAME]);
        let if_name = "y".repeat(NAME);
        assert_eq!(Message::decode(&full), Ok(Message::Connect { if_name }));
    }

    fn bytes_of_connect(name: [u8; NAME]) -> [u8; LENGTH] {
        bytes(&[(0, &6u16.to_ne_bytes()), (2, &name)])
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for kind in [0u16, 9, 0xffff] {
            let bytes = bytes(&[(0, &kind.to_ne_bytes()), (2, &[0xff; LENGTH - 2])]);
            assert!(Message::decode(&bytes).is_err(), "{kind}");
        }
        for kind in 1u16..=8 {
            let bytes = bytes(&[(0, &kind.to_ne_bytes()), (2, &[0xff; LENGTH - 2])]);
            assert!(Message::decode(&bytes).is_ok(), "{kind}");
        }
    }
}
