//! Captures: the classic pcap format, read and written, and a port over two of them.
//!
//! Enough to run a capture through the packet path and to keep what a failed test saw for Wireshark. Format:
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>.

use super::PortQueues;
use crate::frame::{Frame, MemoryFrame};
use std::fmt;
use std::io::{self, Write};

/// Magic number of a file with microseconds.
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
/// Magic number of a file with nanoseconds.
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// `LINKTYPE_ETHERNET`.
const LINK_ETHERNET: u32 = 1;
/// The longest record that is read or written, as in tcpdump.
const RECORD_MAX: usize = 262_144;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// One captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// The frame, or its beginning.
    pub data: Vec<u8>,
    /// The frame's length on the wire, in bytes.
    pub length: u32,
}

/// Why a file is no capture that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcapError {
    /// The file ends within a header or a record.
    Truncated,
    /// Not the classic format (pcapng is another).
    Magic(u32),
    /// Not of Ethernet.
    LinkType(u32),
    /// A record longer than any capture has.
    RecordTooLong(u32),
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the capture ends within a record"),
            Self::Magic(magic) => write!(f, "not a classic pcap file: magic number {magic:#010x}"),
            Self::LinkType(link) => write!(f, "not a capture of Ethernet: link type {link}"),
            Self::RecordTooLong(length) => write!(f, "a record of {length} bytes"),
        }
    }
}

impl std::error::Error for PcapError {}

/// Reads a whole capture, of either byte order and resolution.
pub fn read(mut bytes: &[u8]) -> Result<Vec<CapturedFrame>, PcapError> {
    let header = take(&mut bytes, FILE_HEADER)?;
    let magic: [u8; 4] = word(header, 0);
    let (number, nanoseconds): (fn([u8; 4]) -> u32, bool) =
        match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICROS, _) => (u32::from_le_bytes, false),
            (MAGIC_NANOS, _) => (u32::from_le_bytes, true),
            (_, MAGIC_MICROS) => (u32::from_be_bytes, false),
            (_, MAGIC_NANOS) => (u32::from_be_bytes, true),
            (other, _) => return Err(PcapError::Magic(other)),
        };
    // The upper half of the field has flags about the frame check sequence.
    let link = number(word(header, 20)) & 0xffff;
    if link != LINK_ETHERNET {
        return Err(PcapError::LinkType(link));
    }
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let record = take(&mut bytes, RECORD_HEADER)?;
        let [seconds, fraction, captured, length] = [0, 4, 8, 12].map(|at| number(word(record, at)));
        if captured as usize > RECORD_MAX {
            return Err(PcapError::RecordTooLong(captured));
        }
        let data = take(&mut bytes, captured as usize)?.to_vec();
        let fraction_ns = u64::from(fraction) * if nanoseconds { 1 } else { 1000 };
        packets.push(CapturedFrame {
            time_ns: u64::from(seconds) * 1_000_000_000 + fraction_ns,
            data,
            length,
        });
    }
    Ok(packets)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], PcapError> {
    let (head, rest) = bytes.split_at_checked(count).ok_or(PcapError::Truncated)?;
    *bytes = rest;
    Ok(head)
}

/// Four bytes of a header whose length was checked.
fn word(header: &[u8], at: usize) -> [u8; 4] {
    [header[at], header[at + 1], header[at + 2], header[at + 3]]
}

/// Writes a capture with nanoseconds.
#[derive(Debug)]
pub struct Writer<W: Write> {
    to: W,
}

impl<W: Write> Writer<W> {
    /// Begins a capture.
    pub fn new(mut to: W) -> io::Result<Self> {
        let mut header = [0u8; FILE_HEADER];
        header[0..4].copy_from_slice(&MAGIC_NANOS.to_le_bytes());
        header[4..6].copy_from_slice(&2u16.to_le_bytes()); // version 2.4
        header[6..8].copy_from_slice(&4u16.to_le_bytes());
        header[16..20].copy_from_slice(&(RECORD_MAX as u32).to_le_bytes());
        header[20..24].copy_from_slice(&LINK_ETHERNET.to_le_bytes());
        to.write_all(&header)?;
        Ok(Self { to })
    }

    /// Adds a frame.
    pub fn write(&mut self, time_ns: u64, frame: &[u8]) -> io::Result<()> {
        let data = &frame[..frame.len().min(RECORD_MAX)];
        let mut header = [0u8; RECORD_HEADER];
        let fields = [
            (time_ns / 1_000_000_000) as u32,
            (time_ns % 1_000_000_000) as u32,
            data.len() as u32,
            frame.len() as u32,
        ];
        for (field, value) in header.chunks_exact_mut(4).zip(fields) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        self.to.write_all(&header)?;
        self.to.write_all(data)
    }

    /// Ends the capture.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }
}

/// A port where a capture arrives, and that captures what it sends.
#[derive(Debug)]
pub struct PcapPort<W: Write> {
    arrivals: std::vec::IntoIter<CapturedFrame>,
    departures: Writer<W>,
    /// The time of what arrived last, which what is sent gets, too.
    time_ns: u64,
    /// The first error of writing. Nothing is sent after it.
    error: Option<io::Error>,
    refused: u64,
}

impl<W: Write> PcapPort<W> {
    /// A port where `arrivals` arrive, in order and as fast as they are taken.
    pub fn new(arrivals: Vec<CapturedFrame>, departures: Writer<W>) -> Self {
        Self { arrivals: arrivals.into_iter(), departures, time_ns: 0, error: None, refused: 0 }
    }

    /// Packets that have not arrived yet.
    pub fn waiting(&self) -> usize {
        self.arrivals.len()
    }

    /// Ends the capture of what was sent, with the first error that there was.
    pub fn finish(self) -> io::Result<W> {
        self.error.map_or_else(|| self.departures.finish(), Err)
    }
}

impl<W: Write> PortQueues for PcapPort<W> {
    type Frame = MemoryFrame;

    fn rx_burst(&mut self, frames: &mut Vec<MemoryFrame>) -> usize {
        let before = frames.len();
        while frames.len() < frames.capacity()
            && let Some(packet) = self.arrivals.next()
        {
            self.time_ns = packet.time_ns;
            if packet.data.len() > MemoryFrame::SIZE - MemoryFrame::HEADROOM {
                self.refused += 1;
                continue;
            }
            frames.push(MemoryFrame::new(&packet.data));
        }
        frames.len() - before
    }

    fn tx_burst(&mut self, frames: &mut Vec<MemoryFrame>) -> usize {
        let mut sent = 0;
        for frame in frames.iter() {
            if self.error.is_some() {
                break;
            }
            match self.departures.write(self.time_ns, frame.data()) {
                Ok(()) => sent += 1,
                Err(error) => self.error = Some(error),
            }
        }
        frames.drain(..sent);
        sent
    }

    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn capture(packets: &[CapturedFrame]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for packet in packets {
            writer.write(packet.time_ns, &packet.data).unwrap();
        }
        writer.finish().unwrap()
    }

    fn packet() -> impl Strategy<Value = CapturedFrame> {
        (0..4_000_000_000_000_000_000u64, prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(time_ns, data)| CapturedFrame { time_ns, length: data.len() as u32, data })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packets in prop::collection::vec(packet(), 0..5)) {
            prop_assert_eq!(read(&capture(&packets)), Ok(packets));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn truncation_at_every_byte_is_noticed() {
        let packet = CapturedFrame { time_ns: 5, data: vec![1, 2, 3], length: 3 };
        let bytes = capture(std::slice::from_ref(&packet));
        for length in 0..bytes.len() {
            let expected = if length == FILE_HEADER { Ok(Vec::new()) } else { Err(PcapError::Truncated) };
            assert_eq!(read(&bytes[..length]), expected, "{length} bytes");
        }
    }

    #[test]
    fn other_byte_order_and_microseconds_are_read() {
        let mut bytes = Vec::new();
        for value in [MAGIC_MICROS, 0x0002_0004, 0, 0, 65535, LINK_ETHERNET, 7, 8, 2, 60] {
            bytes.extend(value.to_be_bytes());
        }
        bytes.extend([0xaa, 0xbb]);
        let expected = CapturedFrame { time_ns: 7_000_008_000, data: vec![0xaa, 0xbb], length: 60 };
        assert_eq!(read(&bytes), Ok(vec![expected]));
    }

    #[test]
    fn foreign_files_are_refused() {
        let mut bytes = capture(&[]);
        bytes[20] = 101; // raw IP
        assert_eq!(read(&bytes), Err(PcapError::LinkType(101)));
        bytes[..4].copy_from_slice(&0x0a0d_0d0au32.to_le_bytes()); // pcapng
        assert_eq!(read(&bytes), Err(PcapError::Magic(0x0a0d_0d0a)));
        let mut long = capture(&[]);
        long.extend([0; 8]);
        long.extend(u32::MAX.to_le_bytes());
        long.extend([0; 4]);
        assert_eq!(read(&long), Err(PcapError::RecordTooLong(u32::MAX)));
    }

    #[test]
    fn port_replays_and_captures() {
        let arrivals = vec![
            CapturedFrame { time_ns: 1, data: vec![1; 60], length: 60 },
            CapturedFrame { time_ns: 2, data: vec![2; 3000], length: 3000 },
            CapturedFrame { time_ns: 3, data: vec![3; 60], length: 60 },
        ];
        let mut port = PcapPort::new(arrivals, Writer::new(Vec::new()).unwrap());
        let mut frames = Vec::with_capacity(8);
        assert_eq!(port.rx_burst(&mut frames), 2);
        assert_eq!((port.take_refused(), port.take_refused()), (1, 0));
        assert_eq!(port.tx_burst(&mut frames), 2);
        let sent = read(&port.finish().unwrap()).unwrap();
        assert_eq!(sent.iter().map(|packet| packet.data[0]).collect::<Vec<_>>(), [1, 3]);
    }
}
