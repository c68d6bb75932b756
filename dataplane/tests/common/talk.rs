//! A stream of messages between an inside host and the world, segment by segment.

use super::nat::*;
use super::*;
use ces_dataplane::nat::statics::{PortProtocol, Static};
use ces_dataplane::reason::DropReason as Why;

pub(crate) const PSH: u8 = 0x08;
const NEAR_ISN: u32 = 999;
const FAR_ISN: u32 = 0xffff_ff00;

pub(crate) fn dotted(at: u32) -> String {
    address(at).to_string()
}

fn segment(ports: (u16, u16), flags: u8, (sequence, acknowledgement): (u32, u32), data: &[u8]) -> Vec<u8> {
    let mut bytes = tcp(ports.0, ports.1, flags, &[], data);
    bytes[4..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    bytes
}

/// A connection through a gateway, and how far each of the two is.
pub(crate) struct Talk {
    pub(crate) gateway: Gateway,
    /// The host's port and the other one's.
    ports: (u16, u16),
    /// What each sends next, and what each has got, in its own numbers.
    pub(crate) sent: [u32; 2],
    pub(crate) got: [u32; 2],
}

impl Talk {
    /// A client inside, a server in the world.
    pub(crate) fn out(settings: WorkerSettings, port: u16) -> Self {
        Self::open(settings, (4000, port), true)
    }

    /// A server inside, to which the world comes.
    pub(crate) fn into(mut settings: WorkerSettings, port: u16) -> Self {
        let server = Static {
            external: address(LOCAL).into(),
            inside: address(HOST).into(),
            protocol: Some(PortProtocol::Tcp),
            port: Some(port),
            ports: None,
            inside_port: None,
        };
        settings.nat.statics = vec![server].into();
        Self::open(settings, (port, 4000), false)
    }

    fn open(settings: WorkerSettings, ports: (u16, u16), out: bool) -> Self {
        let first = |isn: u32| isn.wrapping_add(1);
        let (sent, got) = ([first(NEAR_ISN), first(FAR_ISN)], [first(FAR_ISN), first(NEAR_ISN)]);
        let mut talk = Self { gateway: gateway_with(settings), ports, sent, got };
        let syn = |ports, isn| segment(ports, SYN, (isn, 0), &[]);
        let (near, far) = (ports, (ports.1, ports.0));
        if out {
            talk.raw(0, syn(near, NEAR_ISN)).unwrap();
            talk.raw(1, segment(far, SYN | ACK, (FAR_ISN, first(NEAR_ISN)), &[])).unwrap();
        } else {
            talk.raw(1, syn(far, FAR_ISN)).unwrap();
            talk.raw(0, segment(near, SYN | ACK, (NEAR_ISN, first(FAR_ISN)), &[])).unwrap();
        }
        talk.says(0, b"");
        talk
    }

    /// What becomes of a segment of the host (0) or of the other side (1).
    pub(crate) fn raw(&mut self, from: usize, bytes: Vec<u8>) -> Result<(u8, Vec<u8>), Why> {
        let (port, frame) = if from == 0 {
            (INSIDE, from_host(&Ip::new(HOST, SERVER, 6, bytes)))
        } else {
            (OUTSIDE, from_world(&Ip::new(SERVER, LOCAL, 6, bytes)))
        };
        match self.gateway.one(port, &frame) {
            (Verdict::Forward(_), mut out) => Ok(out.remove(0)),
            (Verdict::Drop(why), _) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn part(
        &mut self,
        from: usize,
        flags: u8,
        sequence: u32,
        data: &[u8],
    ) -> Result<(u8, Vec<u8>), Why> {
        let ports = if from == 0 { self.ports } else { (self.ports.1, self.ports.0) };
        let numbers = (sequence, self.got[from]);
        self.raw(from, segment(ports, ACK | flags, numbers, data))
    }

    /// A segment without data with a number of its own, which acknowledges nothing.
    pub(crate) fn stray(&mut self, from: usize, flags: u8, sequence: u32) -> Result<(u8, Vec<u8>), Why> {
        let ports = if from == 0 { self.ports } else { (self.ports.1, self.ports.0) };
        self.raw(from, segment(ports, flags, (sequence, 0), &[]))
    }

    /// What the other one reads, who has read all before.
    pub(crate) fn reads(&mut self, from: usize, frame: &[u8]) -> String {
        assert_sound(frame);
        let header = usize::from(frame[14 + 32] >> 4) * 4;
        let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let data = &frame[14 + 20 + header..end];
        let skip = self.got[1 - from].wrapping_sub(word(frame, 24)) as usize;
        let new = data.get(skip..).unwrap_or_default();
        self.got[1 - from] = self.got[1 - from].wrapping_add(new.len() as u32);
        String::from_utf8_lossy(new).into_owned()
    }

    /// One says something in one segment; what the other one reads.
    pub(crate) fn says(&mut self, from: usize, data: &[u8]) -> String {
        let sequence = self.sent[from];
        let (_, frame) = self.part(from, PSH, sequence, data).unwrap();
        self.sent[from] = sequence.wrapping_add(data.len() as u32);
        self.reads(from, &frame)
    }

    pub(crate) fn host(&mut self, text: &str) -> String {
        self.says(0, text.as_bytes())
    }

    pub(crate) fn world(&mut self, text: &str) -> String {
        self.says(1, text.as_bytes())
    }

    /// Media from the world to an external port: to which of the host's it comes.
    pub(crate) fn media(&mut self, (source, from): (u32, u16), port: u16) -> Result<u16, Why> {
        match self.gateway.one(OUTSIDE, &from_world(&Ip::new(source, LOCAL, 17, udp(from, port, b"rtp")))) {
            (Verdict::Forward(_), out) => {
                assert_eq!(flow(&out[0].1).2, HOST);
                Ok(flow(&out[0].1).3)
            }
            (Verdict::Drop(why), _) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    /// Calls and sessions of streams, and what is awaited.
    pub(crate) fn live(&mut self) -> (u64, u64) {
        self.gateway.state.take_stock();
        let counters = &self.gateway.state.counters;
        (counters.rtsp_live + counters.sip_live, counters.alg_awaited)
    }
}
