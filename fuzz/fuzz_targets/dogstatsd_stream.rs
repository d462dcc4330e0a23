//! Messages of a stream, in pieces as they may be received: they are the same as those of the whole. The first byte of an input chooses
//! the limit and the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mote::decode::dogstatsd::frames::{Frames, TooLong};

/// The length before each message.
const LENGTH_BYTES: usize = 4;

fuzz_target!(|data: &[u8]| {
    let Some((choice, stream)) = mote_fuzz::with_choice(data) else { return };
    let message_bytes_max = [0, 1, 60, 8192][usize::from(choice & 3)];
    let (whole, read, ends) = messages(stream, message_bytes_max);
    assert!(read <= stream.len() && whole.iter().all(|message| message.len() <= message_bytes_max));
    let with_lengths: Vec<u8> =
        whole.iter().flat_map(|message| [&(message.len() as u32).to_le_bytes(), &message[..]].concat()).collect();
    assert_eq!(with_lengths, stream[..read]);
    let (mut unread, mut found, mut has_ended) = (Vec::new(), Vec::new(), None);
    for piece in stream.chunks(1 + usize::from(choice >> 2)) {
        unread.extend_from_slice(piece);
        let (more, read, ends) = messages(&unread, message_bytes_max);
        found.extend(more);
        unread.drain(..read);
        if ends.is_some() {
            has_ended = ends;
            break;
        }
        assert!(unread.len() < LENGTH_BYTES + message_bytes_max.max(1), "what waits is less than a message");
    }
    assert_eq!((found, has_ended), (whole, ends));
});

/// The whole messages, how many bytes they were, and whether no more can follow.
fn messages(received: &[u8], message_bytes_max: usize) -> (Vec<Vec<u8>>, usize, Option<TooLong>) {
    let mut frames = Frames::new(received, message_bytes_max);
    let messages = frames.by_ref().map_while(Result::ok).map(<[u8]>::to_vec).collect();
    let read = frames.read();
    (messages, read, frames.next().and_then(Result::err))
}
