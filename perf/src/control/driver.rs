//! A gateway on the transport of `cesd`: mio, TCP, TLS, over the loopback interface.

use crate::control::node::{Cetp, Node};
use crate::control::realms::{Shape, Side};
use ces_cetp::engine::Proto;
use ces_control::inward::{Blocked, Core};
use ces_control::source::{Socket, Sockets, Source};
use ces_control::sources::peering::{Peering, PeeringLimits};
use ces_control::tls::Credentials;
use machine::Clock;
use mio::{Events, Poll};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

/// Events taken in one turn.
const EVENTS: usize = 256;
/// The longest sleep, so that a stop is seen.
const NAP: Duration = Duration::from_millis(10);

/// A gateway, its transport, and what they wait for.
pub struct Driver {
    /// The gateway.
    pub node: Node,
    peering: Peering,
    poll: Poll,
    events: Events,
    clock: Clock,
    /// When the transport's own deadlines were last looked at.
    looked: u64,
    blocked: Blocked,
}

/// How often the transport's deadlines are looked at, in nanoseconds.
const LOOK_NS: u64 = 100_000_000;

/// A port that is free now.
pub fn free_port(side: Side) -> Result<u16, String> {
    let listener = std::net::TcpListener::bind((side.endpoint(), 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

impl Driver {
    /// A gateway that listens at its endpoint.
    pub fn new(side: Side, shape: &Shape, credentials: Credentials, clock: Clock) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", side.ces_id());
        let poll = Poll::new().map_err(failed)?;
        let endpoints = match side {
            Side::Initiator => Vec::new(),
            Side::Responder => {
                let address = SocketAddr::from((side.endpoint(), shape.port));
                let proto = if shape.tls { Proto::Tls } else { Proto::Tcp };
                vec![(address, proto)]
            }
        };
        let limits = PeeringLimits {
            connect_ns: 5_000_000_000,
            handshake_ns: 5_000_000_000,
            connections: 64,
            per_address: 64,
        };
        let sockets = Sockets::new(&poll, 1).map_err(failed)?;
        let mut peering = Peering::new(Some(credentials), limits, sockets);
        let opened = peering.open(endpoints).map_err(|error| error.to_string())?;
        peering.listen(opened).map_err(failed)?;
        Ok(Self {
            node: Node::new(side, shape, clock.now())?,
            peering,
            poll,
            events: Events::with_capacity(EVENTS),
            clock,
            looked: 0,
            blocked: Blocked::default(),
        })
    }

    /// What became of connections, and what the gateway complained of.
    pub fn trouble(&self) -> String {
        let counters = self.peering.counters.iter().filter(|(_, count)| *count > 0);
        let counters: Vec<_> = counters.map(|(name, count)| format!("{name} {count}")).collect();
        let engine = self.node.gateway.cetp_counters();
        format!(
            "connections: {}; messages: {} in, {} out, {} malformed; {}",
            counters.join(", "),
            engine.messages_in,
            engine.messages_out,
            engine.malformed,
            self.node.complaints.join("; ")
        )
    }

    /// Carries out what the gateway says until nothing is left to do but wait. What it sends leaves with the next turn.
    pub fn settle(&mut self) {
        let now = self.clock.now();
        self.node.pump(now);
        while let Some(wish) = self.node.cetp.pop_front() {
            let mut core = Core { gateway: &mut self.node.gateway, blocked: &mut self.blocked, now };
            match wish {
                Cetp::Connect(conn, endpoint, ces_id) => {
                    self.peering.connect(conn, &endpoint, &ces_id, &mut core, now);
                }
                Cetp::Send(conn, bytes) => self.peering.send(conn, &bytes, &mut core, now),
                Cetp::Close(conn) => self.peering.close(conn, now),
            }
            self.node.pump(now);
        }
        // The transport sends what it took only now: many messages in one segment.
        let mut core = Core { gateway: &mut self.node.gateway, blocked: &mut self.blocked, now };
        if self.peering.flush(&mut core, now) {
            self.node.pump(now);
        }
    }

    /// Sends what was said since the last turn, waits for the network, at most a nap and not beyond the gateway's next
    /// deadline, and takes what came.
    pub fn turn(&mut self, wait: bool) -> Result<(), String> {
        let now = self.clock.now();
        while self
            .peering
            .flush(&mut Core { gateway: &mut self.node.gateway, blocked: &mut self.blocked, now }, now)
        {
            self.settle();
        }
        let due = self.node.gateway.poll_timeout().map(|due| Duration::from_nanos(due.saturating_sub(now)));
        let wait = if wait && !Source::<Core<'_>>::has_unread(&self.peering) {
            due.unwrap_or(NAP).min(NAP)
        } else {
            Duration::ZERO
        };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.to_string()),
            _ => {}
        }
        let now = self.clock.now();
        let mut core = Core { gateway: &mut self.node.gateway, blocked: &mut self.blocked, now };
        for event in &self.events {
            self.peering.handle(Socket::of(event.token()).1, &mut core, now);
        }
        self.peering.handle_unread(&mut core, now);
        if now.saturating_sub(self.looked) >= LOOK_NS {
            self.looked = now;
            self.peering.handle_timeout(&mut core, now);
        }
        if self.node.gateway.poll_timeout().is_some_and(|due| due <= now) {
            self.node.gateway.handle_timeout(now);
        }
        self.settle();
        Ok(())
    }
}
