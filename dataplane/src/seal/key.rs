//! Keys, ready for use, and what goes with them in each direction.

use super::window::Window;
use crate::wire::psp::Cipher;
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::sync::Arc;

/// Packets that are sealed under one key at most, by all workers together. RFC 9001 §B.1.1: with packets of at most 2¹¹ bytes,
/// AES-GCM keeps an attacker's advantage below 2⁻⁵⁷ for 2²⁸ of them. Half of that: a gateway that starts anew counts anew,
/// and draws other keys as soon as it has its peer back.
pub const MOST_PACKETS: u64 = 1 << 27;
// No count of a worker reaches what says which worker it is.
const _: () = assert!(MOST_PACKETS < 1 << 32);

/// Workers of a sender that are told apart, each with a window.
pub const STREAMS: usize = 64;

/// A key with its schedule. Workers share it.
pub struct SealKey {
    cipher: Cipher,
    key: LessSafeKey,
    /// Tells it from others, without saying anything about it.
    mark: [u8; 8],
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealKey({:?})", self.cipher)
    }
}

impl SealKey {
    /// Makes a key ready; `None` if the cipher does not take it, which none of 256 bits is refused by.
    pub fn new(cipher: Cipher, secret: &[u8; 32]) -> Option<Arc<Self>> {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, secret).ok()?);
        let digest = ring::digest::digest(&ring::digest::SHA256, secret);
        let mark = *digest.as_ref().first_chunk()?;
        Some(Arc::new(Self { cipher, key, mark }))
    }

    /// The cipher.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Whether both are one.
    pub fn is(&self, other: &Self) -> bool {
        (self.cipher, self.mark) == (other.cipher, other.mark)
    }

    /// Encrypts in place; the tag.
    #[inline(always)]
    pub(super) fn seal(&self, nonce: [u8; 12], header: &[u8], packet: &mut [u8]) -> Option<[u8; 16]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), packet).ok()?;
        tag.as_ref().first_chunk().copied()
    }

    /// Decrypts in place what ends with its tag; false if it is not authentic.
    #[inline(always)]
    pub(super) fn open(&self, nonce: [u8; 12], header: &[u8], packet: &mut [u8]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.open_in_place(nonce, Aad::from(header), packet).is_ok()
    }
}

/// What a worker sends to a peer under: the key that the peer drew, and which initialization vectors come next.
#[derive(Debug)]
pub struct OutboundKey {
    pub(super) key: Arc<SealKey>,
    pub(super) spi: u32,
    /// The next initialization vector.
    pub(super) next: u64,
    /// Packets that may still be sealed.
    pub(super) left: u64,
    /// At so many the control thread is told that another key is wanted, and again after as many more.
    pub(super) low: u64,
    step: u64,
}

impl OutboundKey {
    /// For a worker of so many, in a process with this number, which no process before it had: no vector comes twice. Another key
    /// is wanted after `rekey` packets of all workers.
    pub fn new(key: Arc<SealKey>, spi: u32, start: u32, (worker, workers): (u8, u8), rekey: u64) -> Self {
        let share = |packets: u64| (packets / u64::from(workers.max(1))).max(1);
        let (left, step) = (share(MOST_PACKETS), share(rekey));
        let next = u64::from(start) << 40 | u64::from(worker) << 32;
        Self { key, spi, next, left, low: left.saturating_sub(step), step }
    }

    /// Goes on with the count of the key before, should the peer tell of this one twice, with another between: each is good for
    /// 2²⁷ packets, so a count that begins again at 0 near the end of its 32 bits meets none that was used.
    pub(super) fn follow(&mut self, before: &Self) {
        let count = before.next & 0xffff_ffff;
        if count + MOST_PACKETS < 1 << 32 {
            self.next = self.next >> 32 << 32 | count;
        }
    }

    /// Takes the next initialization vector; whether another key is wanted. `None`: it has sealed as much as it may.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<(u64, bool)> {
        let (iv, left) = (self.next, self.left.checked_sub(1)?);
        (self.next, self.left) = (iv + 1, left);
        let is_low = left == self.low;
        if is_low {
            self.low = self.low.saturating_sub(self.step);
        }
        Some((iv, is_low))
    }
}

/// What a worker opens packets of a peer by: a key that we drew, and what has come.
#[derive(Debug)]
pub struct InboundKey {
    pub(super) key: Arc<SealKey>,
    pub(super) spi: u32,
    /// By worker of the sender.
    pub(super) windows: Box<[Window]>,
}

impl InboundKey {
    /// Nothing has come yet from a peer with so many workers.
    pub fn new(key: Arc<SealKey>, spi: u32, streams: usize) -> Self {
        Self { key, spi, windows: vec![Window::default(); streams.clamp(1, STREAMS)].into() }
    }
}

/// Which worker of the sender numbered a packet, and how: by its start, then its count.
#[inline(always)]
pub(super) const fn stream_of(iv: u64) -> (usize, u64) {
    ((iv >> 32 & 0xff) as usize, iv >> 40 << 32 | iv & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_and_whoever_can_bring_another_is_told_before_that() {
        let key = SealKey::new(Cipher::Aes256Gcm, &[7; 32]).unwrap();
        let mut outbound = OutboundKey::new(key, 9, 3, (1, 2), 4);
        let first = 3 << 40 | 1 << 32;
        let taken: Vec<_> = (0..5).filter_map(|_| outbound.take()).collect();
        let said =
            [(first, false), (first + 1, true), (first + 2, false), (first + 3, true), (first + 4, false)];
        assert_eq!(taken, said, "its half of four, again and again");
        outbound.left = 1;
        assert_eq!(outbound.take(), Some((first + 5, false)));
        assert_eq!((outbound.take(), outbound.take()), (None, None));
        let mut next = OutboundKey::new(Arc::clone(&outbound.key), 9, 3, (1, 2), 4);
        next.follow(&outbound);
        assert_eq!(next.take(), Some((first + 6, false)), "whichever key it is");
        outbound.next = first | (0xffff_ffff - MOST_PACKETS);
        next.follow(&outbound);
        assert_eq!(next.next, outbound.next);
        outbound.next += 1;
        let mut next = OutboundKey::new(Arc::clone(&outbound.key), 9, 3, (1, 2), 4);
        next.follow(&outbound);
        assert_eq!(next.next, first, "it would not last");
        assert_eq!((stream_of(first + 5), stream_of(first)), ((1, 3 << 32 | 5), (1, 3 << 32)));
    }
}
