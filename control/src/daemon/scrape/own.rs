//! The gateway itself: what it learnt from the kernel, its control thread, its configuration, its journal.

use crate::daemon::house::House;
use crate::families::Families;
use crate::state::Journal;

/// All of it.
pub(super) fn tell(house: &House, families: &mut Families, age: u64) {
    kernel(house, families);
    control(house, families);
    configuration(house, families);
    families.counter(
        "ces_log_lines_lost_total",
        "Log lines that were lost because nobody read standard error in time.",
        house.log.lost(),
    );
    families.gauge("ces_uptime_seconds", "Seconds since the start.", age as f64 / 1e9);
    families
        .gauges("ces_build_info", "Version of cesd.")
        .level(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    if let Some(kept) = &house.journal {
        journal(kept, families);
    }
}

/// What the kernel told, and what was done about its interfaces.
fn kernel(house: &House, families: &mut Families) {
    let (neighbours, overflows) = house.sources.kernel.table().sizes();
    let learnt = house.sources.learnt.standing();
    families.gauge("ces_routes", "Routes that are forwarded by.", house.sources.learnt.routes().len() as f64);
    families.counter("ces_route_tables_total", "Forwarding tables that were made of routes.", learnt.tables);
    families.gauge(
        "ces_route_table_seconds",
        "How long the last forwarding table took to make.",
        learnt.build_ns as f64 / 1e9,
    );
    families.gauge("ces_neighbours", "Neighbours learnt from the kernel.", neighbours as f64);
    families.counter(
        "ces_netlink_overflows_total",
        "Routes and neighbours that found no room.",
        overflows + learnt.refused,
    );
    families.counter(
        "ces_netlink_resyncs_total",
        "Times that the kernel's notices overflowed.",
        house.sources.kernel.resyncs() + learnt.resyncs,
    );
    families.counter(
        "ces_neighbours_full_total",
        "Neighbours that the gateway needed and the kernel's table had no room for.",
        house.sources.kernel.full(),
    );
    families.counter(
        "ces_shadow_macs_restored_total",
        "Times that a shadow interface got its port's MAC address back.",
        house.sources.kernel.restored(),
    );
}

/// The control thread's loop.
fn control(house: &House, families: &mut Families) {
    let (turns, sleeps) = house.load.turns();
    families.counter("ces_control_turns_total", "Turns of the control loop.", turns);
    families.counter("ces_control_sleeps_total", "Times that the control loop slept.", sleeps);
    let pieces = house.load.pieces();
    let mut longest = families.gauges(
        "ces_control_longest_seconds",
        "The longest piece of work of the control loop since the start, by cause.",
    );
    for piece in &pieces {
        longest.level(&[("by", piece.by)], piece.longest_ns as f64 / 1e9);
    }
    let mut worked = families.gauges(
        "ces_control_worked_seconds",
        "The most that a piece of work of the control loop worked, without what it waited for a core, by cause.",
    );
    for piece in &pieces {
        worked.level(&[("by", piece.by)], piece.worked_ns as f64 / 1e9);
    }
    let mut long = families.counters(
        "ces_control_long_total",
        "Pieces of work of the control loop that worked for more than 5 ms, by cause.",
    );
    for piece in &pieces {
        long.count(&[("by", piece.by)], piece.long);
    }
}

/// Which configuration is in force, and how long the certificate in it is good for.
fn configuration(house: &House, families: &mut Families) {
    let reload = house.last_reload;
    families.gauge(
        "ces_config_last_reload_successful",
        "Whether the last reload was taken; 1 before the first.",
        f64::from(u8::from(reload.succeeded)),
    );
    families.gauge(
        "ces_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was read, in seconds since 1970.",
        reload.in_force_since as f64 / 1e9,
    );
    if let Some(credentials) = house.sources.peering.credentials() {
        families.gauge(
            "ces_tls_certificate_expiry_timestamp_seconds",
            "When the first of the certificates that peers are shown expires, in seconds since 1970.",
            credentials.expires_s() as f64,
        );
    }
}

fn journal(journal: &Journal, families: &mut Families) {
    let view = journal.view();
    families.gauge(
        "ces_journal_whole",
        "Whether all that happened to sessions is in the journal.",
        f64::from(u8::from(journal.is_whole())),
    );
    families.gauge("ces_journal_size_bytes", "Octets of the journal's file.", view.size as f64);
    families.gauge("ces_journal_waiting", "Changes that wait to be written.", view.waiting as f64);
    families.gauge(
        "ces_journal_longest_seconds",
        "The longest that one write or sync of the journal took.",
        view.longest_us as f64 / 1e6,
    );
    for (name, help, value) in [
        ("ces_journal_changes_total", "Changes of sessions written.", view.changes),
        ("ces_journal_bytes_total", "Octets written to the journal.", view.bytes),
        ("ces_journal_syncs_total", "Times that the journal was synced.", view.syncs),
        ("ces_journal_snapshots_total", "Snapshots of the sessions written.", view.snapshots),
        ("ces_journal_failures_total", "Times that the journal could not be written.", view.failures),
        ("ces_journal_lost_total", "Changes that found no room to wait for the disk.", view.lost),
    ] {
        families.counter(name, help, value);
    }
    let mut restored =
        families.gauges("ces_journal_restored", "Bindings of the last process, by what became of them.");
    restored.level(&[("what", "kept")], view.kept as f64);
    restored.level(&[("what", "ended")], view.ended as f64);
}
