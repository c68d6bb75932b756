//! Where the gateway listens, as the configuration has it: opened all together before any is used.

use super::told::DNS_PORT;
use crate::config::Config;
use crate::listeners::{ListenError, Opened};
use crate::sources::dns_tcp::DnsTcp;
use crate::sources::metrics::Http;
use crate::sources::peering::{Peering, PeeringLimits};
use ces_cetp::engine::Proto;
use ces_dataplane::settings::Side;
use std::io;
use std::net::SocketAddr;

/// How long a peer's TLS handshake may take once TCP is up, in nanoseconds.
const HANDSHAKE_NS: u64 = 2_000_000_000;

/// Listeners that are open and not in use yet.
pub(super) struct Places {
    cetp: Opened<Proto>,
    dns: Opened<Side>,
    metrics: Opened<()>,
}

impl Places {
    /// Opens those of the configuration that are not there yet.
    pub(super) fn open(
        config: &Config,
        peering: &Peering,
        dns_tcp: &DnsTcp,
        metrics: &Http,
    ) -> Result<Self, ListenError> {
        let endpoints = config.cetp.endpoints.iter();
        let ports =
            config.port.iter().flat_map(|port| port.addresses.iter().map(move |net| (port.side, net)));
        Ok(Self {
            cetp: peering
                .open(endpoints.map(|end| (SocketAddr::new(end.address, end.port), end.proto)).collect())?,
            dns: dns_tcp
                .open(ports.map(|(side, net)| (SocketAddr::from((net.addr(), DNS_PORT)), side)).collect())?,
            metrics: metrics.open(config.metrics.iter().map(|metrics| (metrics.listen, ())).collect())?,
        })
    }

    /// Listens there and nowhere else, within the limits of the configuration.
    pub(super) fn install(
        self,
        config: &Config,
        peering: &mut Peering,
        dns_tcp: &mut DnsTcp,
        metrics: &mut Http,
    ) -> io::Result<()> {
        peering.set_limits(peering_limits(config));
        peering.listen(self.cetp)?;
        dns_tcp.set_limits(config.dns_tcp.clone());
        dns_tcp.listen(self.dns)?;
        let limit = config.metrics.as_ref().map_or(0, |metrics| metrics.connections as usize);
        metrics.listen(self.metrics, limit)
    }
}

/// The transport's share of the limits of `[cetp]`.
pub(super) fn peering_limits(config: &Config) -> PeeringLimits {
    let limits = &config.cetp.limits;
    PeeringLimits {
        connect_ns: u64::from(limits.connect_ms) * 1_000_000,
        handshake_ns: HANDSHAKE_NS,
        connections: limits.connections as usize,
        per_address: usize::from(limits.unidentified_per_address),
    }
}
