//! Two pairs of virtual Ethernet interfaces between a namespace of the device's and one of the generator's.
//!
//! A frame that is sent into such a pair is received in soft interrupts of the *sending* core. Receive packet steering moves
//! that work: what reaches the device's ends is handled on the device's core, what reaches the generator's on its own.

use super::Setting;
use crate::process::{Line, Place};
use crate::realm::mac;
use std::fmt::Write;
use std::time::Duration;

/// The device's interfaces, towards hosts and peers.
pub const DEVICE: [&str; 2] = ["inside", "outside"];
/// The generator's ends of them.
const GENERATOR: [&str; 2] = ["hosts", "peers"];
const WAIT: Duration = Duration::from_secs(20);

/// The namespaces with their interfaces; gone when this is dropped.
pub struct Veth {
    device: Namespace,
    generator: Namespace,
}

struct Namespace(String);

impl Namespace {
    fn new(role: &str) -> Result<Self, String> {
        let name = format!("ces-beside-{}-{role}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self(name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(words: &[&str]) -> Result<String, String> {
    Line::new(&Place::default(), "ip").args(words.iter().copied()).output(WAIT)
}

/// Runs a script of the shell in a namespace.
pub fn shell(namespace: &str, script: &str) -> Result<String, String> {
    let place = Place { core: None, namespace: Some(namespace.to_owned()) };
    Line::new(&place, "sh").args(["-ec", script]).output(WAIT)
}

impl Veth {
    /// Both pairs, up, without addresses and without offloads: no frame is longer than what was sent, and every checksum
    /// is in its place.
    pub fn new(setting: &Setting) -> Result<Self, String> {
        let (device, generator) = (Namespace::new("device")?, Namespace::new("generator")?);
        let realm = setting.realm;
        let macs = [realm.inside_mac(), realm.outside_mac()];
        for ((ours, theirs), address) in DEVICE.iter().zip(GENERATOR).zip(macs) {
            let line = format!(
                "link add {ours} netns {} address {} numtxqueues 1 numrxqueues 1 type veth \
                 peer name {theirs} netns {} numtxqueues 1 numrxqueues 1",
                device.0,
                mac(address),
                generator.0
            );
            ip(&line.split_whitespace().collect::<Vec<_>>())?;
        }
        for (namespace, interfaces, core) in
            [(&device, DEVICE, setting.core), (&generator, GENERATOR, setting.generator_core)]
        {
            let mask = 1u64 << core;
            let mut script =
                "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up\n".to_owned();
            for interface in interfaces {
                let _ = write!(
                    script,
                    "ethtool -K {interface} rx off tx off sg off tso off gso off gro off >/dev/null\n\
                     ip link set {interface} up promisc on\n\
                     echo {mask:x} > /sys/class/net/{interface}/queues/rx-0/rps_cpus\n"
                );
            }
            shell(&namespace.0, &script)?;
        }
        Ok(Self { device, generator })
    }

    /// The device's namespace.
    pub fn device_namespace(&self) -> String {
        self.device.0.clone()
    }

    /// The generator's namespace.
    pub fn generator_namespace(&self) -> String {
        self.generator.0.clone()
    }
}

/// Has the kernel leave the polling of the device's interfaces to the program that has them open by AF_XDP, as DPDK's guide
/// to the driver says: so the kernel's part of receiving is done in the device's own system calls, on the device's core.
/// Without it the generator's core would do it.
pub fn leave_polling(namespace: &str) -> Result<(), String> {
    let interface = |name: &str| {
        format!(
            "echo 2 > /sys/class/net/{name}/napi_defer_hard_irqs; echo 200000 > /sys/class/net/{name}/gro_flush_timeout\n"
        )
    };
    shell(namespace, &DEVICE.map(interface).concat()).map(drop)
}

/// The device's ports by AF_XDP.
pub fn device_ports() -> [String; 2] {
    [0, 1].map(|port| format!("net_af_xdp{port},iface={}", DEVICE[port]))
}

/// The generator's ports.
pub fn generator_ports() -> [String; 2] {
    [0, 1].map(|port| format!("net_af_packet{port},iface={},qdisc_bypass=1", GENERATOR[port]))
}
