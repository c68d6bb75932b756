//! Whoever a stream of bytes is for, which a fuzzer watches.

/// What the receiver has: every byte the same, however often it comes.
#[derive(Default)]
pub(crate) struct Receiver {
    pub(crate) bytes: Vec<Option<u8>>,
}

impl Receiver {
    /// Bytes come, the first of them at this place.
    pub(crate) fn takes(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), None);
        for (place, byte) in self.bytes[at..end].iter_mut().zip(bytes) {
            assert!(place.is_none_or(|before| before == *byte), "it says something else the second time");
            *place = Some(*byte);
        }
    }

    /// The first byte that has not come.
    pub(crate) fn awaits(&self) -> usize {
        self.bytes.iter().position(Option::is_none).unwrap_or(self.bytes.len())
    }
}
