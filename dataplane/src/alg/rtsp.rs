//! What becomes of a message of RTSP on its way: where it names the address of one side, or ports between which media is to
//! go, the other side reads what they are there. Nothing else of the message changes.

use super::edits::{Edits, WRITTEN, address_text, place_text, port_text};
use super::media::{MediaFrom, MediaRules, MediaStream};
use super::scope::{AlgHosts, AlgMode, mode_for};
use crate::wire::rtsp::{MediaTransport, Message, PORT, Ports, SocketText, TransportEnd};
use crate::wire::sdp::Description;
use crate::wire::text::Text;

/// How long streams are known of which nobody speaks, in seconds: as long as a connection of TCP that rests (RFC 5382 §5).
const SESSION_S: u16 = 7440;

/// What is configured of RTSP's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtsp {
    /// The TCP ports of servers on which RTSP is spoken; none: it is left alone.
    pub ports: Vec<u16>,
    /// What is done about it.
    pub mode: AlgMode,
    /// Hosts for which that is otherwise: the first entry that fits.
    pub hosts: Vec<AlgHosts>,
    /// How long media is awaited that was announced, in seconds.
    pub await_s: u16,
    /// From whom.
    pub media_from: MediaFrom,
    /// Connections with streams that one host may have.
    pub host_sessions: u16,
}

impl Default for Rtsp {
    fn default() -> Self {
        Self {
            ports: vec![PORT, 8554],
            mode: AlgMode::On,
            hosts: Vec::new(),
            await_s: 60,
            media_from: MediaFrom::Peer,
            host_sessions: 256,
        }
    }
}

impl Rtsp {
    /// What is done about the connections of a host with servers at this port, its own or others.
    pub fn mode(&self, host: u32, port: u16) -> AlgMode {
        mode_for((self.mode, &self.ports), &self.hosts, host, &[port])
    }

    /// What its media depends on.
    pub fn media_rules(&self) -> MediaRules {
        let Self { await_s, media_from, host_sessions, .. } = *self;
        MediaRules { await_s, media_from, host_calls: host_sessions, dialog_s: SESSION_S }
    }
}

/// Knows what one side is to the other.
pub trait Interpreter {
    /// The address of who speaks or is spoken of, as the reader before the gateway writes it.
    fn own(&self) -> u32;

    /// What it is called by the other side.
    fn other(&self) -> u32;

    /// The address of who is at the other end.
    fn peer(&self) -> u32;

    /// What an address is called by the other side that stands where that end is said to be; `None`: the same.
    fn far(&self, address: u32) -> Option<u32>;

    /// Whether the inside host is the client of its connection.
    fn is_client(&self) -> bool;

    /// Whether the host speaks; otherwise it is spoken to.
    fn speaks(&self) -> bool;

    /// Where this port, of TCP, of an address that is sought is to the other side.
    fn place(&mut self, address: u32, port: Option<u16>) -> Option<(u32, u16)>;

    /// Where a stream is to the other side that the host awaits, when that other end of it is known.
    fn announced(&mut self, stream: MediaStream, far: Option<(u32, MediaStream)>) -> Option<MediaStream>;

    /// Which of the host's streams one is that the other side knows, and where its other end is.
    fn answered(&mut self, stream: MediaStream, far: Option<(u32, MediaStream)>) -> Option<MediaStream>;

    /// Something that is not the host's to announce.
    fn refuse(&mut self);

    /// A transport that cannot be followed.
    fn garbled(&mut self);
}

/// What a message says of streams, and of URLs.
pub fn interpret(edits: &mut Edits, bytes: &[u8], message: &Message, interpreter: &mut impl Interpreter) {
    for place in message.places() {
        if let Some((address, external)) = interpreter.place(place.address, place.port) {
            let is_written = place.port.is_some() || external != PORT;
            let text = if is_written { place_text((address, external)) } else { address_text(address) };
            edits.push(bytes, place.span, text);
        }
    }
    // Who refuses says what he could do instead, at most.
    if message.status == 0 || (200..300).contains(&message.status) {
        for transport in message.transports() {
            interpret_transport(edits, bytes, transport, interpreter);
        }
    }
}

/// Addresses of a description (RFC 2326 §C.1.7): of who describes himself.
pub fn describe(edits: &mut Edits, bytes: &[u8], described: &Description, interpreter: &impl Interpreter) {
    let own = interpreter.own();
    let media = described.media().iter().map(|media| media.connection);
    for address in [described.origin, described.connection].into_iter().chain(media).flatten() {
        if address.address == own {
            edits.push(bytes, address.span, address_text(interpreter.other()));
        }
    }
}

fn interpret_transport(
    edits: &mut Edits,
    bytes: &[u8],
    transport: &MediaTransport,
    interpreter: &mut impl Interpreter,
) {
    let (mine, theirs) = if interpreter.is_client() {
        (&transport.client, &transport.server)
    } else {
        (&transport.server, &transport.client)
    };
    let (own, other, speaks) = (interpreter.own(), interpreter.other(), interpreter.speaks());
    // Another host's, or a name: nothing is opened for it, and who named it may know why.
    if speaks && !is_known(mine, [own, other]) {
        interpreter.refuse();
        return;
    }
    if transport.is_datagrams {
        match stream_of(mine) {
            Err(()) => {
                interpreter.garbled();
                return;
            }
            Ok(None) => {}
            Ok(Some(stream)) => {
                let far = stream_of(theirs).ok().flatten().map(|far| (address_of(theirs, interpreter), far));
                let told = if speaks {
                    interpreter.announced(stream, far)
                } else {
                    interpreter.answered(stream, far)
                };
                match told {
                    Some(told) => write(edits, bytes, mine, told, (own, other)),
                    None if speaks => return,
                    None => {}
                }
            }
        }
    }
    if let Some(literal) = mine.literal.filter(|literal| literal.address == Some(own)) {
        edits.push(bytes, literal.span, address_text(other));
    }
    if let Some(literal) = theirs.literal
        && let Some(far) = literal.address.and_then(|address| interpreter.far(address))
    {
        edits.push(bytes, literal.span, address_text(far));
    }
    for socket in theirs.sockets.iter().flatten() {
        if let Some(far) = socket.address.and_then(|address| interpreter.far(address)) {
            let text = if socket.port > 0 { place_text((far, socket.port)) } else { address_text(far) };
            edits.push(bytes, socket.span, text);
        }
    }
}

/// Whether an end is nowhere but at one of these addresses.
fn is_known(end: &TransportEnd, known: [u32; 2]) -> bool {
    let is_here = |address: Option<u32>| address.is_some_and(|address| known.contains(&address));
    let sockets = end.sockets.iter().flatten();
    end.literal.is_none_or(|literal| is_here(literal.address))
        && sockets.clone().all(|socket| !socket.is_named || is_here(socket.address))
}

/// The stream of an end, if it says ports.
fn stream_of(end: &TransportEnd) -> Result<Option<MediaStream>, ()> {
    let is_muxed = false;
    match (end.ports, end.sockets) {
        (Some(Ports { first: port, second: rtcp, .. }), [None, _]) => {
            let is_pair = rtcp.is_none_or(|rtcp| port.checked_add(1) == Some(rtcp));
            if is_pair && port > 0 { Ok(Some(MediaStream { port, rtcp, is_muxed })) } else { Err(()) }
        }
        (None, [Some(first), second]) if first.port > 0 => {
            let rtcp = second.map(|second| second.port).filter(|rtcp| *rtcp > 0 && *rtcp != first.port);
            Ok(Some(MediaStream { port: first.port, rtcp, is_muxed }))
        }
        (None, [None, _]) => Ok(None),
        _ => Err(()),
    }
}

/// The address of an end: that of the connection, if nothing else is said.
fn address_of(end: &TransportEnd, interpreter: &impl Interpreter) -> u32 {
    let said = end.literal.and_then(|literal| literal.address);
    said.or(end.sockets[0].and_then(|socket| socket.address)).unwrap_or(interpreter.peer())
}

/// Writes where a stream is now.
fn write(edits: &mut Edits, bytes: &[u8], end: &TransportEnd, told: MediaStream, (own, other): (u32, u32)) {
    if let Some(Ports { span, second, .. }) = end.ports {
        let mut text = port_text(told.port);
        if let Some(rtcp) = told.rtcp.filter(|_| second.is_some()) {
            text.push(b'-');
            text.number(rtcp.into());
        }
        edits.push(bytes, span, text);
    }
    for (socket, port) in end.sockets.iter().zip([Some(told.port), told.rtcp]) {
        if let (Some(socket), Some(port)) = (socket, port) {
            edits.push(bytes, socket.span, socket_text(socket, port, (own, other)));
        }
    }
}

fn socket_text(socket: &SocketText, port: u16, (own, other): (u32, u32)) -> Text<WRITTEN> {
    if let Some(address) = socket.address {
        return place_text((if address == own { other } else { address }, port));
    }
    let mut text = Text::EMPTY;
    text.push(b':');
    text.number(port.into());
    text
}
