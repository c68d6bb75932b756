//! Names of addresses: `in-addr.arpa` (RFC 1035 §3.5) and `ip6.arpa` (RFC 3596 §2.5), both ways.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// The address that a PTR name stands for. `None` for any other name, also for those of whole networks.
pub fn address(name: &Name) -> Option<IpAddr> {
    let mut labels = name.iter().rev();
    if !labels.next()?.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    let family = labels.next()?;
    if family.eq_ignore_ascii_case(b"in-addr") {
        let mut octets = [0; 4];
        for octet in &mut octets {
            *octet = decimal(labels.next()?)?;
        }
        labels.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
    } else if family.eq_ignore_ascii_case(b"ip6") {
        let mut bits = 0u128;
        for _ in 0..32 {
            let &[digit] = labels.next()? else { return None };
            bits = bits << 4 | u128::from(char::from(digit).to_digit(16)?);
        }
        labels.next().is_none().then_some(IpAddr::V6(Ipv6Addr::from(bits)))
    } else {
        None
    }
}

/// The IPv4 network that a name in `in-addr.arpa` stands for, as its address and prefix length: whole octets.
pub fn network(name: &Name) -> Option<(Ipv4Addr, u8)> {
    let mut labels = name.iter().rev();
    let is_reverse =
        labels.next()?.eq_ignore_ascii_case(b"arpa") && labels.next()?.eq_ignore_ascii_case(b"in-addr");
    let octets: Vec<u8> = labels.map(decimal).collect::<Option<_>>()?;
    let mut address = [0; 4];
    address.get_mut(..octets.len())?.copy_from_slice(&octets);
    is_reverse.then(|| (Ipv4Addr::from(address), 8 * octets.len() as u8))
}

/// An octet as `in-addr.arpa` writes it: no sign, no leading zero, so that an address has one name only.
pub(crate) fn decimal(label: &[u8]) -> Option<u8> {
    if label.len() > 1 && label[0] == b'0' || !label.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(label).ok()?.parse().ok()
}

/// The PTR name of an address.
pub fn name(address: IpAddr) -> Name {
    Name::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_whole_addresses_have_names() {
        for (text, expected) in [
            ("4.3.2.1.in-addr.arpa.", Some("1.2.3.4")),
            ("4.3.2.1.IN-ADDR.ARPA.", Some("1.2.3.4")),
            ("3.2.1.in-addr.arpa.", None),
            ("5.4.3.2.1.in-addr.arpa.", None),
            ("04.3.2.1.in-addr.arpa.", None),
            ("256.3.2.1.in-addr.arpa.", None),
            ("in-addr.arpa.", None),
            ("arpa.", None),
            (".", None),
            ("4.3.2.1.in-addr.example.", None),
            (
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.d.0.1.0.0.2.ip6.arpa.",
                Some("2001:db8::1"),
            ),
            ("1.0.0.2.ip6.arpa.", None),
        ] {
            let name = crate::name(text).unwrap();
            assert_eq!(address(&name), expected.map(|a| a.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_shorter_name_is_a_network() {
        for (text, expected) in [
            ("10.168.192.in-addr.arpa.", Some(("192.168.10.0", 24))),
            ("168.192.In-Addr.arpa.", Some(("192.168.0.0", 16))),
            ("4.3.2.1.in-addr.arpa.", Some(("1.2.3.4", 32))),
            ("in-addr.arpa.", Some(("0.0.0.0", 0))),
            ("5.4.3.2.1.in-addr.arpa.", None),
            ("_udp.10.in-addr.arpa.", None),
            ("10.ip6.arpa.", None),
        ] {
            let expected = expected.map(|(address, prefix)| (address.parse().unwrap(), prefix));
            assert_eq!(network(&crate::name(text).unwrap()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn name_and_address_are_inverse(v4: [u8; 4], v6: [u8; 16]) {
            for ip in [IpAddr::from(v4), IpAddr::from(v6)] {
                prop_assert_eq!(address(&name(ip)), Some(ip));
            }
        }
    }
}
