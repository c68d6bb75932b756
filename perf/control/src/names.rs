//! Hosts that ask for names: so many queries under way at a time, the next as soon as one is answered.

use crate::clock;
use crate::figure::{Collected, Figure};
use crate::gateways::{Gateway, Spent};
use crate::message;
use crate::realm::{self, Kind};
use crate::sockets::Sockets;
use crate::unsent;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// A query without an answer for so long is given up and counted, as a stub resolver would ask again.
const PATIENCE_NS: u64 = 1_000_000_000;
/// What it is counted as.
const UNANSWERED: &str = "unanswered";
/// The same, of those that the host's own kernel did not send.
const UNSENT: &str = "not sent by the host's own kernel";
/// How often that is looked at.
const LOOK_NS: u64 = 200_000_000;
/// The longest sleep.
const NAP: Duration = Duration::from_millis(20);

/// Which pairs of host and name are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Each once.
    Once(Range<u64>),
    /// One host and all names, over and over.
    Again,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// The figure's name.
    pub case: String,
    /// Hosts, and names.
    pub hosts: u32,
    /// What the names' policy wants.
    pub kind: Kind,
    /// Pairs.
    pub pairs: Pairs,
    /// Queries under way at a time.
    pub outstanding: u32,
    /// For how long, at most.
    pub seconds: f64,
}

/// The host and the name of pair number `pair`. Any run of pairs as long as there are hosts has each host and each name
/// once.
pub fn pair(pair: u64, hosts: u32) -> (u32, u32) {
    let hosts = u64::from(hosts);
    ((pair % hosts) as u32, ((pair / hosts + pair) % hosts) as u32)
}

/// Of the unanswered queries, so many were never sent.
fn tell_unsent(failed: &mut BTreeMap<String, u64>, unsent: u64) {
    let Some(unanswered) = failed.get_mut(UNANSWERED) else { return };
    let unsent = unsent.min(*unanswered);
    *unanswered -= unsent;
    if *unanswered == 0 {
        failed.remove(UNANSWERED);
    }
    if unsent > 0 {
        failed.insert(UNSENT.to_owned(), unsent);
    }
}

impl Load {
    fn next(&self, number: u64) -> Option<(u32, u32)> {
        match &self.pairs {
            Pairs::Again => Some((0, (number % u64::from(self.hosts)) as u32)),
            Pairs::Once(range) => {
                let number = range.start + number;
                (number < range.end).then(|| pair(number, self.hosts))
            }
        }
    }

    /// Asks, and says what came of it.
    pub fn run(&self, server: SocketAddr, gateways: &[Gateway]) -> Result<Figure, String> {
        let askers = if self.pairs == Pairs::Again { 1 } else { self.hosts };
        let mut sockets = Sockets::open((0..askers).map(realm::address), 0, Some(server))?;
        let mut queries: Vec<_> =
            (0..self.hosts).map(|host| message::query(&realm::name(self.kind, host))).collect();
        let mut under_way: HashMap<u16, (u32, u64)> = HashMap::with_capacity(self.outstanding as usize);
        let (mut asked, mut id, mut completed) = (0, 0u16, 0);
        let mut failed = BTreeMap::new();
        let mut times = Collected::new()?;

        let before = Spent::read(gateways)?;
        let unsent_before = unsent::so_far();
        let begin = clock::now();
        let until = begin + (self.seconds * 1e9) as u64;
        let (mut now, mut looked) = (begin, begin);
        while now < until {
            while under_way.len() < self.outstanding as usize
                && let Some((host, name)) = self.next(asked)
            {
                asked += 1;
                while under_way.contains_key(&id) {
                    id = id.wrapping_add(1);
                }
                let query = &mut queries[name as usize];
                query[..2].copy_from_slice(&id.to_be_bytes());
                under_way.insert(id, (host, clock::now()));
                id = id.wrapping_add(1);
                // What the kernel does not send now is a query that is never answered.
                let _ = sockets.send(host, query);
            }
            if under_way.is_empty() {
                break; // every pair has been asked for
            }
            sockets.wait(NAP, |host, _, answer, _| {
                let Some(id) = message::id(answer) else { return };
                let Some((_, asked)) = under_way.get(&id).filter(|(asker, _)| *asker == host) else { return };
                let took = clock::now() - asked;
                under_way.remove(&id);
                match message::address(answer) {
                    Ok(_) => {
                        completed += 1;
                        times.record(took);
                    }
                    Err(refusal) => *failed.entry(refusal.text()).or_default() += 1,
                }
            })?;
            now = clock::now();
            if now - looked > LOOK_NS {
                looked = now;
                let before = under_way.len();
                under_way.retain(|_, (_, asked)| now - *asked < PATIENCE_NS);
                let lost = (before - under_way.len()) as u64;
                if lost > 0 {
                    *failed.entry(UNANSWERED.to_owned()).or_default() += lost;
                }
            }
        }
        let seconds = (clock::now() - begin) as f64 / 1e9;
        // What was asked for just before the end is neither answered nor lost.
        let lost = under_way.values().filter(|(_, asked)| now - *asked >= LOOK_NS).count() as u64;
        if lost > 0 {
            *failed.entry(UNANSWERED.to_owned()).or_default() += lost;
        }
        tell_unsent(&mut failed, unsent::so_far() - unsent_before);
        let after = Spent::read(gateways)?;
        let mut figure = Figure::new(&self.case, self.outstanding, seconds, completed, failed);
        figure.answer_us = times.times();
        figure.control_us = after.time_us(&before, completed);
        if matches!(self.pairs, Pairs::Once(_)) {
            figure.bytes = after.bytes(&before, completed);
        }
        Ok(figure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::UdpSocket;

    fn load(pairs: Pairs) -> Load {
        Load { case: "test".into(), hosts: 10, kind: Kind::Open, pairs, outstanding: 4, seconds: 0.0 }
    }

    #[test]
    fn every_pair_comes_once_and_hosts_take_turns() {
        let load = load(Pairs::Once(0..100));
        let pairs: Vec<_> = (0..).map_while(|number| load.next(number)).collect();
        assert_eq!((pairs.len(), pairs.iter().collect::<HashSet<_>>().len()), (100, 100));
        let names: HashSet<_> = pairs[40..50].iter().map(|pair| pair.1).collect();
        assert_eq!(names.len(), 10);
    }

    #[test]
    fn one_host_asks_for_all_names_again_and_again() {
        let load = load(Pairs::Again);
        let pairs: Vec<_> = (0..25).filter_map(|number| load.next(number)).collect();
        assert!(pairs.iter().all(|pair| pair.0 == 0));
        assert_eq!((pairs[3].1, pairs[13].1, pairs.len()), (3, 3, 25));
    }

    #[test]
    fn what_was_never_sent_is_not_called_unanswered() {
        let told = |unanswered: u64, unsent| {
            let mut failed = BTreeMap::from([(UNANSWERED.to_owned(), unanswered)]);
            tell_unsent(&mut failed, unsent);
            (failed.get(UNANSWERED).copied(), failed.get(UNSENT).copied())
        };
        assert_eq!(told(16, 0), (Some(16), None));
        assert_eq!(told(16, 16), (None, Some(16)));
        assert_eq!(told(17, 16), (Some(1), Some(16)));
        assert_eq!(told(3, 16), (None, Some(3)), "others may be sending, too");
        let mut none = BTreeMap::new();
        tell_unsent(&mut none, 5);
        assert!(none.is_empty());
    }

    #[test]
    fn no_address_to_ask_from_is_an_error() {
        let server = UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        assert!(load(Pairs::Again).run(server, &[]).unwrap_err().contains("192.168.16.0"));
    }
}
