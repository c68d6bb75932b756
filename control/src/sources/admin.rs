//! The listening end of the admin socket.

use crate::admin::protocol::{REQUEST_BYTES, Request, Response};
use crate::slots::{Key, Slots};
use crate::source::{Socket, Sockets, Source};
use crate::stream::{Readable, Stream};
use mio::net::{UnixListener, UnixStream};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes that may wait for a `cesctl` that does not read: some pages of a list, or the longest answer that is one.
const BACKLOG_BYTES: usize = 64 << 20;
/// Bytes that may wait before trace items are left out.
pub const TRACE_BACKLOG_BYTES: usize = 4 << 20;

/// A client that neither asks nor reads for so long is closed, in nanoseconds: others want to be served.
const IDLE_NS: u64 = 60_000_000_000;

/// Who has been silent for so long gives way to who comes when there is no more room, in nanoseconds: a `cesctl` asks at once.
const DAWDLES_NS: u64 = 1_000_000_000;

struct Client {
    /// When something last happened to its socket.
    last: u64,
    stream: Stream<UnixStream>,
    partial: Vec<u8>,
    /// A request is being answered: the next one waits.
    busy: bool,
    ended: bool,
}

impl Client {
    /// Whether nothing has happened to its socket since then, and it does not wait for our answer.
    fn is_silent(&self, since: u64) -> bool {
        let waits_for_us = self.busy && self.stream.pending() == 0;
        !waits_for_us && self.last <= since
    }
}

/// The socket and who is connected. The socket's file goes with it.
pub struct AdminServer {
    listener: UnixListener,
    path: PathBuf,
    clients: Slots<Client>,
    limit: usize,
    sockets: Sockets,
    /// Clients that may have a request.
    heard: Vec<Key>,
}

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another cesd answers there.
    #[error("{0}: another cesd answers there")]
    Taken(PathBuf),
    /// It cannot be made.
    #[error("{0}: {1}")]
    Socket(PathBuf, io::Error),
}

fn bind(path: &Path, sockets: &Sockets) -> Result<UnixListener, AdminError> {
    let wrong = |error| AdminError::Socket(path.to_owned(), error);
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(wrong(io::Error::other("is there and no socket")));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(AdminError::Taken(path.to_owned()));
        }
        std::fs::remove_file(path).map_err(wrong)?;
    }
    let mut listener = UnixListener::bind(path).map_err(wrong)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    sockets.listen(&mut listener, 0).map_err(wrong)?;
    Ok(listener)
}

impl AdminServer {
    /// Listens at `path`; what a dead process left there is replaced. Only root may connect.
    pub fn open(path: &Path, limit: usize, sockets: Sockets) -> Result<Self, AdminError> {
        let listener = bind(path, &sockets)?;
        let (path, clients) = (path.to_owned(), Slots::default());
        Ok(Self { listener, path, clients, limit, sockets, heard: Vec::new() })
    }

    /// Takes so many connections at a time, and listens at `path`. Who is connected stays.
    pub fn move_to(&mut self, path: &Path, limit: usize) -> Result<(), AdminError> {
        self.limit = limit;
        if path != self.path {
            let mut listener = bind(path, &self.sockets)?;
            std::mem::swap(&mut self.listener, &mut listener);
            self.sockets.remove(&mut listener);
            let _ = std::fs::remove_file(std::mem::replace(&mut self.path, path.to_owned()));
        }
        Ok(())
    }

    /// Somebody connects.
    fn accept(&mut self, now: u64) {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::warn!(kind = "admin_accept", "admin socket: {error}");
                    return;
                }
            };
            let full = self.clients.len() >= self.limit && !self.make_room(now);
            let key = self.clients.insert(Client {
                last: now,
                stream: Stream::new(socket, BACKLOG_BYTES),
                partial: Vec::new(),
                busy: false,
                ended: full,
            });
            let Some(client) = self.clients.get_mut(key) else { return };
            if full {
                let line = Response::Error("too many connections to the admin socket".to_owned()).line();
                let _ = client.stream.queue(&line);
                let _ = client.stream.flush();
                self.clients.remove(key);
                continue;
            }
            if self.sockets.add(&mut client.stream.socket, key).is_err() {
                self.clients.remove(key);
            }
        }
    }

    /// Closes who has been silent the longest; false if nobody has been for long.
    fn make_room(&mut self, now: u64) -> bool {
        let Some(since) = now.checked_sub(DAWDLES_NS) else { return false };
        let silent = self.clients.iter().filter(|(_, client)| client.is_silent(since));
        let Some(key) = silent.min_by_key(|(_, client)| client.last).map(|(key, _)| key) else {
            return false;
        };
        self.close(key);
        true
    }

    fn close(&mut self, key: Key) {
        if let Some(mut client) = self.clients.remove(key) {
            self.sockets.remove(&mut client.stream.socket);
        }
    }

    /// Clients to which something happened: see whether [`AdminServer::request`] has a request of theirs.
    pub fn take_heard(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.heard)
    }

    /// The next request of a client, if there is one. Answer it with [`AdminServer::respond`], and ask again.
    pub fn request(&mut self, key: Key) -> Option<Request> {
        loop {
            let client = self.clients.get_mut(key)?;
            let Ok(flushed) = client.stream.flush() else {
                self.close(key);
                return None;
            };
            if !client.busy
                && let Some(end) = client.partial.iter().position(|&byte| byte == b'\n')
            {
                let line: Vec<u8> = client.partial.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(request) => {
                        client.busy = true;
                        return Some(request);
                    }
                    Err(error) => {
                        self.respond(key, &Response::Error(format!("not a request: {error}")));
                        continue;
                    }
                }
            }
            if client.ended {
                if !client.busy && flushed {
                    self.close(key);
                }
                return None;
            }
            if client.partial.len() > REQUEST_BYTES {
                client.ended = true;
                client.partial.clear();
                let long = format!("a request has at most {REQUEST_BYTES} bytes");
                self.respond(key, &Response::Error(long));
                continue;
            }
            let mut buffer = [0; REQUEST_BYTES];
            match client.stream.read(&mut buffer) {
                Ok(Readable::Some(length)) => client.partial.extend_from_slice(&buffer[..length]),
                Ok(Readable::Empty) => return None,
                Ok(Readable::End) => client.ended = true,
                Err(_) => {
                    self.close(key);
                    return None;
                }
            }
        }
    }

    /// Sends a line of an answer. False if the client is gone.
    pub fn respond(&mut self, key: Key, response: &Response) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        if !matches!(response, Response::Item(_)) {
            client.busy = false;
            // The next request may have come already.
            if !client.partial.is_empty() || client.ended {
                self.heard.push(key);
            }
        }
        let Some(client) = self.clients.get_mut(key) else { return false };
        if client.stream.queue(&response.line()).is_err() || client.stream.flush().is_err() {
            self.close(key);
            return false;
        }
        true
    }

    /// Whether a client is still there, and how many bytes wait for it.
    pub fn backlog(&self, key: Key) -> Option<usize> {
        self.clients.get(key).filter(|client| !client.ended).map(|client| client.stream.pending())
    }
}

/// Requests are answered by who can see the whole gateway: the source itself has nothing to tell.
impl<W: ?Sized> Source<W> for AdminServer {
    fn handle(&mut self, socket: Socket, _: &mut W, now: u64) {
        match socket {
            Socket::Fixed(_) => self.accept(now),
            Socket::Passing(key) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.last = now;
                }
                self.heard.push(key);
            }
        }
    }

    /// Closes who is silent. A client that waits for our answer is not; one that does not read it is.
    fn handle_timeout(&mut self, _: &mut W, now: u64) {
        let Some(since) = now.checked_sub(IDLE_NS) else { return };
        for key in self.clients.keys_where(|client| client.is_silent(since)) {
            self.close(key);
        }
    }

    fn has_unread(&self) -> bool {
        !self.heard.is_empty()
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::Topic;
    use std::io::{BufRead, BufReader, Read, Write};

    fn server(name: &str) -> (AdminServer, PathBuf, mio::Poll) {
        let path = std::env::temp_dir().join(format!("ces-admin-{name}-{}", std::process::id()));
        let poll = mio::Poll::new().unwrap();
        let server = AdminServer::open(&path, 2, Sockets::new(&poll, 1).unwrap()).unwrap();
        (server, path, poll)
    }

    fn only_client(server: &AdminServer) -> Key {
        server.clients.iter().next().unwrap().0
    }

    fn line(socket: &std::os::unix::net::UnixStream) -> String {
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn requests_come_one_at_a_time_and_nonsense_is_answered() {
        let (mut server, path, _poll) = server("order");
        let mut socket = std::os::unix::net::UnixStream::connect(&path).unwrap();
        socket.write_all(b"{\"do\":\"show\",\"topic\":\"ports\"}\n{\"do\":\"reload\"}\nnonsense\n").unwrap();
        server.accept(0);
        let key = only_client(&server);
        assert_eq!(server.request(key), Some(Request::Show { topic: Topic::Ports }));
        assert_eq!(server.request(key), None, "one at a time");
        assert!(server.respond(key, &Response::Ok(serde_json::json!([]))));
        assert_eq!(line(&socket), "{\"ok\":[]}\n");
        assert_eq!(server.request(key), Some(Request::Reload));
        assert!(server.respond(key, &Response::Error("no".to_owned())));
        assert_eq!(line(&socket), "{\"error\":\"no\"}\n");
        assert_eq!(server.request(key), None);
        assert!(line(&socket).starts_with("{\"error\":\"not a request"));
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_request_without_end_is_refused() {
        let (mut server, path, _poll) = server("endless");
        let mut socket = std::os::unix::net::UnixStream::connect(&path).unwrap();
        socket.write_all(&[b'x'; REQUEST_BYTES + 1]).unwrap();
        server.accept(0);
        let key = only_client(&server);
        assert_eq!(server.request(key), None);
        assert!(line(&socket).contains("at most"));
        assert!(server.clients.is_empty());
    }

    #[test]
    fn one_too_many_is_told_so() {
        let (mut server, path, _poll) = server("many");
        let sockets: Vec<_> =
            (0..3).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
        server.accept(0);
        assert!(line(&sockets[2]).contains("too many"));
        assert_eq!(server.clients.len(), 2);
    }

    #[test]
    fn r3_who_is_silent_makes_room_and_who_waits_does_not() {
        let (mut server, path, _poll) = server("idle");
        let silent = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        waiting.write_all(b"{\"do\":\"trace\",\"count\":1}\n").unwrap();
        server.accept(0);
        let keys: Vec<_> = server.clients.iter().map(|(key, _)| key).collect();
        assert_eq!(server.request(keys[0]), None);
        assert!(server.request(keys[1]).is_some());
        server.handle_timeout(&mut (), IDLE_NS - 1);
        assert_eq!(server.clients.len(), 2);
        server.handle_timeout(&mut (), IDLE_NS);
        assert_eq!(server.clients.len(), 1);
        assert_eq!((&silent).read(&mut [0; 1]).unwrap(), 0, "it is told by the end");
        assert!(server.respond(keys[1], &Response::Ok(serde_json::Value::Null)));
        server.handle_timeout(&mut (), IDLE_NS);
        assert!(server.clients.is_empty());
    }

    #[test]
    fn r3_who_has_been_silent_the_longest_gives_way() {
        let (mut server, path, _poll) = server("dawdles");
        let connect = || std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut asks = connect();
        asks.write_all(b"{\"do\":\"trace\",\"count\":1}\n").unwrap();
        server.accept(1);
        assert!(server.request(only_client(&server)).is_some());
        let silent = connect();
        server.accept(2);
        let early = connect();
        server.accept(1 + DAWDLES_NS);
        assert!(line(&early).contains("too many"), "nobody has been silent for long");
        let late = connect();
        server.accept(2 + DAWDLES_NS);
        assert_eq!((&silent).read(&mut [0; 1]).unwrap(), 0, "it gave way, and who waits for us did not");
        late.set_nonblocking(true).unwrap();
        assert_eq!((&late).read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(server.clients.len(), 2);
    }

    #[test]
    fn a_socket_in_use_is_not_taken_and_a_dead_one_is() {
        let (first, path, poll) = server("taken");
        let open = || AdminServer::open(&path, 2, Sockets::new(&poll, 1).unwrap());
        assert!(matches!(open(), Err(AdminError::Taken(_))));
        drop(first);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(open().unwrap());
        std::fs::write(&path, "a file").unwrap();
        assert!(matches!(open(), Err(AdminError::Socket(..))));
        std::fs::remove_file(&path).unwrap();
    }
}
