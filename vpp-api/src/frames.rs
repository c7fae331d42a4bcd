//! Cutting a byte stream into messages.

use crate::error::Closed;
use crate::message::{FRAME_HEADER_LEN, frame_length};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads frames off a socket. Memory grows with what has arrived, never with what a header announces.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    buffer: BytesMut,
    /// Bytes of the frame handed out last, still at the front of the buffer.
    handed_out: usize,
    max_frame: usize,
}

const READ_SIZE: usize = 64 * 1024;

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Refuses messages of more than `max_frame` bytes.
    pub fn new(source: R, max_frame: usize) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
            handed_out: 0,
            max_frame,
        }
    }

    /// The next message, without its frame header. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`] at the end of the stream and for what cannot be a frame.
    pub async fn next(&mut self) -> Result<&[u8], Closed> {
        while !self.advance()? {
            self.buffer.reserve(READ_SIZE);
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Err(Closed::ByPeer);
            }
        }
        Ok(self.handed_out())
    }

    /// The next message if all of it was read already.
    ///
    /// # Errors
    /// [`Closed`] for what cannot be a frame.
    pub fn buffered(&mut self) -> Result<Option<&[u8]>, Closed> {
        Ok(if self.advance()? {
            Some(self.handed_out())
        } else {
            None
        })
    }

    /// Goes on to the next frame; whether it is there.
    fn advance(&mut self) -> Result<bool, Closed> {
        self.buffer.advance(std::mem::take(&mut self.handed_out));
        let length = self.complete()?;
        self.handed_out = length.map_or(0, |length| FRAME_HEADER_LEN + length);
        Ok(length.is_some())
    }

    fn handed_out(&self) -> &[u8] {
        &self.buffer[FRAME_HEADER_LEN..self.handed_out]
    }

    fn complete(&self) -> Result<Option<usize>, Closed> {
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER_LEN>() else {
            return Ok(None);
        };
        let announced = frame_length(header);
        let length = usize::try_from(announced)
            .ok()
            .filter(|length| *length <= self.max_frame)
            .ok_or_else(|| Closed::Protocol(format!("a message of {announced} bytes is announced")))?;
        if length < 2 {
            return Err(Closed::Protocol(format!("a message of {length} bytes has no id")));
        }
        Ok((self.buffer.len() - FRAME_HEADER_LEN >= length).then_some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xaa; 8];
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&[0x55; 4]);
        bytes.extend_from_slice(body);
        bytes
    }

    #[tokio::test]
    async fn frames_are_found_however_the_stream_is_cut() {
        let stream = [frame(&[0, 24, 1]), frame(&[0, 16]), frame(&[7; 300])].concat();
        for piece in [1, 2, 15, 16, 17, 19, 400] {
            let parts = stream.chunks(piece).map(<[u8]>::to_vec).collect();
            let mut frames = FrameReader::new(Parts(parts), 1000);
            assert_eq!(frames.next().await.unwrap(), [0, 24, 1]);
            assert_eq!(frames.next().await.unwrap(), [0, 16]);
            assert_eq!(frames.next().await.unwrap(), [7; 300]);
            assert!(matches!(frames.next().await, Err(Closed::ByPeer)));
        }
    }

    #[tokio::test]
    async fn a_lying_length_is_refused_without_allocating() {
        let mut header = [0u8; FRAME_HEADER_LEN];
        header[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut frames = FrameReader::new(&header[..], 64 << 20);
        assert!(matches!(frames.next().await, Err(Closed::Protocol(_))));
        assert!(frames.buffer.capacity() < 1 << 20);

        header[8..12].copy_from_slice(&(60u32 << 20).to_be_bytes());
        let mut frames = FrameReader::new(&header[..], 64 << 20);
        assert!(matches!(frames.next().await, Err(Closed::ByPeer)));
        assert!(frames.buffer.capacity() < 1 << 20);
    }

    #[tokio::test]
    async fn a_frame_without_an_id_is_refused() {
        let bytes = frame(&[1]);
        assert!(matches!(
            FrameReader::new(&bytes[..], 1000).next().await,
            Err(Closed::Protocol(_))
        ));
    }

    /// A stream that hands out one part per read.
    struct Parts(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Parts {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if let Some(part) = self.0.pop_front() {
                into.put_slice(&part);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }
}
