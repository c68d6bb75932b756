//! The generator's ports: opened with a queue pair for each thread, waited for until their links are up, and asked at the
//! end what they lost.

pub mod frames;

use crate::arp::{self, Answers};
use crate::frame::signature::{self, Found};
use crate::profile::{Mac, Port, Profile};
use crate::session::load::HAND_OVER;
use ces_dataplane::io::PortQueues as _;
use ces_dataplane::io::dpdk::{DpdkPort, WorkerIo, shares, start_port};
use dpdk::{Eal, Mbuf, Memory, Options, PortConfig, RegisteredThread, Rss};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How often a link is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How long a `net_memif` server may take to answer a client that has connected.
const ANSWER: Duration = Duration::from_millis(500);
/// How often a gateway is asked for.
const ASK: Duration = Duration::from_millis(250);
/// How long a gateway is asked for.
const ASK_FOR: Duration = Duration::from_secs(5);

/// Why ports, or what is to run on them, are not ready.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// What can be seen without them: bad usage.
    #[error("{0}")]
    Usage(String),
    /// Anything else.
    #[error("{0}")]
    Broken(String),
}

/// Of a port, or of several.
fn broken(name: &str, error: impl std::fmt::Display) -> Unready {
    Unready::Broken(format!("port {name}: {error}"))
}

/// Why one of these ports cannot go on, if one cannot.
pub fn fault(ports: &[OpenPort]) -> Option<String> {
    ports.iter().find_map(|port| match port.device.link() {
        Ok(link) if link.up => None,
        Ok(_) => Some(format!("port {}: the link is gone; its peer has left, or its cable", port.name)),
        Err(error) => Some(format!("port {}: {error}", port.name)),
    })
}

/// What a thread over DPDK's ports needs: a core, and to be known to DPDK.
pub fn enter(eal: &Eal, core: usize) -> Result<RegisteredThread, String> {
    machine::pin_to_core(core).map_err(|error| format!("core {core} cannot be used: {error}"))?;
    RegisteredThread::new(eal).map_err(|error| error.to_string())
}

/// Packets that these ports have lost so far because the generator was too slow.
pub fn missed(ports: &[OpenPort]) -> u64 {
    let stats = ports.iter().filter_map(|port| port.device.stats().ok());
    stats.map(|stats| stats.rx_missed + stats.rx_no_buffer).sum()
}

/// How a port's frames begin, and what its link can.
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// Where its frames come from.
    pub mac: [u8; 6],
    /// Where they go to; without it, the port where the stream ends.
    pub peer: Option<[u8; 6]>,
    /// Their tag.
    pub vlan: Option<u16>,
    /// Bits a second, where the profile or a NIC says. What a virtual device says is made up.
    pub speed_bps: Option<f64>,
}

/// An open port, without its queues.
pub struct OpenPort {
    /// Its name in the profile.
    pub name: String,
    /// How its frames begin, and what its link can.
    pub facts: PortFacts,
    /// What ARP requests it answers.
    pub answers: Answers,
    /// The device.
    pub device: dpdk::Port,
}

/// One thread's share.
pub struct ThreadIo {
    /// Its core.
    pub core: usize,
    /// Its queue pair of each port, and its pool. Behind them, again in the order of the ports, further ones on which it
    /// only listens.
    pub io: WorkerIo,
}

/// All ports of a profile.
pub struct Ports {
    /// DPDK, for threads to register with.
    pub eal: Eal,
    /// In the order of the profile.
    pub ports: Vec<OpenPort>,
    /// One for each core of the profile.
    pub threads: Vec<ThreadIo>,
}

/// Opens all ports, waits for their links and finds their gateways. `say` is told what is being waited for.
pub fn open(profile: &Profile, say: &mut dyn FnMut(&str)) -> Result<Ports, Unready> {
    let usable = machine::usable_cores()
        .map_err(|error| Unready::Broken(format!("the cores of this process are not known: {error}")))?;
    let mut cores = profile.generator.cores.clone();
    if cores.is_empty() {
        cores.extend(usable.last());
    }
    if let Some(&core) = cores.iter().find(|core| !usable.contains(core)) {
        let usable = usable.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let why = format!("core {core} cannot be used: this process may use {usable}");
        return Err(Unready::Usage(why));
    }
    let eal = start_eal(profile, &cores)?;
    let queues = profile.generator.queues.max(cores.len() as u16);
    // A frame is at most in one place: a receive queue, a transmit queue, under way, or in a ring to another thread.
    let queued: u32 = profile.port.iter().map(|port| 2 * u32::from(port.descriptors)).sum();
    let others = if profile.session.is_none() { 0 } else { cores.len() - 1 };
    let mut shares = shares(&eal, queues, queued + (others * HAND_OVER) as u32)
        .map_err(|error| broken("of any kind", error))?;
    let mut ports = Vec::with_capacity(profile.port.len());
    let deadline = Instant::now() + Duration::from_secs(u64::from(profile.generator.link_wait_s));
    let mut opened = Vec::new();
    // Servers first: a client that is waited for may be waiting for them.
    for settings in &profile.port {
        opened.push(if is_memif_client(&settings.device) {
            None
        } else {
            Some(start(&eal, settings, &shares).map_err(|error| failed(settings, error))?)
        });
    }
    for (settings, opened) in profile.port.iter().zip(opened) {
        let started = match opened {
            Some(started) => started,
            None => connect(&eal, profile, settings, &shares, deadline, say)?,
        };
        let (port, queues) = adopt(settings, started).map_err(|error| failed(settings, error))?;
        for (share, queue) in shares.iter_mut().zip(queues) {
            share.ports.push(queue);
        }
        ports.push(port);
    }
    for (index, share) in shares.split_off(cores.len()).into_iter().enumerate() {
        shares[index % cores.len()].ports.extend(share.ports);
    }
    let threads = cores.into_iter().zip(shares).map(|(core, io)| ThreadIo { core, io }).collect();
    let mut ports = Ports { eal, ports, threads };
    ports.wait_for_links(profile, deadline, say)?;
    ports.find_gateways(profile, say)?;
    Ok(ports)
}

/// A started device and its queue pairs.
type Started = (dpdk::Port, Vec<DpdkPort>);

fn failed(settings: &Port, error: dpdk::Error) -> Unready {
    broken(&settings.name, error)
}

/// Opens and starts a device, with a queue pair for each share.
fn start(eal: &Eal, settings: &Port, shares: &[WorkerIo]) -> Result<Started, dpdk::Error> {
    let config = PortConfig {
        rx_descriptors: settings.descriptors,
        tx_descriptors: settings.descriptors,
        mtu: if settings.device.starts_with(MEMIF) { settings.mtu.min(MEMIF_MTU) } else { settings.mtu },
        rss: Rss::Flow,
        // What is addressed wrongly shall be seen.
        promiscuous: true,
        ..PortConfig::default()
    };
    start_port(eal, &settings.device, &config, shares)
}

/// Starts a client of `net_memif`. Its driver connects once, when it starts: if nobody listens yet, or the server's own port
/// is not ready, it starts anew until there is a link.
fn connect(
    eal: &Eal,
    profile: &Profile,
    settings: &Port,
    shares: &[WorkerIo],
    deadline: Instant,
    say: &mut dyn FnMut(&str),
) -> Result<Started, Unready> {
    let mut told = false;
    loop {
        match start(eal, settings, shares) {
            Ok((device, queues)) => {
                let answered = Instant::now() + ANSWER;
                while Instant::now() < answered {
                    if device.link().is_ok_and(|link| link.up) {
                        return Ok((device, queues));
                    }
                    std::thread::sleep(LOOK);
                }
            }
            // To start is to connect.
            Err(dpdk::Error::Port { action: "start", .. }) => {}
            Err(error) => return Err(failed(settings, error)),
        }
        if Instant::now() >= deadline {
            return Err(no_link(profile, settings));
        }
        if !told {
            say(&format!("waiting for the peer of port {} ({})", settings.name, settings.device));
            told = true;
        }
        std::thread::sleep(LOOK);
    }
}

/// A started port with its settings.
fn adopt(settings: &Port, (device, queues): Started) -> Result<(OpenPort, Vec<DpdkPort>), dpdk::Error> {
    let mac = match settings.mac {
        Some(Mac(mac)) => mac,
        None => device.mac()?,
    };
    let networks =
        settings.answers_for.iter().map(|network| (network.network().to_bits(), network.prefix_len()));
    let own = settings.address.map(|address| (address.to_bits(), 32));
    let port = OpenPort {
        name: settings.name.clone(),
        facts: PortFacts {
            mac,
            peer: settings.peer_mac.map(|Mac(mac)| mac),
            vlan: settings.vlan,
            speed_bps: settings.speed.map(|speed| speed.0),
        },
        answers: Answers {
            mac,
            networks: networks.chain(own).collect(),
            except: settings.gateway.map(Ipv4Addr::to_bits),
        },
        device,
    };
    Ok((port, queues))
}

/// Starts DPDK for these devices.
fn start_eal(profile: &Profile, cores: &[usize]) -> Result<Eal, Unready> {
    let memory = if profile.memory.huge_pages {
        Memory::HugePages
    } else {
        Memory::Ordinary { mib: profile.memory.mib }
    };
    let devices = profile.port.iter().map(|port| port.device.clone()).collect();
    Eal::start(&Options { memory, polling: cores.to_vec(), devices, extra: Vec::new() })
        .map_err(|error| broken("of any kind", error))
}

impl Ports {
    fn wait_for_links(
        &mut self,
        profile: &Profile,
        deadline: Instant,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Unready> {
        for (port, settings) in self.ports.iter_mut().zip(&profile.port) {
            let mut told = false;
            let link = loop {
                let link = port.device.link().map_err(|error| failed(settings, error))?;
                if link.up {
                    break link;
                }
                if Instant::now() >= deadline {
                    return Err(no_link(profile, settings));
                }
                if !told {
                    say(&format!("waiting for the link of port {} ({})", settings.name, settings.device));
                    told = true;
                }
                std::thread::sleep(LOOK);
            };
            let physical = port.device.name().contains(':'); // a PCI address; other devices make their speed up
            let known = link.speed_mbps.filter(|_| physical).map(|mbps| f64::from(mbps) * 1e6);
            port.facts.speed_bps = port.facts.speed_bps.or(known);
        }
        Ok(())
    }

    fn find_gateways(&mut self, profile: &Profile, say: &mut dyn FnMut(&str)) -> Result<(), Unready> {
        for (index, settings) in profile.port.iter().enumerate() {
            let (Some(gateway), Some(address)) = (settings.gateway, settings.address) else { continue };
            say(&format!("asking for {gateway} on port {}", settings.name));
            let Some(Mac(mac)) = self.resolve(index, address, gateway) else {
                let why = format!("{gateway} does not answer ARP requests from {address}");
                return Err(broken(&settings.name, why));
            };
            self.ports[index].facts.peer = Some(mac);
        }
        Ok(())
    }

    /// Asks for an address until it is told. Requests of others are answered meanwhile, on all ports.
    fn resolve(&mut self, index: usize, address: Ipv4Addr, gateway: Ipv4Addr) -> Option<Mac> {
        let request =
            arp::request(self.ports[index].facts.mac, self.ports[index].facts.vlan, address, gateway);
        let begin = Instant::now();
        let mut asked = None;
        let mut frames: Vec<Mbuf> = Vec::with_capacity(32);
        while begin.elapsed() < ASK_FOR {
            if asked.is_none_or(|last: Instant| last.elapsed() >= ASK) {
                let io = &mut self.threads.first_mut()?.io;
                if let Some(mut frame) = io.pool.alloc()
                    && frame.copy_from(&request)
                {
                    frames.push(frame);
                    io.ports[index].tx_burst(&mut frames);
                    frames.clear();
                }
                asked = Some(Instant::now());
            }
            for thread in &mut self.threads {
                for (number, queue) in thread.io.ports.iter_mut().enumerate() {
                    let number = number % self.ports.len();
                    queue.rx_burst(&mut frames);
                    let mut told = None;
                    frames.retain_mut(|frame| {
                        let Found::Arp(start) = signature::find(frame.data()) else { return false };
                        if number == index {
                            told = told.or(arp::told(frame.data(), start, gateway));
                        }
                        self.ports[number].answers.answer(frame, start)
                    });
                    queue.tx_burst(&mut frames);
                    frames.clear();
                    if told.is_some() {
                        return told;
                    }
                }
            }
            std::thread::yield_now();
        }
        None
    }
}

fn no_link(profile: &Profile, port: &Port) -> Unready {
    let (device, seconds) = (&port.device, profile.generator.link_wait_s);
    let why = if device.starts_with(MEMIF) {
        format!("no peer has connected to {device} for {seconds} s")
    } else {
        format!("{device} has had no link for {seconds} s")
    };
    broken(&port.name, why)
}

/// The driver of shared memory with another process, whose link is the other's presence.
const MEMIF: &str = "net_memif";
/// The largest MTU that this driver takes as a setting. It carries whatever fits in a buffer of 2,048 bytes all the same.
const MEMIF_MTU: u16 = 1500;

/// Whether a device is the client's end of shared memory, as it is unless it says that it is the server's.
fn is_memif_client(device: &str) -> bool {
    device.starts_with(MEMIF) && !device.split(',').any(|argument| argument == "role=server")
}
