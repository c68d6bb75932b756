//! What one of each thing takes of memory: the difference between few and many of it, as the kernel tells it.

use crate::fleet::RING;
use crate::memory::Resident;
use crate::realm::{PlanWay, RealmPlan};
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::state::State;
use ces_dataplane::worker::{Bell, Mesh, RingSizes, link};
use dpdk::Mbuf;
use serde_json::{Value, json};
use std::sync::Arc;

/// The bindings between few and many. So many at 80 % and less of their index: a power of two in slots and buckets.
const BINDINGS: u32 = 1_000_000;

/// Bytes by which `many` is larger than `few`, for each of `count`.
fn each<T>(
    few: impl FnOnce() -> Result<T, String>,
    many: impl FnOnce() -> Result<T, String>,
    count: usize,
) -> Result<f64, String> {
    let bytes = |make: Box<dyn FnOnce() -> Result<T, String> + '_>| {
        let before = Resident::now();
        let made = make()?;
        let bytes = Resident::now().bytes_since(&before);
        // Not given back: memory that is used again would not show.
        std::mem::forget(made);
        Ok::<_, String>(bytes)
    };
    let few = bytes(Box::new(few))?;
    let many = bytes(Box::new(many))?;
    Ok(many.saturating_sub(few) as f64 / count as f64)
}

fn state(change: impl FnOnce(&mut WorkerSettings)) -> Result<State, String> {
    let mut settings = RealmPlan::new(PlanWay::Egress, BINDINGS).settings();
    settings.bindings = 1;
    change(&mut settings);
    State::new(&settings).map_err(|error| error.to_string())
}

const NO_RINGS: RingSizes = RingSizes { commands: 1, events: 1, traces: 1, punt: 1, inject: 1 };

fn rings(sizes: RingSizes) -> impl FnOnce() -> Result<Box<dyn std::any::Any>, String> {
    move || Ok(Box::new(link(sizes, Arc::new(Bell::silent()))))
}

/// Prints every thing as a line of JSON.
pub fn print() -> Result<(), String> {
    items()?.iter().for_each(|item| println!("{item}"));
    Ok(())
}

/// Of everything that there can be many of, and of a worker with none of it.
fn items() -> Result<Vec<Value>, String> {
    const MANY: usize = 1 << 16;
    const TUNNELS: u16 = 65_000;
    let small = || state(|_| ());
    let binding = each(small, || state(|settings| settings.bindings = BINDINGS), BINDINGS as usize)?;
    let tunnel = each(
        || state(|settings| settings.tunnels = 1),
        || state(|settings| settings.tunnels = TUNNELS),
        usize::from(TUNNELS) - 1,
    )?;
    let neighbour = each(
        || state(|settings| settings.neighbours = 1),
        || state(|settings| settings.neighbours = 1_000_001),
        1_000_000,
    )?;
    let limit = each(
        || state(|settings| settings.limited = 1),
        || state(|settings| settings.limited = TUNNELS.into()),
        usize::from(TUNNELS) - 1,
    )?;
    let ring = |sizes| each(rings(NO_RINGS), rings(sizes), MANY - 1);
    let command = ring(RingSizes { commands: MANY, ..NO_RINGS })?;
    let event = ring(RingSizes { events: MANY, ..NO_RINGS })?;
    let frame = ring(RingSizes { punt: MANY, ..NO_RINGS })?;
    let handed = each(|| Ok(Mesh::<Mbuf>::new(2, 1)), || Ok(Mesh::<Mbuf>::new(2, MANY)), 2 * (MANY - 1))?;
    let before = Resident::now();
    let worker = (small()?, rings(RingSizes::default())()?);
    let fixed = Resident::now().bytes_since(&before) as f64;
    std::mem::forget(worker);
    let item = |what: &str, bytes: f64, of: &str| json!({ "what": what, "bytes": (bytes * 10.0).round() / 10.0, "of": of });
    Ok(vec![
        item("binding", binding, "entry 64, handle 4, its share of the egress index; at a million"),
        item("tunnel", tunnel, "entry 128, its share of the index of pairs"),
        item("neighbour", neighbour, "entry 32"),
        item("restriction", limit, "what a restricted binding may carry, two meters"),
        item("command slot", command, "a ring has 4,096"),
        item("event slot", event, "a ring has 4,096"),
        item("punt or inject slot", frame, "a frame in place; a ring has 1,024"),
        item(
            "hand-over slot",
            handed,
            &format!("a ring has {RING}; there is one for each ordered pair of workers"),
        ),
        item(
            "worker, empty",
            fixed,
            "tables of 1,024 tunnels, 16,384 neighbours, 4,096 restrictions; the four rings",
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident memory is the whole process's, so beside other tests nothing can be said of its size.
    #[test]
    fn what_cannot_be_made_is_said() {
        assert_eq!(each(|| Err::<u8, _>("none".to_owned()), || Ok(1), 1).unwrap_err(), "none");
    }
}
