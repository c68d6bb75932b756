//! Streams of messages, RTSP's and SIP's over TCP, as any host may write them, in any segments: what is written instead hangs
//! together.
//!
//! The first byte says what is spoken. The rest is the stream, which also says how it is cut, what of it is sent again and
//! when it has arrived.

use crate::receiver::Receiver;
use crate::sip;
use ces_dataplane::alg::edits::{Edits, WRITTEN};
use ces_dataplane::alg::media::MediaStream;
use ces_dataplane::alg::rtsp::{Interpreter, describe, interpret};
use ces_dataplane::alg::talk::{Language, MESSAGE, MOST, Step, Tongue};
use ces_dataplane::wire::framing::{Extent, Framed, START, framed};
use ces_dataplane::wire::{rtsp, sdp};

/// 192.168.10.11, and what it is outside.
const OURS: u32 = 0xc0a8_0a0b;
const OUTSIDE: u32 = 0xc612_0001;

/// Moves every port of ours.
struct Other {
    is_client: bool,
}

impl Interpreter for Other {
    fn own(&self) -> u32 {
        OURS
    }

    fn other(&self) -> u32 {
        OUTSIDE
    }

    fn peer(&self) -> u32 {
        0xcb00_710a
    }

    fn far(&self, address: u32) -> Option<u32> {
        (address == OUTSIDE).then(|| self.peer())
    }

    fn is_client(&self) -> bool {
        self.is_client
    }

    fn speaks(&self) -> bool {
        true
    }

    fn place(&mut self, _: u32, port: Option<u16>) -> Option<(u32, u16)> {
        Some((OUTSIDE, port.unwrap_or(554)))
    }

    fn announced(&mut self, stream: MediaStream, _: Option<(u32, MediaStream)>) -> Option<MediaStream> {
        let moved = |port: u16| port ^ 0x5554;
        Some(MediaStream { port: moved(stream.port), rtcp: stream.rtcp.map(moved), ..stream })
    }

    fn answered(&mut self, stream: MediaStream, _: Option<(u32, MediaStream)>) -> Option<MediaStream> {
        Some(stream)
    }

    fn refuse(&mut self) {}

    fn garbled(&mut self) {}
}

/// What is to be written anew of a message, in which nothing of ours is named then where that was sought.
fn translate(language: Language, bytes: &[u8], extent: Extent, is_client: bool) -> Edits {
    if language == Language::Sip {
        return sip::edits(bytes, bytes.len() > extent.head).unwrap_or_default();
    }
    let mut edits = Edits::default();
    let Ok(mut message) = rtsp::read(bytes, extent.head, &[OURS]) else { return edits };
    let mut other = Other { is_client };
    if extent.is_described
        && let Ok(described) = sdp::read(bytes, message.body)
        && rtsp::read_controls(&mut message, bytes, &[OURS]).is_ok()
    {
        describe(&mut edits, bytes, &described, &other);
    }
    interpret(&mut edits, bytes, &message, &mut other);
    edits.finish(bytes, message.body, message.length).expect("it is no longer than a message");
    let mut out = vec![0; bytes.len() + (MOST + 32) * WRITTEN];
    let length = edits.write(bytes, &mut out).expect("there is room");
    out.truncate(length);
    // A first line may have become longer than is read.
    let has_start = out.iter().take(START).any(|byte| *byte == b'\n');
    let Framed::Message(extent) = framed(&out, language.version()) else {
        assert!(!has_start, "no message any more: {:?}", String::from_utf8_lossy(&out));
        return edits;
    };
    let again = rtsp::read(&out, extent.head, &[OURS]).expect("a message");
    assert!(again.places().is_empty(), "{:?}", String::from_utf8_lossy(&out));
    edits
}

/// Sends old bytes that were passed, as a segment does.
fn send(tongue: &Tongue, first: u32, (from, to): (usize, usize), stream: &[u8], receiver: &mut Receiver) {
    let start = first.wrapping_add(from as u32);
    let shift = tongue.shift.as_ref().expect("it has begun");
    let mut out = vec![0; 64 * 1024];
    let written = match tongue.carries(start) {
        None => shift.write(start, start, &stream[from..to], &mut out),
        Some((base, owed, known)) => {
            let all = [owed, stream[from..to].get(known..).unwrap_or_default()].concat();
            shift.write(base, base, &all, &mut out)
        }
    };
    let (begin, length) = written.expect("there is room");
    if length > 0 {
        receiver.takes(begin.wrapping_sub(first) as usize, &out[..length]);
    }
}

/// The property: no panic, every byte says the same however it is sent, none is missing, and what has moved moves back.
pub fn run(data: &[u8]) {
    let Some((&how, stream)) = data.split_first() else { return };
    let language = if how & 1 == 0 { Language::Rtsp } else { Language::Sip };
    // Near the wrap.
    let initial = 0u32.wrapping_sub(u32::from(how) * 4);
    let first = initial.wrapping_add(1);
    let (mut tongue, mut receiver) = (Tongue::NONE, Receiver::default());
    tongue.begin(initial, false);
    let passed = |tongue: &Tongue| tongue.shift.unwrap().next().wrapping_sub(first) as usize;
    let mut at = 0;
    while at < stream.len() {
        let count = (usize::from(stream[at]) * 3 % 301 + 1).min(stream.len() - at);
        let before = passed(&tongue);
        let mut read = 0;
        while read < count {
            let new = &stream[at + read..at + count];
            match tongue.step(language, new) {
                Step::Passed(more) => read += more,
                Step::Part => read = count,
                Step::Full => break,
                Step::Other => tongue.turn_blind(),
                Step::Message(extent, rest) => {
                    if !tongue.shift.as_mut().unwrap().has_room(MOST) {
                        break;
                    }
                    let mut room = [0; MESSAGE];
                    let (message, more) = tongue.whole(extent, new, &mut room);
                    let edits = translate(language, message, extent, how & 2 == 0);
                    let length = message.len();
                    tongue.note(length, &edits, rest);
                    read += more;
                }
            }
        }
        at += read;
        assert_eq!(tongue.awaited(), first.wrapping_add(at as u32));
        let now = passed(&tongue);
        if now > before {
            send(&tongue, first, (before, now), stream, &mut receiver);
        }
        let again = usize::from(stream[at - usize::from(at > 0)]);
        // What is kept may be all of a write.
        if tongue.keeps() {
            tongue.owes(language, first.wrapping_add(at as u32), again & 4 == 0, again & 8 == 0);
        }
        // Now and then what came before comes again, and the receiver is heard.
        let from = now.saturating_sub(again);
        if again & 1 == 0 && from < now {
            send(&tongue, first, (from, now), stream, &mut receiver);
        }
        if again & 2 == 0 || read == 0 {
            // What nobody would send again, or what waits for it, is sent whole.
            send(&tongue, first, (0, now), stream, &mut receiver);
            let shift = tongue.shift.as_mut().unwrap();
            shift.acknowledge(first.wrapping_add(receiver.awaits() as u32));
            let arrived = shift.arrived().wrapping_sub(first) as usize;
            assert!(arrived <= at, "{arrived} of {at} have arrived");
            tongue.release();
        }
    }
    tongue.turn_blind();
    let end = passed(&tongue);
    send(&tongue, first, (0, end), stream, &mut receiver);
    let shift = tongue.shift.unwrap();
    let sent = shift.sent(shift.next()).wrapping_sub(first) as usize;
    assert_eq!((receiver.awaits(), receiver.bytes.len()), (sent, sent));
    assert_eq!(shift.heard(shift.sent(shift.next())), shift.next());
}
