// SPDX-License-Identifier: GPL-2.0-or-later
//! Encoding of messages: a frame is the length of the head and of the body (32 bits each, little-endian), the head (the
//! message as JSON) and the body (raw bytes, such as part of a file).
//!
//! # Invariants
//! Decoding never panics and never holds more than one frame of maximum size and the bytes of the last push.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Maximum length of a head, in bytes.
pub const HEAD_MAX: usize = 1 << 18;
/// Maximum length of a body, in bytes.
pub const BODY_MAX: usize = 1 << 20;
const PREFIX: usize = 8;

/// Errors of encoding and decoding.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A part is longer than the protocol allows: the peer uses another protocol, or bytes were lost.
    #[error("a frame's {part} of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Head or body.
        part: &'static str,
        /// Announced length.
        length: usize,
        /// Limit.
        limit: usize,
    },
    /// The head is not a message in JSON.
    #[error("a frame's head is no message: {0}")]
    Head(#[from] serde_json::Error),
}

/// FNV-1a hash (64 bits) of bytes.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn within(part: &'static str, length: usize, limit: usize) -> Result<usize, WireError> {
    if length <= limit { Ok(length) } else { Err(WireError::TooLong { part, length, limit }) }
}

/// Encodes one frame.
///
/// # Errors
/// [`WireError::TooLong`], or a message that JSON cannot represent.
pub fn encode<M: Serialize>(message: &M, body: &[u8]) -> Result<Vec<u8>, WireError> {
    let head = serde_json::to_vec(message)?;
    within("head", head.len(), HEAD_MAX)?;
    within("body", body.len(), BODY_MAX)?;
    let mut frame = Vec::with_capacity(PREFIX + head.len() + body.len());
    // Both lengths are under their limits, which fit in 32 bits.
    frame.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Decoder of frames from bytes in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next complete frame: message and body. `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`WireError`]; the following bytes are unreliable.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Option<(M, Vec<u8>)>, WireError> {
        let bytes = self.bytes.get(self.taken..).unwrap_or_default();
        let (Some(head), Some(body)) = (length(bytes, 0), length(bytes, 4)) else { return Ok(None) };
        let head = within("head", head, HEAD_MAX)?;
        let body = within("body", body, BODY_MAX)?;
        let end = PREFIX + head + body;
        let (Some(head), Some(body)) = (bytes.get(PREFIX..PREFIX + head), bytes.get(PREFIX + head..end))
        else {
            return Ok(None);
        };
        let frame = (serde_json::from_slice(head)?, body.to_vec());
        self.taken += end;
        Ok(Some(frame))
    }
}

fn length(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at + 4)?;
    let field: [u8; 4] = field.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(field)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, Request, Stream};

    #[test]
    fn frames_come_back_whole_from_single_bytes() {
        let messages = [
            (Reply::Output { stream: Stream::Stdout }, b"ok - it works\n".to_vec()),
            (Reply::Done, Vec::new()),
            (Reply::File { path: "/a".into(), last: true }, vec![0, 255, 10]),
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(|(head, body)| encode(head, body).unwrap()).collect();
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for byte in bytes {
            decoder.push(&[byte]);
            while let Some(frame) = decoder.take::<Reply>().unwrap() {
                found.push(frame);
            }
        }
        assert_eq!(found, messages);
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn two_frames_in_one_piece() {
        let mut bytes = encode(&Request::State, b"").unwrap();
        bytes.extend(encode(&Request::PowerOff, b"").unwrap());
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.take::<Request>().unwrap().unwrap().0, Request::State);
        assert_eq!(decoder.take::<Request>().unwrap().unwrap().0, Request::PowerOff);
        assert!(decoder.take::<Request>().unwrap().is_none());
    }

    #[test]
    fn lengths_over_the_limit_are_refused_before_anything_is_kept() {
        for prefix in [[255; 8], [0, 0, 0, 0, 255, 255, 255, 255], [1, 0, 4, 0, 0, 0, 0, 0]] {
            let mut decoder = Decoder::default();
            decoder.push(&prefix);
            let error = decoder.take::<Reply>().unwrap_err();
            assert!(matches!(error, WireError::TooLong { .. }), "{error}");
        }
        assert!(encode(&Reply::Done, &vec![0; BODY_MAX + 1]).is_err());
    }

    #[test]
    fn any_bytes_are_an_error_or_wait_for_more() {
        // Fixed generator: the same bytes in every run.
        let mut state = 1_u64;
        for length in 0..2000 {
            let mut decoder = Decoder::default();
            let bytes: Vec<u8> = (0..length % 97)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8 & if length % 2 == 0 { 0x0f } else { 0xff }
                })
                .collect();
            decoder.push(&bytes);
            let _ = decoder.take::<Reply>();
        }
        let mut decoder = Decoder::default();
        decoder.push(&[2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}']);
        assert!(matches!(decoder.take::<Reply>(), Err(WireError::Head(_))));
    }
}
