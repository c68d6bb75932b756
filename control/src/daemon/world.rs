//! The gateway as its sources see it: whom each tells what.

use super::askers::{Askers, Origin};
use crate::fleet::Fleet;
use crate::inward::GatewayAccess;
use crate::sources::dns_tcp::{Asker, ClientQuery};
use crate::sources::netlink::NeighbourListener;
use crate::sources::netlink::table::NextHop;
use crate::sources::peering::Upper;
use crate::sources::routes::Forwarder;
use crate::sources::tap::Carrier;
use crate::sources::upstream::Answers;
use ces_cetp::engine::{AcceptError, ConnId, PeerIdentity};
use ces_dataplane::msg::PortId;
use ces_dataplane::settings::Side;
use ces_dns::message::Transport;
use ces_dns::resolver::SocketKey;
use ces_gateway::Routes;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Everything that a source may tell.
pub(super) struct World<'a> {
    pub(super) core: GatewayAccess<'a>,
    pub(super) askers: &'a mut Askers,
    pub(super) fleet: &'a mut Fleet,
}

/// The name service's word for a side.
pub(super) fn dns_side(side: Side) -> ces_dns::outcome::QuerySide {
    match side {
        Side::Inside => ces_dns::outcome::QuerySide::Inside,
        // Names are looked up for the realm alone.
        Side::Outside | Side::Dmz => ces_dns::outcome::QuerySide::Outside,
    }
}

impl Upper for World<'_> {
    fn is_blocked(&mut self, address: IpAddr) -> bool {
        self.core.is_blocked(address)
    }

    fn connected(&mut self, conn: ConnId, identity: PeerIdentity, remote: SocketAddr) {
        self.core.connected(conn, identity, remote);
    }

    fn accepted(&mut self, identity: PeerIdentity, remote: SocketAddr) -> Result<ConnId, AcceptError> {
        self.core.accepted(identity, remote)
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        self.core.received(conn, bytes);
    }

    fn closed(&mut self, conn: ConnId) {
        self.core.closed(conn);
    }
}

impl Answers for World<'_> {
    fn answered(&mut self, server: SocketAddr, socket: SocketKey, bytes: &[u8]) {
        self.core.answered(server, socket, bytes);
    }

    fn unreachable(&mut self, server: SocketAddr, socket: SocketKey) {
        self.core.unreachable(server, socket);
    }
}

impl Asker for World<'_> {
    fn asked(&mut self, question: ClientQuery, now: u64) {
        let token = self.askers.add(Origin::Tcp { client: question.client, number: question.number });
        let (side, gateway) = (dns_side(question.side), &mut self.core.gateway);
        gateway.handle_dns(side, Transport::Tcp, question.remote, &question.message, token, now);
    }

    fn gone(&mut self, number: u64) {
        if let Some(token) = self.askers.gone(number) {
            self.core.gateway.handle_dns_gone(token);
        }
    }
}

impl NeighbourListener for World<'_> {
    fn neighbour(&mut self, hop: NextHop, mac: Option<[u8; 6]>, _: u64) {
        self.core.gateway.set_neighbour(hop.port, hop.address.into(), mac);
    }
}

impl Forwarder for World<'_> {
    fn routes(&mut self, routes: &Arc<Routes>, now: u64) {
        self.core.gateway.set_routes(Arc::clone(routes), now);
    }
}

impl Carrier for World<'_> {
    fn carry(&mut self, port: PortId, frame: &[u8]) {
        // Any worker may send: TCP orders its segments itself, and the first worker's ring is as good as another.
        self.fleet.inject(0, port, |slot| {
            slot[..frame.len()].copy_from_slice(frame);
            frame.len()
        });
    }
}
