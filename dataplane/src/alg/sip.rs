//! What becomes of a SIP message on its way: where it names the address of one side, the other side reads the one under which
//! that is seen there. Edits are gathered in one look, and written in one copy; nothing else of the message changes.

use super::scope::{AlgHosts, AlgMode, mode_for};
use crate::wire::sdp::{Description, MEDIA};
use crate::wire::sip::{Form, Message, Naming, PLACES, PORT, Span, Use};
use crate::wire::text::Text;

/// The most bytes of what is written: `255.255.255.255:65535`.
const WRITTEN: usize = 24;
/// The most edits: every place, of every stream its port, address, RTCP port and that one's address, two addresses of the
/// description, and the length.
const EDITS: usize = PLACES + 4 * MEDIA + 3;
/// What a message may grow by.
pub const GROWTH: usize = EDITS * WRITTEN;

/// Who may send media to what a host has announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaFrom {
    /// The other end of the control channel, and whom the host sends to itself.
    #[default]
    Peer,
    /// Whoever the other end says that media comes from, instead.
    Announced,
}

/// What is configured of SIP's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// The UDP ports on which SIP is spoken, at either end; none: it is left alone.
    pub ports: Vec<u16>,
    /// What is done about it.
    pub mode: AlgMode,
    /// Hosts for which that is otherwise: the first entry that fits.
    pub hosts: Vec<AlgHosts>,
    /// How long media is awaited that was announced, in seconds.
    pub await_s: u16,
    /// From whom.
    pub media_from: MediaFrom,
    /// How long requests come to who has registered, at most, in seconds.
    pub registered_s: u16,
    /// Calls that one host may have.
    pub host_calls: u16,
    /// How long a call is known in which nothing is said, in seconds.
    pub dialog_s: u16,
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            ports: vec![PORT],
            mode: AlgMode::On,
            hosts: Vec::new(),
            await_s: 180,
            media_from: MediaFrom::Peer,
            registered_s: 7200,
            host_calls: 64,
            dialog_s: 3600,
        }
    }
}

impl Sip {
    /// What is done about the datagrams of a host between these ports, its own and the other one.
    pub fn mode(&self, host: u32, ports: [u16; 2]) -> AlgMode {
        mode_for((self.mode, &self.ports), &self.hosts, host, &ports)
    }
}

/// A stream of media, as its receiver announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaStream {
    /// Its port; 0: it is not wanted.
    pub port: u16,
    /// The one of its RTCP, if there is any.
    pub rtcp: Option<u16>,
    /// RTCP may come by the same port (RFC 5761).
    pub is_muxed: bool,
}

impl MediaStream {
    /// None.
    pub const NONE: Self = Self { port: 0, rtcp: None, is_muxed: false };
}

/// Knows what the address of one side is to the other.
pub trait Translator {
    /// The address that is sought.
    fn own(&self) -> u32;

    /// What it is called by the other side.
    fn other(&self) -> u32;

    /// Where this port of it is to the other side.
    fn place(&mut self, port: Option<u16>, used: Use) -> Option<(u32, u16)>;

    /// Where this stream, which is the `nth`, is to the other side.
    fn stream(&mut self, nth: usize, stream: MediaStream) -> Option<MediaStream>;
}

/// Bytes of a message, and the text that stands for them.
#[derive(Clone, Copy, Debug)]
struct Edit {
    span: Span,
    text: Text<WRITTEN>,
}

/// What is to be written anew of a message.
#[derive(Clone, Copy, Debug)]
pub struct Edits {
    list: [Edit; EDITS],
    count: usize,
}

impl Default for Edits {
    fn default() -> Self {
        let none = Edit { span: Span { at: 0, end: 0 }, text: Text::EMPTY };
        Self { list: [none; EDITS], count: 0 }
    }
}

impl Edits {
    /// Whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn push(&mut self, bytes: &[u8], span: Span, text: Text<WRITTEN>) {
        if *span.of(bytes) != *text
            && let Some(place) = self.list.get_mut(self.count)
        {
            *place = Edit { span, text };
            self.count += 1;
        }
    }

    /// What is written instead of where the message names a port or address of one side.
    pub fn name(&mut self, bytes: &[u8], message: &Message, translator: &mut impl Translator) {
        let mut told = None;
        for &Naming { span, form, used } in message.places() {
            match (form, told) {
                (Form::Both(port), _) => {
                    told = translator.place(port, used);
                    if let Some((address, external)) = told {
                        let mut text = address_text(address);
                        if port.is_some() || external != PORT {
                            text.push(b':');
                            text.number(external.into());
                        }
                        self.push(bytes, span, text);
                    }
                }
                (Form::Address, _) => self.push(bytes, span, address_text(translator.other())),
                (Form::Port, Some((_, port))) => self.push(bytes, span, port_text(port)),
                (Form::Port, None) => {}
            }
        }
    }

    /// What is written instead of where one side awaits media.
    pub fn describe(&mut self, bytes: &[u8], described: &Description, translator: &mut impl Translator) {
        let own = translator.own();
        let other = address_text(translator.other());
        // A connection that streams share is written anew unless all of them stay where they are.
        let (mut shared, mut moved) = (0, 0);
        for (nth, media) in described.media().iter().enumerate() {
            if described.address(media) != Some(own) {
                continue;
            }
            let stream = MediaStream {
                port: media.port.port,
                rtcp: match media.rtcp {
                    _ if !media.is_rtp => None,
                    Some(rtcp) => Some(rtcp.port),
                    None => media.port.port.checked_add(1),
                },
                is_muxed: media.is_muxed,
            };
            let is_wanted = stream.port != 0;
            let told = if is_wanted && media.is_plain { translator.stream(nth, stream) } else { None };
            if let Some(told) = told {
                self.push(bytes, media.port.span, port_text(told.port));
                if let (Some(rtcp), Some(port)) = (media.rtcp, told.rtcp) {
                    self.push(bytes, rtcp.span, port_text(port));
                }
                if let Some(rtcp) = media.rtcp_address.filter(|rtcp| rtcp.address == own) {
                    self.push(bytes, rtcp.span, other);
                }
            }
            let is_moved = told.is_some() || !is_wanted;
            match media.connection {
                Some(connection) if is_moved => self.push(bytes, connection.span, other),
                Some(_) => {}
                None => (shared, moved) = (shared + 1, moved + u32::from(is_moved)),
            }
        }
        let connection = described.connection.filter(|_| moved > 0 || shared == 0);
        for address in [described.origin, connection].into_iter().flatten() {
            if address.address == own {
                self.push(bytes, address.span, other);
            }
        }
    }

    /// Writes the message to `out`, its length as it has become (RFC 3261 §20.14); how long it is, if there is room.
    pub fn write(&mut self, bytes: &[u8], message: &Message, out: &mut [u8]) -> Option<usize> {
        let body = usize::from(message.body.end - message.body.at);
        let growth: isize = self.list[..self.count]
            .iter()
            .filter(|edit| edit.span.at >= message.body.at)
            .map(|edit| edit.text.len() as isize - isize::from(edit.span.end as i16 - edit.span.at as i16))
            .sum();
        if let (Some(span), true) = (message.length, growth != 0) {
            let mut text = Text::EMPTY;
            text.number(u32::try_from(body.checked_add_signed(growth)?).ok()?);
            self.push(bytes, span, text);
        }
        let edits = &mut self.list[..self.count];
        edits.sort_unstable_by_key(|edit| edit.span.at);
        let (mut at, mut length) = (0, 0);
        let mut put = |part: &[u8]| {
            out.get_mut(length..length + part.len())?.copy_from_slice(part);
            length += part.len();
            Some(())
        };
        for edit in edits {
            put(bytes.get(at..usize::from(edit.span.at))?)?;
            put(&edit.text)?;
            at = usize::from(edit.span.end);
        }
        put(bytes.get(at..)?)?;
        Some(length)
    }
}

fn address_text(address: u32) -> Text<WRITTEN> {
    let mut text = Text::EMPTY;
    text.numbers(&address.to_be_bytes(), b'.');
    text
}

fn port_text(port: u16) -> Text<WRITTEN> {
    let mut text = Text::EMPTY;
    text.number(port.into());
    text
}
