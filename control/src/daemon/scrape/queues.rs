//! Metrics of shaped ports: of each, its classes.

use super::super::house::House;
use super::super::views::queue_figure;
use crate::families::Families;
use ces_dataplane::queue::{Class, Figure};

/// What became of packets.
const OUTCOMES: [(&str, Figure); 4] = [
    ("sent", Figure::Sent),
    ("marked", Figure::Marked),
    ("dropped_late", Figure::DroppedLate),
    ("dropped_full", Figure::DroppedFull),
];

pub(super) fn tell(house: &House, families: &mut Families) {
    let shaped = || {
        let ports = house.config.port.iter().enumerate().filter(|(_, port)| port.bandwidth.is_some());
        ports.flat_map(|(number, port)| Class::ALL.map(|class| (number, port.name.as_str(), class)))
    };
    let mut packets = families.counters(
        "ces_queue_packets_total",
        "Packets of shaped ports, by what became of them; those that were marked were sent as well.",
    );
    for (number, port, class) in shaped() {
        for (outcome, figure) in OUTCOMES {
            let labels = [("port", port), ("class", class.label()), ("outcome", outcome)];
            packets.count(&labels, queue_figure(house, number, class, figure));
        }
    }
    let mut bytes = families.counters(
        "ces_queue_sent_bytes_total",
        "Bytes that shaped ports sent, as they are on an Ethernet wire.",
    );
    for (number, port, class) in shaped() {
        let labels = [("port", port), ("class", class.label())];
        bytes.count(&labels, queue_figure(house, number, class, Figure::SentBytes));
    }
    for (name, help, figure, unit) in [
        ("ces_queue_waiting_packets", "Packets that wait at shaped ports.", Figure::Packets, 1.0),
        ("ces_queue_waiting_hosts", "Hosts whose packets wait at shaped ports.", Figure::Hosts, 1.0),
        ("ces_queue_delay_seconds", "How long the last packets waited at shaped ports.", Figure::Delay, 1e9),
    ] {
        let mut family = families.gauges(name, help);
        for (number, port, class) in shaped() {
            let level = queue_figure(house, number, class, figure) as f64 / unit;
            family.level(&[("port", port), ("class", class.label())], level);
        }
    }
}
