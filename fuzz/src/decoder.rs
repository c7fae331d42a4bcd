//! Messages: none makes a decoder panic or allocate beyond what came, and what is decoded encodes to the same again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use arbitrary::{Result, Unstructured};
use futures::FutureExt as _;
use tokio::io::{AsyncRead, ReadBuf};
use vpp_api::error::Closed;
use vpp_api::frames::FrameReader;
use vpp_api::message::{FRAME_HEADER_LEN, MessageInfo};
use vpp_api::messages;

use crate::shaped;

const MAX_FRAME: usize = 4096;

/// Every message there is.
pub fn all() -> impl Iterator<Item = &'static MessageInfo> {
    messages::ALL.iter().flat_map(|(_, messages)| *messages)
}

/// The target.
pub fn run(data: &[u8]) {
    // Bytes that are used up read as zeros: no input is an error.
    let _ = checked(&mut Unstructured::new(data));
}

fn checked(u: &mut Unstructured<'_>) -> Result<()> {
    let kind = u.int_in_range(0..=9u8)?;
    if kind == 0 {
        return frames(u);
    }
    let count = all().count();
    let at = u.choose_index(count)?;
    let Some(info) = all().nth(at) else {
        return Ok(());
    };
    if kind < 5 {
        let message = shaped::message(u, info, 7, (0x8000_0001, 9))?;
        let mut again = Vec::new();
        let recoded = (info.recode)(&message, &mut again);
        assert_eq!(recoded, Ok(Ok(())), "{}", info.name);
        assert_eq!(message, again, "{}", info.name);
        cut(u, info, &message)
    } else {
        settles(info, u.bytes(u.len())?);
        Ok(())
    }
}

/// Encodes what was decoded; the second time round nothing may change.
fn settles(info: &MessageInfo, bytes: &[u8]) {
    let mut once = Vec::new();
    // Replacing bytes that are not UTF-8 can make a string too long for its field.
    let Ok(Ok(())) = (info.recode)(bytes, &mut once) else {
        return;
    };
    let mut twice = Vec::new();
    assert_eq!((info.recode)(&once, &mut twice), Ok(Ok(())), "{}", info.name);
    assert_eq!(once, twice, "{}", info.name);
}

/// A well-formed message that was cut and bent.
fn cut(u: &mut Unstructured<'_>, info: &MessageInfo, message: &[u8]) -> Result<()> {
    let short = u.int_in_range(0..=message.len())?;
    if short < message.len() {
        assert!(
            (info.readable)(&message[..short]).is_err(),
            "{} cut at {short}",
            info.name
        );
    }
    let mut bent = message.to_vec();
    for _ in 0..u.int_in_range(1..=4)? {
        let at = u.choose_index(bent.len())?;
        bent[at] = u.arbitrary()?;
    }
    settles(info, &bent);
    Ok(())
}

/// A stream is cut into the same frames however it arrives, and ends where it stops to be one.
fn frames(u: &mut Unstructured<'_>) -> Result<()> {
    let mut parts = VecDeque::new();
    let mut stream = Vec::new();
    while !u.is_empty() {
        let length = 1 + usize::from(u.arbitrary::<u8>()?);
        let mut part = u.bytes(length.min(u.len()))?.to_vec();
        if part.is_empty() {
            break;
        }
        // A length that can be reached.
        if u.arbitrary()? && part.len() > FRAME_HEADER_LEN {
            part[8..11].fill(0);
        }
        stream.extend_from_slice(&part);
        parts.push_back(part);
    }
    let mut reader = FrameReader::new(Parts(parts), MAX_FRAME);
    let mut left = &stream[..];
    loop {
        let found = reader.next().now_or_never();
        let Some(found) = found else {
            panic!("waits for a stream that has all its bytes");
        };
        let Some((header, rest)) = left.split_first_chunk::<FRAME_HEADER_LEN>() else {
            assert!(matches!(found, Err(Closed::ByPeer)));
            return Ok(());
        };
        let length = vpp_api::message::frame_length(header) as usize;
        if !(2..=MAX_FRAME).contains(&length) {
            assert!(matches!(found, Err(Closed::Protocol(_))));
            return Ok(());
        }
        match rest.split_at_checked(length) {
            Some((message, rest)) => {
                assert!(matches!(found, Ok(found) if found == message));
                left = rest;
            }
            None => {
                assert!(matches!(found, Err(Closed::ByPeer)));
                return Ok(());
            }
        }
    }
}

/// A stream that hands out one part per read.
struct Parts(VecDeque<Vec<u8>>);

impl AsyncRead for Parts {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Some(mut part) = self.0.pop_front() {
            let rest = part.split_off(part.len().min(into.remaining()));
            into.put_slice(&part);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}
