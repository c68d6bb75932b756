//! Numbers and addresses as text, where a protocol writes them so: read without a copy, written without an allocation.

use std::ops::Deref;

/// A text that does not go on as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

/// A short text of at most `N` bytes. What would be longer is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> Deref for Text<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl<const N: usize> Text<N> {
    /// None yet.
    pub const EMPTY: Self = {
        assert!(N <= u8::MAX as usize);
        Self { bytes: [0; N], length: 0 }
    };

    /// A byte more.
    pub fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length += 1;
        }
    }

    /// These bytes more; `false`, with nothing changed, if there is no room.
    pub fn extend(&mut self, bytes: &[u8]) -> bool {
        let length = usize::from(self.length);
        let room = self.bytes.get_mut(length..length + bytes.len());
        let fits = room.map(|room| room.copy_from_slice(bytes)).is_some();
        self.length += u8::from(fits) * bytes.len() as u8;
        fits
    }

    /// A number more, in decimal.
    pub fn number(&mut self, number: u32) {
        let (mut digits, mut at, mut rest) = ([0; 10], 10, number);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        digits[at..].iter().for_each(|digit| self.push(*digit));
    }

    /// These numbers more, with this between them.
    pub fn numbers(&mut self, numbers: &[u8], between: u8) {
        for (nth, number) in numbers.iter().enumerate() {
            if nth > 0 {
                self.push(between);
            }
            self.number((*number).into());
        }
    }
}

/// Where the first line feed stands, eight bytes at a time.
pub(crate) fn feed(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    for (nth, word) in words.iter().enumerate() {
        // A byte that is one became zero; the lowest bit that is found is the first one's.
        let word = u64::from_le_bytes(*word) ^ (b'\n' as u64 * ONES);
        let found = word.wrapping_sub(ONES) & !word & (0x80 * ONES);
        if found != 0 {
            return Some(8 * nth + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| *byte == b'\n').map(|at| bytes.len() - rest.len() + at)
}

/// The number at the beginning, of at most 5 digits, and how many it has.
pub(crate) fn decimal(bytes: &[u8]) -> Option<(u32, usize)> {
    let length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = bytes.get(..length).filter(|digits| (1..=5).contains(&digits.len()))?;
    Some((digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')), length))
}

/// The number that is all of this.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    decimal(bytes).filter(|(_, length)| *length == bytes.len()).map(|(number, _)| number)
}

/// The IPv4 address, in dotted decimal, that is all of this.
pub(crate) fn address(bytes: &[u8]) -> Option<u32> {
    let (mut address, mut parts) = (0, bytes.split(|byte| *byte == b'.'));
    for _ in 0..4 {
        address = address << 8 | u32::from(u8::try_from(number(parts.next()?)?).ok()?);
    }
    parts.next().is_none().then_some(address)
}
