//! Hosts of two realms that ask for names, send to each other, and time it: the control plane from outside, as its users
//! meet it. `perf/control/run` brings up what this needs and calls it.
#![forbid(unsafe_code)]

mod clock;
mod dnsperf;
mod echo;
mod figure;
mod first;
mod gateways;
mod message;
mod names;
mod realm;
mod sockets;
mod table;
mod unsent;

use clap::{Args, Parser, Subcommand};
use figure::Figure;
use first::Firsts;
use gateways::Gateway;
use names::{Load, Pairs};
use realm::{Kind, Realm};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

/// Hosts that ask for names. Each figure is a line of JSON on standard output.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Change a gateway's configuration in the lab's state so that it serves so many hosts
    Realm {
        /// The realm
        #[arg(long, value_enum)]
        realm: Realm,
        /// Hosts
        #[arg(long, value_parser = hosts)]
        hosts: u32,
        /// The directory with its cesd.toml
        directory: PathBuf,
    },
    /// The hosts' addresses, for `ip -batch`
    Addresses {
        /// Hosts
        #[arg(long, value_parser = hosts)]
        hosts: u32,
        /// Their interface
        interface: String,
    },
    /// Queries for dnsperf: the open names of realm B
    Queries {
        /// Hosts
        #[arg(long, value_parser = hosts)]
        hosts: u32,
        /// Record type
        #[arg(long, default_value = "A")]
        record: String,
    },
    /// Hosts ask for names
    Names {
        #[command(flatten)]
        common: Common,
        /// Pairs of host and name, each asked for once; without it, one host asks for all names over and over
        #[arg(long, value_parser = range)]
        pairs: Option<Range<u64>>,
        /// What the names' policy wants of the asker
        #[arg(long, value_enum, default_value = "open")]
        kind: Kind,
        /// Queries under way at a time
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        outstanding: u32,
    },
    /// One host after another asks for a name and sends a packet to what it was told
    First {
        #[command(flatten)]
        common: Common,
        /// Pairs of host and name
        #[arg(long, value_parser = range)]
        pairs: Range<u64>,
        /// Run by a shell before each of them
        #[arg(long)]
        before: Option<String>,
    },
    /// The far hosts that packets are sent to; ends when it is ended
    Echo {
        /// Hosts
        #[arg(long, value_parser = hosts)]
        hosts: u32,
    },
    /// Run dnsperf with the arguments that follow
    Dnsperf {
        /// The figure's name
        #[arg(long)]
        case: String,
        /// A gateway's process, as NAME=ID
        #[arg(long)]
        gateway: Vec<Gateway>,
        /// For dnsperf
        #[arg(last = true, required = true)]
        arguments: Vec<String>,
    },
    /// All figures of a file as a table
    Table {
        /// One figure a line
        file: PathBuf,
    },
}

#[derive(Args)]
struct Common {
    /// The figure's name
    #[arg(long)]
    case: String,
    /// Hosts in each realm
    #[arg(long, value_parser = hosts)]
    hosts: u32,
    /// The name server
    #[arg(long, default_value_t = SocketAddr::from((realm::GATEWAY, 53)))]
    server: SocketAddr,
    /// For how long, at most
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// A gateway's process, as NAME=ID
    #[arg(long)]
    gateway: Vec<Gateway>,
}

fn hosts(text: &str) -> Result<u32, String> {
    let hosts = text.parse().ok().filter(|hosts| (2..=realm::HOSTS_MAX).contains(hosts));
    hosts.ok_or_else(|| format!("2 to {} hosts were expected", realm::HOSTS_MAX))
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.filter(|range: &Range<u64>| range.start < range.end).ok_or("FROM..TO was expected".into())
}

fn main() -> ExitCode {
    match run(Arguments::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<(), String> {
    match what {
        What::Realm { realm, hosts, directory } => enlarge(realm, hosts, &directory),
        What::Addresses { hosts, interface } => {
            (0..hosts).for_each(|host| println!("address add {}/32 dev {interface}", realm::address(host)));
            Ok(())
        }
        What::Queries { hosts, record } => {
            (0..hosts).for_each(|host| println!("{} {record}", realm::name(Kind::Open, host)));
            Ok(())
        }
        What::Names {
            common: Common { case, hosts, server, seconds, gateway },
            pairs,
            kind,
            outstanding,
        } => {
            let pairs = pairs.map_or(Pairs::Again, Pairs::Once);
            tell(&Load { case, hosts, kind, pairs, outstanding, seconds }.run(server, &gateway)?)
        }
        What::First { common: Common { case, hosts, server, seconds, gateway }, pairs, before } => {
            tell(&Firsts { case, hosts, pairs, seconds, before }.run(server, &gateway)?)
        }
        What::Echo { hosts } => echo::run(hosts),
        What::Dnsperf { case, gateway, arguments } => tell(&dnsperf::run(&case, &arguments, &gateway)?),
        What::Table { file } => {
            print!("{}", table::table(&figures(&file)?));
            Ok(())
        }
    }
}

/// A figure for programs on standard output, and for whoever waits on standard error.
fn tell(figure: &Figure) -> Result<(), String> {
    println!("{}", figure.line()?);
    let answer = figure.answer_us.map(|times| format!(", answer {} / {} us", times.p50, times.p99));
    eprintln!("{}: {} a second{}", table::what(&figure.case), figure.per_second, answer.unwrap_or_default());
    if figure.completed == 0 {
        return Err(format!("{}: nothing succeeded: {:?}", figure.case, figure.failed));
    }
    Ok(())
}

fn at(path: &Path) -> impl Fn(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

fn enlarge(realm: Realm, hosts: u32, directory: &Path) -> Result<(), String> {
    let file = directory.join("cesd.toml");
    let text = fs::read_to_string(&file).map_err(at(&file))?;
    fs::write(&file, realm::configuration(&text)?).map_err(at(&file))?;
    let file = directory.join(realm::HOSTS_FILE);
    fs::write(&file, realm::hosts(realm, hosts)).map_err(at(&file))
}

fn figures(file: &Path) -> Result<Vec<Figure>, String> {
    let text = fs::read_to_string(file).map_err(at(file))?;
    let wrong = |line: usize, error| format!("{}:{}: {error}", file.display(), line + 1);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| serde_json::from_str(line).map_err(|error| wrong(number, error))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn ranges_and_numbers_of_hosts_are_checked() {
        assert_eq!(range("3..10"), Ok(3..10));
        assert!(range("10..3").is_err() && range("10").is_err() && range("a..b").is_err());
        assert!(hosts("1").is_err() && hosts("100000").is_err() && hosts("1000") == Ok(1000));
    }

    #[test]
    fn a_figure_that_cannot_be_read_is_named_by_its_line() {
        let file = std::env::temp_dir().join(format!("ces-ask-test-{}", std::process::id()));
        let good = Figure::new("names-1", 1, 1.0, 1, std::collections::BTreeMap::new()).line().unwrap();
        fs::write(&file, format!("{good}\n\nno figure\n")).unwrap();
        let error = figures(&file).unwrap_err();
        fs::remove_file(&file).unwrap();
        assert!(error.contains(":3: "), "{error}");
    }
}
