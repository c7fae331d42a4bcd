//! A server that does nothing but answer: what a client can do at most.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use vpp_api::codec::Zero as _;
use vpp_api::message::{
    FRAME_HEADER_LEN, Header, Message, Request, decode_message, encode_frame, frame_length, message_id,
};
use vpp_api::messages::ALL;
use vpp_api::messages::interface::{CreateLoopback, DeleteLoopback};
use vpp_api::messages::ip::{IpRouteAddDelV2, IpTableAddDel};
use vpp_api::messages::memclnt::{
    ControlPing, MessageTableEntry, SOCKCLNT_CREATE_ID, SOCKCLNT_CREATE_REPLY_ID, SOCKCLNT_DELETE_ID,
    SOCKCLNT_DELETE_REPLY_ID, SockclntCreate, SockclntCreateReply, SockclntDelete, SockclntDeleteReply,
};
use vpp_api::messages::vpe::ShowVersion;

/// Behind the frame's header and the id.
const CONTEXT_AT: usize = FRAME_HEADER_LEN + 2;

/// Answers by the request's id, context still to be filled in.
struct Canned {
    ids: BTreeMap<&'static str, u16>,
    frames: BTreeMap<u16, Vec<u8>>,
}

fn encoded<M: Message>(id: u16, context: u32, body: &M) -> Vec<u8> {
    let mut frame = Vec::new();
    let header = Header {
        client_index: 0,
        context,
    };
    encode_frame(&mut frame, id, header, body).unwrap();
    frame
}

impl Canned {
    fn new() -> Self {
        let names = ALL
            .iter()
            .flat_map(|(_, messages)| messages.iter().map(|info| info.name_crc));
        // Constant ids are VPP's, the rest comes behind them.
        let constant = [
            (SockclntCreate::NAME_CRC, SOCKCLNT_CREATE_ID),
            (SockclntCreateReply::NAME_CRC, SOCKCLNT_CREATE_REPLY_ID),
            (SockclntDelete::NAME_CRC, SOCKCLNT_DELETE_ID),
            (SockclntDeleteReply::NAME_CRC, SOCKCLNT_DELETE_REPLY_ID),
            (ControlPing::NAME_CRC, 23),
            (<ControlPing as Request>::Reply::NAME_CRC, 24),
        ];
        let mut ids: BTreeMap<_, _> = names.zip(29..).collect();
        ids.extend(constant);
        let mut canned = Self {
            ids,
            frames: BTreeMap::new(),
        };
        canned.answer::<ControlPing>();
        canned.answer::<ShowVersion>();
        canned.answer::<CreateLoopback>();
        canned.answer::<DeleteLoopback>();
        canned.answer::<IpTableAddDel>();
        canned.answer::<IpRouteAddDelV2>();
        canned
    }

    fn answer<R: Request>(&mut self) {
        let id = self.ids[R::Reply::NAME_CRC];
        self.frames
            .insert(self.ids[R::NAME_CRC], encoded(id, 0, &R::Reply::zero()));
    }

    fn welcome(&self, context: u32) -> Vec<u8> {
        let entries = self.ids.iter().map(|(name, index)| MessageTableEntry {
            index: *index,
            name: (*name).to_owned(),
        });
        let reply = SockclntCreateReply {
            response: 0,
            index: 0x8000_0001,
            message_table: entries.collect(),
        };
        encoded(SOCKCLNT_CREATE_REPLY_ID, context, &reply)
    }

    /// Answers the frames at the start of the input; how many bytes they were.
    fn take(&self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while let Some((header, rest)) = input[taken..].split_first_chunk::<FRAME_HEADER_LEN>() {
            let length = frame_length(header) as usize;
            let Some(message) = rest.get(..length) else { break };
            taken += FRAME_HEADER_LEN + length;
            let id = message_id(message).unwrap();
            if id == SOCKCLNT_CREATE_ID {
                let (_, header, _) = decode_message::<SockclntCreate>(message).unwrap();
                out.extend(self.welcome(header.context));
            } else if id == SOCKCLNT_DELETE_ID {
                let (_, header, _) = decode_message::<SockclntDelete>(message).unwrap();
                let reply = SockclntDeleteReply { response: 1 };
                out.extend(encoded(SOCKCLNT_DELETE_REPLY_ID, header.context, &reply));
            } else if let Some(frame) = self.frames.get(&id) {
                let start = out.len();
                out.extend_from_slice(frame);
                out[start + CONTEXT_AT..start + CONTEXT_AT + 4].copy_from_slice(&message[6..10]);
            }
        }
        taken
    }
}

fn client(canned: &Canned, mut stream: UnixStream) {
    let mut input = vec![0; 1 << 20];
    let (mut filled, mut out) = (0, Vec::new());
    while let Ok(read) = stream.read(&mut input[filled..]) {
        if read == 0 {
            return;
        }
        filled += read;
        let taken = canned.take(&input[..filled], &mut out);
        input.copy_within(taken..filled, 0);
        filled -= taken;
        if stream.write_all(&out).is_err() {
            return;
        }
        out.clear();
    }
}

/// Serves until it is killed.
pub fn serve(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let canned = Canned::new();
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let (canned, stream) = (&canned, stream.unwrap());
            scope.spawn(move || client(canned, stream));
        }
    });
}
