//! The DHCP server among the others: frames in and out, the file of leases, what an operator sees.

use crate::datagram::{self, Path};
use crate::fleet::Fleet;
use crate::sender;
use crate::state::{LeaseFile, LineFileView};
use crate::trace::mac as mac_text;
use ces_dataplane::msg::PortId;
use ces_dataplane::settings::WorkerSettings;
use ces_dhcp::{
    DhcpArrival, DhcpNotice, DhcpOutput, HardwareAddress, LeaseRecord, LeaseState, Outcome, Server, Settings,
};
use ces_gateway::{Gateway, LeasedHost};
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The ports of servers and clients.
const PORTS: [u16; 2] = [67, 68];
/// Other servers that are remembered.
const FOREIGN: usize = 16;

/// Another server on the realm's links.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ForeignServer {
    port: PortId,
    server: Option<Ipv4Addr>,
    mac: String,
    /// Answers of it that were heard.
    answers: u64,
    /// When the last one was, in seconds since 1970.
    last: u64,
}

/// The server with its file.
pub(super) struct Dhcp {
    server: Server,
    file: Option<LeaseFile>,
    foreign: Vec<ForeignServer>,
}

/// What `cesctl show dhcp` has of a subnet.
#[derive(Debug, Serialize)]
pub(super) struct SubnetView {
    network: String,
    /// Addresses that are leased, offered, or used by somebody without a lease.
    leased: usize,
    offered: usize,
    declined: usize,
    /// Addresses of pools that nobody has had, and those that nobody has any more.
    fresh: usize,
    past: usize,
}

/// What `cesctl show dhcp` has.
#[derive(Debug, Serialize)]
pub(super) struct DhcpView {
    subnets: Vec<SubnetView>,
    outcomes: serde_json::Map<String, serde_json::Value>,
    probes: u64,
    conflicts: u64,
    expired: u64,
    moved: u64,
    file: Option<LineFileView>,
    foreign: Vec<ForeignServer>,
}

/// What `cesctl show leases` has of an address.
#[derive(Debug, Serialize)]
pub(super) struct LeaseView {
    address: Ipv4Addr,
    state: LeaseState,
    mac: String,
    client_id: Option<String>,
    name: Option<Box<str>>,
    /// Until when, or since when not any more: seconds from now.
    seconds: i64,
}

impl Dhcp {
    /// With what the last process wrote down.
    pub(super) fn new(
        settings: Settings,
        file: Option<(LeaseFile, Vec<LeaseRecord>)>,
        seed: u64,
        now: u64,
    ) -> Self {
        let mut server = Server::new(Settings { is_written: file.is_some(), ..settings }, seed);
        let file = file.map(|(file, records)| {
            server.restore(records, now);
            file
        });
        Self { server, file, foreign: Vec::new() }
    }

    /// Goes on with other settings.
    pub(super) fn configure(&mut self, settings: Settings) {
        self.server.configure(Settings { is_written: self.file.is_some(), ..settings });
    }

    /// Takes a frame that was punted as DHCP.
    pub(super) fn handle(&mut self, port: PortId, frame: &[u8], now: u64) {
        match datagram::open(frame) {
            Ok((path, message)) if PORTS.contains(&path.local.port()) => {
                let to = *path.local.ip();
                let is_ours = self.server.book().settings().own.contains(&to);
                let arrival = DhcpArrival {
                    port,
                    mac: path.remote_mac,
                    source: *path.remote.ip(),
                    to: is_ours.then_some(to),
                };
                self.server.handle(&arrival, message, now);
            }
            _ => self.server.handle_garbage(),
        }
    }

    /// A station says by ARP that it has an address.
    pub(super) fn seen(&mut self, address: Ipv4Addr, mac: HardwareAddress, now: u64) {
        self.server.handle_seen(address, mac, now);
    }

    /// When [`Dhcp::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.server.poll_timeout()
    }

    /// Time has come.
    pub(super) fn handle_timeout(&mut self, now: u64) {
        self.server.handle_timeout(now);
    }

    /// Hears what has been written down. True if there was anything.
    pub(super) fn take_written(&mut self) -> bool {
        let Some(file) = &mut self.file else { return false };
        let mut any = false;
        while let Some((number, is_written)) = file.take_written() {
            self.server.handle_written(number, is_written);
            any = true;
        }
        any
    }

    /// Does what the server wants done, until it wants nothing more.
    ///
    /// True if the gateway's core was told something.
    pub(super) fn pump(
        &mut self,
        fleet: &mut Fleet,
        gateway: &mut Gateway,
        settings: &WorkerSettings,
        now: u64,
    ) -> bool {
        let mut told = false;
        while let Some(output) = self.server.poll_output() {
            match output {
                DhcpOutput::Write(number, record) => {
                    if let Some(file) = &mut self.file {
                        file.write(number, vec![record]);
                    }
                }
                DhcpOutput::Probe(port, address) => {
                    if let Some(own) = settings.ports.get(usize::from(port)) {
                        fleet.inject(0, port, |frame| sender::ask(own, address, [0xff; 6], frame));
                    }
                }
                DhcpOutput::Send(reply) => {
                    let Some(own) = settings.ports.get(usize::from(reply.port)) else { continue };
                    let path = Path {
                        remote_mac: reply.mac,
                        local_mac: own.mac,
                        vlan: own.vlan,
                        remote: reply.to,
                        local: SocketAddrV4::new(reply.source, PORTS[0]),
                    };
                    fleet.inject(0, reply.port, |frame| {
                        datagram::emit_answer(&path, &reply.bytes, own.mtu, frame).unwrap_or(0)
                    });
                }
                DhcpOutput::Host(address, host) => {
                    let host = host.map(|host| LeasedHost { mac: host.mac, label: host.name });
                    gateway.set_leased(address.into(), host);
                    told = true;
                }
                DhcpOutput::Notice(notice) => self.tell(notice, now),
            }
        }
        told
    }

    fn tell(&mut self, notice: DhcpNotice, now: u64) {
        match notice {
            DhcpNotice::ForeignServer { port, server, mac } => {
                let (mac, last) = (mac_text(&mac), now / 1_000_000_000);
                let known = self.foreign.iter_mut().find(|known| known.server == server && known.mac == mac);
                if let Some(known) = known {
                    (known.answers, known.last) = (known.answers + 1, last);
                } else {
                    if self.foreign.len() >= FOREIGN {
                        self.foreign.remove(0);
                    }
                    self.foreign.push(ForeignServer { port, server, mac: mac.clone(), answers: 1, last });
                }
                let address = server.map(tracing::field::display);
                tracing::warn!(
                    kind = "dhcp_foreign_server",
                    address,
                    mac,
                    "another DHCP server answers hosts of the realm"
                );
            }
            DhcpNotice::InUse { address, mac } => tracing::warn!(
                kind = "dhcp_in_use",
                %address,
                mac = mac_text(&mac),
                "an address that was to be leased is used by somebody without a lease"
            ),
            DhcpNotice::Declined { address, mac } => tracing::warn!(
                kind = "dhcp_declined",
                %address,
                mac = mac_text(&mac),
                "a host says that somebody else uses the address that was leased to it"
            ),
            DhcpNotice::Stranger { address, owner, mac } => tracing::warn!(
                kind = "dhcp_stranger",
                %address,
                owner = mac_text(&owner),
                mac = mac_text(&mac),
                "another station spoke in the name of a host with a lease, and was refused"
            ),
            DhcpNotice::Moved { address, owner, mac } => tracing::warn!(
                kind = "dhcp_moved",
                %address,
                owner = mac_text(&owner),
                mac = mac_text(&mac),
                "a host with a lease speaks from another mac, and is silent at the one before: its lease there has ended"
            ),
            DhcpNotice::Exhausted { mac } => {
                tracing::warn!(
                    kind = "dhcp_exhausted",
                    mac = mac_text(&mac),
                    "no address is left for a host"
                );
            }
            DhcpNotice::Leased { address, mac, name } => {
                tracing::info!(kind = "dhcp_leased", %address, mac = mac_text(&mac), host = name, "address leased");
            }
            DhcpNotice::Ended { address, mac } => {
                tracing::info!(kind = "dhcp_ended", %address, mac = mac_text(&mac), "lease ended");
            }
        }
    }

    /// The server, for whoever counts.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// The file of leases, as an operator sees it.
    pub(super) fn file(&self) -> Option<LineFileView> {
        self.file.as_ref().map(LeaseFile::view)
    }

    /// What is counted, and what is left.
    pub(super) fn view(&self) -> DhcpView {
        let (book, counters) = (self.server.book(), self.server.counters());
        let subnets = book.settings().subnets.iter().enumerate();
        let outcomes = Outcome::ALL.iter().filter(|outcome| counters.value(**outcome) > 0);
        DhcpView {
            subnets: subnets
                .map(|(index, subnet)| {
                    let stock = book.stock(index);
                    SubnetView {
                        network: subnet.network.to_string(),
                        leased: stock.bound,
                        offered: stock.offered,
                        declined: stock.declined,
                        fresh: stock.fresh,
                        past: stock.past,
                    }
                })
                .collect(),
            outcomes: outcomes
                .map(|outcome| (outcome.label().to_owned(), counters.value(*outcome).into()))
                .collect(),
            probes: counters.probes,
            conflicts: counters.conflicts,
            expired: counters.expired,
            moved: counters.moved,
            file: self.file(),
            foreign: self.foreign.clone(),
        }
    }

    /// Leases from this address on, as many as that, and where the rest begins.
    pub(super) fn page(&self, from: u32, most: usize, now: u64) -> (Vec<LeaseView>, Option<u32>) {
        let (leases, next) = self.server.book().page(from, most);
        let seconds = |until: u64| (until as i64 - now as i64) / 1_000_000_000;
        let view = |lease: &ces_dhcp::Lease| LeaseView {
            address: lease.address,
            state: lease.state,
            mac: mac_text(&lease.mac),
            client_id: lease
                .client
                .identifier()
                .map(|id| id.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")),
            name: lease.name.clone(),
            seconds: seconds(lease.until),
        };
        (leases.into_iter().map(view).collect(), next)
    }
}
