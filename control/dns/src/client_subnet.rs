//! Client subnets (RFC 7871): for whose network a resolver asks.

use std::net::Ipv4Addr;

/// The code of the option (RFC 7871 §6).
pub(crate) const OPTION: u16 = 8;
/// Address families (RFC 7871 §6, IANA).
const IPV4: u16 = 1;
const IPV6: u16 = 2;

/// What a query carries, and its answer gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSubnet {
    family: u16,
    /// Bits of the address that it tells.
    prefix: u8,
    address: [u8; 16],
    /// Bits for which the answer is good: 0 in a query.
    scope: u8,
}

impl ClientSubnet {
    /// The option's data; `None`: it is none. RFC 7871 §6: as many octets as the prefix has, bits behind it 0, scope 0.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let (&[f0, f1, prefix, scope], octets) = data.split_first_chunk::<4>()?;
        let family = u16::from_be_bytes([f0, f1]);
        let most = match family {
            IPV4 => 32,
            IPV6 => 128,
            _ => return None,
        };
        let mut address = [0; 16];
        address.get_mut(..octets.len())?.copy_from_slice(octets);
        let is_whole = prefix <= most && octets.len() == usize::from(prefix).div_ceil(8) && scope == 0;
        let spare = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        (is_whole && u128::from_be_bytes(address) & spare == 0).then_some(Self {
            family,
            prefix,
            address,
            scope,
        })
    }

    /// The network of an IPv4 client, if the resolver tells anything of it (RFC 7871 §7.1.2: a prefix of 0 tells nothing).
    pub fn network(&self) -> Option<(Ipv4Addr, u8)> {
        let [a, b, c, d, ..] = self.address;
        (self.family == IPV4 && self.prefix > 0).then_some((Ipv4Addr::new(a, b, c, d), self.prefix))
    }

    /// As an answer gives it back that is good for this network alone if `is_used`, for anybody otherwise (RFC 7871 §7.2.1).
    pub fn answered(self, is_used: bool) -> Self {
        Self { scope: if is_used { self.prefix } else { 0 }, ..self }
    }

    /// Writes the option.
    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        let octets = &self.address[..usize::from(self.prefix).div_ceil(8)];
        out.extend_from_slice(&OPTION.to_be_bytes());
        out.extend_from_slice(&(4 + octets.len() as u16).to_be_bytes());
        out.extend_from_slice(&self.family.to_be_bytes());
        out.extend_from_slice(&[self.prefix, self.scope]);
        out.extend_from_slice(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_as_long_as_it_says() {
        let network = |data: &[u8]| ClientSubnet::parse(data).map(|subnet| subnet.network());
        assert_eq!(network(&[0, 1, 24, 0, 203, 0, 113]), Some(Some(([203, 0, 113, 0].into(), 24))));
        assert_eq!(network(&[0, 1, 20, 0, 203, 0, 112]), Some(Some(([203, 0, 112, 0].into(), 20))));
        assert_eq!(network(&[0, 1, 0, 0]), Some(None), "it tells nothing");
        assert_eq!(network(&[0, 2, 16, 0, 0x20, 0x01]), Some(None), "of a client by IPv6");
        for wrong in [
            &[0, 1, 24, 0, 203, 0][..],
            &[0, 1, 24, 0, 203, 0, 113, 0],
            &[0, 1, 20, 0, 203, 0, 113],
            &[0, 1, 33, 0, 203, 0, 113, 0, 0],
            &[0, 1, 24, 24, 203, 0, 113],
            &[0, 3, 8, 0, 1],
            &[0, 1, 24],
            &[],
        ] {
            assert_eq!(ClientSubnet::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn it_is_given_back_with_its_scope() {
        let data = [0, 1, 24, 0, 203, 0, 113];
        let subnet = ClientSubnet::parse(&data).unwrap();
        for (is_used, scope) in [(true, 24), (false, 0)] {
            let mut out = Vec::new();
            subnet.answered(is_used).emit(&mut out);
            assert_eq!(out, [0, 8, 0, 7, 0, 1, 24, scope, 203, 0, 113]);
        }
    }
}
