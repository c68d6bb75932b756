//! A line of a rules file, as it is written: names stay names.

use crate::members;
use crate::words::{self, ICMP, TCP, WITH_PORTS};
use ces_filter::{Action, Condition, OpeningRates, Protocols, Ranges, Zone};

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'t> {
    /// A set of addresses.
    Set(&'t str, Vec<Member<'t>>),
    /// A set whose addresses stand in a file.
    FileSet(&'t str, &'t str),
    /// A rule.
    Rule(Box<Written<'t>>),
}

/// Whom a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member<'t> {
    /// Addresses from this to that.
    Addresses(u32, u32),
    /// Those of a set.
    Set(&'t str),
    /// A host's.
    Host(&'t str),
    /// Those of a group of hosts.
    Group(&'t str),
}

/// A source or destination.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Party<'t> {
    pub(crate) zone: Option<Zone>,
    /// Names of ports of the gateway; empty: any.
    pub(crate) interfaces: Vec<&'t str>,
    /// Empty: anybody.
    pub(crate) who: Vec<Member<'t>>,
    pub(crate) ports: Option<Ranges>,
}

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written<'t> {
    pub(crate) action: Action,
    pub(crate) protocols: Protocols,
    pub(crate) from: Party<'t>,
    pub(crate) to: Party<'t>,
    /// What it asks of the packet itself.
    pub(crate) condition: Condition,
    pub(crate) log: bool,
    pub(crate) limits: OpeningRates,
    pub(crate) name: Option<&'t str>,
}

/// The words of a line that are still to be read.
struct Words<'t>(std::iter::Peekable<std::vec::IntoIter<&'t str>>);

/// Words that mean something where a value could stand.
const KEYWORDS: [&str; 13] = [
    "from",
    "to",
    "on",
    "port",
    "type",
    "flags",
    "dscp",
    "length",
    "fragmented",
    "whole",
    "log",
    "rate",
    "name",
];
/// The most sessions a second of a rate.
const RATE_MOST: u32 = 1_000_000;

impl<'t> Words<'t> {
    fn next_if(&mut self, word: &str) -> bool {
        self.0.next_if(|next| *next == word).is_some()
    }

    /// The next word, which is no keyword.
    fn value(&mut self, expected: &str) -> Result<&'t str, String> {
        match self.0.next_if(|word| !KEYWORDS.contains(word) && *word != ",") {
            Some(word) => Ok(word),
            None => Err(self.instead(expected)),
        }
    }

    /// The next word, which means something.
    fn number<T>(&mut self, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
        let word = self.value(expected)?;
        read(word).ok_or_else(|| format!("{word:?}: {expected} was expected"))
    }

    fn instead(&mut self, expected: &str) -> String {
        match self.0.peek() {
            Some(word) => format!("{word:?}: {expected} was expected"),
            None => format!("the line ends where {expected} was expected"),
        }
    }

    /// Values with commas between them.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut all = vec![one(self)?];
        while self.next_if(",") {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn end(&mut self, expected: &str) -> Result<(), String> {
        if self.0.peek().is_none() { Ok(()) } else { Err(self.instead(expected)) }
    }
}

/// Reads a line; `None`: there is nothing in it.
pub(crate) fn parse(line: &str) -> Result<Option<Parsed<'_>>, String> {
    let mut words = Words(words::split(line)?.into_iter().peekable());
    let Some(first) = words.0.next() else { return Ok(None) };
    let action = match first {
        "set" => return set(&mut words).map(Some),
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        "reject" => Action::Reject,
        other => return Err(format!("{other:?}: \"allow\", \"deny\", \"reject\" or \"set\" was expected")),
    };
    rule(action, &mut words).map(|rule| Some(Parsed::Rule(Box::new(rule))))
}

fn set<'t>(words: &mut Words<'t>) -> Result<Parsed<'t>, String> {
    let set = name(words.value("the name of the set")?)?;
    let parsed = if words.next_if("file") {
        let path = words.value("the path of the file")?;
        Parsed::FileSet(set, path.trim_matches('"'))
    } else if words.next_if("=") {
        Parsed::Set(set, words.list(member)?)
    } else {
        return Err(words.instead("\"=\" with addresses, or \"file\" with a path"));
    };
    words.end("a comma or the end of the line")?;
    Ok(parsed)
}

/// A name that a person gives.
fn name(word: &str) -> Result<&str, String> {
    if ces_settings::is_name(word) {
        Ok(word)
    } else {
        Err(format!("{word:?} is no name: at most 63 letters, digits, '-', '_' or '.' were expected"))
    }
}

fn member<'t>(words: &mut Words<'t>) -> Result<Member<'t>, String> {
    let word = words.value("an address, a prefix, a range, @SET, host NAME or group NAME")?;
    match word {
        "host" => words.value("the name of a host").map(Member::Host),
        "group" => words.value("the name of a group of hosts").map(Member::Group),
        _ => match word.strip_prefix('@') {
            Some(set) => name(set).map(Member::Set),
            None => members::addresses(word).map(|(first, last)| Member::Addresses(first, last)),
        },
    }
}

fn rule<'t>(action: Action, words: &mut Words<'t>) -> Result<Written<'t>, String> {
    let protocols = protocols(words)?;
    let mut all = if protocols.is_none() { Protocols::ALL } else { Protocols::NONE };
    protocols.iter().flatten().for_each(|&protocol| all.add(protocol));
    let from = if words.next_if("from") { side(words)? } else { Party::default() };
    let mut to = if words.next_if("to") { side(words)? } else { Party::default() };
    if from.ports.is_some() || to.ports.is_some() {
        has_ports(protocols.as_deref())?;
    }
    if words.next_if("type") {
        alone(protocols.as_deref(), "type", ICMP, "icmp")?;
        to.ports = Some(types(words)?);
    }
    let condition = condition(words, protocols.as_deref())?;
    let log = words.next_if("log");
    let limits = if words.next_if("rate") { limits(action, words)? } else { OpeningRates::NONE };
    let name = if words.next_if("name") { Some(name(words.value("the name of the rule")?)?) } else { None };
    words.end(
        "\"from\", \"to\", \"type\", \"flags\", \"dscp\", \"length\", \"fragmented\" or \"whole\", \"log\", \"rate\", \"name\" \
         or the end of the line, in this order,",
    )?;
    Ok(Written { action, protocols: all, from, to, condition, log, limits, name })
}

/// What is asked of one protocol alone.
fn alone(protocols: Option<&[u8]>, word: &str, protocol: u8, name: &str) -> Result<(), String> {
    if protocols == Some(&[protocol]) {
        Ok(())
    } else {
        Err(format!("\"{word}\" needs the protocol {name}, and no other"))
    }
}

fn types(words: &mut Words<'_>) -> Result<Ranges, String> {
    let expected = "echo-request (ping) or timestamp-request";
    let types = words.list(|words| {
        let word = words.value(expected)?;
        words::icmp_type(word)
            .map(|number| (number, number))
            .ok_or_else(|| format!("{word:?}: {expected} was expected; others open no session"))
    })?;
    Ok(Ranges::new(types))
}

/// What the packet itself is to be.
fn condition(words: &mut Words<'_>, protocols: Option<&[u8]>) -> Result<Condition, String> {
    let mut condition = Condition::ANY;
    if words.next_if("flags") {
        alone(protocols, "flags", TCP, "tcp")?;
        for (flag, is_set) in words.list(|words| words.number("a flag such as syn or !urg", words::flag))? {
            if is_set { condition.flags_set |= flag } else { condition.flags_clear |= flag }
        }
        if condition.flags_set & condition.flags_clear != 0 {
            return Err("\"flags\": the same one is to be set and not to be set".to_owned());
        }
    }
    if words.next_if("dscp") {
        let expected = "a code point such as ef, or a number up to 63,";
        let listed = words.list(|words| words.number(expected, words::dscp))?;
        condition.dscps = listed.iter().fold(0, |all, dscp| all | 1 << dscp);
    }
    if words.next_if("length") {
        condition.length = words.number("bytes of the packet, such as 1-100,", words::length)?;
    }
    condition.is_fragment =
        if words.next_if("fragmented") { Some(true) } else { words.next_if("whole").then_some(false) };
    Ok(condition)
}

/// Sessions a second: of all, `per source`, or both.
fn limits(action: Action, words: &mut Words<'_>) -> Result<OpeningRates, String> {
    if action != Action::Allow {
        return Err("\"rate\" is for what a rule allows".to_owned());
    }
    let mut limits = OpeningRates::NONE;
    let number = |word: &str| word.parse().ok().filter(|rate| (1..=RATE_MOST).contains(rate));
    words.list(|words| {
        let rate = words.number("a number of sessions a second, from 1 to 1000000,", number)?;
        let of = if words.next_if("per") {
            if !words.next_if("source") {
                return Err(words.instead("\"source\""));
            }
            &mut limits.each
        } else {
            &mut limits.all
        };
        if of.replace(rate).is_some() { Err("\"rate\": said twice".to_owned()) } else { Ok(()) }
    })?;
    Ok(limits)
}

/// The protocols that are named; `None`: any.
fn protocols(words: &mut Words<'_>) -> Result<Option<Vec<u8>>, String> {
    if words.next_if("any") || words.0.peek().is_none_or(|word| KEYWORDS.contains(word)) {
        return Ok(None);
    }
    let protocol = |words: &mut Words<'_>| {
        let word = words.value("a protocol")?;
        words::protocol_number(word).ok_or_else(|| {
            format!("{word:?}: a protocol such as tcp, udp, icmp, or a number up to 255 was expected")
        })
    };
    words.list(protocol).map(Some)
}

fn has_ports(protocols: Option<&[u8]>) -> Result<(), String> {
    let Some(protocols) = protocols else {
        return Err("\"port\" needs a protocol: tcp, udp, or both".to_owned());
    };
    match protocols.iter().find(|protocol| !WITH_PORTS.contains(protocol)) {
        Some(&protocol) => Err(format!("{} has no ports that could be told", words::protocol_name(protocol))),
        None => Ok(()),
    }
}

fn side<'t>(words: &mut Words<'t>) -> Result<Party<'t>, String> {
    let zone = Zone::ALL.into_iter().find(|zone| words.next_if(zone.label()));
    let interfaces = if words.next_if("on") {
        words.list(|words| words.value("the name of a port of the gateway"))?
    } else {
        Vec::new()
    };
    let is_told = zone.is_some() || !interfaces.is_empty();
    let bare = |words: &mut Words<'_>| words.0.peek().is_none_or(|word| KEYWORDS.contains(word));
    let who =
        if words.next_if("any") || (is_told && bare(words)) { Vec::new() } else { words.list(member)? };
    let expected = "a port, a range such as 1024-65535, or a name such as ssh";
    let port = |words: &mut Words<'_>| words.number(expected, words::ports);
    let ports = if words.next_if("port") { Some(Ranges::new(words.list(port)?)) } else { None };
    Ok(Party { zone, interfaces, who, ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(line: &str) -> Written<'_> {
        match parse(line) {
            Ok(Some(Parsed::Rule(rule))) => *rule,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_rule_reads_like_a_sentence() {
        let web = rule(
            "allow tcp, udp from inside group staff, @lab port 1024-65535 to outside 192.0.2.0/24 port http, 443 name web",
        );
        assert_eq!(
            (web.action, web.from.zone, web.to.zone, web.name),
            (Action::Allow, Some(Zone::Inside), Some(Zone::Outside), Some("web"))
        );
        assert_eq!(web.from.who, [Member::Group("staff"), Member::Set("lab")]);
        assert_eq!(web.to.who, [Member::Addresses(0xc000_0200, 0xc000_02ff)]);
        assert_eq!(web.to.ports, Some(Ranges::new(vec![(80, 80), (443, 443)])));
        assert!(web.protocols.has(6) && web.protocols.has(17) && !web.protocols.has(1));
        let ping = rule("reject icmp from any to host www.a.demo type ping");
        assert_eq!(
            (ping.to.who, ping.to.ports),
            (vec![Member::Host("www.a.demo")], Some(Ranges::new(vec![(8, 8)])))
        );
        for all in ["deny", "deny any", "deny from any to any", "deny any to any"] {
            assert_eq!(
                rule(all),
                Written {
                    action: Action::Deny,
                    protocols: Protocols::ALL,
                    from: Party::default(),
                    to: Party::default(),
                    condition: Condition::ANY,
                    log: false,
                    limits: OpeningRates::NONE,
                    name: None
                }
            );
        }
        assert_eq!(rule("deny to inside").to.zone, Some(Zone::Inside));
    }

    #[test]
    fn a_rule_may_ask_for_more_and_do_more() {
        let odd = rule(
            "deny tcp from inside on lan, guests to any flags syn, !urg dscp ef, 8 length 40-60 whole log name odd",
        );
        assert_eq!((odd.from.interfaces, odd.from.zone), (vec!["lan", "guests"], Some(Zone::Inside)));
        let condition = Condition {
            flags_set: 0x02,
            flags_clear: 0x20,
            dscps: 1 << 46 | 1 << 8,
            length: (40, 60),
            is_fragment: Some(false),
            ..Condition::ANY
        };
        assert_eq!((odd.condition, odd.log, odd.name), (condition, true, Some("odd")));
        assert_eq!(rule("deny from on guests").from.interfaces, ["guests"]);
        let slow = rule("allow udp to any port dns rate 100, 5 per source");
        assert_eq!(slow.limits, OpeningRates { all: Some(100), each: Some(5) });
        assert_eq!(rule("allow fragmented").condition.is_fragment, Some(true));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, why) in [
            ("permit tcp", "\"permit\": \"allow\", \"deny\", \"reject\" or \"set\" was expected"),
            ("allow tpc", "a protocol such as tcp"),
            ("allow from inside port 80", "\"port\" needs a protocol"),
            ("allow tcp, icmp to any port 80", "icmp has no ports"),
            ("allow sctp to any port 80", "sctp has no ports that could be told"),
            ("allow tcp to any port", "the line ends where a port, a range such as"),
            ("allow tcp to any port 80,", "the line ends where a port, a range such as"),
            ("allow tcp to any port 80 90", "\"90\": \"from\", \"to\""),
            ("allow tcp to from", "\"from\": an address"),
            ("allow tcp to any from any", "in this order"),
            ("allow tcp to any type ping", "\"type\" needs the protocol icmp"),
            ("allow icmp type unreachable", "others open no session"),
            ("allow tcp from 10.0.0.1/8", "write 10.0.0.0/8"),
            ("allow tcp from host", "the name of a host"),
            ("allow name a/b", "is no name"),
            ("allow flags syn", "\"flags\" needs the protocol tcp"),
            ("allow tcp flags syn, !syn", "the same one"),
            ("allow tcp flags nul", "a flag such as syn or !urg was expected"),
            ("allow dscp 64", "a code point such as ef"),
            ("allow length 0", "bytes of the packet"),
            ("deny rate 5", "\"rate\" is for what a rule allows"),
            ("allow rate 0", "a number of sessions a second"),
            ("allow rate 5, 6", "said twice"),
            ("allow rate 5 per host", "\"source\" was expected"),
            ("allow from on", "the name of a port of the gateway"),
            ("allow log length 40", "in this order"),
            ("set", "the name of the set"),
            ("set a 10.0.0.1", "\"=\" with addresses"),
            ("set a = 10.0.0.1 10.0.0.2", "a comma or the end of the line"),
            ("set a file \"x", "a quote has no end"),
        ] {
            let said = parse(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
