//! Numbers as people read them.

/// A count or a rate with commas between thousands; below a hundred with two digits behind the point.
pub fn grouped(number: f64) -> String {
    if !number.is_finite() {
        return "–".to_owned();
    }
    if number.abs() < 100.0 && number.fract() != 0.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{:.0}", number.abs());
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0.0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A ratio as percent, with as many digits as small ones need.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent.abs() >= 0.01 {
        let text = format!("{percent:.3}");
        format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
    } else {
        format!("{percent:.1e} %")
    }
}

/// Microseconds, with a unit that fits.
pub fn microseconds(us: f64) -> String {
    if us >= 1e6 {
        format!("{:.2} s", us / 1e6)
    } else if us >= 1e4 {
        format!("{:.1} ms", us / 1e3)
    } else if us >= 100.0 {
        format!("{us:.0} µs")
    } else {
        format!("{us:.1} µs")
    }
}

/// Seconds, with a unit that fits.
pub fn seconds(seconds: f64) -> String {
    if seconds >= 5400.0 {
        format!("{:.2} h", seconds / 3600.0)
    } else if seconds >= 1.0 || seconds == 0.0 {
        let text = format!("{seconds:.2}");
        format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
    } else {
        microseconds(seconds * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(
            (grouped(0.0), grouped(999.0), grouped(1000.0)),
            ("0".into(), "999".into(), "1,000".into())
        );
        assert_eq!((grouped(12.345), grouped(-1234.0)), ("12.35".into(), "-1,234".into()));
        assert_eq!(
            (percent(0.0), percent(0.005), percent(1.0)),
            ("0 %".into(), "0.5 %".into(), "100 %".into())
        );
        assert_eq!(percent(1e-7), "1.0e-5 %");
        assert_eq!((microseconds(12.34), microseconds(2e6)), ("12.3 µs".into(), "2.00 s".into()));
        assert_eq!(
            (seconds(30.0), seconds(0.0012), seconds(7200.0)),
            ("30 s".into(), "1200 µs".into(), "2.00 h".into())
        );
    }
}
