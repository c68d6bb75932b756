//! Just enough HTTP/1.1 (RFC 9112) for a scraper, `GET /metrics`, and for a person, `GET /`: a page that draws what it asks for
//! there. One request at a time, bounded in every way.

use crate::listeners::{ListenError, Listeners, Opened};
use crate::slots::{Key, Slots};
use crate::source::{Socket, Sockets, Source};
use crate::stream::{Accepted, Readable, Stream};
use mio::net::TcpStream;
use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

/// What a person sees: it names nothing outside itself but the metrics.
const OWN_PAGE: &[u8] = include_bytes!("page.html");
/// And its browser holds it to that (Content Security Policy Level 3).
const OWN_FIELDS: &str = "Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: default-src 'none'; \
                          script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'\r\n\
                          X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";
/// What a scraper reads: the text format of Prometheus.
const METRICS_FIELDS: &str = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
/// Longest request head in bytes.
const HEAD_BYTES: usize = 8192;
/// Header fields of a request.
const FIELDS: usize = 64;
/// Bytes that may wait for a scraper that does not read.
const BACKLOG_BYTES: usize = 4 << 20;
/// A connection without a complete request for so long is closed, in nanoseconds.
const IDLE_NS: u64 = 10_000_000_000;

struct Client {
    stream: Stream<TcpStream>,
    head: Vec<u8>,
    closing: bool,
    last: u64,
}

/// The listener and its connections.
pub struct Http {
    listeners: Listeners<()>,
    clients: Slots<Client>,
    limit: usize,
    sockets: Sockets,
    /// Clients to which something happened.
    heard: Vec<Key>,
}

/// What a request head asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Not complete.
    More,
    /// A page. The head had so many bytes.
    Page { is_own: bool, head: usize, keep: bool, body: bool },
    /// Something else: the status line's rest.
    Wrong(&'static str),
}

fn parse(bytes: &[u8]) -> Asked {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES => {
            return Asked::Wrong("431 Request Header Fields Too Large");
        }
        Ok(httparse::Status::Partial) => return Asked::More,
        Err(httparse::Error::TooManyHeaders) => return Asked::Wrong("431 Request Header Fields Too Large"),
        Err(_) => return Asked::Wrong("400 Bad Request"),
    };
    let field = |name: &str| {
        request
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.to_ascii_lowercase())
    };
    // A body would be the beginning of the next request to us.
    if field("content-length").is_some_and(|value| value != b"0") || field("transfer-encoding").is_some() {
        return Asked::Wrong("413 Content Too Large");
    }
    let path = request.path.unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Asked::Wrong("405 Method Not Allowed"),
    };
    let is_own = match path {
        "/" => true,
        "/metrics" => false,
        _ => return Asked::Wrong("404 Not Found"),
    };
    let said = field("connection").unwrap_or_default();
    let says = |word: &[u8]| said.split(|&byte| byte == b',').any(|part| part.trim_ascii() == word);
    let keep = if request.version == Some(1) { !says(b"close") } else { says(b"keep-alive") };
    Asked::Page { is_own, head, keep, body }
}

impl Http {
    /// A page that is served nowhere yet.
    pub fn new(sockets: Sockets) -> Self {
        let listeners = Listeners::new("the metrics page");
        Self { listeners, clients: Slots::default(), limit: 0, sockets, heard: Vec::new() }
    }

    /// Opens listeners where there are none yet; see [`Http::listen`].
    pub fn open(&self, addresses: Vec<(SocketAddr, ())>) -> Result<Opened<()>, ListenError> {
        self.listeners.open(addresses)
    }

    /// Serves so many at a time there from here on, and nowhere else. Connections stay.
    pub fn listen(&mut self, opened: Opened<()>, limit: usize) -> io::Result<()> {
        self.limit = limit;
        self.listeners.install(opened, &self.sockets)
    }

    /// Somebody connects.
    fn accept(&mut self, number: u32, now: u64) {
        loop {
            let socket = match self.listeners.accept(number, "metrics_accept").0 {
                Accepted::Connection(socket, _) => socket,
                Accepted::Gone => continue,
                Accepted::Nothing => return,
            };
            if self.clients.len() >= self.limit {
                continue;
            }
            let stream = Stream::new(socket, BACKLOG_BYTES);
            let key = self.clients.insert(Client { stream, head: Vec::new(), closing: false, last: now });
            let Some(client) = self.clients.get_mut(key) else { return };
            if self.sockets.add(&mut client.stream.socket, key).is_err() {
                self.clients.remove(key);
            }
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(mut client) = self.clients.remove(key) {
            self.sockets.remove(&mut client.stream.socket);
        }
    }

    /// Clients to which something happened: give them to [`Http::serve`].
    pub fn take_heard(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.heard)
    }

    /// Goes on with a client. `metrics` makes what a scraper reads if it is asked for.
    pub fn serve(&mut self, key: Key, mut metrics: impl FnMut() -> Vec<u8>, now: u64) {
        loop {
            let Some(client) = self.clients.get_mut(key) else { return };
            match client.stream.flush() {
                Ok(true) if client.closing => {
                    self.close(key);
                    return;
                }
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    self.close(key);
                    return;
                }
            }
            match parse(&client.head) {
                Asked::More => {
                    let mut buffer = [0; HEAD_BYTES];
                    match client
                        .stream
                        .read(&mut buffer[..HEAD_BYTES - client.head.len().min(HEAD_BYTES - 1)])
                    {
                        Ok(Readable::Some(length)) => client.head.extend_from_slice(&buffer[..length]),
                        Ok(Readable::Empty) => return,
                        Ok(Readable::End) | Err(_) => {
                            self.close(key);
                            return;
                        }
                    }
                }
                Asked::Page { is_own, head, keep, body } => {
                    client.head.drain(..head);
                    client.last = now;
                    client.closing = !keep;
                    let (fields, text) = if is_own {
                        (OWN_FIELDS, Cow::Borrowed(OWN_PAGE))
                    } else {
                        (METRICS_FIELDS, Cow::Owned(metrics()))
                    };
                    let connection = if keep { "keep-alive" } else { "close" };
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
                        text.len()
                    );
                    let sent = client.stream.queue(answer.as_bytes());
                    let sent = if body { sent.and_then(|()| client.stream.queue(&text)) } else { sent };
                    if sent.is_err() {
                        self.close(key);
                        return;
                    }
                }
                Asked::Wrong(status) => {
                    client.closing = true;
                    client.head.clear();
                    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
                    let answer =
                        format!("HTTP/1.1 {status}\r\n{allow}Content-Length: 0\r\nConnection: close\r\n\r\n");
                    if client.stream.queue(answer.as_bytes()).is_err() {
                        self.close(key);
                        return;
                    }
                }
            }
        }
    }
}

/// The page is made by who can see the whole gateway: the source itself has nothing to tell.
impl<W: ?Sized> Source<W> for Http {
    fn handle(&mut self, socket: Socket, _: &mut W, now: u64) {
        match socket {
            Socket::Fixed(number) => self.accept(number, now),
            Socket::Passing(key) => self.heard.push(key),
        }
    }

    /// Closes who says nothing.
    fn handle_timeout(&mut self, _: &mut W, now: u64) {
        for key in self.clients.keys_where(|client| now.saturating_sub(client.last) >= IDLE_NS) {
            self.close(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn requests_are_told_apart() {
        let page = |keep, body| {
            let right = (false, keep, body);
            move |asked: &Asked| matches!(*asked, Asked::Page { is_own, keep, body, .. } if (is_own, keep, body) == right)
        };
        type Check = Box<dyn Fn(&Asked) -> bool>;
        let wrong = |code: &'static str| -> Check {
            Box::new(move |asked| matches!(asked, Asked::Wrong(s) if s.starts_with(code)))
        };
        let cases: Vec<(&str, Check)> = vec![
            ("GET /metrics HTTP/1.1\r\n\r\n", Box::new(page(true, true))),
            (
                "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
                Box::new(page(false, true)),
            ),
            ("GET /metrics HTTP/1.0\r\n\r\n", Box::new(page(false, true))),
            ("GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Box::new(page(true, true))),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Box::new(page(true, false))),
            ("GET /metr", Box::new(|asked| *asked == Asked::More)),
            ("GET / HTTP/1.1\r\n\r\n", Box::new(|asked| matches!(asked, Asked::Page { is_own: true, .. }))),
            ("GET /page HTTP/1.1\r\n\r\n", wrong("404")),
            ("POST /metrics HTTP/1.1\r\n\r\n", wrong("405")),
            ("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\n", wrong("413")),
            ("\x16\x03\x01\x00 hello", wrong("400")),
        ];
        for (text, right) in cases {
            let asked = parse(text.as_bytes());
            assert!(right(&asked), "{text:?}: {asked:?}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "a".repeat(HEAD_BYTES));
        assert_eq!(parse(long.as_bytes()), Asked::Wrong("431 Request Header Fields Too Large"));
    }

    #[test]
    fn a_page_is_served_and_a_silent_client_closed() {
        let poll = mio::Poll::new().unwrap();
        let mut http = Http::new(Sockets::new(&poll, 1).unwrap());
        let address = SocketAddr::from(([127, 9, 9, 1], 40_080));
        let opened = http.open(vec![(address, ())]).unwrap();
        http.listen(opened, 1).unwrap();
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        let mut second = std::net::TcpStream::connect(address).unwrap();
        while http.clients.is_empty() {
            http.accept(0, 0);
        }
        http.accept(0, 0);
        let key = http.clients.iter().next().unwrap().0;
        // Byte by byte, and two requests at once.
        for byte in b"GET /metrics HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n" {
            socket.write_all(&[*byte]).unwrap();
            http.serve(key, || b"x 1\n".to_vec(), 1);
        }
        let mut text = String::new();
        for _ in 0..500 {
            http.serve(key, || b"x 1\n".to_vec(), 1);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(http.clients.is_empty(), "closed as asked");
        socket.read_to_string(&mut text).unwrap();
        assert_eq!(text.matches("\r\n\r\nx 1\n").count(), 2, "{text}");
        assert_eq!(second.read(&mut [0; 8]).unwrap(), 0, "one connection at a time");
        let third = std::net::TcpStream::connect(address).unwrap();
        while http.clients.is_empty() {
            http.accept(0, 0);
        }
        http.handle_timeout(&mut (), IDLE_NS);
        assert!(http.clients.is_empty());
        drop(third);
    }
}
