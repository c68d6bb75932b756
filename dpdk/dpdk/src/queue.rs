//! The two ends of a port's queue pair, one user each.

use crate::running::Running;
use crate::{Mbuf, interrupts};
use dpdk_sys::{rte_mbuf, shim_mbuf};
use machine::gate::Pass;
use std::sync::Arc;

/// A VLAN tag: EtherType and tag control information.
const VLAN_BYTES: usize = 4;
/// Both MAC addresses, which stand ahead of the tag.
const ADDRESSES_BYTES: usize = 12;
/// The EtherType of a VLAN tag (IEEE 802.1Q).
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];

/// A receive queue of a running port. Used by one thread at a time: every call takes `&mut`.
pub struct RxQueue {
    port: Arc<Running>,
    queue: u16,
    /// For bursts, where the port needs that.
    pass: Option<Pass>,
    refused: u64,
}

impl RxQueue {
    pub(crate) fn new(port: Arc<Running>, queue: u16) -> Self {
        let pass = interrupts::pass(&port.name);
        Self { port, queue, pass, refused: 0 }
    }

    /// Appends received frames to `frames`, as many as fit in its capacity, and returns how many those are.
    ///
    /// Every frame is in one piece and has its VLAN tag in place, whatever the driver did. What could not be made so is
    /// dropped and counted in [`RxQueue::refused`].
    #[inline]
    pub fn burst(&mut self, frames: &mut Vec<Mbuf>) -> usize {
        let before = frames.len();
        let room = (frames.capacity() - before).min(usize::from(u16::MAX)) as u16;
        // SAFETY: the queue was set up and its port runs as long as `self.port` is held; `&mut self` makes this its only
        // user, as there is one handle per queue. There is room for `room` pointers past the end, and `Mbuf` is a
        // transparent pointer. What the driver wrote there is valid and ours; what has several segments, which `Mbuf` must
        // not have, is seen to before anybody gets it.
        unsafe {
            let end: *mut *mut rte_mbuf = frames.as_mut_ptr().add(before).cast();
            let (port, queue) = (self.port.id, self.queue);
            let count = pass_by(&mut self.pass, || dpdk_sys::shim_rx_burst(port, queue, end, room));
            frames.set_len(before + usize::from(count));
            let mut plain = true;
            for index in 0..usize::from(count) {
                plain &= is_plain((*end.add(index)).cast::<shim_mbuf>());
            }
            if !plain {
                self.normalise(frames, before);
            }
        }
        frames.len() - before
    }

    /// Makes the frames from `first` on plain, or drops them.
    #[cold]
    fn normalise(&mut self, frames: &mut Vec<Mbuf>, first: usize) {
        let mut index = first;
        while index < frames.len() {
            if normalise(&mut frames[index]) {
                index += 1;
            } else {
                frames.remove(index);
                self.refused += 1;
            }
        }
    }

    /// Frames dropped because they could not be brought into one piece with their VLAN tag.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

/// Does a burst, behind the gate where there is one. While that is closed, it comes to nothing.
#[inline(always)]
fn pass_by(pass: &mut Option<Pass>, burst: impl FnOnce() -> u16) -> u16 {
    match pass {
        None => burst(),
        Some(pass) => pass.through(burst).unwrap_or(0),
    }
}

/// Whether an mbuf is as everybody expects: one segment, tags in place.
///
/// # Safety
/// `mbuf` is valid.
#[inline(always)]
unsafe fn is_plain(mbuf: *const shim_mbuf) -> bool {
    const STRIPPED: u64 = dpdk_sys::SHIM_RX_VLAN_STRIPPED | dpdk_sys::SHIM_RX_QINQ_STRIPPED;
    // SAFETY: the caller's promise.
    unsafe { (*mbuf).nb_segs == 1 && (*mbuf).ol_flags & STRIPPED == 0 }
}

/// Brings a frame into one segment and its VLAN tag back into place, if that is possible.
fn normalise(frame: &mut Mbuf) -> bool {
    let raw = frame.as_raw();
    // SAFETY: the mbuf is valid and ours; its segments are copied into the first one and freed if that has room.
    if unsafe { dpdk_sys::shim_mbuf_linearize(raw) } != 0 {
        return false;
    }
    let fields = raw.cast::<shim_mbuf>();
    // SAFETY: the mbuf is valid and ours.
    let (flags, tag) = unsafe { ((*fields).ol_flags, (*fields).vlan_tci) };
    if flags & dpdk_sys::SHIM_RX_QINQ_STRIPPED != 0 {
        return false; // never asked for: no port has that offload on
    }
    if flags & dpdk_sys::SHIM_RX_VLAN_STRIPPED != 0 {
        if frame.len() < ADDRESSES_BYTES || !frame.prepend(VLAN_BYTES) {
            return false;
        }
        let data = frame.data_mut();
        data.copy_within(VLAN_BYTES..VLAN_BYTES + ADDRESSES_BYTES, 0);
        data[ADDRESSES_BYTES..ADDRESSES_BYTES + 2].copy_from_slice(&ETHERTYPE_VLAN);
        data[ADDRESSES_BYTES + 2..ADDRESSES_BYTES + 4].copy_from_slice(&tag.to_be_bytes());
        // SAFETY: the mbuf is valid and ours.
        unsafe { (*fields).ol_flags &= !dpdk_sys::SHIM_RX_VLAN_STRIPPED };
    }
    true
}

/// A transmit queue of a running port. Used by one thread at a time: every call takes `&mut`.
pub struct TxQueue {
    port: Arc<Running>,
    queue: u16,
    /// For bursts, where the port needs that.
    pass: Option<Pass>,
}

impl TxQueue {
    pub(crate) fn new(port: Arc<Running>, queue: u16) -> Self {
        let pass = interrupts::pass(&port.name);
        Self { port, queue, pass }
    }

    /// Sends frames from the front of `frames` and returns how many. What the queue did not take stays in `frames`.
    #[inline]
    pub fn burst(&mut self, frames: &mut Vec<Mbuf>) -> usize {
        let count = frames.len().min(usize::from(u16::MAX)) as u16;
        // SAFETY: the queue was set up and its port runs as long as `self.port` is held; `&mut self` makes this its only
        // user. The first `sent` mbufs belong to the driver afterwards, so they are moved out of the vector without being
        // dropped.
        unsafe {
            let (port, queue, first) = (self.port.id, self.queue, frames.as_mut_ptr().cast());
            let sent = pass_by(&mut self.pass, || dpdk_sys::shim_tx_burst(port, queue, first, count));
            let sent = usize::from(sent);
            let left = frames.len() - sent;
            let start = frames.as_mut_ptr();
            std::ptr::copy(start.add(sent), start, left);
            frames.set_len(left);
            sent
        }
    }
}

impl std::fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RxQueue {} of {}", self.queue, self.port.name)
    }
}

impl std::fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TxQueue {} of {}", self.queue, self.port.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Eal, Memory, Mempool, Options};

    /// The one test of this binary that starts the EAL.
    #[test]
    fn frames_are_made_plain() {
        let options = Options {
            memory: Memory::Ordinary { mib: 64 },
            polling: Vec::new(),
            devices: Vec::new(),
            extra: Vec::new(),
        };
        let eal = Eal::start(&options).unwrap();
        let pool = Mempool::new(&eal, "odd", 63).unwrap();
        stripped_tag_is_put_back(&pool);
        segments_are_joined_if_they_fit(&pool);
        assert_eq!(pool.available(), 63);
    }

    fn stripped_tag_is_put_back(pool: &Mempool) {
        let mut frame = pool.alloc().unwrap();
        assert!(frame.copy_from(b"ddddddssssss\x08\x00packet"));
        // SAFETY: the mbuf is valid and ours.
        unsafe {
            let fields = &mut *frame.as_raw().cast::<shim_mbuf>();
            fields.ol_flags |= dpdk_sys::SHIM_RX_VLAN_STRIPPED;
            fields.vlan_tci = 0x6123;
            assert!(!is_plain(fields));
        }
        assert!(normalise(&mut frame));
        assert_eq!(frame.data(), b"ddddddssssss\x81\x00\x61\x23\x08\x00packet");
        // SAFETY: the mbuf is valid and ours.
        assert!(unsafe { is_plain(frame.as_raw().cast()) });
    }

    fn segments_are_joined_if_they_fit(pool: &Mempool) {
        let chained = |first: &[u8], second: &[u8]| {
            let (mut head, mut tail) = (pool.alloc().unwrap(), pool.alloc().unwrap());
            assert!(head.copy_from(first) && tail.copy_from(second));
            // SAFETY: both mbufs are valid and ours; the tail belongs to the head afterwards, hence `forget`.
            unsafe {
                assert_eq!(dpdk_sys::shim_mbuf_chain(head.as_raw(), tail.as_raw()), 0);
                std::mem::forget(tail);
                assert!(!is_plain(head.as_raw().cast()));
            }
            head
        };
        let mut frame = chained(&[1; 1000], &[2; 1048]);
        assert!(normalise(&mut frame));
        assert_eq!(frame.data(), [[1; 1000].as_slice(), &[2; 1048]].concat());
        // SAFETY: the mbuf is valid and ours.
        assert!(unsafe { is_plain(frame.as_raw().cast()) });
        drop(frame);
        assert!(!normalise(&mut chained(&[1; 1000], &[2; 1049])), "a byte more than a buffer holds");
    }
}
