//! The keys of all peers, as a worker has them.

use super::change::{KeyChange, KeyPart};
use super::key::{InboundKey, OutboundKey, stream_of};
use crate::reason::DropReason;
use crate::wire::Wire;
use crate::wire::psp::{self, EPOCH, Header, LENGTH, TAG};

/// Peers with which tunnels are encrypted, at most. The slot of each stands in the lowest bits of the index that we drew for it.
pub const SLOTS: usize = 4096;

/// The slot that an index leads to.
#[inline(always)]
pub const fn slot_of(spi: u32) -> u16 {
    (spi as usize % SLOTS) as u16
}

/// One peer's keys.
#[derive(Debug, Default)]
struct Keys {
    outbound: Option<Box<OutboundKey>>,
    /// By epoch.
    inbound: [Option<Box<InboundKey>>; 2],
}

/// A packet that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealed {
    /// The index without its epoch.
    pub id: u32,
    /// Whether that is the second of two epochs.
    epoch: bool,
    iv: u64,
}

impl Unsealed {
    fn of(header: &Header) -> Self {
        Self { id: header.spi & !EPOCH, epoch: header.spi & EPOCH != 0, iv: header.iv }
    }

    /// What was opened before, as its header says.
    pub fn before(header: &[u8]) -> Option<Self> {
        psp::opened(header).map(|header| Self::of(&header))
    }
}

/// The keys of all peers. All memory is there from the start.
#[derive(Debug)]
pub struct Seals {
    peers: Box<[Keys]>,
    /// A peer whose key has little left, to be told.
    low: Option<u16>,
    /// Packets sealed.
    pub sealed: u64,
    /// Packets opened, by whoever owns their host.
    pub opened: u64,
}

impl Default for Seals {
    fn default() -> Self {
        Self { peers: (0..SLOTS).map(|_| Keys::default()).collect(), low: None, sealed: 0, opened: 0 }
    }
}

impl Seals {
    /// Makes a change; what it brought is in its place, and it takes what was there along. A key that is there stays with its
    /// count: no vector is used twice.
    pub fn change(&mut self, change: &mut KeyChange) {
        let keys = &mut self.peers[usize::from(change.slot) % SLOTS];
        match &mut change.part {
            KeyPart::Out(new) => {
                let is_there =
                    new.as_ref().zip(keys.outbound.as_ref()).is_some_and(|(a, b)| a.key.is(&b.key));
                if !is_there {
                    if let Some((new, before)) = new.as_mut().zip(keys.outbound.as_ref()) {
                        new.follow(before);
                    }
                    std::mem::swap(&mut keys.outbound, new);
                }
            }
            KeyPart::In(epoch, new) => {
                let old = &mut keys.inbound[usize::from(*epoch)];
                let is_there = new.as_ref().zip(old.as_ref()).is_some_and(|(a, b)| a.key.is(&b.key));
                if !is_there {
                    std::mem::swap(old, new);
                }
            }
        }
    }

    /// Whether something can be sealed for the peer.
    #[inline(always)]
    pub fn is_ready(&self, slot: u16) -> bool {
        self.peers[usize::from(slot) % SLOTS].outbound.as_ref().is_some_and(|outbound| outbound.left > 0)
    }

    /// Whether an index is one of ours.
    pub fn knows(&self, spi: u32) -> bool {
        self.inbound(spi).is_some()
    }

    #[inline(always)]
    fn inbound(&self, spi: u32) -> Option<&InboundKey> {
        let inbound = self.peers[usize::from(slot_of(spi))].inbound[usize::from(spi & EPOCH != 0)].as_deref();
        inbound.filter(|inbound| inbound.spi == spi)
    }

    /// Seals a packet: room for its header, the packet, room for its tag. False, with nothing changed, where there is no key.
    #[inline]
    pub fn seal(&mut self, slot: u16, bytes: &mut [u8]) -> bool {
        let Some(outbound) = self.peers[usize::from(slot) % SLOTS].outbound.as_deref_mut() else {
            return false;
        };
        let Some((room, rest)) = bytes.split_first_chunk_mut::<LENGTH>() else { return false };
        let Some((packet, end)) = rest.split_last_chunk_mut::<TAG>() else { return false };
        // Whatever becomes of this one, none has its vector again.
        let Some((iv, is_low)) = outbound.take() else { return false };
        if is_low {
            self.low = Some(slot);
        }
        let header = Header { cipher: outbound.key.cipher(), spi: outbound.spi, iv };
        header.emit(room);
        let Some(tag) = outbound.key.seal(header.nonce(), room, packet) else { return false };
        *end = tag;
        self.sealed += 1;
        true
    }

    /// Opens a packet from its header to the end of its tag. Whether it came before is not asked yet: [`Seals::admit`].
    #[inline]
    pub fn open(&self, bytes: &mut [u8]) -> Result<Unsealed, DropReason> {
        let header = Header::parse(bytes)?;
        let (room, packet) = bytes.split_first_chunk_mut::<LENGTH>().ok_or(DropReason::Truncated)?;
        let inbound = self.inbound(header.spi).ok_or(DropReason::TunnelKeyUnknown)?;
        if inbound.key.cipher() != header.cipher || !inbound.key.open(header.nonce(), room, packet) {
            return Err(DropReason::TunnelForged);
        }
        psp::mark_opened(room);
        Ok(Unsealed::of(&header))
    }

    /// Takes an opened packet, once: by the worker that owns its host, where each packet always comes.
    #[inline]
    pub fn admit(&mut self, opened: Unsealed) -> Result<(), DropReason> {
        let keys = &mut self.peers[usize::from(slot_of(opened.id))];
        let inbound = keys.inbound[usize::from(opened.epoch)].as_deref_mut();
        let inbound = inbound.filter(|inbound| inbound.spi & !EPOCH == opened.id);
        let inbound = inbound.ok_or(DropReason::TunnelKeyUnknown)?;
        let (stream, number) = stream_of(opened.iv);
        inbound.windows.get_mut(stream).ok_or(DropReason::TunnelForged)?.admit(number)?;
        self.opened += 1;
        Ok(())
    }

    /// A peer whose key has little left, once.
    #[inline(always)]
    pub fn take_low(&mut self) -> Option<u16> {
        self.low.take()
    }
}
