//! What every part of the engine stands on: settings, chance, counters, what is refused, what has its time, and what goes out.

use super::api::{CetpOutput, Encapsulation, EngineSettings, Nanos};
use super::counters::CetpCounters;
use super::reason::BlockReason;
use super::refused::Refused;
use super::timers::Timers;
use crate::c2c::{C2cSide, TUNNEL_ID_MAX};
use crate::keyed::{Keyed, Secrets};
use crate::limits::{CetpLimits, S};
use crate::policy::{canonical_name, same_name};
use crate::tlv::Layer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Ground {
    pub(super) counters: CetpCounters,
    pub(super) timers: Timers,
    pub(super) refused: Refused,
    settings: Arc<EngineSettings>,
    rng: StdRng,
    secrets: Secrets,
    /// Makes tunnel ids.
    tunnel_key: Keyed,
    outputs: VecDeque<CetpOutput>,
}

fn check(settings: &EngineSettings) -> Result<(), String> {
    settings.limits.check()?;
    settings.network_policy.check_layer(Layer::C2c).map_err(|error| error.to_string())?;
    if settings.ces_id.is_empty() || settings.ces_id.len() > 255 {
        return Err("the CES id: expected 1 to 255 characters".into());
    }
    if let Some(bad) = settings.locators.iter().find(|locator| !crate::c2c::usable_locator(locator.address)) {
        return Err(format!("locator {}: expected a unicast address", bad.address));
    }
    Ok(())
}

fn canonical(mut settings: EngineSettings) -> Arc<EngineSettings> {
    settings.ces_id = canonical_name(&settings.ces_id).into();
    Arc::new(settings)
}

impl Ground {
    pub(super) fn new(settings: EngineSettings, seed: [u8; 32], now: Nanos) -> Result<Self, String> {
        check(&settings)?;
        let mut rng = StdRng::from_seed(seed);
        let secrets = Secrets::new(&mut rng, now);
        let tunnel_key = Keyed::draw(&mut rng);
        let refused = Refused::new(&settings.limits, || Keyed::draw(&mut rng));
        Ok(Self {
            counters: CetpCounters::default(),
            timers: Timers::default(),
            refused,
            settings: canonical(settings),
            rng,
            secrets,
            tunnel_key,
            outputs: VecDeque::new(),
        })
    }

    pub(super) fn configure(&mut self, settings: EngineSettings) -> Result<(), String> {
        check(&settings)?;
        self.refused.resize(&settings.limits);
        self.settings = canonical(settings);
        Ok(())
    }

    // --- settings

    pub(super) const fn settings(&self) -> &Arc<EngineSettings> {
        &self.settings
    }

    pub(super) fn limits(&self) -> &CetpLimits {
        &self.settings.limits
    }

    pub(super) fn is_trusted(&self, ces_id: &str) -> bool {
        let trusted = &self.settings.trusted;
        trusted.is_empty() || trusted.iter().any(|id| same_name(id, ces_id))
    }

    pub(super) fn is_us(&self, ces_id: &str) -> bool {
        same_name(ces_id, &self.settings.ces_id)
    }

    // --- chance

    pub(super) fn draw_key(&mut self) -> Keyed {
        Keyed::draw(&mut self.rng)
    }

    pub(super) const fn rng(&mut self) -> &mut impl Rng {
        &mut self.rng
    }

    /// Before anything is challenged or verified: a secret grows old by time, not by use.
    pub(super) fn refresh(&mut self, now: Nanos) {
        let limits = &self.settings.limits;
        self.secrets.refresh(&mut self.rng, limits.secret_s, limits.secret_grace_s, now);
    }

    pub(super) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub(super) fn draw_tunnel_ids_by(&mut self, key: [u64; 2]) {
        self.tunnel_key = Keyed::of(key);
    }

    /// The ids that we draw for a peer: the same as long as we run, without keeping them.
    fn tunnel_ids(&self, ces_id: &str) -> [u32; 3] {
        Encapsulation::ALL.map(|encapsulation| {
            let digest = self.tunnel_key.digest((ces_id, encapsulation as u8));
            (digest as u32 & TUNNEL_ID_MAX).max(1)
        })
    }

    /// Our side of C2C with a peer.
    pub(super) fn side<'e>(&'e self, peer: &'e str, remote: SocketAddr, now: Nanos) -> C2cSide<'e> {
        C2cSide {
            settings: &self.settings,
            secrets: &self.secrets,
            peer,
            remote,
            tunnel_ids: self.tunnel_ids(peer),
            seal: None,
            now,
        }
    }

    // --- what goes out, and what is refused

    pub(super) fn emit(&mut self, output: CetpOutput) {
        self.outputs.push_back(output);
    }

    pub(super) fn next_output(&mut self) -> Option<CetpOutput> {
        self.outputs.pop_front()
    }

    /// Refuses an address for a while.
    pub(super) fn block(&mut self, addr: IpAddr, why: BlockReason, for_ns: u64, now: Nanos) {
        if for_ns == 0 {
            return;
        }
        self.counters.blocks[why as usize] += 1;
        self.refused.block(addr, why, now + for_ns, now);
        self.emit(CetpOutput::Blocked { addr, why, for_ns });
    }

    /// The same for as long as the limits say.
    pub(super) fn block_for_abuse(&mut self, addr: IpAddr, why: BlockReason, now: Nanos) {
        self.block(addr, why, u64::from(self.limits().block_s) * S, now);
    }
}
