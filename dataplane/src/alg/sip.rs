//! What becomes of a SIP message on its way: where it names the address of one side, the other side reads the one under which
//! that is seen there. Nothing else of the message changes.

use super::edits::{Edits, address_text, port_text};
use super::media::{MediaFrom, MediaRules, MediaStream};
use super::scope::{AlgHosts, AlgMode, mode_for};
use crate::wire::sdp::Description;
use crate::wire::sip::{Form, Message, Naming, PORT, Use};

/// What is configured of SIP's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// The ports on which SIP is spoken, UDP's at either end, TCP's of who is connected to; none: it is left alone.
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
    /// What is done about what a host exchanges between these ports.
    pub fn mode(&self, host: u32, ports: &[u16]) -> AlgMode {
        mode_for((self.mode, &self.ports), &self.hosts, host, ports)
    }

    /// All ports on which it is spoken by anybody.
    pub fn spoken(&self) -> impl Iterator<Item = u16> {
        let modes = self.hosts.iter().filter_map(|hosts| hosts.mode).chain([self.mode]);
        let is_on = modes.into_iter().any(|mode| mode != AlgMode::Off);
        let all = self.hosts.iter().filter_map(|hosts| hosts.ports.as_ref()).chain([&self.ports]);
        all.flatten().copied().filter(move |_| is_on)
    }

    /// What its media depends on.
    pub fn media_rules(&self) -> MediaRules {
        let Self { await_s, media_from, host_calls, dialog_s, .. } = *self;
        MediaRules { await_s, media_from, host_calls, dialog_s }
    }
}

/// Knows what the address of one side is to the other.
pub trait Translator {
    /// A port from which something was sent is the same to both.
    const PORTS_STAY: bool;

    /// The address of who speaks, or is spoken to.
    fn own(&self) -> u32;

    /// What an address is called by the other side.
    fn other(&self, address: u32) -> u32;

    /// Where this port of an address is to the other side.
    fn place(&mut self, address: u32, port: Option<u16>, used: Use) -> Option<(u32, u16)>;

    /// Where this stream, which is the `nth`, is to the other side.
    fn stream(&mut self, nth: usize, stream: MediaStream) -> Option<MediaStream>;
}

impl Edits {
    /// What is written instead of where the message names a port or address of one side (RFC 3261 §8.1.1.7, §8.1.1.8).
    pub fn name<T: Translator>(&mut self, bytes: &[u8], message: &Message, translator: &mut T) {
        let mut told = None;
        for &Naming { address, span, form, used } in message.places() {
            match (form, told) {
                (Form::Both(port), _) => {
                    told = translator.place(address, port, used);
                    if let Some((address, external)) = told {
                        let mut text = address_text(address);
                        if port.is_some() || external != PORT {
                            text.push(b':');
                            text.number(external.into());
                        }
                        self.push(bytes, span, text);
                    }
                }
                (Form::Address, _) => self.push(bytes, span, address_text(translator.other(address))),
                (Form::Port, Some((_, port))) if !T::PORTS_STAY => self.push(bytes, span, port_text(port)),
                (Form::Port, _) => {}
            }
        }
    }

    /// What is written instead of where one side awaits media.
    pub fn describe(&mut self, bytes: &[u8], described: &Description, translator: &mut impl Translator) {
        let own = translator.own();
        let other = address_text(translator.other(own));
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
}
