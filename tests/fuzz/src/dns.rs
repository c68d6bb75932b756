//! DNS messages as clients and upstream servers may send them.

/// The property: no panic.
pub fn run(data: &[u8]) {
    let Some((mode, bytes)) = data.split_first() else { return };
    let transport = if mode & 1 == 0 { ces_dns::message::Transport::Udp } else { ces_dns::message::Transport::Tcp };
    let _ = ces_dns::message::parse(bytes, transport);
}
