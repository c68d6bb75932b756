//! The command line of cesd: looks, traces, and the few things that an operator does by hand.
#![forbid(unsafe_code)]

use ces_control::admin::protocol::{
    NewHost, PagedList, Request, Response, TRACE_MAX, Topic, Why, external, protocol, time,
};
use ces_control::admin::render;
use ces_control::config::ADMIN_SOCKET;
use ces_control::records::RecordQuestion;
use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// For how many seconds cesd may be silent where nothing else is said.
const TIMEOUT_S: u64 = 30;

/// Talks to a running cesd. Its exit code is 0 when it was done, 1 when cesd refused, 2 for a wrong command line, and 3 when
/// cesd could not be reached or did not answer.
#[derive(Parser)]
#[command(name = "cesctl", version)]
struct Arguments {
    /// The admin socket of cesd
    #[arg(long, global = true, default_value = ADMIN_SOCKET)]
    socket: PathBuf,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    /// For how many seconds cesd may be silent; 0 = for ever [default: 30, and 0 for a trace]
    #[arg(long, global = true)]
    timeout: Option<u64>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what there is
    Show {
        /// What to show
        topic: Topic,
        /// With `alg`: what was written anew last, or would have been; as `show rewrites`
        #[arg(long)]
        last: bool,
    },
    /// Show the next packets that match, each with what became of it and why
    Trace {
        /// Source or destination, outer or inner
        #[arg(long)]
        address: Option<Ipv4Addr>,
        /// Name of the port of arrival
        #[arg(long)]
        port: Option<String>,
        /// The innermost IP protocol: icmp, tcp, udp, or a number
        #[arg(long, value_parser = protocol)]
        proto: Option<u8>,
        /// Only packets that are dropped
        #[arg(long)]
        dropped: bool,
        /// How many packets
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(TRACE_MAX)))]
        count: u32,
    },
    /// Show which rule of the filter decides about a session
    Why(Why),
    /// Show which host had an address and port outside, as it was recorded
    Who {
        /// The address, with a port where the protocol has ports: 203.0.113.7:40123
        #[arg(value_parser = external)]
        external: SocketAddrV4,
        /// The IP protocol: icmp, tcp, udp, or a number
        #[arg(long, value_parser = protocol)]
        protocol: Option<u8>,
        /// When: seconds since 1970, or a time such as 2026-11-29T18:05:00Z [default: at any time]
        #[arg(long, value_parser = time)]
        at: Option<u64>,
    },
    /// Read configuration, hosts, policies, rules and certificates again
    Reload,
    /// End sessions
    #[command(subcommand)]
    Terminate(Terminate),
    /// Refuse a host or the address of a CETP sender for a while
    #[command(subcommand)]
    Block(Block),
    /// Lift a block
    #[command(subcommand)]
    Unblock(Unblock),
    /// Have a host come or go, until it is taken back: over reloads and, with a state directory, restarts. The files are read
    /// again, as by `reload`
    #[command(subcommand)]
    Host(Host),
    /// Forget what the resolver's cache knows
    Flush,
    /// Write manual pages and completions of both programs
    #[command(hide = true)]
    Pages {
        /// Where to
        directory: PathBuf,
    },
}

/// What is shown; `--last` says something to ALGs alone.
fn shown(topic: Topic, last: bool) -> Topic {
    if last && topic == Topic::Alg { Topic::Rewrites } else { topic }
}

#[derive(Subcommand)]
enum Terminate {
    /// One session, by our tag as `show bindings` prints it
    Session {
        /// Eight hexadecimal digits
        #[arg(value_parser = tag)]
        tag: u32,
    },
    /// All sessions with a peer
    Sessions {
        /// Its CES id
        peer: String,
    },
    /// Signalling with a peer, and all sessions
    Peer {
        /// Its CES id
        peer: String,
    },
}

#[derive(Subcommand)]
enum Block {
    /// A host of the realm: its sessions end, it starts none
    Host {
        /// Its name
        name: String,
        /// For how many seconds
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// An address: no CETP from there
    Address {
        /// The address
        address: IpAddr,
        /// For how many seconds
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

#[derive(Subcommand)]
enum Host {
    /// A host that no file names; one of that name that was added before gives way
    Add(NewHost),
    /// One that was added
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Subcommand)]
enum Unblock {
    /// A host of the realm
    Host {
        /// Its name
        name: String,
    },
    /// An address
    Address {
        /// The address
        address: IpAddr,
    },
}

fn tag(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_| "up to eight hexadecimal digits were expected".into())
}

/// What is asked of cesd; an error is no question, but where pages are to be written.
fn request(command: &Command) -> Result<Request, &Path> {
    Ok(match command {
        Command::Show { topic, last } => Request::Show { topic: shown(*topic, *last) },
        Command::Trace { address, port, proto, dropped, count } => Request::Trace {
            address: *address,
            port: port.clone(),
            protocol: *proto,
            dropped: *dropped,
            count: *count,
        },
        Command::Why(why) => Request::Why(why.clone()),
        Command::Who { external, protocol, at } => Request::Who(RecordQuestion {
            external: *external.ip(),
            port: external.port(),
            protocol: *protocol,
            at_ms: *at,
        }),
        Command::Reload => Request::Reload,
        Command::Terminate(Terminate::Session { tag }) => Request::TerminateSession { tag: *tag },
        Command::Terminate(Terminate::Sessions { peer }) => Request::TerminateSessions { peer: peer.clone() },
        Command::Terminate(Terminate::Peer { peer }) => Request::TerminatePeer { peer: peer.clone() },
        Command::Block(Block::Host { name, seconds }) => {
            Request::BlockHost { host: name.clone(), seconds: *seconds }
        }
        Command::Block(Block::Address { address, seconds }) => {
            Request::BlockAddress { address: *address, seconds: *seconds }
        }
        Command::Unblock(Unblock::Host { name }) => Request::UnblockHost { host: name.clone() },
        Command::Unblock(Unblock::Address { address }) => Request::UnblockAddress { address: *address },
        Command::Host(Host::Add(host)) => Request::AddHost(host.clone()),
        Command::Host(Host::Remove { name }) => Request::RemoveHost { name: name.clone() },
        Command::Flush => Request::Flush,
        Command::Pages { directory } => return Err(directory),
    })
}

/// The gateway refused, or what was asked for is not there.
const REFUSED: u8 = 1;
/// There is no gateway, or it went away or fell silent before it answered. (2 is clap's, for a wrong command line.)
const UNREACHED: u8 = 3;

/// Why there is no answer.
enum Failure {
    /// The gateway's own words.
    Refused(String),
    /// What is between it and us.
    Unreached(String),
    /// Nobody reads what we print: not worth a word.
    Quiet,
}

/// What comes of printing.
fn printed(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Quiet,
        _ => Failure::Refused(format!("cannot print: {error}")),
    })
}

fn print(arguments: &Arguments, answer: &Value, item: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if arguments.json {
        if item || !matches!(arguments.command, Command::Trace { .. }) {
            writeln!(out, "{answer}")?;
        }
        return out.flush();
    }
    match &arguments.command {
        Command::Show { topic, last } => {
            out.write_all(render::show(shown(*topic, *last), answer).as_bytes())?;
        }
        Command::Why(_) => out.write_all(render::why(answer).as_bytes())?,
        Command::Who { .. } => out.write_all(render::who(answer).as_bytes())?,
        Command::Trace { .. } if item => out.write_all(render::traced(answer).as_bytes())?,
        _ => match answer {
            Value::Null => {}
            Value::String(text) => writeln!(out, "{text}")?,
            Value::Array(lines) => {
                for line in lines {
                    match line {
                        Value::String(text) => writeln!(out, "{text}")?,
                        other => writeln!(out, "{other}")?,
                    }
                }
            }
            other => writeln!(out, "{other}")?,
        },
    }
    out.flush()
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let request = match request(&arguments.command) {
        Ok(request) => request,
        Err(directory) => return printed(ces_control::pages::write(Arguments::command(), directory)),
    };
    let path = arguments.socket.display();
    let unreached = |what: String| Failure::Unreached(format!("{path}: {what}"));
    let mut socket = UnixStream::connect(&arguments.socket).map_err(|error| {
        let hint = "does it run? --socket names another";
        Failure::Unreached(format!("cannot reach cesd at {path}: {error} ({hint})"))
    })?;
    // Only a trace may be silent for as long as there is no packet.
    let patience = match (arguments.timeout, &arguments.command) {
        (Some(seconds), _) => seconds,
        (None, Command::Trace { .. }) => 0,
        (None, _) => TIMEOUT_S,
    };
    let patience = (patience > 0).then(|| Duration::from_secs(patience));
    let wait = |error: io::Error| unreached(error.to_string());
    socket.set_read_timeout(patience).and_then(|()| socket.set_write_timeout(patience)).map_err(wait)?;
    let mut line = serde_json::to_vec(&request).map_err(|error| Failure::Refused(error.to_string()))?;
    line.push(b'\n');
    // A gateway that has no room says so and closes: its words are there, whether it took ours or not.
    let asked = socket.write_all(&line);
    let mut lines = BufReader::new(socket).lines();
    let mut pages = PagedList::default();
    loop {
        let line = match (lines.next(), &asked) {
            (Some(Ok(line)), _) => line,
            (Some(Err(error)), _) if error.kind() == io::ErrorKind::WouldBlock => {
                let seconds = patience.map_or(0, |patience| patience.as_secs());
                return Err(unreached(format!("cesd has not answered for {seconds} s (--timeout)")));
            }
            (Some(Err(error)), _) if error.kind() != io::ErrorKind::ConnectionReset => {
                return Err(unreached(error.to_string()));
            }
            (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(unreached(error.to_string()));
            }
            _ => return Err(unreached("cesd went away before it answered".to_owned())),
        };
        let response: Response =
            serde_json::from_str(&line).map_err(|error| unreached(format!("not an answer: {error}")))?;
        match response {
            Response::Item(page) if matches!(arguments.command, Command::Show { .. }) => pages.add(page),
            Response::Item(item) => printed(print(arguments, &item, true))?,
            Response::Ok(end) => return printed(print(arguments, &pages.whole(end), false)),
            Response::Error(text) => return Err(Failure::Refused(text)),
        }
    }
}

fn main() -> ExitCode {
    let (text, code) = match run(&Arguments::parse()) {
        Ok(()) | Err(Failure::Quiet) => return ExitCode::SUCCESS,
        Err(Failure::Refused(text)) => (text, REFUSED),
        Err(Failure::Unreached(text)) => (text, UNREACHED),
    };
    eprintln!("cesctl: {text}");
    ExitCode::from(code)
}
