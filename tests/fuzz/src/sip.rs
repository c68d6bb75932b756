//! SIP's messages as anybody may write them: what is written instead is a message as before, in which nothing else has changed.

use ces_dataplane::alg::edits::{Edits, GROWTH};
use ces_dataplane::alg::media::MediaStream;
use ces_dataplane::alg::sip::Translator;
use ces_dataplane::wire::sdp;
use ces_dataplane::wire::sip::{Message, Use, read, read_head};

/// 192.168.10.11, and what it is outside.
const OURS: u32 = 0xc0a8_0a0b;
const OUTSIDE: u32 = 0xc612_0001;

/// Moves every port of ours by so many.
struct Other(u16);

impl Translator for Other {
    const PORTS_STAY: bool = false;

    fn own(&self) -> u32 {
        OURS
    }

    fn other(&self, _: u32) -> u32 {
        OUTSIDE
    }

    fn place(&mut self, _: u32, port: Option<u16>, _: Use) -> Option<(u32, u16)> {
        Some((OUTSIDE, port.unwrap_or(5060).wrapping_add(self.0)))
    }

    fn stream(&mut self, nth: usize, stream: MediaStream) -> Option<MediaStream> {
        let moved = |port: u16| port.wrapping_add(self.0);
        (nth != 2).then(|| MediaStream { port: moved(stream.port), rtcp: stream.rtcp.map(moved), ..stream })
    }
}

fn edits_of(bytes: &[u8], message: &Message, by: u16) -> Edits {
    let (mut edits, mut other) = (Edits::default(), Other(by));
    edits.name(bytes, message, &mut other);
    if let Ok(described) = sdp::read(bytes, message.body) {
        edits.describe(bytes, &described, &mut other);
    }
    edits.finish(bytes, message.body, message.length).expect("it is no longer than a message");
    edits
}

/// What is to be written anew of a message in a stream, if it is one.
pub fn edits(bytes: &[u8], has_body: bool) -> Option<Edits> {
    let message = if has_body { read(bytes, &[OURS]) } else { read_head(bytes, &[OURS]) };
    Some(edits_of(bytes, &message.ok()??, 3))
}

/// What a message becomes.
fn rewritten(bytes: &[u8], message: &Message, by: u16) -> Vec<u8> {
    let edits = edits_of(bytes, message, by);
    let mut out = vec![0; bytes.len() + GROWTH];
    let length = edits.write(bytes, &mut out);
    out.truncate(length.expect("there is room"));
    if edits.is_empty() {
        assert_eq!(out, bytes, "nothing is written anew");
    }
    out
}

/// The property: no panic; what is written anew is a message of the same call with a body as long as it says, in which nothing
/// of ours is named where it was sought; and it stays that.
pub fn run(data: &[u8]) {
    let Some((&by, bytes)) = data.split_first() else { return };
    let Ok(Some(message)) = read(bytes, &[OURS]) else { return };
    let out = rewritten(bytes, &message, by.into());
    let again = read(&out, &[OURS]).expect("a message").expect("a message");
    assert_eq!((again.method, again.status), (message.method, message.status));
    assert_eq!(again.call.of(&out), message.call.of(bytes));
    assert!(again.places().is_empty(), "{:?}", String::from_utf8_lossy(&out));
    // What comes behind the body is as it was.
    assert_eq!(out[usize::from(again.body.end)..], bytes[usize::from(message.body.end)..]);
    let there = read(&out, &[OUTSIDE]).expect("a message").expect("a message");
    assert!(there.places().len() >= message.places().len());
}
