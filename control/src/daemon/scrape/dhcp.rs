//! What became of addresses that hosts asked for.

use crate::daemon::house::House;
use crate::families::Families;
use ces_dhcp::Outcome;

/// All of it.
pub(super) fn tell(house: &House, families: &mut Families) {
    let (server, counters) = (house.dhcp.server(), house.dhcp.server().counters());
    let mut messages = families.counters("ces_dhcp_messages_total", "Messages of DHCP, by outcome.");
    for outcome in Outcome::ALL {
        messages.count(&[("outcome", outcome.label())], counters.value(*outcome));
    }
    for (name, help, value) in [
        ("ces_dhcp_probes_total", "Addresses that were probed before they were offered.", counters.probes),
        ("ces_dhcp_conflicts_total", "Addresses that somebody used without a lease.", counters.conflicts),
        ("ces_dhcp_expired_total", "Leases that ran out.", counters.expired),
        (
            "ces_dhcp_moved_total",
            "Leases that ended since their client had moved to another MAC.",
            counters.moved,
        ),
    ] {
        families.counter(name, help, value);
    }
    let mut addresses = families.gauges("ces_dhcp_addresses", "Addresses of a subnet, by how they stand.");
    for (index, subnet) in server.book().settings().subnets.iter().enumerate() {
        let (stock, network) = (server.book().stock(index), subnet.network.to_string());
        for (state, count) in [
            ("leased", stock.bound),
            ("offered", stock.offered),
            ("declined", stock.declined),
            ("free", stock.fresh + stock.past),
        ] {
            addresses.level(&[("subnet", &network), ("state", state)], count as f64);
        }
    }
    let Some(file) = house.dhcp.file() else { return };
    families.gauge(
        "ces_dhcp_leases_whole",
        "Whether leases can be written down.",
        f64::from(u8::from(file.is_whole)),
    );
    families.gauge("ces_dhcp_leases_size_bytes", "Octets of the file of leases.", file.size as f64);
    families.counter("ces_dhcp_leases_written_total", "Changes of leases written.", file.written);
    families.counter(
        "ces_dhcp_leases_failed_total",
        "Changes of leases that could not be written.",
        file.failed,
    );
}
