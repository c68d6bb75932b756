//! Sends a device one packet of each binding and compares what comes out with what must, so that no device is fast at
//! something else. It is also the warm-up: flow caches and connection tables are filled before anything is measured.

use crate::realm::{Pair, Realm};
use ces_dataplane::io::dpdk::{WorkerIo, start};
use ces_dataplane::io::{Pool, PortQueues};
use ces_dataplane::wire::checksum::{Sum, pseudo};
use ces_dataplane::wire::{Wire, ethernet, ipv4, udp, vxlan};
use ces_perf::packets::{PAYLOAD, SERVICE};
use ces_perf::realm::{PlanWay, ROUTER_MAC, RealmPlan};
use dpdk::{Eal, Mbuf, Memory, Options, PortConfig, RegisteredThread};
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// What a device does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Task {
    /// Sends them on, whatever they are.
    Pass,
    /// Forwards plain packets: the time to live goes down by one.
    Forward,
    /// Replaces the source by the address outside, and perhaps the port.
    Nat,
    /// From a host into a tunnel, as a binding says.
    Egress,
    /// From a tunnel to a host, as a binding says.
    Ingress,
    /// From a host to another one, as a binding says.
    Local,
}

impl Task {
    fn way(self) -> PlanWay {
        match self {
            Self::Ingress => PlanWay::Ingress,
            Self::Local => PlanWay::Local,
            _ => PlanWay::Egress,
        }
    }

    /// The ports where its packets begin and end: 0 is inside, 1 outside.
    fn ports(self) -> (usize, usize) {
        match self.way() {
            PlanWay::Egress => (0, 1),
            PlanWay::Ingress => (1, 0),
            PlanWay::Local => (0, 0),
        }
    }
}

/// Time to live of a packet as it is sent.
const TTL: u8 = 64;
/// Packets sent together: what the smallest ring takes at once.
const BURST: usize = 32;
/// How long a link may need.
const LINK_WAIT: Duration = Duration::from_secs(5);
/// Packets that did not come back are sent again after so long, so often.
const AGAIN: Duration = Duration::from_millis(200);
const ROUNDS: u32 = 15;
/// How long is listened after a burst.
const BURST_WAIT: Duration = Duration::from_micros(500);

/// The packet of a binding: the bench's, with the binding's number in its payload.
fn packet(realm: &Realm, entry: u32, way: PlanWay) -> Vec<u8> {
    let plan = RealmPlan { way, ..realm.plan };
    let flow = plan.flow(&realm.settings, entry, realm.handle(entry));
    let mut frame = plan.template().packet(&flow).to_vec();
    let payload = frame.len() - PAYLOAD;
    let change = Sum::default().replace_words(word(&frame[payload..]), entry);
    let sum = &mut frame[payload - 2..payload];
    let adjusted = change.adjust_udp(u16::from_be_bytes([sum[0], sum[1]]));
    sum.copy_from_slice(&adjusted.to_be_bytes());
    frame[payload..payload + 4].copy_from_slice(&entry.to_be_bytes());
    frame
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// What came out for a binding: where the frame goes, the tunnel's addresses and id, the packet's addresses, its time to live.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    link: [u8; 6],
    outer: Option<(Ipv4Addr, Ipv4Addr, u32)>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
}

/// Which binding's packet a frame is, and what became of it; `None` if it is none of ours.
fn read(frame: &[u8]) -> Option<Result<(u32, Seen), String>> {
    let (link, mut ip, mut header, mut payload) = open(frame)?;
    let mut outer = None;
    if header.destination_port == vxlan::PORT {
        let id = vxlan::Header::parse(payload).ok()?.id;
        outer = Some((Ipv4Addr::from_bits(ip.source), Ipv4Addr::from_bits(ip.destination), id));
        (_, ip, header, payload) = open(payload.get(vxlan::LENGTH..)?)?;
    }
    // The rest of the payload counts from 4 (`ces_perf::packets`).
    let ours = header.destination_port == SERVICE || header.source_port == SERVICE;
    if !ours || payload.len() != PAYLOAD || payload[4..8] != [4, 5, 6, 7] {
        return None;
    }
    let mut datagram = vec![0; udp::LENGTH];
    header.emit(&mut datagram);
    datagram.extend_from_slice(payload);
    let sum = pseudo(ip.source, ip.destination, ipv4::UDP, datagram.len()).bytes(&datagram);
    if header.checksum != 0 && sum.fold() != 0xffff {
        return Some(Err("its UDP checksum is wrong".to_owned()));
    }
    let (source, destination) = (Ipv4Addr::from_bits(ip.source), Ipv4Addr::from_bits(ip.destination));
    Some(Ok((word(payload), Seen { link, outer, source, destination, ttl: ip.ttl })))
}

/// The station, the IPv4 header (its checksum is right), the UDP header and the payload of a datagram.
fn open(frame: &[u8]) -> Option<([u8; 6], ipv4::Header, udp::Header, &[u8])> {
    let link = ethernet::Header::parse(frame).ok().filter(|link| link.ethertype == ethernet::IPV4)?;
    let packet = &frame[link.length()..];
    let ip = ipv4::Header::parse(packet).ok().filter(|ip| ip.protocol == ipv4::UDP)?;
    let datagram = packet.get(usize::from(ip.header_length)..usize::from(ip.total_length))?;
    let header = udp::Header::parse(datagram).ok()?;
    Some((link.destination, ip, header, &datagram[udp::LENGTH..]))
}

/// What must come out. A device that only passes packets on may write into the link header what it likes.
fn expected(realm: &Realm, entry: u32, task: Task, seen: &Seen) -> Seen {
    let Pair { host, proxy, host_mac, tag, remote_tag, tunnel } = realm.pair(entry);
    let locator = realm.settings.ports[1].addresses[0].0;
    let plain = |source, destination, link, ttl| Seen { link, outer: None, source, destination, ttl };
    match task {
        Task::Pass => plain(host, proxy, seen.link, TTL),
        Task::Forward => plain(host, proxy, ROUTER_MAC, TTL - 1),
        Task::Nat => plain(locator, proxy, ROUTER_MAC, TTL - 1),
        Task::Egress => {
            let outer = tunnel.map(|tunnel| (tunnel.local, tunnel.remote, tunnel.id_out));
            Seen { outer, ..plain(tag, remote_tag, ROUTER_MAC, TTL - 1) }
        }
        Task::Ingress => plain(proxy, host, host_mac, TTL - 1),
        Task::Local => plain(tag, remote_tag, host_mac, TTL - 1),
    }
}

/// Which bindings came back as they must, how many packets did not, and what was wrong with the first of these.
struct Tally<'a> {
    realm: &'a Realm,
    task: Task,
    seen: Vec<bool>,
    wrong: u32,
    first: Option<String>,
}

impl Tally<'_> {
    fn look(&mut self, frame: &[u8]) {
        let judged = match read(frame) {
            None => return,
            Some(Err(error)) => Err(error),
            Some(Ok((entry, _))) if entry >= self.realm.len() => Err(format!("there is no binding {entry}")),
            Some(Ok((entry, seen))) => {
                let expected = expected(self.realm, entry, self.task, &seen);
                if seen == expected { Ok(entry) } else { Err(format!("expected {expected:?}, saw {seen:?}")) }
            }
        };
        match judged {
            Ok(entry) => self.seen[entry as usize] = true,
            Err(error) => {
                self.wrong += 1;
                self.first.get_or_insert(error);
            }
        }
    }

    fn listen(&mut self, queues: &mut [WorkerIo], received: &mut Vec<Mbuf>) {
        let (_, to) = self.task.ports();
        for (number, port) in queues.iter_mut().flat_map(|queue| queue.ports.iter_mut().enumerate()) {
            port.rx_burst(received);
            for frame in received.drain(..).filter(|_| number == to) {
                self.look(frame.data());
            }
        }
    }

    fn exchange(&mut self, queues: &mut [WorkerIo]) {
        let (from, _) = self.task.ports();
        let mut received: Vec<Mbuf> = Vec::with_capacity(BURST * 2);
        for _ in 0..ROUNDS {
            let missing: Vec<u32> =
                (0..self.realm.len()).filter(|&entry| !self.seen[entry as usize]).collect();
            if missing.is_empty() {
                return;
            }
            for burst in missing.chunks(BURST) {
                let mut frames: Vec<Mbuf> = Vec::with_capacity(BURST);
                for &entry in burst {
                    let Some(mut frame) = queues[0].pool.allocate() else { break };
                    if frame.copy_from(&packet(self.realm, entry, self.task.way())) {
                        frames.push(frame);
                    }
                }
                while !frames.is_empty() && queues[0].ports[from].tx_burst(&mut frames) > 0 {}
                let end = Instant::now() + BURST_WAIT;
                while Instant::now() < end && burst.iter().any(|&entry| !self.seen[entry as usize]) {
                    self.listen(queues, &mut received);
                }
            }
            let end = Instant::now() + AGAIN;
            while Instant::now() < end && self.seen.iter().any(|seen| !seen) {
                self.listen(queues, &mut received);
            }
        }
    }
}

/// Probes a device, says what came out, and lets go of it once standard input ends.
pub(crate) fn run(
    realm: &Realm,
    task: Task,
    devices: [&str; 2],
    queues: u16,
    core: usize,
    memory: Memory,
) -> Result<(), String> {
    let text = |error: dpdk::Error| error.to_string();
    let names = devices.map(str::to_owned).to_vec();
    let eal = Eal::start(&Options { memory, polling: vec![core], devices: names.clone(), extra: Vec::new() })
        .map_err(text)?;
    let config = PortConfig { promiscuous: true, ..PortConfig::default() };
    let devices: Vec<_> = names.into_iter().map(|device| (device, config.clone())).collect();
    let (ports, mut shares) = start(&eal, &devices, queues, 0).map_err(text)?;
    let end = Instant::now() + LINK_WAIT;
    for port in &ports {
        while !port.link().map_err(text)?.up {
            if Instant::now() > end {
                return Err(format!("{} is not connected after {} s", port.name(), LINK_WAIT.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    machine::pin_to_core(core).map_err(|error| format!("cannot stay on core {core}: {error}"))?;
    let registered = RegisteredThread::new(&eal).map_err(text)?;
    let seen = vec![false; realm.len() as usize];
    let mut tally = Tally { realm, task, seen, wrong: 0, first: None };
    tally.exchange(&mut shares);
    drop((registered, shares));
    let right = tally.seen.iter().filter(|seen| **seen).count();
    let missing = tally.seen.len() - right;
    let outcome = json!({ "right": right, "wrong": tally.wrong, "missing": missing, "first": tally.first });
    crate::said::say(&outcome.to_string())?;
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::msg::Encapsulation;

    #[test]
    fn a_packet_is_known_again_by_its_binding() {
        let realm = Realm::new(50, 3, Encapsulation::Vxlan, false).unwrap();
        for entry in [0, 7, 49] {
            let pair = realm.pair(entry);
            let (number, seen) = read(&packet(&realm, entry, PlanWay::Egress)).unwrap().unwrap();
            assert_eq!((number, seen.source, seen.destination), (entry, pair.host, pair.proxy));
            assert_eq!(expected(&realm, entry, Task::Pass, &seen), seen);
            let (number, seen) = read(&packet(&realm, entry, PlanWay::Ingress)).unwrap().unwrap();
            let tunnel = pair.tunnel.unwrap();
            assert_eq!((number, seen.source, seen.destination), (entry, pair.remote_tag, pair.tag));
            assert_eq!(seen.outer, Some((tunnel.remote, tunnel.local, tunnel.id_in)));
        }
    }

    #[test]
    fn what_is_damaged_is_said_and_what_is_foreign_is_left_out() {
        let realm = Realm::new(5, 3, Encapsulation::Vxlan, false).unwrap();
        let mut frame = packet(&realm, 3, PlanWay::Egress);
        let end = frame.len() - 1;
        frame[end] ^= 1;
        assert!(read(&frame).unwrap().unwrap_err().contains("checksum"));
        frame[end - 11] ^= 1;
        assert!(read(&frame).is_none());
        for length in 0..end {
            assert!(read(&frame[..length]).is_none());
        }
    }

    #[test]
    fn each_task_has_its_outcome() {
        let realm = Realm::new(5, 3, Encapsulation::Vxlan, false).unwrap();
        let (_, sent) = read(&packet(&realm, 1, PlanWay::Egress)).unwrap().unwrap();
        let (pair, of) = (realm.pair(1), |task| expected(&realm, 1, task, &sent));
        assert_eq!((of(Task::Egress).source, of(Task::Egress).ttl), (pair.tag, TTL - 1));
        assert_eq!(of(Task::Egress).outer.map(|outer| outer.2), pair.tunnel.map(|tunnel| tunnel.id_out));
        assert_eq!((of(Task::Ingress).destination, of(Task::Ingress).link), (pair.host, pair.host_mac));
        assert_eq!(
            (of(Task::Nat).source, of(Task::Nat).destination),
            (Ipv4Addr::new(198, 51, 100, 1), pair.proxy)
        );
        assert_eq!((of(Task::Forward).ttl, of(Task::Pass).ttl), (TTL - 1, TTL));
    }
}
