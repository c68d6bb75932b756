//! What sessions of one profile are, in numbers.

use crate::session::dns::Names;
use crate::session::packet::Ends;
use ces_dataplane::Nanos;

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Requests and responses alone.
    Udp,
    /// With a handshake, sequence numbers and an end.
    Tcp,
}

/// Where sessions find their server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// In turn among these: the first address, and how many.
    Addresses {
        /// The first.
        first: u32,
        /// How many, at least 1.
        count: u32,
    },
    /// By asking this name server.
    Named {
        /// Its address.
        server: u32,
        /// What is asked for, in turn.
        names: Names,
    },
}

/// What sessions of one profile are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name in reports.
    pub name: String,
    /// Its number among all profiles of sessions: 0 to 255.
    pub number: u8,
    /// What carries them.
    pub transport: Transport,
    /// The first client address.
    pub client: u32,
    /// How many there are.
    pub clients: u32,
    /// The first client port.
    pub client_port: u16,
    /// How many there are.
    pub client_ports: u32,
    /// Where they go.
    pub target: Target,
    /// The port there.
    pub server_port: u16,
    /// Requests of each session.
    pub requests: u16,
    /// Bytes of a request's payload.
    pub request_bytes: usize,
    /// Bytes of a response's payload.
    pub response_bytes: usize,
    /// Time from a response to the next request.
    pub think_ns: Nanos,
    /// How long an answer is waited for.
    pub timeout_ns: Nanos,
    /// How often what was not answered is sent again.
    pub retries: u8,
}

impl Plan {
    /// How many sessions there can be at once.
    pub fn capacity(&self) -> u32 {
        self.clients.saturating_mul(self.client_ports)
    }

    /// A slot's client address and port. Neighbours have different addresses.
    pub fn client_of(&self, slot: u32) -> (u32, u16) {
        let (port, client) = (slot / self.clients, slot % self.clients);
        (self.client.wrapping_add(client), self.client_port.wrapping_add(port as u16))
    }

    /// The slot that a packet is for, by where it goes.
    pub fn slot_of(&self, ends: Ends) -> Option<u32> {
        let client = ends.destination.wrapping_sub(self.client);
        let port = u32::from(ends.destination_port.wrapping_sub(self.client_port));
        (client < self.clients && port < self.client_ports).then(|| port * self.clients + client)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Sessions of 4 × 8 clients with 3 requests; timeouts of a millisecond, 2 retries.
    pub(crate) fn plan(transport: Transport) -> Plan {
        Plan {
            name: "web".to_owned(),
            number: 1,
            transport,
            client: 0x0a00_0001,
            clients: 4,
            client_port: 40_000,
            client_ports: 8,
            target: Target::Addresses { first: 0xc633_6401, count: 2 },
            server_port: 80,
            requests: 3,
            request_bytes: 100,
            response_bytes: 300,
            think_ns: 0,
            timeout_ns: 1_000_000,
            retries: 2,
        }
    }

    #[test]
    fn each_slot_has_its_own_client() {
        let plan = plan(Transport::Udp);
        let mut seen = std::collections::HashSet::new();
        for slot in 0..plan.capacity() {
            let (destination, destination_port) = plan.client_of(slot);
            let ends = Ends { source: 0, source_port: 0, destination, destination_port };
            assert_eq!(plan.slot_of(ends), Some(slot));
            assert!(seen.insert((destination, destination_port)));
            for beside in [
                Ends { destination: 0x0a00_0005, ..ends },
                Ends { destination: 0x0a00_0000, ..ends },
                Ends { destination_port: 39_999, ..ends },
                Ends { destination_port: 40_008, ..ends },
            ] {
                assert_eq!(plan.slot_of(beside), None);
            }
        }
        assert_eq!(seen.len(), 32);
    }
}
