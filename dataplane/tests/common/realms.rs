//! Two gateways with a tunnel between them, and a host behind each, of which either knows the other as its proxy.

use super::*;
use ces_dataplane::msg::TunnelId;
use ces_dataplane::reason::DropReason as Why;

/// Two gateways, of which each has these settings but for its key; their only binding has these limits.
pub(crate) fn gateways(settings: &WorkerSettings, limits: BindingLimits) -> Vec<Gateway> {
    let of = |nth: u32| {
        let mut settings = settings.clone();
        settings.tag_key[0] ^= nth;
        Gateway::bare(settings)
    };
    let mut gateways = vec![of(0), of(1)];
    let tags = [gateways[0].tag(0), gateways[1].tag(0)];
    for (nth, gateway) in gateways.iter_mut().enumerate() {
        let mut tunnel = tunnel(Encapsulation::Vxlan);
        if nth == 1 {
            (tunnel.local, tunnel.remote) = (tunnel.remote, tunnel.local);
            (tunnel.id_in, tunnel.id_out) = (tunnel.id_out, tunnel.id_in);
        }
        let far = Far::Tunnel { tunnel: TunnelId(0), remote_tag: tags[1 - nth] };
        // The second one's host serves.
        let limits = BindingLimits { port_is_inside: nth == 1, ..limits };
        gateway.command(Command::SetTunnel(TunnelId(0), tunnel));
        gateway.command(Command::InsertBinding(gateway.handle(0), Binding { far, limits, ..binding() }));
    }
    gateways
}

/// What the other host gets of what one (0, 1) sends to it, and what went through the tunnel.
pub(crate) fn cross(gateways: &mut [Gateway], from: usize, packet: &Ip) -> Result<(Vec<u8>, Vec<u8>), Why> {
    let mut pass = |at: usize, by, frame: &[u8]| match gateways[at].one(by, frame) {
        (Verdict::Forward(_), mut out) => {
            let (_, frame) = out.remove(0);
            assert_sound(&frame);
            Ok(frame)
        }
        (Verdict::Drop(why) | Verdict::Reply(_, why), _) => Err(why),
        other => panic!("{other:?}"),
    };
    let mut between = pass(from, INSIDE, &from_host(packet))?;
    between[..6].copy_from_slice(&MAC_OUT);
    let arrived = pass(1 - from, OUTSIDE, &between)?;
    Ok((arrived, between))
}
