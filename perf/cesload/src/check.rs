//! What `cesload check` and `cesload sizes` print, and `cesload frames` writes.

use crate::cli::FramesArgs;
use crate::failed::Failed;
use crate::measure;
use ces_load::profile::Profile;
use ces_load::profile::size::{FCS, IMIX};
use ces_load::session::table::SessionSlot;
use ces_load::stream::export;
use ces_load::words::{grouped, percent};
use std::fs::File;
use std::io::{BufWriter, Write};

/// Bytes of the Ethernet header and the FCS around an IP packet.
const ETHERNET: f64 = 14.0 + FCS as f64;

/// What a profile would send.
pub(crate) fn told(profile: &Profile) -> String {
    let port_name = |port: usize| profile.port.get(port).map_or("?", |port| port.name.as_str());
    let mut lines = Vec::new();
    for port in &profile.port {
        lines.push(format!("port {}: {}", port.name, port.device));
    }
    for traffic in &profile.traffic {
        lines.push(format!(
            "stream {}: {} to {}, {} of the rate, {} flows, frames of {} bytes in the mean (longest {}), {} probes/s",
            traffic.name,
            port_name(traffic.from),
            port_name(traffic.to),
            percent(traffic.share),
            grouped(f64::from(traffic.count)),
            grouped(traffic.lengths.mean() + ETHERNET),
            grouped(f64::from(traffic.lengths.longest()) + ETHERNET),
            traffic.probes_per_second
        ));
        if !traffic.note.is_empty() {
            lines.push(format!("  {}", traffic.note));
        }
    }
    if let Some(placed) = &profile.sessions {
        lines.push(format!(
            "session {}: {} to {}, room for {} sessions, {} bytes each: {} MiB",
            placed.plan.name,
            port_name(placed.from),
            port_name(placed.to),
            grouped(f64::from(placed.plan.capacity())),
            size_of::<SessionSlot>(),
            grouped(
                (f64::from(placed.plan.capacity()) * size_of::<SessionSlot>() as f64 / f64::from(1 << 20))
                    .ceil()
            )
        ));
    }
    lines.push("the profile is good; nothing was started".to_owned());
    lines.join("\n") + "\n"
}

/// The first packets of a profile, as a capture.
pub(crate) fn frames(args: &FramesArgs) -> Result<(), Failed> {
    let profile = measure::profile(&args.profile)?;
    if profile.traffic.is_empty() {
        return Err(Failed::Usage(vec!["the profile has no streams".to_owned()]));
    }
    File::create(&args.pcap)
        .and_then(|file| export::write(&profile, args.count, BufWriter::new(file))?.flush())
        .map_err(|error| Failed::Broken(format!("{}: {error}", args.pcap.display())))
}

/// The mixes that have names.
pub(crate) fn sizes() -> String {
    IMIX.iter().fold(String::new(), |text, imix| text + &format!("{imix}\n"))
}
