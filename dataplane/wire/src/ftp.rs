//! FTP's control channel, line by line (RFC 959, RFC 2428): which lines say where a data connection is awaited, and which
//! turn the channel into one that nobody else reads (RFC 4217).

use crate::text::{Garbled, Text, decimal, number};

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The client: commands.
    Client,
    /// The server: replies.
    Server,
}

/// What a line says, as far as it concerns anybody between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing of that kind.
    Nothing,
    /// Where its speaker awaits a data connection.
    Awaits(Place),
    /// The client asks for TLS (RFC 4217 §4).
    AsksTls,
    /// The server agrees: what follows is encrypted.
    GrantsTls,
}

/// How a place is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `h1,h2,h3,h4,p1,p2` (RFC 959 §4.1.2).
    Commas,
    /// Address and port, with this between them (RFC 2428 §2).
    Extended(u8),
    /// The port alone (RFC 2428 §3).
    Port,
}

/// An address and port in a line, and where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    form: Form,
    at: u8,
    end: u8,
    /// The address; `None` where the port stands alone, and means the speaker's own.
    pub address: Option<u32>,
    /// The port.
    pub port: u16,
}

/// The bytes by which a line that says something is known.
pub const WORD: usize = 5;
/// The longest line in which a place is sought, its end included.
pub const LINE: usize = 128;
/// The most bytes of a place: `255.255.255.255`, a bar, and `65535`.
pub const PLACE: usize = 24;

impl Place {
    /// Where it begins in its line.
    pub const fn at(&self) -> usize {
        self.at as usize
    }

    /// Where it ends.
    pub const fn end(&self) -> usize {
        self.end as usize
    }

    /// Another place, written as this one is.
    pub fn written(&self, address: u32, port: u16) -> Text<PLACE> {
        let mut text = Text::default();
        let bytes = address.to_be_bytes();
        match self.form {
            Form::Commas => {
                let [high, low] = port.to_be_bytes();
                let [a, b, c, d] = bytes;
                text.numbers(&[a, b, c, d, high, low], b',');
            }
            Form::Extended(bar) => {
                text.numbers(&bytes, b'.');
                text.push(bar);
                text.number(port.into());
            }
            Form::Port => text.number(port.into()),
        }
        text
    }
}

/// Whether what has come of a line may become one that says something.
pub fn may_matter(speaker: Speaker, begun: &[u8]) -> bool {
    let begun = without_telnet(begun);
    let begins = |word: &[u8]| {
        let length = word.len().min(begun.len());
        word[..length].eq_ignore_ascii_case(&begun[..length])
    };
    begun.len() <= LINE && words(speaker).iter().any(|word| begins(word))
}

const fn words(speaker: Speaker) -> &'static [&'static [u8]] {
    match speaker {
        Speaker::Client => &[b"PORT ", b"EPRT ", b"AUTH "],
        Speaker::Server => &[b"227 ", b"229 ", b"234 "],
    }
}

/// What a line says, its end included.
///
/// # Errors
/// It begins as one that says where a data connection is awaited, and does not go on like one.
pub fn said(speaker: Speaker, line: &[u8]) -> Result<Said, Garbled> {
    let bare = without_telnet(line);
    let skipped = line.len() - bare.len();
    let is = |word: &[u8]| bare.get(..word.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(word));
    let Some(word) = words(speaker).iter().find(|word| is(word)) else { return Ok(Said::Nothing) };
    if line.len() > LINE {
        return Err(Garbled);
    }
    let place = match *word {
        b"PORT " => command(bare, commas),
        b"EPRT " => match extended(bare) {
            Ok(None) => return Ok(Said::Nothing),
            place => place.map(Option::unwrap_or_default),
        },
        b"227 " => reply(bare),
        b"229 " => port_alone(bare),
        b"AUTH " => return Ok(Said::AsksTls),
        _ => return Ok(Said::GrantsTls),
    };
    let Place { at, end, .. } = place?;
    let moved = |at: u8| at + skipped as u8;
    Ok(Said::Awaits(Place { at: moved(at), end: moved(end), ..place? }))
}

impl Default for Place {
    fn default() -> Self {
        Self { form: Form::Port, at: 0, end: 0, address: None, port: 0 }
    }
}

/// RFC 959 §4.1.3: before a command that is urgent come Telnet's signals IP and Synch, two bytes each.
fn without_telnet(mut line: &[u8]) -> &[u8] {
    while let [0xff, 0xf0..=0xfe, rest @ ..] = line {
        line = rest;
    }
    line
}

/// Where the first argument of a command of four letters begins.
fn argument(line: &[u8]) -> usize {
    4 + line[4..].iter().take_while(|byte| **byte == b' ').count()
}

/// A command whose only argument is a place.
fn command(line: &[u8], read: fn(&[u8], usize) -> Option<Place>) -> Result<Place, Garbled> {
    let place = read(line, argument(line)).ok_or(Garbled)?;
    if is_end(&line[place.end()..]) { Ok(place) } else { Err(Garbled) }
}

fn is_end(rest: &[u8]) -> bool {
    rest.trim_ascii().is_empty()
}

/// `h1,h2,h3,h4,p1,p2`.
fn commas(line: &[u8], at: usize) -> Option<Place> {
    let (mut bytes, mut end) = ([0; 6], at);
    for (nth, byte) in bytes.iter_mut().enumerate() {
        if nth > 0 {
            line.get(end).filter(|byte| **byte == b',')?;
            end += 1;
        }
        let (value, length) = decimal(line.get(end..)?)?;
        *byte = u8::try_from(value).ok()?;
        end += length;
    }
    let [a, b, c, d, high, low] = bytes;
    let (address, port) = (Some(u32::from_be_bytes([a, b, c, d])), u16::from_be_bytes([high, low]));
    Some(Place { form: Form::Commas, at: at as u8, end: end as u8, address, port })
}

/// RFC 1123 §4.1.2.6: the numbers are to be sought in the reply, there may be no parentheses.
fn reply(line: &[u8]) -> Result<Place, Garbled> {
    let begins = |at: &usize| line[*at].is_ascii_digit() && !line[*at - 1].is_ascii_digit();
    (4..line.len()).filter(begins).find_map(|at| commas(line, at)).ok_or(Garbled)
}

/// `EPRT |1|132.235.1.2|6275|` (RFC 2428 §2). `None`: of another protocol than IPv4.
fn extended(line: &[u8]) -> Result<Option<Place>, Garbled> {
    let at = argument(line);
    let bar = *line.get(at).filter(|bar| bar.is_ascii_graphic()).ok_or(Garbled)?;
    let mut parts = line[at + 1..].split(|byte| *byte == bar);
    let (Some(protocol), Some(address), Some(port), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Garbled);
    };
    if protocol != b"1" {
        return Ok(None);
    }
    let begin = at + 1 + protocol.len() + 1;
    let end = begin + address.len() + 1 + port.len();
    let address = crate::text::address(address).ok_or(Garbled)?;
    let port = number(port).and_then(|port| u16::try_from(port).ok()).ok_or(Garbled)?;
    if !is_end(rest) {
        return Err(Garbled);
    }
    let form = Form::Extended(bar);
    Ok(Some(Place { form, at: begin as u8, end: end as u8, address: Some(address), port }))
}

/// `229 Entering Extended Passive Mode (|||6446|)` (RFC 2428 §3).
fn port_alone(line: &[u8]) -> Result<Place, Garbled> {
    let open = line.iter().position(|byte| *byte == b'(').ok_or(Garbled)?;
    let [bar, second, third, rest @ ..] = &line[open + 1..] else { return Err(Garbled) };
    let (port, length) = decimal(rest).ok_or(Garbled)?;
    let port = u16::try_from(port).map_err(|_| Garbled)?;
    let bars = [second, third, rest.get(length).ok_or(Garbled)?];
    if !bar.is_ascii_graphic() || bars != [bar; 3] {
        return Err(Garbled);
    }
    let at = open + 4;
    Ok(Place { form: Form::Port, at: at as u8, end: (at + length) as u8, address: None, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(speaker: Speaker, line: &str) -> (String, Option<u32>, u16, String) {
        let Ok(Said::Awaits(place)) = said(speaker, line.as_bytes()) else { panic!("{line:?}") };
        let other = place.written(0xc612_0001, 0x1234);
        (
            line[place.at()..place.end()].to_owned(),
            place.address,
            place.port,
            format!("{}{}{}", &line[..place.at()], str::from_utf8(&other).unwrap(), &line[place.end()..]),
        )
    }

    #[test]
    fn rfc_959_and_2428() {
        use Speaker::{Client, Server};
        let host = Some(0xc0a8_0a0b);
        for (speaker, line, address, port, other) in [
            (Client, "PORT 192,168,10,11,200,21\r\n", host, 51221, "PORT 198,18,0,1,18,52\r\n"),
            (Client, "port  192,168,010,011,200,021 \n", host, 51221, "port  198,18,0,1,18,52 \n"),
            (Client, "EPRT |1|192.168.10.11|51221|\r\n", host, 51221, "EPRT |1|198.18.0.1|4660|\r\n"),
            (Client, "EPRT !1!192.168.10.11!1!\r\n", host, 1, "EPRT !1!198.18.0.1!4660!\r\n"),
            (
                Server,
                "227 Entering Passive Mode (192,168,10,11,0,80).\r\n",
                host,
                80,
                "227 Entering Passive Mode (198,18,0,1,18,52).\r\n",
            ),
            (Server, "227 ok 7, 192,168,10,11,0,80\r\n", host, 80, "227 ok 7, 198,18,0,1,18,52\r\n"),
            (
                Server,
                "229 Entering Extended Passive Mode (|||6446|)\r\n",
                None,
                6446,
                "229 Entering Extended Passive Mode (|||4660|)\r\n",
            ),
        ] {
            let (_, found, at, rewritten) = place(speaker, line);
            assert_eq!((found, at, rewritten.as_str()), (address, port, other), "{line:?}");
        }
        let urgent = b"\xff\xf4\xff\xf2PORT 1,2,3,4,5,6\r\n";
        let Ok(Said::Awaits(place)) = said(Client, urgent) else { panic!() };
        assert_eq!(&urgent[place.at()..place.end()], b"1,2,3,4,5,6");
    }

    #[test]
    fn what_is_no_place_is_said_to_be_none() {
        use Speaker::{Client, Server};
        for (speaker, line) in [
            (Client, "PORT 192,168,10,11,200\r\n"),
            (Client, "PORT 192,168,10,11,200,256\r\n"),
            (Client, "PORT 192,168,10,11,200,21,7\r\n"),
            (Client, "PORT 192168,10,11,200,21,7\r\n"),
            (Client, "PORT 192,168,10,,11,200,21\r\n"),
            (Client, "PORT \r\n"),
            (Client, "EPRT |1|192.168.10|51221|\r\n"),
            (Client, "EPRT |1|192.168.10.11|65536|\r\n"),
            (Client, "EPRT |1|192.168.10.11|51221\r\n"),
            (Server, "227 Entering Passive Mode\r\n"),
            (Server, "229 Entering Extended Passive Mode (||6446|)\r\n"),
            (Server, "229 (|||6446\r\n"),
            (Server, "229 (|||"),
        ] {
            assert_eq!(said(speaker, line.as_bytes()), Err(Garbled), "{line:?}");
        }
        for (speaker, line, what) in [
            (Client, "EPRT |2|1080::8:800:200C:417A|5282|\r\n", Said::Nothing),
            (Client, "USER PORT 1,2,3,4,5,6\r\n", Said::Nothing),
            (Client, "PORTS\r\n", Said::Nothing),
            (Client, "227 (1,2,3,4,5,6)\r\n", Said::Nothing),
            (Client, "AUTH TLS\r\n", Said::AsksTls),
            (Server, "234 Proceed\r\n", Said::GrantsTls),
            (Server, "2270 (1,2,3,4,5,6)\r\n", Said::Nothing),
        ] {
            assert_eq!(said(speaker, line.as_bytes()), Ok(what), "{line:?}");
        }
    }

    proptest! {
        /// What was written is read as what it was, wherever a line is cut it may still matter, and nothing panics.
        #[test]
        fn a_place_that_is_written_is_read(address: u32, port: u16, server: bool, form in 0usize..2, cut: usize) {
            let (speaker, lines): (_, [&str; 2]) = if server {
                (Speaker::Server, ["227 Passive (1,2,3,4,5,6)\r\n", "229 Extended (|||7|)\r\n"])
            } else {
                (Speaker::Client, ["PORT 1,2,3,4,5,6\r\n", "EPRT |1|1.2.3.4|7|\r\n"])
            };
            let line = lines[form];
            let Ok(Said::Awaits(place)) = said(speaker, line.as_bytes()) else { panic!() };
            let mut other = line.as_bytes()[..place.at()].to_vec();
            other.extend_from_slice(&place.written(address, port));
            other.extend_from_slice(&line.as_bytes()[place.end()..]);
            let Ok(Said::Awaits(read)) = said(speaker, &other) else { panic!() };
            prop_assert_eq!((read.address, read.port), (place.address.map(|_| address), port));
            prop_assert!(may_matter(speaker, &other[..cut % other.len()]));
            let _ = said(speaker, &other[..cut % other.len()]);
        }

        #[test]
        fn nothing_panics(server: bool, begin in 0usize..3, bytes in proptest::collection::vec(any::<u8>(), 0..150)) {
            let speaker = if server { Speaker::Server } else { Speaker::Client };
            let mut line = words(speaker)[begin].to_vec();
            line.extend(bytes.iter().map(|byte| b"0123456789,|.() \r\n"[usize::from(*byte) % 18]));
            if let Ok(Said::Awaits(place)) = said(speaker, &line) {
                prop_assert!(place.at() < place.end() && place.end() <= line.len());
                prop_assert!(place.end() - place.at() <= LINE);
            }
            let _ = said(speaker, &bytes);
        }
    }
}
