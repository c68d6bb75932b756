//! FTP's control channel as any host may write it, in any segments: what is written instead hangs together.
//!
//! The first byte says whose lines they are. The rest is the stream, which also says how it is cut, what of it is sent again
//! and when it has arrived.

use crate::receiver::Receiver;
use ces_dataplane::alg::ftp::{Listener, Reader};
use ces_dataplane::alg::shift::{EDITS, Shift, TEXT};
use ces_dataplane::wire::ftp::{PLACE, Place, Said, Speaker};
use ces_dataplane::wire::text::{Garbled, Text};

/// Writes another place wherever one is named.
struct Other {
    is_private: bool,
}

impl Listener for Other {
    fn awaits(&mut self, place: Place) -> Option<Text<PLACE>> {
        Some(place.written(0xc612_0001, place.port ^ 0x5555))
    }

    fn hear(&mut self, said: Result<Said, Garbled>) {
        self.is_private |= said == Ok(Said::GrantsTls);
    }

    fn is_private(&self) -> bool {
        self.is_private
    }
}

/// Sends old bytes, as a segment does.
fn send(shift: &Shift, first: u32, (from, to): (usize, usize), stream: &[u8], receiver: &mut Receiver) {
    let start = first.wrapping_add(from as u32);
    let mut out = [0; 4096];
    let written = shift.write(shift.carries(start), start, &stream[from..to], &mut out);
    let (begin, length) = written.expect("there is room");
    assert!(length <= to - from + (EDITS + 1) * TEXT);
    // What begins before the first byte only asks.
    if length > 0 {
        receiver.takes(begin.wrapping_sub(first) as usize, &out[..length]);
    }
}

/// The property: no panic, every byte says the same however it is sent, none is missing, and what has moved moves back.
pub fn run(data: &[u8]) {
    let Some((&how, stream)) = data.split_first() else { return };
    let speaker = if how & 1 == 0 { Speaker::Client } else { Speaker::Server };
    // Near the wrap.
    let initial = 0u32.wrapping_sub(u32::from(how) * 4);
    let first = initial.wrapping_add(1);
    let (mut reader, mut shift) = (Reader::new(speaker), Shift::begin(initial));
    let (mut other, mut receiver) = (Other { is_private: false }, Receiver::default());
    let mut at = 0;
    while at < stream.len() {
        let count = (usize::from(stream[at]) % 47 + 1).min(stream.len() - at);
        let read = reader.read(&mut shift, &stream[at..at + count], &mut other);
        assert_eq!(shift.next(), first.wrapping_add((at + read) as u32));
        if read > 0 {
            send(&shift, first, (at, at + read), stream, &mut receiver);
        }
        at += read;
        // Now and then what came before comes again, and the receiver is heard.
        let again = usize::from(stream[at - usize::from(at > 0)]);
        if again & 1 == 0 && at > 0 {
            send(&shift, first, (at.saturating_sub(again), at), stream, &mut receiver);
        }
        if again & 2 == 0 || read == 0 {
            shift.acknowledge(first.wrapping_add(receiver.awaits() as u32));
            let arrived = shift.arrived().wrapping_sub(first) as usize;
            assert!(arrived <= at, "{arrived} of {at} have arrived");
        }
    }
    shift.let_go();
    send(&shift, first, (at, at), stream, &mut receiver);
    let end = shift.sent(shift.next()).wrapping_sub(first) as usize;
    assert_eq!((receiver.awaits(), receiver.bytes.len()), (end, end));
    assert_eq!(shift.heard(shift.sent(shift.next())), shift.next());
}
