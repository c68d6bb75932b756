//! What the gateways spent: processor time of their control threads, and memory.

use std::collections::BTreeMap;
use std::fs;
use std::str::FromStr;

/// A gateway's process.
#[derive(Clone, Debug)]
pub struct Gateway {
    name: String,
    process: u32,
}

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, id)| Some((name.to_owned(), id.parse().ok()?)));
        let (name, process) = parts.ok_or_else(|| format!("{text:?}: NAME=PROCESS-ID was expected"))?;
        Ok(Self { name, process })
    }
}

/// What all of them have spent so far.
#[derive(Clone, Debug, Default)]
pub struct Spent(Vec<(String, u64, u64)>);

impl Spent {
    /// Up to now.
    pub fn read(gateways: &[Gateway]) -> Result<Self, String> {
        let one = |gateway: &Gateway| {
            let Gateway { name, process } = gateway;
            // The control thread is the process's first; its first number is nanoseconds on a processor.
            let time = number(&format!("/proc/{process}/task/{process}/schedstat"), |text| {
                text.split_whitespace().next().map(str::to_owned)
            })?;
            let kib = number(&format!("/proc/{process}/status"), |text| {
                let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
                line.split_whitespace().next().map(str::to_owned)
            })?;
            Ok((name.clone(), time, kib * 1024))
        };
        gateways.iter().map(one).collect::<Result<_, String>>().map(Self)
    }

    /// Microseconds of control-thread time for each of `count` since `before`.
    pub fn time_us(&self, before: &Self, count: u64) -> BTreeMap<String, f64> {
        self.each(before, count, |new, old| (new.1.saturating_sub(old.1)) as f64 / 1000.0)
    }

    /// Bytes for each of `count` by which the processes have grown since `before`.
    pub fn bytes(&self, before: &Self, count: u64) -> BTreeMap<String, f64> {
        self.each(before, count, |new, old| new.2 as f64 - old.2 as f64)
    }

    fn each(
        &self,
        before: &Self,
        count: u64,
        value: impl Fn(&(String, u64, u64), &(String, u64, u64)) -> f64,
    ) -> BTreeMap<String, f64> {
        if count == 0 {
            return BTreeMap::new();
        }
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        let pairs = self.0.iter().zip(&before.0);
        pairs.map(|(new, old)| (new.0.clone(), tenths(value(new, old) / count as f64))).collect()
    }
}

fn number(path: &str, find: impl Fn(&str) -> Option<String>) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let found = find(&text).ok_or_else(|| format!("{path}: a number was expected"))?;
    found.parse().map_err(|_| format!("{path}: {found:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_and_read() {
        let own: Gateway = format!("me={}", std::process::id()).parse().unwrap();
        let before = Spent::read(std::slice::from_ref(&own)).unwrap();
        let after = Spent::read(&[own]).unwrap();
        assert!(after.time_us(&before, 1)["me"] >= 0.0);
        assert!(after.bytes(&before, 0).is_empty());
        assert!("gwa".parse::<Gateway>().unwrap_err().contains("NAME=PROCESS-ID"));
        assert!(Spent::read(&["gone=4194305".parse().unwrap()]).unwrap_err().contains("4194305"));
    }
}
