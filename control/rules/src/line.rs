//! A line of a rules file, as it is written: names stay names.

use crate::members;
use crate::words::{self, ICMP, WITH_PORTS};
use ces_filter::{Action, Protocols, Ranges, Zone};

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
pub(crate) struct Side<'t> {
    pub(crate) zone: Option<Zone>,
    /// Empty: anybody.
    pub(crate) who: Vec<Member<'t>>,
    pub(crate) ports: Option<Ranges>,
}

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written<'t> {
    pub(crate) action: Action,
    pub(crate) protocols: Protocols,
    pub(crate) from: Side<'t>,
    pub(crate) to: Side<'t>,
    pub(crate) name: Option<&'t str>,
}

/// The words of a line that are still to be read.
struct Words<'t>(std::iter::Peekable<std::vec::IntoIter<&'t str>>);

/// Words that mean something where a value could stand.
const KEYWORDS: [&str; 5] = ["from", "to", "port", "type", "name"];

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
    let mut rule = Written {
        action,
        protocols: protocols.as_deref().map_or(Protocols::ALL, |listed| {
            let mut all = Protocols::NONE;
            for &protocol in listed {
                all.add(protocol);
            }
            all
        }),
        from: Side::default(),
        to: Side::default(),
        name: None,
    };
    if words.next_if("from") {
        rule.from = side(words)?;
    }
    if words.next_if("to") {
        rule.to = side(words)?;
    }
    if rule.from.ports.is_some() || rule.to.ports.is_some() {
        has_ports(protocols.as_deref())?;
    }
    if words.next_if("type") {
        if protocols.as_deref() != Some(&[ICMP]) {
            return Err("\"type\" needs the protocol icmp, and no other".to_owned());
        }
        let expected = "echo-request (ping) or timestamp-request";
        let types = words.list(|words| {
            let word = words.value(expected)?;
            words::icmp_type(word)
                .map(|number| (number, number))
                .ok_or_else(|| format!("{word:?}: {expected} was expected; others open no session"))
        })?;
        rule.to.ports = Some(Ranges::new(types));
    }
    if words.next_if("name") {
        rule.name = Some(name(words.value("the name of the rule")?)?);
    }
    words.end("\"from\", \"to\", \"type\", \"name\" or the end of the line, in this order,")?;
    Ok(rule)
}

/// The protocols that are named; `None`: any.
fn protocols(words: &mut Words<'_>) -> Result<Option<Vec<u8>>, String> {
    if words.next_if("any") || words.0.peek().is_none_or(|word| KEYWORDS.contains(word)) {
        return Ok(None);
    }
    let protocol = |words: &mut Words<'_>| {
        let word = words.value("a protocol")?;
        words::protocol(word).ok_or_else(|| {
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

fn side<'t>(words: &mut Words<'t>) -> Result<Side<'t>, String> {
    let zone = Zone::ALL.into_iter().find(|zone| words.next_if(zone.label()));
    let bare = |words: &mut Words<'_>| words.0.peek().is_none_or(|word| KEYWORDS.contains(word));
    let who = if words.next_if("any") || (zone.is_some() && bare(words)) {
        Vec::new()
    } else {
        words.list(member)?
    };
    let port = |words: &mut Words<'_>| {
        let word = words.value("a port")?;
        words::ports(word).ok_or_else(|| {
            format!("{word:?}: a port, a range such as 1024-65535, or a name such as ssh was expected")
        })
    };
    let ports = if words.next_if("port") { Some(Ranges::new(words.list(port)?)) } else { None };
    Ok(Side { zone, who, ports })
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
                    from: Side::default(),
                    to: Side::default(),
                    name: None
                }
            );
        }
        assert_eq!(rule("deny to inside").to.zone, Some(Zone::Inside));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, why) in [
            ("permit tcp", "\"permit\": \"allow\", \"deny\", \"reject\" or \"set\" was expected"),
            ("allow tpc", "a protocol such as tcp"),
            ("allow from inside port 80", "\"port\" needs a protocol"),
            ("allow tcp, icmp to any port 80", "icmp has no ports"),
            ("allow sctp to any port 80", "sctp has no ports that could be told"),
            ("allow tcp to any port", "the line ends where a port was expected"),
            ("allow tcp to any port 80,", "the line ends where a port was expected"),
            ("allow tcp to any port 80 90", "\"90\": \"from\", \"to\""),
            ("allow tcp to from", "\"from\": an address"),
            ("allow tcp to any from any", "in this order"),
            ("allow tcp to any type ping", "\"type\" needs the protocol icmp"),
            ("allow icmp type unreachable", "others open no session"),
            ("allow tcp from 10.0.0.1/8", "write 10.0.0.0/8"),
            ("allow tcp from host", "the name of a host"),
            ("allow name a/b", "is no name"),
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
