//! Processor time of a thread, as the scheduler accounts it: what is left of a measurement on a busy machine.

use std::fs;

/// A thread of this process, by its number.
#[derive(Clone, Debug)]
pub struct Thread(String);

impl Thread {
    /// The calling one.
    pub fn current() -> Result<Self, String> {
        let link =
            fs::read_link("/proc/thread-self").map_err(|error| format!("/proc/thread-self: {error}"))?;
        let number = link.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Self(number.ok_or("/proc/thread-self names no thread")?))
    }

    /// Nanoseconds that it has run on a processor so far.
    pub fn ran_ns(&self) -> Result<u64, String> {
        let path = format!("/proc/self/task/{}/schedstat", self.0);
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        text.split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| format!("{path}: a number was expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_processor_time() {
        let thread = Thread::current().unwrap();
        let before = thread.ran_ns().unwrap();
        let mut sum = 0u64;
        for number in 0..50_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(number * number));
        }
        assert!(thread.ran_ns().unwrap() > before);
    }
}
