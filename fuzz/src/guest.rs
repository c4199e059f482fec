// SPDX-License-Identifier: GPL-2.0-or-later
//! Fuzz target: messages between host and guest.

#![allow(unreachable_pub, dead_code, reason = "shared by several programs, none of which uses all of it")]

use klp_guest::wire::{Decoder, encode};
use klp_guest::{Reply, Request};

/// Decodes a stream of frames in pieces, whose length is the first byte. Each complete frame must encode to the same
/// bytes.
pub fn wire(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let piece = usize::from(*first).max(1);
    let (mut requests, mut replies) = (Decoder::default(), Decoder::default());
    let (mut asked, mut answered) = (true, true);
    for bytes in stream.chunks(piece) {
        requests.push(bytes);
        replies.push(bytes);
        while asked {
            match requests.take::<Request>() {
                Ok(Some((request, body))) => again(&request, &body),
                Ok(None) => break,
                Err(_) => asked = false,
            }
        }
        while answered {
            match replies.take::<Reply>() {
                Ok(Some((reply, body))) => again(&reply, &body),
                Ok(None) => break,
                Err(_) => answered = false,
            }
        }
    }
}

fn again<M>(message: &M, body: &[u8])
where
    M: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    // Serialised JSON may be longer than its source.
    let Ok(frame) = encode(message, body) else { return };
    let mut decoder = Decoder::default();
    decoder.push(&frame);
    match decoder.take::<M>() {
        Ok(Some((second, second_body))) => assert_eq!((message, body), (&second, second_body.as_slice())),
        other => panic!("{message:?} was not read again: {other:?}"),
    }
}

/// Seeds: corpus, name and bytes.
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let put = Request::Put {
        path: "/a".into(),
        mode: 0o644,
        append: false,
        checksum: klp_guest::wire::checksum(b"content"),
    };
    let get = Request::Get { patterns: vec!["/a/*".into()] };
    let file = Reply::File { path: "/a".into(), last: true };
    let frame = |frames: [Result<Vec<u8>, _>; 2]| {
        frames
            .into_iter()
            .flat_map(|frame: Result<_, klp_guest::wire::WireError>| frame.expect("it is a frame"))
    };
    let stream = |piece: u8, frames| std::iter::once(piece).chain(frame(frames)).collect();
    vec![
        ("wire", "requests", stream(255, [encode(&put, b"content"), encode(&get, b"")])),
        ("wire", "replies", stream(3, [encode(&file, b"content"), encode(&Reply::Done, b"")])),
    ]
}
