//! The command line of cesd: looks, traces, and the few things that an operator does by hand.
#![forbid(unsafe_code)]

use ces_control::admin::protocol::{Pages, Request, Response, TRACE_MAX, Topic};
use ces_control::admin::render;
use ces_control::config::ADMIN_SOCKET;
use ces_control::trace::protocol_number;
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

/// Talks to a running cesd.
#[derive(Parser)]
#[command(name = "cesctl", version)]
struct Arguments {
    /// The admin socket of cesd
    #[arg(long, global = true, default_value = ADMIN_SOCKET)]
    socket: PathBuf,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what there is
    Show {
        /// What to show
        topic: Topic,
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
    /// Read configuration, hosts, policies and certificates again
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
    /// Forget what the resolver's cache knows
    Flush,
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

fn protocol(text: &str) -> Result<u8, String> {
    protocol_number(text)
        .ok_or_else(|| "icmp, tcp, udp, gre, esp, sctp, or a number from 0 to 255 was expected".to_owned())
}

fn tag(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_| "up to eight hexadecimal digits were expected".into())
}

fn request(command: &Command) -> Request {
    match command {
        Command::Show { topic } => Request::Show { topic: *topic },
        Command::Trace { address, port, proto, dropped, count } => Request::Trace {
            address: *address,
            port: port.clone(),
            protocol: *proto,
            dropped: *dropped,
            count: *count,
        },
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
        Command::Flush => Request::Flush,
    }
}

/// Why there is no answer.
enum Failure {
    /// What to say.
    Said(String),
    /// Nobody reads what we print: not worth a word.
    Quiet,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Quiet } else { Self::Said(error.to_string()) }
    }
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
        Command::Show { topic } => out.write_all(render::show(*topic, answer).as_bytes())?,
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
    let path = arguments.socket.display();
    let mut socket = UnixStream::connect(&arguments.socket).map_err(|error| {
        Failure::Said(format!("cannot reach cesd at {path}: {error} (does it run? --socket names another)"))
    })?;
    let mut line =
        serde_json::to_vec(&request(&arguments.command)).map_err(|error| Failure::Said(error.to_string()))?;
    line.push(b'\n');
    socket.write_all(&line)?;
    let mut lines = BufReader::new(socket).lines();
    let mut pages = Pages::default();
    loop {
        let line = lines
            .next()
            .transpose()
            .map_err(|error| Failure::Said(format!("{path}: {error}")))?
            .ok_or_else(|| Failure::Said(format!("{path}: cesd went away before it answered")))?;
        let response: Response = serde_json::from_str(&line)
            .map_err(|error| Failure::Said(format!("{path}: not an answer: {error}")))?;
        match response {
            Response::Item(page) if matches!(arguments.command, Command::Show { .. }) => pages.add(page),
            Response::Item(item) => print(arguments, &item, true)?,
            Response::Ok(end) => return Ok(print(arguments, &pages.whole(end), false)?),
            Response::Error(text) => return Err(Failure::Said(text)),
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) | Err(Failure::Quiet) => ExitCode::SUCCESS,
        Err(Failure::Said(text)) => {
            eprintln!("cesctl: {text}");
            ExitCode::FAILURE
        }
    }
}
