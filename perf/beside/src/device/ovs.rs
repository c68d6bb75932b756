//! Open vSwitch over DPDK, with directories, database and sockets of its own.
//!
//! The predecessor of this gateway had such a switch as its data plane: one rule for each direction of a binding.

use super::memif::{self, End};
use super::{Device, Own, Reach, Setting, Wire};
use crate::memory;
use crate::process::{Line, Place, Process};
use crate::realm::{Realm, mac};
use crate::stats;
use dpdk::Memory;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// One rule: time to live, MAC addresses, out.
    Forward,
    /// Two rules for each binding: both addresses, time to live, tunnel.
    Ces,
    /// Source NAT by connection tracking.
    ConntrackNat,
}

/// Debian's builds with DPDK, which `update-alternatives` need not have chosen.
const DAEMON: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Queue pairs of each port. It has a transmit queue for its main thread, the first, and one for its polling thread; a memif
/// has as many queues each way.
const QUEUES: u16 = 2;
const START_WAIT: Duration = Duration::from_secs(30);
const COMMAND_WAIT: Duration = Duration::from_secs(30);

/// Its polling threads.
const POLLING: &str = "pmd-";

struct Ovs {
    control: Control,
    reach: Reach,
    // In this order: the switch ends before its database, both before their namespace.
    switch: Process,
    _database: Process,
    _namespace: Namespace,
}

/// How its tools are told where it is.
struct Control {
    directory: PathBuf,
    place: Place,
}

impl Control {
    fn tool(&self, program: &str) -> Line {
        let directory = self.directory.display().to_string();
        ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"]
            .iter()
            .fold(Line::new(&self.place, program), |line, name| line.env(name, &directory))
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn database(&self) -> String {
        format!("unix:{}", self.file("db.sock"))
    }

    fn vsctl(&self, words: &str) -> Result<String, String> {
        let line = self.tool("ovs-vsctl").args([format!("--db={}", self.database()), "--timeout=20".into()]);
        line.args(words.split_whitespace()).output(COMMAND_WAIT)
    }

    fn appctl(&self, words: &str) -> Result<String, String> {
        let line = self.tool("ovs-appctl").args(["-t".to_owned(), self.file("vswitchd.ctl")]);
        line.args(words.split_whitespace()).output(COMMAND_WAIT)
    }

    fn add_flows(&self, bridge: &str, flows: &str) -> Result<(), String> {
        let socket = format!("unix:{}", self.file(&format!("{bridge}.mgmt")));
        let line = self.tool("ovs-ofctl").args(["-O", "OpenFlow15", "--bundle", "replace-flows"]);
        line.args([socket, "-".into()]).feed(flows, COMMAND_WAIT).map(drop)
    }
}

/// A network namespace for the bridge's own interfaces, which the switch makes as TAPs.
struct Namespace(String);

impl Namespace {
    fn new() -> Result<Self, String> {
        let name = format!("ces-beside-{}-ovs", std::process::id());
        Line::new(&Place::default(), "ip").args(["netns", "add", &name]).output(COMMAND_WAIT)?;
        Ok(Self(name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Starts it with these rules for the realm.
pub fn start(rules: Rules, setting: Setting) -> Result<impl Device + use<>, String> {
    if setting.wire != Wire::Memif {
        return Err("OVS-DPDK runs over memif only".to_owned());
    }
    if !Path::new(DAEMON).exists() {
        return Err(format!("{DAEMON} is not there (Debian's package openvswitch-switch-dpdk)"));
    }
    let namespace = Namespace::new()?;
    // All of it on the device's core: its handlers and revalidators are part of what it costs.
    let place = Place { core: Some(setting.core), namespace: Some(namespace.0.clone()) };
    let control = Control { directory: setting.scratch.to_owned(), place };
    control
        .tool("ovsdb-tool")
        .args(["create".into(), control.file("conf.db"), SCHEMA.into()])
        .output(COMMAND_WAIT)?;
    let database = control
        .tool("ovsdb-server")
        .args([
            control.file("conf.db"),
            format!("--remote=p{}", control.database()),
            format!("--unixctl={}", control.file("ovsdb.ctl")),
            format!("--pidfile={}", control.file("ovsdb.pid")),
        ])
        .start(setting.scratch, "ovsdb")?;
    crate::interrupt::wait("ovsdb-server", START_WAIT, || {
        Ok(Path::new(&control.file("db.sock")).exists().then_some(()))
    })?;
    control.vsctl("--no-wait init")?;
    let mask = 1u64 << setting.core;
    let memory = match memory::choose(setting.pages) {
        Memory::HugePages => "--in-memory --no-pci --no-telemetry".to_owned(),
        Memory::Ordinary { mib } => {
            // It adds `--in-memory`, with which ordinary pages do not go, unless it is told of the old way of memory.
            format!("--no-huge --legacy-mem -m {mib} --no-shconf --no-pci --no-telemetry")
        }
    };
    let line = control.tool("ovs-vsctl").args([format!("--db={}", control.database()), "--no-wait".into()]);
    line.args(["set", "Open_vSwitch", ".", "other_config:dpdk-init=true"])
        .args([
            format!("other_config:dpdk-lcore-mask={mask:#x}"),
            format!("other_config:pmd-cpu-mask={mask:#x}"),
            format!("other_config:dpdk-extra={memory}"),
            "other_config:userspace-tso-enable=false".to_owned(),
            // More datapath flows than any realm has bindings; the default would do for most, but says so late.
            "other_config:flow-limit=2000000".to_owned(),
            "other_config:max-idle=120000".to_owned(),
        ])
        .output(COMMAND_WAIT)?;
    let mut switch = control
        .tool(DAEMON)
        .args([
            control.database(),
            format!("--unixctl={}", control.file("vswitchd.ctl")),
            format!("--pidfile={}", control.file("vswitchd.pid")),
            "--no-chdir".into(),
        ])
        .start(setting.scratch, "vswitchd")?;
    // One that cannot start DPDK ends at once; `ovs-vsctl` would wait for it.
    crate::interrupt::wait("ovs-vswitchd", START_WAIT, || {
        switch.check()?;
        Ok(Path::new(&control.file("vswitchd.ctl")).exists().then_some(()))
    })?;
    let up = control.vsctl("add-br br-in -- set bridge br-in datapath_type=netdev fail-mode=secure");
    up.map_err(|error| switch.check().err().unwrap_or(error))?;
    let devices = [0, 1].map(|port| memif::device(setting.scratch, port, End::Device));
    build(rules, &control, setting.realm, &devices)?;
    memif::separate(&switch, setting.generator_core)?;
    let reach = Reach { queues: QUEUES, ..Reach::memif(&setting) };
    Ok(Ovs { control, reach, switch, _database: database, _namespace: namespace })
}

/// Bridges, ports and rules.
fn build(rules: Rules, control: &Control, realm: &Realm, devices: &[String; 2]) -> Result<(), String> {
    let add = |bridge: &str, port: &str, number: u32, device: &str| {
        control.vsctl(&format!(
            "add-port {bridge} {port} -- set Interface {port} type=dpdk ofport_request={number} \
             options:n_rxq={QUEUES} options:dpdk-devargs={device}"
        ))?;
        let error = control.vsctl(&format!("get Interface {port} error"))?;
        if error.trim() == "[]" { Ok(()) } else { Err(format!("port {port}: {}", error.trim())) }
    };
    add("br-in", "inside", 1, &devices[0])?;
    match rules {
        Rules::Forward => {
            add("br-in", "outside", 2, &devices[1])?;
            control.add_flows("br-in", &forward(realm))
        }
        Rules::ConntrackNat => {
            add("br-in", "outside", 2, &devices[1])?;
            control.add_flows("br-in", &nat(realm))
        }
        Rules::Ces => {
            // Its own tunnels leave by the bridge that has the locator: the addresses are the kernel's, by the bridge's TAP.
            control.vsctl(&format!(
                "add-br br-out -- set bridge br-out datapath_type=netdev fail-mode=secure other-config:hwaddr={}",
                mac(realm.outside_mac())
            ))?;
            add("br-out", "outside", 1, &devices[1])?;
            control.vsctl(
                "add-port br-in vxlan -- set Interface vxlan type=vxlan ofport_request=2 \
                 options:remote_ip=flow options:key=flow",
            )?;
            control.add_flows("br-out", "in_port=1,actions=LOCAL\nin_port=LOCAL,actions=output:1\n")?;
            tunnel_roads(control, realm)?;
            control.add_flows("br-in", &ces(realm))
        }
    }
}

/// The way to the peers: the locator on the bridge, all of them behind the router, whose MAC address is known.
fn tunnel_roads(control: &Control, realm: &Realm) -> Result<(), String> {
    let (locator, prefix) = realm.locator();
    let router = std::net::Ipv4Addr::from_bits(locator.to_bits() + 1);
    let ip = |words: String| {
        Line::new(&control.place, "ip").args(words.split_whitespace()).output(COMMAND_WAIT).map(drop)
    };
    ip(format!("addr add {locator}/{prefix} dev br-out"))?;
    ip("link set br-out up".to_owned())?;
    ip(format!("route add default via {router}"))?;
    // It reads the kernel's routes by itself, a little later.
    crate::interrupt::wait("the route to the peers", START_WAIT, || {
        let routes = control.appctl("ovs/route/show")?;
        Ok(routes.contains(&format!("0.0.0.0/0 dev br-out GW {router}")).then_some(()))
    })?;
    control.appctl(&format!("tnl/arp/set br-out {router} {}", mac(realm.router_mac()))).map(drop)
}

/// One rule: what comes from a host goes to the router.
pub fn forward(realm: &Realm) -> String {
    format!(
        "in_port=1,ip,actions=dec_ttl,set_field:{}->eth_src,set_field:{}->eth_dst,output:2\n",
        mac(realm.outside_mac()),
        mac(realm.router_mac())
    )
}

/// Connection tracking with source NAT to the locator, and back. Table 1 sees packets whose connection is known.
pub fn nat(realm: &Realm) -> String {
    let (locator, _) = realm.locator();
    let to_router = format!(
        "set_field:{}->eth_src,set_field:{}->eth_dst,output:2",
        mac(realm.outside_mac()),
        mac(realm.router_mac())
    );
    let to_hosts = format!("set_field:{}->eth_src,output:1", mac(realm.inside_mac()));
    format!(
        "table=0,in_port=1,ip,actions=dec_ttl,ct(table=1,zone=1,nat)\n\
         table=0,in_port=2,ip,actions=dec_ttl,ct(table=1,zone=1,nat)\n\
         table=1,in_port=1,ct_state=+trk+new,ip,actions=ct(commit,zone=1,nat(src={locator}:1024-65535)),{to_router}\n\
         table=1,in_port=1,ct_state=+trk+est,ip,actions={to_router}\n\
         table=1,in_port=2,ct_state=+trk+est,ip,actions={to_hosts}\n"
    )
}

/// Two rules for each binding.
pub fn ces(realm: &Realm) -> String {
    let mut flows = String::new();
    for pair in realm.pairs() {
        let tunnel = realm.tunnels()[usize::from(pair.tunnel)];
        // Writing to a String cannot fail.
        let _ = writeln!(
            flows,
            "in_port=1,ip,nw_src={},nw_dst={},actions=dec_ttl,set_field:{}->ip_src,set_field:{}->ip_dst,\
             set_field:{}->tun_id,set_field:{}->tun_dst,output:2",
            pair.host, pair.proxy, pair.tag, pair.remote_tag, tunnel.id_out, tunnel.remote
        );
        let _ = writeln!(
            flows,
            "in_port=2,tun_id={},tun_src={},tun_dst={},ip,nw_src={},nw_dst={},actions=dec_ttl,set_field:{}->ip_src,\
             set_field:{}->ip_dst,set_field:{}->eth_src,set_field:{}->eth_dst,output:1",
            tunnel.id_in,
            tunnel.remote,
            tunnel.local,
            pair.remote_tag,
            pair.tag,
            pair.proxy,
            pair.host,
            mac(realm.inside_mac()),
            mac(pair.host_mac)
        );
    }
    flows
}

impl Device for Ovs {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn process(&mut self) -> Option<&mut Process> {
        Some(&mut self.switch)
    }

    fn part(&mut self, generator: Process) -> Result<(), String> {
        memif::part(&self.switch, POLLING, generator)
    }

    fn own(&mut self) -> Result<Own, String> {
        self.control.appctl("dpif-netdev/pmd-stats-show").map(|text| stats::ovs(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::msg::Encapsulation;

    #[test]
    fn there_are_two_rules_for_each_binding() {
        let realm = Realm::new(30, 4, Encapsulation::Vxlan, false).unwrap();
        let flows = ces(&realm);
        assert_eq!(flows.lines().count(), 60);
        let pair = realm.pair(7);
        let egress = flows.lines().nth(14).unwrap();
        assert!(egress.starts_with(&format!("in_port=1,ip,nw_src={},nw_dst={},", pair.host, pair.proxy)));
        assert!(egress.contains(&format!("set_field:{}->ip_src", pair.tag)));
        let ingress = flows.lines().nth(15).unwrap();
        assert!(ingress.contains(&format!("set_field:{}->ip_dst", pair.host)));
        assert!(nat(&realm).lines().all(|line| line.starts_with("table=")));
        assert_eq!(forward(&realm).lines().count(), 1);
    }
}
