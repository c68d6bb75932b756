//! Session tags are encrypted handles.
//!
//! A local session tag must be random to everybody else, never 0, and unique in the gateway. It must also lead an
//! arriving tunnel packet to its binding. So the tag *is* the binding's slot, with a generation, put through a keyed
//! permutation of 32 bits: no ingress hash table, one memory line per packet, and a stale tag of a reused slot
//! decodes to the wrong generation.
//!
//! What keeps strangers out is the pair of tags, the tunnel id and the outer pair together (`DropReason::Tunnel*`);
//! the permutation only has to hide the slot's number.

/// Where a binding lives: the worker that owns it and its slot in that worker's slab, with the slot's generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u32);

/// A session tag of ours, as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u32);

/// How the 32 bits of a handle are cut: worker, slot, and what is left for the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bits for the worker's number, at the top.
    pub worker_bits: u32,
    /// Bits for the slot, at the bottom.
    pub slot_bits: u32,
}

impl Layout {
    /// The layout for that many workers with that many slots each; the slot has a bit at least, so that generations can be
    /// counted in 32.
    ///
    /// # Panics
    /// If no bit would be left for the generation.
    pub fn new(workers: u32, slots_per_worker: u32) -> Self {
        let worker_bits = workers.next_power_of_two().trailing_zeros();
        let slot_bits = slots_per_worker.max(2).next_power_of_two().trailing_zeros();
        assert!(
            worker_bits + slot_bits <= 31,
            "{workers} workers with {slots_per_worker} bindings need more than 31 bits"
        );
        Self { worker_bits, slot_bits }
    }

    /// How many generations a slot has before they repeat.
    pub const fn generations(self) -> u32 {
        1 << (32 - self.worker_bits - self.slot_bits)
    }

    /// Packs a handle. `generation` is taken modulo [`Layout::generations`].
    pub const fn handle(self, worker: u32, slot: u32, generation: u32) -> Handle {
        let generation = generation & (self.generations() - 1);
        let top = (worker as u64) << (32 - self.worker_bits);
        Handle(top as u32 | generation << self.slot_bits | slot)
    }

    /// The worker that owns the handle.
    #[inline(always)]
    pub const fn worker(self, handle: Handle) -> u32 {
        ((handle.0 as u64) >> (32 - self.worker_bits)) as u32
    }

    /// The slot in that worker's slab.
    #[inline(always)]
    pub const fn slot(self, handle: Handle) -> u32 {
        handle.0 & ((1 << self.slot_bits) - 1)
    }

    /// The slot's generation.
    pub const fn generation(self, handle: Handle) -> u32 {
        (handle.0 >> self.slot_bits) & (self.generations() - 1)
    }
}

/// The worker that owns an inside host, of so many. The control thread asks it where to insert a binding.
#[inline(always)]
pub const fn worker_of(host: u32, workers: u32) -> u32 {
    let mixed = host.wrapping_mul(0x9e37_79b1);
    (((mixed ^ mixed >> 15) as u64 * workers as u64) >> 32) as u32
}

/// Bits of the number of external ports next to one another that belong to one worker at least: an even one and the odd one
/// behind it do.
pub const PORT_BITS: u32 = 6;

/// The worker that owns an external port of NAT44, of so many, each of which has ports next to one another of so many bits.
#[inline(always)]
pub const fn worker_of_port(port: u16, bits: u32, workers: u32) -> u32 {
    worker_of(port as u32 >> bits, workers)
}

/// The worker that owns an address of the circular pool, of so many: neighbouring addresses belong to one after the other.
#[inline(always)]
pub const fn worker_of_pool(address: u32, workers: u32) -> u32 {
    address % workers
}

/// What a worker's share is of all hosts and handles.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    cipher: TagCipher,
    layout: Layout,
    worker: u32,
    workers: u32,
    port_bits: u32,
}

impl Share {
    /// The share of `worker`, of so many, with tags under this key.
    pub const fn new(key: [u32; 4], layout: Layout, worker: u32, workers: u32) -> Self {
        Self { cipher: TagCipher::new(key), layout, worker, workers, port_bits: PORT_BITS }
    }

    /// The same where external ports next to one another of so many bits belong to one worker.
    pub const fn with_port_bits(self, port_bits: u32) -> Self {
        Self { port_bits, ..self }
    }

    /// Whether there are other workers.
    pub const fn is_part(&self) -> bool {
        self.workers > 1
    }

    /// The tag of a handle.
    pub const fn tag(&self, handle: Handle) -> Tag {
        self.cipher.tag(handle)
    }

    /// The handle of a tag.
    #[inline(always)]
    pub const fn handle(&self, tag: Tag) -> Handle {
        self.cipher.handle(tag)
    }

    /// The slot of a handle, in the slab of whichever worker owns it.
    #[inline(always)]
    pub const fn slot(&self, handle: Handle) -> u32 {
        self.layout.slot(handle)
    }

    /// Whether this worker owns the handle.
    pub const fn is_ours(&self, handle: Handle) -> bool {
        self.layout.worker(handle) == self.worker
    }

    /// The other worker that owns the handle, if there is such a one.
    #[inline(always)]
    pub const fn owner_elsewhere(&self, handle: Handle) -> Option<u8> {
        let worker = self.layout.worker(handle);
        if worker != self.worker && worker < self.workers { Some(worker as u8) } else { None }
    }

    /// Which worker's it is.
    pub const fn worker(&self) -> u32 {
        self.worker
    }

    /// How many workers there are.
    #[inline(always)]
    pub const fn workers(&self) -> u32 {
        self.workers
    }

    /// This worker, if it is another one.
    #[inline(always)]
    pub const fn elsewhere(&self, worker: u32) -> Option<u8> {
        if worker == self.worker { None } else { Some(worker as u8) }
    }

    /// The other worker that owns the external port, if it is another.
    #[inline(always)]
    pub const fn port_elsewhere(&self, port: u16) -> Option<u8> {
        self.elsewhere(worker_of_port(port, self.port_bits, self.workers))
    }

    /// The other worker that owns the host, if it is another.
    #[inline(always)]
    pub const fn host_elsewhere(&self, host: u32) -> Option<u8> {
        let owner = worker_of(host, self.workers);
        if owner == self.worker { None } else { Some(owner as u8) }
    }
}

/// The keyed permutation between handles and tags.
#[derive(Clone, Copy, Debug)]
pub struct TagCipher {
    key: [u32; 4],
}

/// Odd multipliers with good avalanche and their inverses modulo 2³².
const MULTIPLY: [u32; 2] = [0x7feb_352d, 0x846c_a68b];
const INVERSE: [u32; 2] = [0x1d69_e2a5, 0x4302_1123];

impl TagCipher {
    /// A permutation under this key.
    pub const fn new(key: [u32; 4]) -> Self {
        Self { key }
    }

    /// The tag of a handle. The one handle that maps to 0 is never given out: see [`TagCipher::usable`].
    #[inline(always)]
    pub const fn tag(self, handle: Handle) -> Tag {
        let mut x = handle.0 ^ self.key[0];
        x ^= x >> 16;
        x = x.wrapping_mul(MULTIPLY[0]).wrapping_add(self.key[1]);
        x ^= x >> 15;
        x = x.wrapping_mul(MULTIPLY[1]).wrapping_add(self.key[2]);
        x ^= x >> 16;
        Tag(x ^ self.key[3])
    }

    /// The handle of a tag.
    #[inline(always)]
    pub const fn handle(self, tag: Tag) -> Handle {
        let mut x = tag.0 ^ self.key[3];
        x ^= x >> 16;
        x = x.wrapping_sub(self.key[2]).wrapping_mul(INVERSE[1]);
        x ^= x >> 15 ^ x >> 30;
        x = x.wrapping_sub(self.key[1]).wrapping_mul(INVERSE[0]);
        x ^= x >> 16;
        Handle(x ^ self.key[0])
    }

    /// Whether the handle's tag may stand on the wire: CETP reserves 0 for "none yet".
    pub const fn usable(self, handle: Handle) -> bool {
        self.tag(handle).0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tag_and_handle_are_inverse(key: [u32; 4], handle: u32) {
            let cipher = TagCipher::new(key);
            prop_assert_eq!(cipher.handle(cipher.tag(Handle(handle))), Handle(handle));
        }

        #[test]
        fn handle_parts_come_back(worker in 0u32..4, slot in 0u32..1_000_000, generation: u32) {
            let layout = Layout::new(4, 1_000_000);
            let handle = layout.handle(worker, slot, generation);
            prop_assert_eq!((layout.worker(handle), layout.slot(handle)), (worker, slot));
            prop_assert_eq!(layout.generation(handle), generation % layout.generations());
        }
    }

    #[test]
    fn hosts_spread_over_the_workers() {
        let mut hosts = [0; 3];
        for host in 0..3000 {
            hosts[worker_of(0x0a00_0000 + host, 3) as usize] += 1;
        }
        assert!(hosts.iter().all(|&count| (900..1100).contains(&count)), "{hosts:?}");
    }

    #[test]
    fn a_share_says_who_owns_what_else() {
        let layout = Layout::new(3, 16);
        let share = Share::new([1, 2, 3, 4], layout, 1, 3);
        let handle = |worker| layout.handle(worker, 5, 6);
        assert!(share.is_ours(handle(1)) && share.is_part() && share.slot(handle(1)) == 5);
        let elsewhere = [0, 1, 2, 3].map(|worker| share.owner_elsewhere(handle(worker)));
        assert_eq!(elsewhere, [Some(0), None, Some(2), None], "there is no fourth worker");
        for host in 0x0a00_0000..0x0a00_0100 {
            let owner = worker_of(host, 3) as u8;
            assert_eq!(share.host_elsewhere(host), (owner != 1).then_some(owner));
        }
    }

    #[test]
    fn one_worker_has_no_worker_bits() {
        let layout = Layout::new(1, 1 << 20);
        assert_eq!(layout.generations(), 1 << 12);
        assert_eq!(layout.worker(layout.handle(0, 5, 7)), 0);
        let least = Layout::new(1, 1);
        assert_eq!((least.generations(), least.slot(least.handle(0, 0, u32::MAX))), (1 << 31, 0));
    }
}
