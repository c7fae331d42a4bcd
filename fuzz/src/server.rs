//! Clients of the embedded dataplane: no bytes make it panic, and every answer is one our client can read.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use vpp_api::message::{
    FRAME_HEADER_LEN, Header, MessageInfo, Request, decode_message, encode_frame, frame_length, message_id,
};
use vpp_api::messages::acl::{AclAddReplace, AclInterfaceSetAclList};
use vpp_api::messages::af_packet::AfPacketCreateV3;
use vpp_api::messages::cnat::{CnatSetSnatAddresses, CnatTranslationUpdate};
use vpp_api::messages::interface::{
    CreateLoopback, SwInterfaceAddDelAddress, SwInterfaceSetFlags, SwInterfaceSetUnnumbered,
};
use vpp_api::messages::memclnt::{SOCKCLNT_CREATE_ID, SockclntCreate, SockclntCreateReply};
use vpp_api::types::{
    AclRule, CnatEndpoint, CnatEndpointTuple, CnatTranslation, IfStatusFlags, IpProto, NO_INDEX, Prefix,
};
use vpp_sim::engine::Config;
use vpp_sim::server::{Embedded, Offer};

use crate::{decoder, frames, shaped};

/// Steps of one run.
const STEPS: usize = 24;
/// Handle of the first client.
const FIRST: u32 = 0x8000_0001;

/// What all runs share.
struct Known {
    offer: Offer,
    ids: BTreeMap<&'static str, u16>,
    by_id: BTreeMap<u16, &'static MessageInfo>,
    /// Of the constant messages, which we do not all define: `sock_init_shm_reply`, to a request that was bent into one.
    constant: Vec<u16>,
    /// Ids of what a client may send.
    requests: Vec<u16>,
    /// Pods on 2 to 4, with a list and a service.
    configuration: Vec<u8>,
}

/// The target.
pub fn run(data: &[u8]) {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let known = KNOWN.get_or_init(Known::learn);
    let _ = Session::start(known).play(&mut Unstructured::new(data));
}

/// The client's first message.
pub fn handshake() -> Vec<u8> {
    let mut bytes = Vec::new();
    let create = SockclntCreate {
        name: "fuzz".to_owned(),
    };
    let encoded = encode_frame(&mut bytes, SOCKCLNT_CREATE_ID, Header::default(), &create);
    assert_eq!(encoded, Ok(()));
    bytes
}

fn start(offer: &Offer) -> Embedded {
    match Embedded::new(Config::default(), offer) {
        Ok(sim) => sim,
        Err(error) => panic!("{error}"),
    }
}

impl Known {
    fn learn() -> Self {
        let offer = Offer::new(1);
        let mut sim = start(&offer);
        let client = sim.connect();
        assert_eq!(client, FIRST);
        assert!(sim.receive(client, &handshake()));
        let sent = sim.sent(client);
        let Ok((_, _, welcome)) = decode_message::<SockclntCreateReply>(&sent[FRAME_HEADER_LEN..]) else {
            panic!("the handshake is not answered");
        };
        let table: BTreeMap<String, u16> = welcome
            .message_table
            .into_iter()
            .map(|entry| (entry.name, entry.index))
            .collect();
        let ids: BTreeMap<&str, u16> = decoder::all()
            .filter_map(|info| Some((info.name_crc, *table.get(info.name_crc)?)))
            .collect();
        let by_id: BTreeMap<u16, &MessageInfo> = decoder::all()
            .filter_map(|info| Some((*ids.get(info.name_crc)?, info)))
            .collect();
        let answer = |name: &str| {
            ["_reply", "_details", "_event", "_event_v2"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        let requests = by_id
            .iter()
            .filter(|(_, info)| !answer(info.name))
            .map(|(id, _)| *id)
            .collect();
        let mut known = Self {
            offer,
            ids,
            constant: table
                .values()
                .copied()
                .filter(|id| !by_id.contains_key(id))
                .collect(),
            by_id,
            requests,
            configuration: handshake(),
        };
        known.configure();
        known
    }

    fn add<M: Request>(&mut self, message: &M) {
        let header = Header {
            client_index: FIRST,
            context: 1,
        };
        let encoded = encode_frame(&mut self.configuration, self.ids[M::NAME_CRC], header, message);
        assert_eq!(encoded, Ok(()));
    }

    fn configure(&mut self) {
        let flags = IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP;
        self.add(&CreateLoopback::default());
        for prefix in ["10.1.1.1/24", "fd00:1::1/64"] {
            let Ok(prefix) = prefix.parse() else {
                panic!("{prefix}");
            };
            self.add(&SwInterfaceAddDelAddress {
                sw_if_index: 1,
                is_add: true,
                del_all: false,
                prefix,
            });
        }
        self.add(&SwInterfaceSetFlags {
            sw_if_index: 1,
            flags,
        });
        for pod in 2..=4 {
            self.add(&AfPacketCreateV3 {
                host_if_name: format!("pod{pod}"),
                ..Default::default()
            });
            self.add(&SwInterfaceSetFlags {
                sw_if_index: pod,
                flags,
            });
            self.add(&SwInterfaceSetUnnumbered {
                sw_if_index: 1,
                unnumbered_sw_if_index: pod,
                is_add: true,
            });
        }
        let anywhere = Prefix::new([0, 0, 0, 0].into(), 0);
        let rule = AclRule {
            is_permit: 2.into(),
            src_prefix: anywhere,
            dst_prefix: anywhere,
            srcport_or_icmptype_last: u16::MAX,
            dstport_or_icmpcode_last: u16::MAX,
            ..Default::default()
        };
        self.add(&AclAddReplace {
            acl_index: NO_INDEX,
            tag: "all".to_owned(),
            r: vec![rule],
        });
        self.add(&AclInterfaceSetAclList {
            sw_if_index: 2,
            n_input: 1,
            acls: vec![0],
        });
        self.add(&CnatSetSnatAddresses {
            snat_ip4: [192, 168, 16, 1].into(),
            sw_if_index: NO_INDEX,
            ..Default::default()
        });
        let backend = CnatEndpointTuple {
            dst_ep: CnatEndpoint::new([10, 1, 1, 3].into(), 8080),
            src_ep: CnatEndpoint::new([0, 0, 0, 0].into(), 0),
            ..Default::default()
        };
        let translation = CnatTranslation {
            vip: CnatEndpoint::new([10, 96, 0, 10].into(), 80),
            ip_proto: IpProto(6),
            paths: vec![backend],
            ..Default::default()
        };
        self.add(&CnatTranslationUpdate { translation });
    }
}

/// One run.
struct Session<'a> {
    known: &'a Known,
    sim: Embedded,
    clients: Vec<u32>,
}

impl<'a> Session<'a> {
    fn start(known: &'a Known) -> Self {
        let mut sim = start(&known.offer);
        let clients = vec![sim.connect()];
        Self { known, sim, clients }
    }

    fn play(mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if u.ratio(1, 8)? {
            return self.raw(u);
        }
        self.receive(FIRST, &self.known.configuration);
        for _ in 0..STEPS {
            if u.is_empty() || self.clients.is_empty() {
                break;
            }
            match u.int_in_range(0..=15)? {
                0 => self.sim.tick(),
                1 if self.clients.len() < 3 => {
                    let client = self.sim.connect();
                    self.clients.push(client);
                    self.receive(client, &handshake());
                }
                2..=6 => {
                    let sw_if_index = u.int_in_range(0..=8)?;
                    let frame = frames::frame(u, self.sim.engine(), sw_if_index)?;
                    self.sim.inject(sw_if_index, &frame.bytes);
                }
                _ => self.request(u)?,
            }
            self.look();
        }
        Ok(())
    }

    /// A stream as it comes.
    fn raw(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let greets = u.arbitrary()?;
        if greets {
            self.receive(FIRST, &handshake());
        }
        let step = 1 + usize::from(u.arbitrary::<u8>()?);
        for part in u.bytes(u.len())?.chunks(step) {
            self.receive(FIRST, part);
        }
        self.look();
        Ok(())
    }

    fn request(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let client = *u.choose(&self.clients)?;
        let id = *u.choose(&self.known.requests)?;
        let mut message = shaped::message(u, self.known.by_id[&id], id, (client, u32::from(id)))?;
        if u.ratio(1, 8)? {
            let at = u.choose_index(message.len())?;
            message[at] = u.arbitrary()?;
        }
        if u.ratio(1, 16)? {
            message.truncate(u.int_in_range(0..=message.len())?);
        }
        let mut frame = vec![0; FRAME_HEADER_LEN];
        frame[8..12].copy_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
        frame.extend(message);
        self.receive(client, &frame);
        Ok(())
    }

    fn receive(&mut self, client: u32, bytes: &[u8]) {
        if !self.sim.receive(client, bytes) {
            self.clients.retain(|other| *other != client);
        }
        if self.sim.fatal().is_some() {
            self.clients.clear();
        }
    }

    /// Whole frames with ids of the table, each what its id says.
    fn look(&mut self) {
        for client in self.clients.clone() {
            let sent = self.sim.sent(client);
            let mut left = &sent[..];
            while let Some((header, rest)) = left.split_first_chunk::<FRAME_HEADER_LEN>() {
                let Some((message, rest)) = rest.split_at_checked(frame_length(header) as usize) else {
                    panic!("half a frame was sent");
                };
                left = rest;
                let id = message_id(message);
                if id.is_some_and(|id| self.known.constant.contains(&id)) {
                    continue;
                }
                let info = id.and_then(|id| self.known.by_id.get(&id));
                let Some(info) = info else {
                    panic!("an answer without a name: {message:02x?}");
                };
                let mut again = Vec::new();
                assert_eq!((info.recode)(message, &mut again), Ok(Ok(())), "{}", info.name);
            }
            assert_eq!(left, [] as [u8; 0], "half a frame was sent");
        }
    }
}
