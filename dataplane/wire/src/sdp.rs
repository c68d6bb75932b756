//! Descriptions of media (SDP, RFC 4566): where they are awaited.

use crate::sip::Span;
use crate::text::{Garbled, decimal, feed};

/// The most media of one description.
pub const MEDIA: usize = 8;

/// An address, and where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaAddress {
    /// Where.
    pub span: Span,
    /// Which.
    pub address: u32,
}

/// A port, and where it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaPort {
    /// Where.
    pub span: Span,
    /// Which; 0: the media is not wanted (RFC 3264 §6).
    pub port: u16,
}

/// A stream of media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Where it is awaited.
    pub port: MediaPort,
    /// Whether it comes by UDP, and is one stream alone.
    pub is_plain: bool,
    /// Whether RTCP comes with it, by the port behind it or another one.
    pub is_rtp: bool,
    /// Its own address (RFC 4566 §5.7).
    pub connection: Option<MediaAddress>,
    /// Its own is none of IPv4, or a name.
    pub is_elsewhere: bool,
    /// Where RTCP is awaited, if it is said (RFC 3605).
    pub rtcp: Option<MediaPort>,
    /// And under which address, if that is said.
    pub rtcp_address: Option<MediaAddress>,
    /// Whether RTCP comes by the same port (RFC 5761 §5.1.1).
    pub is_muxed: bool,
}

/// A description.
#[derive(Clone, Copy, Debug, Default)]
pub struct Description {
    /// The address of who began it.
    pub origin: Option<MediaAddress>,
    /// The address of all media that have none of their own.
    pub connection: Option<MediaAddress>,
    media: [Media; MEDIA],
    count: u8,
}

impl Description {
    /// The media, in order.
    pub fn media(&self) -> &[Media] {
        &self.media[..usize::from(self.count)]
    }

    /// The address of one of them.
    pub fn address(&self, media: &Media) -> Option<u32> {
        let shared = self.connection.filter(|_| !media.is_elsewhere);
        media.connection.or(shared).map(|connection| connection.address)
    }
}

/// Reads the description in these bytes of a message.
///
/// # Errors
/// It is none, or says something that it cannot.
pub fn read(bytes: &[u8], body: Span) -> Result<Description, Garbled> {
    let mut found = Description::default();
    let (mut at, end) = (usize::from(body.at), usize::from(body.end));
    if body.of(bytes).get(..2) != Some(b"v=") {
        return Err(Garbled);
    }
    while at < end {
        let feed = feed(&bytes[at..end]);
        let next = feed.map_or(end, |feed| at + feed + 1);
        let line = bytes[at..next].trim_ascii_end();
        match line {
            [b'o', b'=', ..] => found.origin = address(line, at, 3)?,
            [b'c', b'=', ..] => {
                let connection = address(line, at, 0)?;
                match found.media[..usize::from(found.count)].last_mut() {
                    Some(media) => {
                        (media.connection, media.is_elsewhere) = (connection, connection.is_none());
                    }
                    None => found.connection = connection,
                }
            }
            [b'm', b'=', ..] => {
                *found.media.get_mut(usize::from(found.count)).ok_or(Garbled)? = media(line, at)?;
                found.count += 1;
            }
            [b'a', b'=', attribute @ ..] => {
                if let Some(media) = found.media[..usize::from(found.count)].last_mut() {
                    if attribute == b"rtcp-mux" {
                        media.is_muxed = true;
                    } else if attribute.starts_with(b"rtcp:") {
                        (media.rtcp, media.rtcp_address) = rtcp(line, at)?;
                    }
                }
            }
            _ => {}
        }
        at = next;
    }
    Ok(found)
}

/// The words of a line behind its type, with where they begin in the message.
fn words(line: &[u8], at: usize) -> impl Iterator<Item = (&[u8], usize)> {
    let mut from = 2;
    line[2..].split(|byte| *byte == b' ').map(move |word| {
        let begin = from;
        from += word.len() + 1;
        (word, at + begin)
    })
}

/// `IN IP4 address`, behind so many words; `None`: of another network than IPv4.
fn address(line: &[u8], at: usize, behind: usize) -> Result<Option<MediaAddress>, Garbled> {
    let mut words = words(line, at).skip(behind);
    let (Some((b"IN", _)), Some((kind, _)), Some((word, begin))) = (words.next(), words.next(), words.next())
    else {
        return Err(Garbled);
    };
    // A name may stand there as well; a slash says for how far and for how many, of multicast (RFC 4566 §5.7).
    let found = crate::text::address(word).filter(|_| kind == b"IP4");
    Ok(found.map(|address| MediaAddress { span: Span::new(begin, begin + word.len()), address }))
}

/// `audio 49170 RTP/AVP 0` (RFC 4566 §5.14).
fn media(line: &[u8], at: usize) -> Result<Media, Garbled> {
    let mut words = words(line, at);
    let (Some(_), Some((word, begin)), Some((transport, _))) = (words.next(), words.next(), words.next())
    else {
        return Err(Garbled);
    };
    let (port, length) = decimal(word).ok_or(Garbled)?;
    let port = u16::try_from(port).map_err(|_| Garbled)?;
    let has = |word: &[u8]| transport.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    let is_alone = word.len() == length;
    let is_tcp = has(b"TCP");
    Ok(Media {
        port: MediaPort { span: Span::new(begin, begin + length), port },
        is_plain: is_alone && !is_tcp && (has(b"RTP") || has(b"UDP")),
        is_rtp: has(b"RTP"),
        ..Media::default()
    })
}

/// `a=rtcp:53020` or `a=rtcp:53020 IN IP4 126.16.64.4` (RFC 3605 §2.1).
fn rtcp(line: &[u8], at: usize) -> Result<(Option<MediaPort>, Option<MediaAddress>), Garbled> {
    let begin = b"a=rtcp:".len();
    let (port, length) = decimal(&line[begin..]).ok_or(Garbled)?;
    let port = u16::try_from(port).map_err(|_| Garbled)?;
    let port = MediaPort { span: Span::new(at + begin, at + begin + length), port };
    let address = if line.len() > begin + length { address(line, at, 1)? } else { None };
    Ok((Some(port), address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "v=0\r\no=- 1 1 IN IP4 192.168.10.11\r\ns=-\r\nc=IN IP4 192.168.10.11\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 0\r\na=rtcp:4007 IN IP4 192.168.10.12\r\n\
        m=video 4002/2 RTP/SAVPF 99\r\nc=IN IP4 224.2.1.1/127/3\r\na=rtcp-mux\r\n\
        m=image 4004 udptl t38\nc=IN IP6 ::1\nm=message 9 TCP/MSRP *\r\nm=audio 0 RTP/AVP 0\r\n";

    fn whole(text: &str) -> Span {
        Span::new(0, text.len())
    }

    #[test]
    fn rfc_4566_and_3605() {
        let read = read(TEXT.as_bytes(), whole(TEXT)).unwrap();
        let text = |span: Span| String::from_utf8_lossy(span.of(TEXT.as_bytes())).into_owned();
        assert_eq!(read.origin.map(|origin| text(origin.span)).as_deref(), Some("192.168.10.11"));
        let [audio, video, image, message, refused] = read.media() else { panic!() };
        assert_eq!((read.address(audio), read.address(video)), (Some(0xc0a8_0a0b), None));
        assert_eq!((text(audio.port.span).as_str(), audio.port.port, audio.is_plain), ("4000", 4000, true));
        assert_eq!(audio.rtcp.map(|rtcp| (text(rtcp.span), rtcp.port)), Some(("4007".to_owned(), 4007)));
        assert_eq!(audio.rtcp_address.map(|rtcp| rtcp.address), Some(0xc0a8_0a0c));
        assert!(video.is_muxed && !video.is_plain && !audio.is_muxed);
        assert!(image.is_plain && !image.is_rtp && !message.is_plain);
        assert_eq!(refused.port.port, 0);
    }

    #[test]
    fn what_is_none_is_said_to_be_none() {
        for (from, to) in [
            ("v=0", "w=0"),
            ("m=audio 4000 ", "m=audio x "),
            ("m=audio 4000 ", "m=audio 99999 "),
            ("m=audio 4000 RTP/AVP 0", "m=audio 4000"),
            ("c=IN IP4 192.168.10.11", "c=IN IP4"),
            ("a=rtcp:4007", "a=rtcp:"),
        ] {
            let text = TEXT.replacen(from, to, 1);
            assert!(read(text.as_bytes(), whole(&text)).is_err(), "{to}");
        }
        let many = format!("v=0\r\n{}", "m=audio 4000 RTP/AVP 0\r\n".repeat(MEDIA + 1));
        assert!(read(many.as_bytes(), whole(&many)).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(cut in 0usize..400, at in 0usize..400, with: u8) {
            let mut text = TEXT.as_bytes().to_vec();
            let at = at % text.len();
            text[at] = with;
            text.truncate(cut);
            let end = text.len();
            let _ = read(&text, Span::new(0, end));
        }
    }
}
