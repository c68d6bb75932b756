//! DNS Cookies (RFC 7873): what a client shows to prove that it receives what is sent to its address.

/// The code of the option (RFC 7873 §4).
pub(crate) const OPTION: u16 = 10;

/// What a query carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The client's own.
    pub client: [u8; 8],
    /// The one that a server gave it, if it is as long as ours are.
    pub server: Option<[u8; 16]>,
}

impl Cookie {
    /// The option's data; `None`: it is none. RFC 7873 §5.2.2: a client cookie alone, or one of a server of 8 to 32 octets
    /// behind it.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk::<8>()?;
        let fits = server.is_empty() || (8..=32).contains(&server.len());
        fits.then(|| Self { client: *client, server: server.try_into().ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_the_lengths_of_the_standard() {
        for (length, fits) in
            [(0, false), (7, false), (8, true), (9, false), (15, false), (16, true), (24, true), (40, true)]
        {
            assert_eq!(Cookie::parse(&vec![1; length]).is_some(), fits, "{length}");
        }
        assert_eq!(Cookie::parse(&[1; 41]), None);
        assert_eq!(Cookie::parse(&[1; 24]), Some(Cookie { client: [1; 8], server: Some([1; 16]) }));
        assert_eq!(Cookie::parse(&[1; 16]).map(|cookie| cookie.server), Some(None), "not one of ours");
    }
}
