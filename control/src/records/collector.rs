//! Who sends records to a collector: a thread of its own, which waits for it as long as it takes. What comes meanwhile waits in
//! the queue, and is lost where that is full.

use super::ipfix::{Exporter, Limits};
use super::outlet::{Outlet, Tally, Timed};
use crate::config::IpfixTransport;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long records are gathered for a message.
const GATHER: Duration = Duration::from_millis(50);
/// How often templates are told again over UDP (RFC 7011 §8.4).
const TEMPLATES: Duration = Duration::from_mins(1);
/// How long a collector may take to accept a connection or what is sent.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after a failure another connection is tried, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Records that are taken out of the queue at once.
const BATCH: usize = 1024;

/// The control thread's end.
#[derive(Debug)]
pub(super) struct Collector {
    place: SocketAddr,
    outlet: Outlet<Timed>,
}

impl Collector {
    /// Starts the sender.
    pub(super) fn start(place: SocketAddr, transport: IpfixTransport, limits: Limits) -> io::Result<Self> {
        let (outlet, taken, tally) = Outlet::new();
        let link = Link { place, transport, open: None, exporter: Exporter::new(limits), tally };
        std::thread::Builder::new().name("ipfix".to_owned()).spawn(move || link.run(&taken))?;
        Ok(Self { place, outlet })
    }

    pub(super) fn put(&self, record: Timed) {
        self.outlet.put(record);
    }

    pub(super) const fn place(&self) -> SocketAddr {
        self.place
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.outlet.tally
    }
}

/// An open way to a collector.
enum Way {
    /// With when templates were told last, and the records of the last datagram: what comes back about it is an error of the
    /// next one.
    Udp(UdpSocket, Instant, u64),
    Tcp(TcpStream),
}

struct Link {
    place: SocketAddr,
    transport: IpfixTransport,
    open: Option<Way>,
    exporter: Exporter,
    tally: Arc<Tally>,
}

fn now_s() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

impl Link {
    /// Sends until nobody is there who might put anything into the queue.
    fn run(mut self, queue: &Receiver<Timed>) {
        let mut retry = RETRY.0;
        let mut records = Vec::with_capacity(BATCH);
        loop {
            if self.open.is_none() {
                match self.connect() {
                    Ok(()) => retry = RETRY.0,
                    Err(error) => {
                        tracing::debug!(kind = "records", "collector {}: {error}", self.place);
                        // The queue fills meanwhile: what finds no room is counted where it is put.
                        std::thread::sleep(retry);
                        retry = (retry * 2).min(RETRY.1);
                        continue;
                    }
                }
            }
            match queue.recv_timeout(TEMPLATES) {
                Ok(first) => {
                    std::thread::sleep(GATHER);
                    records.extend(std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(error) = self.send(&records) {
                tracing::debug!(kind = "records", "collector {}: {error}", self.place);
                self.open = None;
            }
            records.clear();
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        self.exporter.restart();
        let mut message = Vec::new();
        self.exporter.templates(now_s(), &mut message);
        self.open = Some(match self.transport {
            IpfixTransport::Udp => {
                let any = match self.place {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(self.place)?;
                socket.send(&message)?;
                Way::Udp(socket, Instant::now(), 0)
            }
            IpfixTransport::Tcp => {
                let mut stream = TcpStream::connect_timeout(&self.place, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.write_all(&message)?;
                Way::Tcp(stream)
            }
        });
        Ok(())
    }

    /// Sends all of them, as far as the way holds. What was not sent is counted.
    fn send(&mut self, mut records: &[Timed]) -> io::Result<()> {
        let mut message = Vec::new();
        let Self { open, exporter, tally, .. } = self;
        if let Some(Way::Udp(socket, told, _)) = open
            && told.elapsed() >= TEMPLATES
        {
            *told = Instant::now();
            exporter.templates(now_s(), &mut message);
            // What comes back about an earlier datagram is told with the next one.
            let _ = socket.send(&message);
        }
        while !records.is_empty() {
            let count = exporter.records(records, now_s(), &mut message);
            let sent = match open.as_mut() {
                None => Err(io::ErrorKind::NotConnected.into()),
                Some(Way::Udp(socket, _, last)) => {
                    let sent = socket.send(&message).or_else(|_| {
                        // It was about the one before, which nobody took.
                        Tally::add(&tally.lost, *last);
                        tally.kept.fetch_sub(*last, std::sync::atomic::Ordering::Relaxed);
                        *last = 0;
                        socket.send(&message)
                    });
                    if sent.is_ok() {
                        *last = count as u64;
                    }
                    sent.map(drop)
                }
                Some(Way::Tcp(stream)) => stream.write_all(&message),
            };
            if let Err(error) = sent {
                exporter.unsent(count as u32);
                Tally::add(&tally.lost, records.len() as u64);
                return Err(error);
            }
            Tally::add(&tally.kept, count as u64);
            records = &records[count..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::outlet::QUEUE;
    use ces_dataplane::msg::{Record, Recorded};
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::atomic::Ordering;

    const LIMITS: Limits = Limits { sessions: 1, host_sessions: 1 };

    fn record() -> Timed {
        let end = (Ipv4Addr::LOCALHOST, 1);
        (
            1,
            Record {
                what: Recorded::Created,
                protocol: 17,
                host: end,
                external: end,
                remote: None,
                last: None,
            },
        )
    }

    fn told(collector: &Collector) -> (u64, u64) {
        let Tally { kept, lost } = collector.tally();
        (kept.load(Ordering::Relaxed), lost.load(Ordering::Relaxed))
    }

    fn waits_for(holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_collector_that_is_not_there_costs_what_does_not_fit_into_the_queue() {
        let place = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let collector = Collector::start(place, IpfixTransport::Tcp, LIMITS).unwrap();
        for _ in 0..QUEUE + 1000 {
            collector.put(record());
        }
        assert_eq!(told(&collector), (0, 1000));
        let listener = TcpListener::bind(place).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 20];
        stream.read_exact(&mut head).unwrap();
        assert_eq!((head[..2].to_vec(), head[16..18].to_vec()), (vec![0, 10], vec![0, 2]), "templates first");
        std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        waits_for(|| told(&collector) == (QUEUE as u64, 1000));
    }

    #[test]
    fn datagrams_that_nobody_takes_are_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let collector = Collector::start(socket.local_addr().unwrap(), IpfixTransport::Udp, LIMITS).unwrap();
        collector.put(record());
        let mut message = [0; 2000];
        socket.recv(&mut message).unwrap();
        assert_eq!(message[16..18], [0, 2], "templates first");
        let octets = socket.recv(&mut message).unwrap();
        assert_eq!((octets, &message[16..18]), (HEAD + 22, &[1, 1][..]));
        waits_for(|| told(&collector) == (1, 0));
        drop(socket);
        // Each is told of by the one after it.
        for sent in 0..5 {
            collector.put(record());
            waits_for(|| told(&collector) == (2, sent));
        }
    }

    /// The headers of a message and of its set.
    const HEAD: usize = 20;
}
