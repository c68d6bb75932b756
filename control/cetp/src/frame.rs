//! Frames: a 2-byte big-endian length, then that many bytes.
//!
//! The stream may be cut anywhere. Whole frames are read in place from what arrived; only the piece that hangs over
//! is kept, so a connection holds at most one frame.

/// Longest payload that the 2-byte length can say.
pub const MAX_PAYLOAD: usize = u16::MAX as usize;

/// Bytes of the length.
pub const HEADER: usize = 2;

/// What is not a frame of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame without payload.
    #[error("empty frame")]
    Empty,
    /// A frame longer than the limit.
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct Deframer {
    /// The frame under way, its length in front.
    partial: Vec<u8>,
    /// Whether `partial` was handed out whole and has to go.
    spent: bool,
    max_payload: usize,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new(MAX_PAYLOAD)
    }
}

impl Deframer {
    /// A deframer that refuses payloads above that many bytes.
    pub const fn new(max_payload: usize) -> Self {
        Self { partial: Vec::new(), spent: false, max_payload }
    }

    /// Takes the next payload from `input`; `None` when `input` is used up. After an error the stream is lost.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<&'s [u8]>, FrameError> {
        if self.spent {
            self.partial.clear();
            self.spent = false;
        }
        if self.partial.is_empty() {
            if let Some(length) = self.length(input)?
                && input.len() >= HEADER + length
            {
                let (frame, rest) = input.split_at(HEADER + length);
                *input = rest;
                return Ok(Some(&frame[HEADER..]));
            }
            self.partial.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        }
        if self.partial.len() < HEADER {
            self.take(input, HEADER);
        }
        let Some(length) = self.length(&self.partial)? else { return Ok(None) };
        self.take(input, HEADER + length);
        if self.partial.len() < HEADER + length {
            return Ok(None);
        }
        self.spent = true;
        Ok(Some(&self.partial[HEADER..]))
    }

    /// Whether a frame has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.spent && !self.partial.is_empty()
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    fn take(&mut self, input: &mut &[u8], until: usize) {
        let count = (until - self.partial.len()).min(input.len());
        self.partial.extend_from_slice(&input[..count]);
        *input = &input[count..];
    }

    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(&[high, low]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        match usize::from(u16::from_be_bytes([high, low])) {
            0 => Err(FrameError::Empty),
            length if length > self.max_payload => Err(FrameError::TooLong(length)),
            length => Ok(Some(length)),
        }
    }
}

/// Puts a length in front of a payload.
pub fn emit(payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = u16::try_from(payload.len()).map_err(|_| FrameError::TooLong(payload.len()))?;
    if length == 0 {
        return Err(FrameError::Empty);
    }
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(stream: &[u8], cuts: &[usize], max: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut deframer = Deframer::new(max);
        let mut frames = Vec::new();
        let mut rest = stream;
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() {
            let count = cuts.next().map_or(rest.len(), |cut| cut.clamp(1, rest.len()));
            let (mut input, tail) = rest.split_at(count);
            rest = tail;
            while let Some(payload) = deframer.next(&mut input)? {
                frames.push(payload.to_vec());
            }
            assert!(deframer.held() <= HEADER + max);
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_back_however_the_stream_is_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            cuts in prop::collection::vec(1usize..700, 1..10),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| emit(payload).unwrap()).collect();
            prop_assert_eq!(cut(&stream, &cuts, 300).unwrap(), payloads);
        }

        #[test]
        fn any_bytes_are_cut_or_refused(
            stream in prop::collection::vec(any::<u8>(), 0..2000),
            cuts in prop::collection::vec(1usize..50, 1..5),
        ) {
            let _ = cut(&stream, &cuts, 600);
        }
    }

    #[test]
    fn empty_and_long_frames_are_refused() {
        assert_eq!(cut(&[0, 0], &[1], 10), Err(FrameError::Empty));
        assert_eq!(cut(&[0, 11, 1], &[3], 10), Err(FrameError::TooLong(11)));
        assert_eq!(emit(&[]), Err(FrameError::Empty));
        assert_eq!(emit(&vec![0; MAX_PAYLOAD + 1]), Err(FrameError::TooLong(MAX_PAYLOAD + 1)));
        assert_eq!(emit(&vec![7; MAX_PAYLOAD]).unwrap().len(), MAX_PAYLOAD + HEADER);
    }

    #[test]
    fn a_partial_frame_is_seen() {
        let mut deframer = Deframer::default();
        let mut input: &[u8] = &[0, 2, 9];
        assert_eq!(deframer.next(&mut input), Ok(None));
        assert!(deframer.is_partial());
        let mut input: &[u8] = &[8];
        assert_eq!(deframer.next(&mut input), Ok(Some(&[9, 8][..])));
        assert!(!deframer.is_partial());
    }
}
