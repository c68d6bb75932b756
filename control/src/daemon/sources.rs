//! The list of all sources, the only one: a source that is written here is registered, waited for, and told.

use super::world::World;
use crate::source::{Socket, Source};
use crate::sources::admin::AdminServer;
use crate::sources::dns_tcp::DnsTcp;
use crate::sources::metrics::Http;
use crate::sources::netlink::Kernel;
use crate::sources::peering::Peering;
use crate::sources::routes::Learnt;
use crate::sources::signals::Signals;
use crate::sources::tap::Taps;
use crate::sources::upstream::Upstream;
use mio::Token;

macro_rules! sources {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty),+ $(,)?) => {
        /// All sources.
        pub(super) struct Sources { $($(#[doc = $doc])+ pub(super) $name: $kind),+ }

        /// The number under which each registers its sockets.
        #[allow(non_camel_case_types)] // the names of the fields
        #[derive(Clone, Copy)]
        pub(super) enum Number { nobody, $($name),+ }

        const NAMES: &[&str] = &[$(stringify!($name)),+];

        impl Sources {
            fn each<'w>(&mut self) -> [&mut dyn Source<World<'w>>; NAMES.len()] {
                [$(&mut self.$name),+]
            }
        }
    };
}

sources! {
    /// SIGTERM, SIGINT, SIGHUP.
    signals: Signals,
    /// The kernel's neighbours.
    kernel: Kernel,
    /// Its routes.
    learnt: Learnt,
    /// The ports' shadows.
    taps: Taps,
    /// Other gateways.
    peering: Peering,
    /// Questions over TCP.
    dns_tcp: DnsTcp,
    /// Resolvers.
    upstream: Upstream,
    /// `cesctl`.
    admin: AdminServer,
    /// Whoever reads the metrics.
    metrics: Option<Http>,
}

/// Nobody's number: the workers' bell has it.
pub(super) const NOBODY: Token = Token(Number::nobody as usize);

impl Sources {
    /// Something happened to a socket: whose it is, if it is somebody's.
    pub(super) fn handle(&mut self, token: Token, world: &mut World<'_>, now: u64) -> Option<&'static str> {
        let (number, socket) = Socket::of(token);
        let place = usize::from(number).checked_sub(1)?;
        self.each().get_mut(place)?.handle(socket, world, now);
        NAMES.get(place).copied()
    }

    /// Whether one of them did not read to the end.
    pub(super) fn have_unread(&mut self) -> bool {
        self.each().iter().any(|source| source.has_unread())
    }

    /// Has each go on that did not read to the end; `did` hears of each after its piece of work.
    pub(super) fn handle_unread(
        &mut self,
        world: &mut World<'_>,
        now: u64,
        mut did: impl FnMut(&'static str),
    ) {
        for (source, name) in self.each().into_iter().zip(NAMES) {
            if source.has_unread() {
                source.handle_unread(world, now);
                did(name);
            }
        }
    }

    /// Has each look for what has taken too long.
    pub(super) fn handle_timeout(
        &mut self,
        world: &mut World<'_>,
        now: u64,
        mut did: impl FnMut(&'static str),
    ) {
        for (source, name) in self.each().into_iter().zip(NAMES) {
            source.handle_timeout(world, now);
            did(name);
        }
    }
}
