//! The keys of encrypted tunnels as the workers are told: each key is made ready once, and shared by all of them.
//!
//! No initialization vector is used twice under a key: what is sent under goes to each worker once, with the number of this
//! process, which is written down before anything is sent, and the worker's own. Where that number is not known to be new, what
//! another process sent under is not gone on with: the peer draws another key as soon as it is back.

use crate::outbox::Outbox;
use crate::output::Output;
use crate::platform::Platform;
use ces_cetp::seal::{Cipher, EPOCH, PeerKeys, TunnelSecret};
use ces_dataplane::seal::{InboundKey, KeyChange, KeyPart, OutboundKey, SealKey, slot_of};
use ces_dataplane::wire::psp;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What the workers were told.
pub(crate) struct SealKeys {
    start: u32,
    told: FxHashMap<Arc<str>, PeerKeys>,
}

impl SealKeys {
    pub(crate) fn new(platform: &Platform) -> Self {
        Self { start: platform.start.unwrap_or_else(|| drawn(platform)), told: FxHashMap::default() }
    }

    /// Tells the workers what has changed of a peer's keys; whether that is what is sent under, which is changed after so many
    /// packets.
    pub(crate) fn tell(
        &mut self,
        ces_id: &Arc<str>,
        keys: Option<&PeerKeys>,
        rekey: u32,
        out: &mut Outbox,
    ) -> bool {
        let old = self.told.get(ces_id).cloned();
        if old.as_ref().is_some_and(|old| keys.is_none_or(|keys| keys.id != old.id)) {
            // Another index, another slot.
            self.forget(ces_id, out);
        }
        let Some(keys) = keys else { return false };
        let old = self.told.insert(Arc::clone(ces_id), keys.clone()).filter(|old| old.id == keys.id);
        let slot = slot_of(keys.id);
        for epoch in [false, true] {
            let of = |keys: &PeerKeys| (keys.inbound[usize::from(epoch)].clone(), keys.cipher, keys.workers);
            if old.as_ref().map(of).as_ref() != Some(&of(keys)) {
                let spi = if epoch { keys.id | EPOCH } else { keys.id };
                let key =
                    keys.inbound[usize::from(epoch)].as_ref().and_then(|secret| ready(keys.cipher, secret));
                each(slot, out, |_| {
                    let inbound =
                        |key: &Arc<SealKey>| InboundKey::new(Arc::clone(key), spi, usize::from(keys.workers));
                    KeyPart::In(epoch, key.as_ref().map(inbound).map(Box::new))
                });
            }
        }
        let of = |keys: &PeerKeys| (keys.outbound.clone(), keys.cipher);
        let is_other = old.as_ref().map(of).as_ref() != Some(&of(keys));
        if is_other {
            let (start, workers) = (self.start, out.workers() as u8);
            let made =
                keys.outbound.as_ref().and_then(|(spi, secret)| Some((*spi, ready(keys.cipher, secret)?)));
            each(slot, out, |worker| {
                let outbound = |(spi, key): &(u32, Arc<SealKey>)| {
                    OutboundKey::new(Arc::clone(key), *spi, start, (worker as u8, workers), rekey.into())
                };
                KeyPart::Out(made.as_ref().map(outbound).map(Box::new))
            });
        }
        is_other
    }

    fn forget(&mut self, ces_id: &Arc<str>, out: &mut Outbox) {
        let Some(old) = self.told.remove(ces_id) else { return };
        let slot = slot_of(old.id);
        each(slot, out, |_| KeyPart::Out(None));
        for epoch in [false, true] {
            each(slot, out, |_| KeyPart::In(epoch, None));
        }
    }
}

/// A number that is most likely new: all who might have used a key before with another one draw it anew.
fn drawn(platform: &Platform) -> u32 {
    let digest = Sha256::new().chain_update(platform.seed).chain_update(b"start").finalize();
    u32::from_be_bytes([0, digest[0], digest[1], digest[2]])
}

/// Tells each worker its own.
fn each(slot: u16, out: &mut Outbox, part: impl Fn(u32) -> KeyPart) {
    for worker in 0..out.workers() {
        let change = Box::new(KeyChange { slot, part: part(worker) });
        out.push(Output::Key { worker, change });
    }
}

fn ready(cipher: Cipher, secret: &TunnelSecret) -> Option<Arc<SealKey>> {
    let cipher = match cipher {
        Cipher::Aes256Gcm => psp::Cipher::Aes256Gcm,
        Cipher::ChaCha20Poly1305 => psp::Cipher::ChaCha20Poly1305,
    };
    SealKey::new(cipher, secret.bytes())
}
