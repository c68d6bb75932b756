//! What else a gateway stands on: what its process may do, its files, its clock, its certificate.

use super::finding::Finding;
use super::machine::Machine;
use crate::config::Config;
use crate::interfaces::interface_of;

/// Capabilities (capabilities(7)) that every gateway uses, by number: interfaces and routes, sockets below 1024, memory that
/// stays, cores.
const NEEDED: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (10, "CAP_NET_BIND_SERVICE"), (14, "CAP_IPC_LOCK"), (23, "CAP_SYS_NICE")];
/// What a port through the kernel's packet sockets uses, and what one of AF_XDP uses beside.
const RAW: (u32, &str) = (13, "CAP_NET_RAW");
const XDP: (u32, &str) = (21, "CAP_SYS_ADMIN");
/// Descriptors for as many connections as are configured, and for what else is open.
const DESCRIPTORS: u64 = 512;
/// The mode's bits of group and others, which are to be 0.
const OWNERS_ALONE: u32 = 6;
/// A certificate that ends sooner is to be renewed now.
const RENEW_S: i64 = 14 * 86_400;

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    let mut findings = vec![permissions(machine, config), descriptors(machine, config), clock(machine)];
    if let Some(state) = &config.state {
        let directory = state.directory.display().to_string();
        findings.push(if machine.is_there(&state.directory) {
            Finding::good("state directory", directory)
        } else {
            let mend = format!("mkdir -p -m 0700 {directory}");
            Finding::poor("state directory", format!("{directory} is not there yet"), mend)
        });
    }
    if let Some(tls) = &config.tls {
        findings.extend(private_key(machine, &tls.key.display().to_string()));
    }
    findings
}

fn permissions(machine: &Machine, config: &Config) -> Finding {
    let what = "capabilities of this process";
    let status = machine.text("/proc/self/status").unwrap_or_default();
    let held =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let Some(held) = held else { return Finding::poor(what, "not known", "ask as the user that runs cesd") };
    let uses = |driver: &str| config.port.iter().any(|port| port.device.starts_with(driver));
    let raw = config.port.iter().any(|port| interface_of(&port.device).is_some()).then_some(RAW);
    let xdp = uses("net_af_xdp").then_some(XDP);
    let lacks = NEEDED.into_iter().chain(raw).chain(xdp).filter(|(number, _)| held >> number & 1 == 0);
    let lacks = lacks.map(|(_, name)| name).collect::<Vec<_>>().join(" ");
    if lacks.is_empty() {
        return Finding::good(what, "all that it needs");
    }
    Finding::poor(what, format!("without {lacks}"), "ask as root, or run cesd by its unit, which has them")
}

fn descriptors(machine: &Machine, config: &Config) -> Finding {
    let wanted = u64::from(config.dns_tcp.connections) + u64::from(config.admin.connections) + DESCRIPTORS;
    let limits = machine.text("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match soft {
        None => Finding::poor("open files", "limit not known", "ulimit -n tells it"),
        Some("unlimited") => Finding::good("open files", "no limit"),
        Some(soft) if soft.parse().is_ok_and(|soft: u64| soft >= wanted) => {
            Finding::good("open files", format!("{soft}, of which {wanted} may be used"))
        }
        Some(soft) => {
            let mend = format!("LimitNOFILE={wanted} in the unit, or ulimit -n {wanted}");
            Finding::poor("open files", format!("{soft}, and connections may use {wanted}"), mend)
        }
    }
}

/// Whether somebody keeps the time: certificates, and messages of CETP, have one.
fn clock(machine: &Machine) -> Finding {
    let keepers = ["systemd/timesync/synchronized", "chrony/chronyd.pid", "ntpd.pid", "openntpd.pid"];
    match keepers.iter().find(|keeper| machine.is_there(format!("/run/{keeper}"))) {
        Some(keeper) => Finding::good("time", format!("kept (/run/{keeper})")),
        None => Finding::poor(
            "time",
            "nobody is known to keep it",
            "apt install chrony, or timedatectl set-ntp true",
        ),
    }
}

fn private_key(machine: &Machine, key: &str) -> Option<Finding> {
    let mode = machine.mode(key)? & 0o777;
    Some(if mode.trailing_zeros() >= OWNERS_ALONE {
        Finding::good("private key", format!("{key}, mode {mode:04o}"))
    } else {
        Finding::poor("private key", format!("{key} has mode {mode:04o}"), format!("chmod 0600 {key}"))
    })
}

/// How long our certificate is good (RFC 5280 §4.1.2.5).
pub(super) fn certificate(expires_s: i64, now_s: i64) -> Finding {
    let (what, left_s) = ("certificate", expires_s - now_s);
    let mend = "have the authority sign a new one, then cesctl reload";
    match left_s {
        ..0 => Finding::wrong(what, format!("ended {} days ago", -left_s / 86_400), mend),
        0..RENEW_S => Finding::poor(what, format!("ends in {} days", left_s / 86_400), mend),
        _ => Finding::good(what, format!("good for {} days", left_s / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Fitness;
    use super::super::machine::made::{Made, config};
    use super::*;

    const PORT: &str = "[worker]\ncores = []\n[[port]]\nname = \"lan\"\n\
        device = \"net_af_xdp0,iface=eth1\"\nside = \"inside\"\naddresses = []\n";

    #[test]
    fn what_a_process_may_do_is_known() {
        let made =
            Made::new("standing", &[], &[("/proc/self/status", "Name:\tcesd\nCapEff:\t0000000000000000\n")]);
        let of = |nth: usize| examine(&made.0, &config(PORT)).swap_remove(nth);
        let all = "CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_IPC_LOCK CAP_SYS_NICE CAP_NET_RAW CAP_SYS_ADMIN";
        assert_eq!(of(0).found, format!("without {all}"));
        made.write("/proc/self/status", "CapEff:\t000001ffffffffff\n");
        assert_eq!(of(0).fitness, Fitness::Good);
        for (soft, standing) in
            [("1024", Fitness::Poor), ("524288", Fitness::Good), ("unlimited", Fitness::Good)]
        {
            made.write(
                "/proc/self/limits",
                &format!("Limit Soft\nMax open files   {soft}   524288  files\n"),
            );
            assert_eq!(of(1).fitness, standing, "{soft}");
        }
        assert_eq!(of(2).fitness, Fitness::Poor);
        made.write("/run/chrony/chronyd.pid", "1\n");
        assert_eq!(of(2).fitness, Fitness::Good);
    }

    #[test]
    fn certificates_end() {
        let standing = |left_s| certificate(1_800_000_000, 1_800_000_000 - left_s).fitness;
        assert_eq!(
            [standing(-1), standing(0), standing(RENEW_S)],
            [Fitness::Wrong, Fitness::Poor, Fitness::Good]
        );
    }
}
