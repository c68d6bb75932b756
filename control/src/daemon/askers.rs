//! Who waits for an answer of the name service, over either transport.

use crate::config::PortSection;
use crate::datagram::{self, NotDns, Path};
use crate::slots::{Key, Slots};
use crate::sources::netlink::table::{NeighbourTable, NextHop};
use ces_dataplane::msg::PortId;
use ces_dataplane::settings::Side;
use ces_gateway::output::QueryToken;
use ces_meter::{Level, Rate};
use rustc_hash::FxHashMap;

/// Where a DNS query came from, and so where its answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// A punted frame.
    Udp { worker: usize, port: PortId, path: Path },
    /// A connection, and the question's number there.
    Tcp { client: Key, number: u64 },
}

/// What happened to questions and answers that the gateway's core does not see.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AskerCounters {
    /// Punted DNS frames that are no datagrams, by reason.
    pub(super) malformed: [u64; NotDns::ALL.len()],
    /// Answers over UDP that do not fit the port's MTU.
    pub(super) too_long: u64,
}

/// The askers whose questions are under way.
#[derive(Default)]
pub(super) struct Askers {
    origins: Slots<Origin>,
    /// Those over TCP, by their question's number.
    over_tcp: FxHashMap<u64, Key>,
    lookups: Level,
    counters: AskerCounters,
}

impl Askers {
    /// An asker; the token names the question until it is answered.
    pub(super) fn add(&mut self, origin: Origin) -> QueryToken {
        let key = self.origins.insert(origin);
        if let Origin::Tcp { number, .. } = origin {
            self.over_tcp.insert(number, key);
        }
        QueryToken(key.pack())
    }

    /// Who asked: an answer is there, or there will be none.
    pub(super) fn take(&mut self, token: QueryToken) -> Option<Origin> {
        let origin = self.origins.remove(Key::unpack(token.0))?;
        if let Origin::Tcp { number, .. } = origin {
            self.over_tcp.remove(&number);
        }
        Some(origin)
    }

    /// The question of a client over TCP that went away.
    pub(super) fn gone(&mut self, number: u64) -> Option<QueryToken> {
        let key = self.over_tcp.remove(&number)?;
        self.origins.remove(key);
        Some(QueryToken(key.pack()))
    }

    /// Takes a punted frame apart.
    pub(super) fn parse<'a>(&mut self, frame: &'a [u8]) -> Option<(Path, &'a [u8])> {
        datagram::parse(frame).map_err(|why| self.counters.malformed[why as usize] += 1).ok()
    }

    /// Whether an answer fits; one that does not is counted.
    pub(super) fn fits(&mut self, bytes: &[u8], mtu: u16) -> bool {
        let fits = datagram::fits(bytes.len(), mtu);
        self.counters.too_long += u64::from(!fits);
        fits
    }

    /// Whether the kernel should look for a host that asks: packets for it will come right after the answer, so it is
    /// looked up while the name is. Hosts on the link only, and so many a second that a flood of made-up addresses does no
    /// harm.
    pub(super) fn is_sought(
        &mut self,
        hop: NextHop,
        port: &PortSection,
        table: &NeighbourTable,
        now: u64,
    ) -> bool {
        port.side == Side::Inside
            && table.mac(hop).is_none()
            && port.addresses.iter().any(|net| net.contains(&hop.address) && net.addr() != hop.address)
            && self.lookups.take(LOOKUPS, now)
    }

    pub(super) fn counters(&self) -> &AskerCounters {
        &self.counters
    }
}

/// Lookups of hosts a second that queries may cause, and at once.
const LOOKUPS: Rate = Rate::per_second(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asker_is_taken_once_and_one_who_left_is_found_by_its_question() {
        let mut askers = Askers::default();
        let client = Slots::default().insert(());
        let tokens: Vec<_> =
            (0..3).map(|number| askers.add(Origin::Tcp { client, number: 70 + number })).collect();
        assert_eq!(askers.gone(71), Some(tokens[1]));
        assert_eq!(askers.gone(71), None);
        assert!(matches!(askers.take(tokens[0]), Some(Origin::Tcp { number: 70, .. })));
        assert!(askers.take(tokens[0]).is_none());
    }

    #[test]
    fn lookups_are_so_many_a_second() {
        let mut lookups = Level::default();
        let second = 1_000_000_000;
        let taken = |lookups: &mut Level, now| (0..1000).filter(|_| lookups.take(LOOKUPS, now)).count();
        assert_eq!(taken(&mut lookups, 10 * second), 200);
        assert_eq!(taken(&mut lookups, 10 * second + second / 2), 100);
    }
}
