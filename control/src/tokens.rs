//! What mio's tokens mean: who waits, in the top four bits, and for which of its sockets, in the rest.

use crate::slots::Key;
use mio::Token;

/// Who waits for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Owner {
    /// SIGTERM, SIGINT, SIGHUP, through a pipe.
    Signals = 1,
    /// The netlink socket.
    Netlink,
    /// A shadow TAP, by port number.
    Tap,
    /// A listener for CETP, by its number.
    CetpListener,
    /// A CETP connection.
    Cetp,
    /// A listener for DNS over TCP, by its number.
    DnsListener,
    /// A client's connection for DNS over TCP.
    Dns,
    /// A UDP socket towards the resolvers, by its number.
    Upstream,
    /// A TCP connection to a resolver.
    UpstreamTcp,
    /// The listener of the admin socket.
    AdminListener,
    /// A `cesctl`.
    Admin,
    /// The listener of the metrics page.
    MetricsListener,
    /// A connection to the metrics page.
    Metrics,
}

const OWNERS: [Owner; 13] = [
    Owner::Signals,
    Owner::Netlink,
    Owner::Tap,
    Owner::CetpListener,
    Owner::Cetp,
    Owner::DnsListener,
    Owner::Dns,
    Owner::Upstream,
    Owner::UpstreamTcp,
    Owner::AdminListener,
    Owner::Admin,
    Owner::MetricsListener,
    Owner::Metrics,
];

const SHIFT: u32 = 60;

impl Owner {
    /// The token of its socket of that number.
    pub const fn token(self, number: u64) -> Token {
        Token(((self as u64) << SHIFT | number) as usize)
    }

    /// The token of its socket with that key.
    pub const fn keyed(self, key: Key) -> Token {
        self.token(key.pack())
    }

    /// Whose token it is, and of which number.
    pub fn of(token: Token) -> Option<(Self, u64)> {
        let bits = token.0 as u64;
        let owner = OWNERS.into_iter().find(|owner| *owner as u64 == bits >> SHIFT)?;
        Some((owner, bits & ((1 << SHIFT) - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_come_back_out_of_their_tokens() {
        for owner in OWNERS {
            assert_eq!(Owner::of(owner.token(77)), Some((owner, 77)));
        }
        assert_eq!(Owner::of(Token(0)), None);
    }
}
