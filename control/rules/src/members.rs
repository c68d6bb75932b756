//! Addresses as people write them: one, a prefix, or the first and last of several.

use ces_filter::Ranges;
use std::net::Ipv4Addr;

/// The first and last address of what a word names.
pub(crate) fn addresses(word: &str) -> Result<(u32, u32), String> {
    let expected = || {
        format!(
            "{word:?}: an address, a prefix such as 10.0.0.0/8 or a range such as 10.0.0.1-10.0.0.9 was expected"
        )
    };
    let address = |text: &str| text.parse::<Ipv4Addr>().map(Ipv4Addr::to_bits).map_err(|_| expected());
    if let Some((network, length)) = word.split_once('/') {
        let (network, length) = (address(network)?, length.parse::<u32>().map_err(|_| expected())?);
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        if length > 32 {
            Err(expected())
        } else if network & host != 0 {
            Err(format!("{word} has host bits set; write {}/{length}", Ipv4Addr::from_bits(network & !host)))
        } else {
            Ok((network, network | host))
        }
    } else if let Some((first, last)) = word.split_once('-') {
        let (first, last) = (address(first)?, address(last)?);
        if first <= last {
            Ok((first, last))
        } else {
            Err(format!("{word}: the first address is behind the last"))
        }
    } else {
        address(word).map(|address| (address, address))
    }
}

/// The addresses in a file: one, a prefix or a range on each line; `#` begins a comment. The errors, each with its line.
pub(crate) fn list(text: &str) -> Result<Ranges, Vec<(usize, String)>> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        match addresses(word) {
            Ok(range) => found.push(range),
            Err(what) => wrong.push((number + 1, what)),
        }
        // Whoever gave the wrong file learns it from a few lines.
        if wrong.len() == 10 {
            break;
        }
    }
    if wrong.is_empty() { Ok(Ranges::new(found)) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_alone_or_together() {
        assert_eq!(addresses("10.0.0.1"), Ok((0x0a00_0001, 0x0a00_0001)));
        assert_eq!(addresses("10.0.0.0/8"), Ok((0x0a00_0000, 0x0aff_ffff)));
        assert_eq!(addresses("0.0.0.0/0"), Ok((0, u32::MAX)));
        assert_eq!(addresses("1.2.3.4/32"), Ok((0x0102_0304, 0x0102_0304)));
        assert_eq!(addresses("10.0.0.1-10.0.0.3"), Ok((0x0a00_0001, 0x0a00_0003)));
        for (wrong, why) in [
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("10.0.0.0/33", "expected"),
            ("10.0.0", "expected"),
            ("10.0.0.3-10.0.0.1", "behind the last"),
            ("host", "expected"),
        ] {
            assert!(addresses(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }

    #[test]
    fn a_list_says_in_which_line_it_is_wrong() {
        let good = list("# blocked\n192.0.2.1\n\n 192.0.2.2 # and this\n10.0.0.0/8\n").unwrap();
        assert_eq!(good.iter().collect::<Vec<_>>(), [(0x0a00_0000, 0x0aff_ffff), (0xc000_0201, 0xc000_0202)]);
        let wrong = list("192.0.2.1\nx\n192.0.2.3/24\n").unwrap_err();
        assert_eq!(wrong.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3]);
    }
}
