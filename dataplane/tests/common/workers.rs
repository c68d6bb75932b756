//! Several workers of one gateway: what one of them hands over goes to another as over their rings.

use super::*;
use ces_dataplane::path::process_arrival;
use ces_dataplane::tag::Layout;
use ces_dataplane::verdict::{Arrival, Custody};

pub(crate) struct Workers(pub Vec<Gateway>);

/// What became of a frame, and at which worker; what leaves.
pub(crate) struct Outcome {
    pub by: usize,
    pub verdict: Verdict,
    pub out: Vec<(PortId, Vec<u8>)>,
    /// How often it was handed over.
    pub hands: usize,
}

impl Workers {
    /// So many of a gateway with these settings.
    pub(crate) fn new(
        count: u32,
        settings: &WorkerSettings,
        gateway: impl Fn(WorkerSettings) -> Gateway,
    ) -> Self {
        let worker = |worker| {
            let layout = Layout::new(count, settings.bindings);
            gateway(WorkerSettings { worker, workers: count, layout, ..settings.clone() })
        };
        Self((0..count).map(worker).collect())
    }

    pub(crate) fn arrive(&mut self, at: usize, port: PortId, frame: &[u8]) -> Outcome {
        let mut frames = [MemoryFrame::new(frame)];
        let mut verdicts = [Verdict::Absorb];
        let (mut by, mut turned) = (at, None);
        for hands in 0..3 {
            let gateway = &mut self.0[by];
            let custody = if hands == 0 { Custody::New } else { Custody::Opened };
            let arrival =
                Arrival { turned, is_handed: hands != 0, custody, ..Arrival::at(port, gateway.now) };
            process_arrival(&mut gateway.state, arrival, &mut frames, &mut verdicts, &mut gateway.wire);
            match verdicts[0] {
                Verdict::HandOff(worker) => by = worker.into(),
                Verdict::TurnBack(worker, external) => (by, turned) = (worker.into(), Some(external)),
                verdict => {
                    let wire = gateway.wire.sent.drain(..);
                    let mut out: Vec<_> = wire.map(|(port, frame)| (port, frame.data().to_vec())).collect();
                    if let Verdict::Forward(egress) | Verdict::Reply(egress, _) = verdict {
                        out.push((egress.port, frames[0].data().to_vec()));
                    }
                    return Outcome { by, verdict, out, hands };
                }
            }
        }
        panic!("handed over for ever: {:?}", verdicts[0]);
    }

    /// What the one frame becomes that is sent on, and by which port.
    pub(crate) fn sent(&mut self, at: usize, port: PortId, frame: &[u8]) -> (PortId, Vec<u8>) {
        let Outcome { verdict, mut out, .. } = self.arrive(at, port, frame);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        assert_eq!(out.len(), 1);
        assert_sound(&out[0].1);
        out.remove(0)
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.0.iter_mut().for_each(|worker| worker.command(command));
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.0.iter_mut().for_each(|worker| nat::wait(worker, seconds));
    }
}
