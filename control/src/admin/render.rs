//! Answers of `cesd` as a person reads them.

mod dhcp;
mod inbound;

use super::protocol::Topic;
use super::table::{TextTable, bit_rate, bytes, count, duration, time};
use super::value::{list, number, or_none, text, texts};
use ces_rules::protocol_name;
use serde_json::Value;
use std::fmt::Write as _;

/// The answer to `show`.
pub fn show(topic: Topic, answer: &Value) -> String {
    match topic {
        Topic::Ports => ports(answer),
        Topic::Queues => queues(answer),
        Topic::Workers => workers(answer),
        Topic::Bindings => bindings(answer),
        Topic::Peers => peers(answer),
        Topic::Hosts => hosts(answer),
        Topic::Dns => dns(answer),
        Topic::Drops => drops(answer),
        Topic::Tunnels => tunnels(answer),
        Topic::Neighbours => neighbours(answer),
        Topic::Nat => nat(answer),
        Topic::Alg => alg(answer),
        Topic::Rewrites => rewrites(answer),
        Topic::Sessions => sessions(answer),
        Topic::Holders => holders(answer),
        Topic::Mappings => mappings(answer),
        Topic::Rules => rules(answer),
        Topic::Logged => logged(answer),
        Topic::Inbound => inbound::pool(answer),
        Topic::Services => inbound::services(answer),
        Topic::Reservations => inbound::reservations(answer),
        Topic::Pools => pools(answer),
        Topic::Control => control(answer),
        Topic::Dhcp => dhcp::server(answer),
        Topic::Leases => dhcp::leases(answer),
        Topic::Names => inbound::names(answer),
        Topic::Reputation => inbound::reputation(answer),
        Topic::Journal => journal(answer),
    }
}

fn ports(answer: &Value) -> String {
    let mut table = TextTable::new(&[
        "PORT",
        "SIDE",
        "LINK",
        "ADDRESSES",
        "MAC",
        "MTU",
        "VLAN",
        "RX PACKETS",
        "RX BYTES",
        "TX PACKETS",
        "TX BYTES",
        "TAP",
        "DEVICE",
    ]);
    let mut problems = String::new();
    for port in list(answer) {
        let link = match (&port["link"], &port["mbps"]) {
            (Value::Bool(false), _) => "down".to_owned(),
            (_, Value::Number(mbps)) => bit_rate(mbps.as_u64().unwrap_or(0) * 1_000_000),
            (Value::Bool(true), _) => "up".to_owned(),
            _ => "-".to_owned(),
        };
        table.row(vec![
            text(port, "name"),
            text(port, "side"),
            link,
            texts(port, "addresses"),
            text(port, "mac"),
            text(port, "mtu"),
            text(port, "vlan"),
            count(number(port, "rx_packets")),
            bytes(number(port, "rx_bytes")),
            count(number(port, "tx_packets")),
            bytes(number(port, "tx_bytes")),
            text(port, "tap"),
            text(port, "device"),
        ]);
        for (key, what) in [
            ("rx_missed", "missed by the device, its queue was full"),
            ("rx_errors", "arrived damaged"),
            ("tx_errors", "could not be sent"),
            ("rx_no_buffer", "found no buffer"),
        ] {
            let lost = number(&port["device_counters"], key);
            if lost > 0 {
                let _ = writeln!(problems, "{}: {} packets {what}", text(port, "name"), count(lost));
            }
        }
    }
    table.text() + &problems
}

fn queues(answer: &Value) -> String {
    let mut table = TextTable::new(&[
        "PORT",
        "BANDWIDTH",
        "CLASS",
        "WAITING",
        "BYTES",
        "HOSTS",
        "DELAY",
        "SENT",
        "SENT BYTES",
        "MARKED",
        "DROPPED LATE",
        "DROPPED FULL",
    ]);
    for port in list(answer) {
        for class in list(&port["classes"]) {
            let name = text(class, "class");
            let bits = if name == "urgent" { "urgent_bits" } else { "bandwidth_bits" };
            table.row(vec![
                text(port, "port"),
                bit_rate(number(port, bits)),
                name,
                count(number(class, "packets")),
                bytes(number(class, "bytes")),
                count(number(class, "hosts")),
                format!("{:.1} ms", number(class, "delay_us") as f64 / 1000.0),
                count(number(class, "sent")),
                bytes(number(class, "sent_bytes")),
                count(number(class, "marked")),
                count(number(class, "dropped_late")),
                count(number(class, "dropped_full")),
            ]);
        }
    }
    or_none(&table, "no port is shaped: none has a bandwidth")
}

fn workers(answer: &Value) -> String {
    let mut table = TextTable::new(&[
        "WORKER",
        "CORE",
        "BUSY",
        "PACKETS",
        "CYCLES/PACKET",
        "BINDINGS",
        "PUNTED",
        "INJECTED",
        "HANDED OFF",
        "HELD",
        "HELD NOW",
    ]);
    let mut rings = TextTable::new(&["WORKER", "RING", "DEPTH", "CAPACITY", "OVERFLOWS"]);
    let mut bursts =
        TextTable::new(&["WORKER", "BURSTS OF", "0", "1", "2-3", "4-7", "8-15", "16-31", "32-63", "64+"]);
    for worker in list(answer) {
        let punted: u64 =
            worker["punts"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
        table.row(vec![
            text(worker, "worker"),
            text(worker, "core"),
            format!("{:.1} %", worker["busy_percent"].as_f64().unwrap_or(0.0)),
            count(number(worker, "packets")),
            format!("{:.0}", worker["cycles_per_packet"].as_f64().unwrap_or(0.0)),
            count(number(worker, "bindings")),
            count(punted),
            count(number(worker, "injected")),
            count(number(worker, "handed_off")),
            count(number(worker, "held")),
            count(number(worker, "held_now")),
        ]);
        for ring in list(&worker["rings"]) {
            rings.row(vec![
                text(worker, "worker"),
                text(ring, "ring"),
                count(number(ring, "depth")),
                count(number(ring, "capacity")),
                count(number(ring, "overflows")),
            ]);
        }
        let mut row = vec![text(worker, "worker"), String::new()];
        row.extend(list(&worker["bursts"]).iter().map(|burst| count(burst.as_u64().unwrap_or(0))));
        bursts.row(row);
    }
    format!("{}\n{}\n{}", table.text(), rings.text(), bursts.text())
}

fn tunnel_name(tunnel: &Value) -> String {
    if tunnel.is_null() {
        return "-".to_owned();
    }
    let header = if tunnel["sealed"] == true { "psp".to_owned() } else { text(tunnel, "encapsulation") };
    format!("{header} {} > {}", text(tunnel, "local"), text(tunnel, "remote"))
}

fn bindings(answer: &Value) -> String {
    let mut table = TextTable::new(&[
        "TAG",
        "ROLE",
        "LOCAL",
        "HOST",
        "REMOTE",
        "PROXY",
        "PEER",
        "TUNNEL",
        "OUT PACKETS",
        "OUT BYTES",
        "IN PACKETS",
        "IN BYTES",
        "IDLE",
        "AGE",
        "LIMITS",
    ]);
    for binding in list(answer) {
        let stats = &binding["stats"];
        let counted = |key: &str, show: fn(u64) -> String| {
            if stats.is_null() { "-".to_owned() } else { show(number(stats, key)) }
        };
        let mut limits = Vec::new();
        if let Some(protocol) = binding["protocol"].as_u64() {
            limits.push(protocol_name(protocol as u8));
        }
        if let Some(port) = binding["port"].as_u64() {
            limits.push(format!("port {port}"));
        }
        if let Some(rate) = binding["rate_bps"].as_u64() {
            limits.push(bit_rate(rate));
        }
        table.row(vec![
            format!("{:08x}", number(binding, "tag")),
            text(binding, "role"),
            text(binding, "local"),
            text(binding, "host"),
            text(binding, "remote"),
            text(binding, "proxy"),
            text(binding, "peer"),
            tunnel_name(&binding["tunnel"]),
            counted("out_packets", count),
            counted("out_bytes", bytes),
            counted("in_packets", count),
            counted("in_bytes", bytes),
            counted("idle_s", duration),
            duration(number(binding, "age_s")),
            if limits.is_empty() { "-".to_owned() } else { limits.join(", ") },
        ]);
    }
    or_none(&table, "no bindings")
}

/// The cipher, the epoch of what is sent, and for how long its key has been in use.
fn encryption_name(encryption: &Value) -> String {
    if encryption.is_null() {
        return "none".to_owned();
    }
    let since = duration(number(encryption, "since_s"));
    format!("{}, epoch {}, for {since}", text(encryption, "cipher"), text(encryption, "epoch"))
}

fn peers(answer: &Value) -> String {
    let mut table = TextTable::new(&[
        "PEER",
        "STATE",
        "ROLE",
        "CONNECTIONS",
        "SESSIONS",
        "LIMIT",
        "PENDING",
        "LIFETIME LEFT",
        "TUNNEL OUT",
        "ID OUT",
        "ID IN",
        "ENCRYPTION",
    ]);
    for peer in list(&answer["peers"]) {
        let tunnel = if peer["tunnel_out"].is_null() { &peer["tunnel_in"] } else { &peer["tunnel_out"] };
        table.row(vec![
            text(peer, "ces_id"),
            match (peer["up"] == true, peer["doubted"] == true) {
                (true, false) => "up",
                (true, true) => "doubted",
                (false, _) => "down",
            }
            .to_owned(),
            text(peer, "role"),
            texts(peer, "connections"),
            count(number(peer, "sessions")),
            count(number(peer, "session_limit")),
            count(number(peer, "pending")),
            duration(number(peer, "ttl_left_s")),
            tunnel_name(tunnel),
            text(tunnel, "id_out"),
            text(tunnel, "id_in"),
            encryption_name(&peer["encryption"]),
        ]);
    }
    let mut all = or_none(&table, "no peers");
    let blocks = list(&answer["blocks"]);
    if !blocks.is_empty() {
        let mut table = TextTable::new(&["BLOCKED ADDRESS", "WHY", "LEFT"]);
        for block in blocks {
            table.row(vec![text(block, "addr"), text(block, "why"), duration(number(block, "left_s"))]);
        }
        let _ = write!(all, "\n{}", table.text());
    }
    let filters = list(&answer["filters"]);
    if !filters.is_empty() {
        let mut table = TextTable::new(&["FILTERED NAME", "END", "PEER", "LEFT"]);
        for filter in filters {
            let end = if filter["local"].as_bool() == Some(true) { "local" } else { "remote" };
            let left = duration(number(filter, "left_s"));
            table.row(vec![text(filter, "name"), end.to_owned(), text(filter, "ces_id"), left]);
        }
        let _ = write!(all, "\n{}", table.text());
    }
    let _ = write!(all, "\n{}", counters("CONNECTIONS", &answer["transport"]));
    all
}

/// A map of counters, those that are not zero.
fn counters(heading: &str, map: &Value) -> String {
    let mut table = TextTable::new(&[heading, "COUNT"]);
    for (key, value) in map.as_object().into_iter().flatten() {
        let value = value.as_u64().unwrap_or(0);
        if value > 0 {
            table.row(vec![key.clone(), count(value)]);
        }
    }
    or_none(&table, &format!("{heading}: none"))
}

fn hosts(answer: &Value) -> String {
    let mut table = TextTable::new(&[
        "HOST",
        "ADDRESS",
        "MAC",
        "KNOWN BY",
        "ALSO USED BY",
        "SERVICES",
        "BINDINGS",
        "OF",
        "WORKER",
        "BLOCKED FOR",
    ]);
    for host in list(answer) {
        table.row(vec![
            text(host, "name"),
            text(host, "address"),
            text(host, "mac"),
            text(host, "mac_known_by"),
            text(host, "mac_other"),
            texts(host, "services"),
            count(number(host, "bindings")),
            count(number(host, "bindings_max")),
            text(host, "worker"),
            host["blocked_s"].as_u64().map_or_else(|| "-".to_owned(), duration),
        ]);
    }
    or_none(&table, "no hosts")
}

fn dns(answer: &Value) -> String {
    let all = &answer["counters"];
    let mut table = TextTable::new(&["QUERY ENDED", "INSIDE", "OUTSIDE"]);
    for (outcome, inside) in all["dns_inside"].as_object().into_iter().flatten() {
        let (inside, outside) = (inside.as_u64().unwrap_or(0), number(&all["dns_outside"], outcome));
        if inside + outside > 0 {
            table.row(vec![outcome.clone(), count(inside), count(outside)]);
        }
    }
    let negotiations = counters("NEGOTIATION ENDED", &all["negotiations"]);
    let mut line = String::new();
    let time = &all["negotiation_time"];
    let samples = number(time, "count");
    if samples > 0 {
        let mean_ms = number(time, "sum_ns") as f64 / samples as f64 / 1e6;
        let _ = writeln!(line, "a negotiation took {mean_ms:.2} ms on average");
    }
    let mut servers = TextTable::new(&["RESOLVER", "STATE", "SENT", "ANSWERED"]);
    for server in list(&answer["servers"]) {
        let is = |key: &str| server[key].as_bool() == Some(true);
        let state = match (is("is_down"), is("folds_case")) {
            (true, _) => "silent",
            (false, true) => "up, does not keep the case of names",
            (false, false) => "up",
        };
        servers.row(vec![
            text(server, "address"),
            state.to_owned(),
            count(number(server, "sent")),
            count(number(server, "answered")),
        ]);
    }
    let resolvers = or_none(&servers, "no resolvers");
    let upstream = counters("UPSTREAM", &answer["resolver"]);
    let mistakes = counters("NAPTR RECORDS WITH A MISTAKE", &all["naptr"]);
    let waiting = number(answer, "waiting");
    let cached = number(answer, "cache_entries");
    let _ = writeln!(line, "{} queries wait, {} entries in the cache", count(waiting), count(cached));
    let queries = or_none(&table, "no queries");
    format!("{queries}\n{negotiations}\n{resolvers}\n{upstream}\n{mistakes}\n{line}")
}

fn drops(answer: &Value) -> String {
    let mut table = TextTable::new(&["REASON", "PACKETS", "MEANING"]);
    for drop in list(answer) {
        let packets = number(drop, "packets");
        if packets > 0 {
            table.row(vec![text(drop, "reason"), count(packets), text(drop, "text").trim().to_owned()]);
        }
    }
    or_none(&table, "no packet was dropped")
}

fn tunnels(answer: &Value) -> String {
    let mut table =
        TextTable::new(&["PEER", "ENCAPSULATION", "LOCAL", "REMOTE", "ID IN", "ID OUT", "MTU", "BINDINGS"]);
    for tunnel in list(answer) {
        table.row(
            ["peer", "encapsulation", "local", "remote", "id_in", "id_out", "mtu", "bindings"]
                .iter()
                .map(|key| text(tunnel, key))
                .collect(),
        );
    }
    or_none(&table, "no tunnels")
}

fn neighbours(answer: &Value) -> String {
    let mut table = TextTable::new(&["NEXT HOP", "PORT", "MAC"]);
    for hop in list(&answer["neighbours"]) {
        table.row(vec![text(hop, "address"), text(hop, "port"), text(hop, "mac")]);
    }
    let mut routes = TextTable::new(&["ROUTE", "VIA", "PORT"]);
    for route in list(&answer["routes"]) {
        routes.row(vec![text(route, "network"), text(route, "via"), text(route, "port")]);
    }
    format!("{}\n{}", or_none(&table, "no neighbours"), or_none(&routes, "no routes"))
}

fn pools(answer: &Value) -> String {
    let mut table = TextTable::new(&["POOL", "USED", "OF"]);
    let mut row = |name: String, used: u64, of: u64| {
        table.row(vec![name, count(used), if of > 0 { count(of) } else { "-".to_owned() }]);
    };
    for (worker, used) in list(&answer["slots_used"]).iter().enumerate() {
        row(
            format!("bindings of worker {worker}"),
            used.as_u64().unwrap_or(0),
            number(answer, "slots_per_worker"),
        );
    }
    row("tunnels".to_owned(), number(answer, "tunnels_used"), number(answer, "tunnels_max"));
    row("next hops".to_owned(), number(answer, "neighbours_used"), number(answer, "neighbours_max"));
    row("proxy addresses, all hosts".to_owned(), number(answer, "proxies_used"), 0);
    row(
        "proxy addresses, fullest host".to_owned(),
        number(answer, "proxies_used_max"),
        number(answer, "proxies_per_host"),
    );
    row("waiting queries".to_owned(), number(answer, "waiting"), number(answer, "waiting_max"));
    table.text()
}

fn sessions(answer: &Value) -> String {
    let mut table = TextTable::new(&[
        "PROTOCOL",
        "STATE",
        "HOST",
        "SEEN AS",
        "REMOTE",
        "OUT PACKETS",
        "OUT BYTES",
        "IN PACKETS",
        "IN BYTES",
        "IDLE",
    ]);
    for session in list(answer) {
        table.row(vec![
            protocol_name(number(session, "protocol") as u8),
            text(session, "stage"),
            text(session, "host"),
            text(session, "external"),
            text(session, "remote"),
            count(number(session, "out_packets")),
            bytes(number(session, "out_bytes")),
            count(number(session, "in_packets")),
            bytes(number(session, "in_bytes")),
            duration(number(session, "idle_s")),
        ]);
    }
    or_none(&table, "no sessions")
}

fn mappings(answer: &Value) -> String {
    let mut table = TextTable::new(&["MAPPING", "PROTOCOL", "INSIDE", "OUTSIDE", "SESSIONS"]);
    for mapping in list(answer) {
        let row = ["kind", "protocol", "inside", "external", "sessions"];
        table.row(row.map(|key| text(mapping, key)).to_vec());
    }
    or_none(&table, "no mappings")
}

fn holders(answer: &Value) -> String {
    let mut table = TextTable::new(&["HOST", "OUTSIDE", "SESSIONS", "PORTS"]);
    for host in list(answer) {
        let (sessions, ports) = (count(number(host, "sessions")), count(number(host, "ports")));
        table.row(vec![text(host, "host"), text(host, "external"), sessions, ports]);
    }
    or_none(&table, "no hosts have sessions")
}

/// A rule's place.
fn place(rule: &Value) -> String {
    format!("{}:{}", text(rule, "file"), number(rule, "line"))
}

fn rules(answer: &Value) -> String {
    let mut table = TextTable::new(&["LINE", "NAME", "DECIDED", "TOO MANY", "RULE"]);
    for rule in list(answer) {
        let (decided, exceeded) = (count(number(rule, "decided")), count(number(rule, "exceeded")));
        table.row(vec![place(rule), text(rule, "name"), decided, exceeded, text(rule, "rule")]);
    }
    or_none(&table, "no rules: hosts may go out, and who answers them may come in")
}

fn logged(answer: &Value) -> String {
    let mut table = TextTable::new(&[
        "AGO",
        "DECISION",
        "PROTOCOL",
        "FROM",
        "SOURCE",
        "TO",
        "DESTINATION",
        "BYTES",
        "RULE",
        "NAME",
    ]);
    for row in list(answer) {
        let mut protocol = text(row, "protocol");
        if let Some(kind) = row["icmp_type"].as_u64() {
            let _ = write!(protocol, " type {kind}");
        }
        let texts = |keys: &[&str]| keys.iter().map(|key| text(row, key)).collect::<Vec<_>>();
        let mut cells = vec![duration(number(row, "ago_s")), text(row, "fate"), protocol];
        cells.extend(texts(&["from", "source", "to", "destination", "length", "rule", "name"]));
        table.row(cells);
    }
    or_none(&table, "no rule that says \"log\" has decided")
}

/// The answer to `why`.
pub fn why(answer: &Value) -> String {
    let (from, to) = (text(answer, "from"), text(answer, "to"));
    let rule = &answer["rule"];
    if rule.is_null() {
        let then = match from.as_str() {
            "inside" => "it may be opened",
            _ => "it may be opened where NAT44 lets it",
        };
        return format!("from {from} to {to}: no rule decides; {then}\n");
    }
    format!("from {from} to {to}: {}, by {}: {}\n", text(answer, "action"), place(rule), text(rule, "rule"))
}

/// The answer to `who`.
pub fn who(answer: &Value) -> String {
    let mut table = TextTable::new(&["PROTOCOL", "PORTS", "HOST", "REMOTE", "FROM", "UNTIL"]);
    let end = |value: &Value| match (value[0].as_str(), value[1].as_u64()) {
        (Some(address), Some(0)) => address.to_owned(),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        _ => "-".to_owned(),
    };
    for found in list(answer) {
        let until = match (found["to_ms"].as_u64(), found["restarted_ms"].as_u64()) {
            (Some(at), _) => time(at),
            (None, Some(at)) => format!("not said; the gateway started again at {}", time(at)),
            (None, None) => "now".to_owned(),
        };
        table.row(vec![
            match number(found, "protocol") as u8 {
                0 => "any".to_owned(),
                protocol => protocol_name(protocol),
            },
            format!("{}-{}", found["ports"][0], found["ports"][1]),
            end(&found["host"]),
            end(&found["remote"]),
            found["from_ms"].as_u64().map_or_else(|| "before the records begin".to_owned(), time),
            until,
        ]);
    }
    or_none(&table, "nobody, as far as the records say")
}

fn nat(answer: &Value) -> String {
    let blocks = match number(answer, "block_ports") {
        0 => String::new(),
        ports => format!(" by blocks of {ports}"),
    };
    let mut shown = format!(
        "external addresses {}, ports {} to {}{blocks}, filtering {}, {} static mappings\n",
        texts(answer, "addresses"),
        answer["ports"][0],
        answer["ports"][1],
        text(answer, "filtering"),
        number(answer, "statics")
    );
    for of in list(&answer["short_of"]) {
        let of = of.as_str().unwrap_or_default();
        let _ = writeln!(shown, "there are few {of} left: cesctl show holders");
    }
    let mut table = TextTable::new(&[
        "WORKER",
        "SESSIONS",
        "STATIC",
        "MAPPINGS",
        "HOSTS",
        "PORTS",
        "BLOCKS",
        "OPENED",
        "ENDED",
        "GAVE WAY",
        "OF BEFORE",
    ]);
    for (number_of, worker) in list(&answer["workers"]).iter().enumerate() {
        let of = |key: &str| {
            let pair: Vec<_> = list(&worker[key]).iter().filter_map(Value::as_u64).map(count).collect();
            pair.join(" of ")
        };
        table.row(vec![
            number_of.to_string(),
            of("sessions"),
            count(number(worker, "configured")),
            of("mappings"),
            of("hosts"),
            count(number(worker, "ports")),
            count(number(worker, "blocks")),
            count(number(worker, "opened")),
            count(number(worker, "ended")),
            count(number(worker, "displaced")),
            format!("{}, {} forgotten", worker["before"][0], worker["before"][1]),
        ]);
    }
    shown += &table.text();
    shown
}

fn alg(answer: &Value) -> String {
    let mut shown = String::new();
    for protocol in list(&answer["protocols"]) {
        let ports: Vec<_> = list(&protocol["ports"]).iter().map(ToString::to_string).collect();
        let _ = match text(protocol, "mode").as_str() {
            "off" => write!(shown, "{} off", text(protocol, "name")),
            _ if ports.is_empty() => write!(shown, "{} off", text(protocol, "name")),
            mode => write!(
                shown,
                "{} {mode} {} ports {}",
                text(protocol, "name"),
                text(protocol, "transport"),
                ports.join(", ")
            ),
        };
        if let Some(hosts) = protocol["hosts"].as_u64().filter(|hosts| *hosts > 0) {
            let _ = write!(shown, ", otherwise for {hosts} networks");
        }
        shown.push('\n');
    }
    let channels = &answer["channels"];
    let mut table = TextTable::new(&["EVENT", "COUNT"]);
    for (of, events) in [("", "events"), ("sip ", "sip_events"), ("rtsp ", "rtsp_events")] {
        for event in list(&answer[events]) {
            let name = format!("{of}{}", event[0].as_str().unwrap_or_default());
            table.row(vec![name, count(event[1].as_u64().unwrap_or(0))]);
        }
    }
    let [awaited, calls, streams, dialogs] =
        ["awaited", "calls", "streams", "dialogs"].map(|key| count(number(answer, key)));
    let _ = write!(
        shown,
        "{} of {} control channels, {calls} calls and {streams} connections with streams of {dialogs}, \
         {awaited} connections and streams awaited\n{}",
        channels[0],
        channels[1],
        table.text()
    );
    shown
}

fn rewrites(answer: &Value) -> String {
    let mut table = TextTable::new(&["AGO", "PROTOCOL", "HOST", "REMOTE", "SAID", "INSTEAD", ""]);
    for row in list(answer) {
        let mut cells = vec![duration(number(row, "ago_s"))];
        cells.extend(["protocol", "host", "remote", "from", "to"].map(|key| text(row, key)));
        cells.push(if row["is_dry"] == true { "only shown" } else { "" }.to_owned());
        table.row(cells);
    }
    or_none(&table, "nothing was written anew")
}

fn control(answer: &Value) -> String {
    let mut table = TextTable::new(&["WORK", "PIECES", "LONGEST", "WORKED", "BEYOND 5 MS"]);
    for pieces in list(answer) {
        table.row(vec![
            text(pieces, "by"),
            count(number(pieces, "count")),
            format!("{:.3} ms", number(pieces, "longest_ns") as f64 / 1e6),
            format!("{:.3} ms", number(pieces, "worked_ns") as f64 / 1e6),
            count(number(pieces, "long")),
        ]);
    }
    or_none(&table, "nothing was done yet")
}

fn journal(answer: &Value) -> String {
    let mut table = TextTable::new(&["JOURNAL", ""]);
    let mut row = |name: &str, what: String| {
        table.row(vec![name.to_owned(), what]);
    };
    row("directory", text(answer, "directory"));
    row("health", text(answer, "health"));
    row("size", bytes(number(answer, "size")));
    row("changes written", count(number(answer, "changes")));
    row("changes waiting", count(number(answer, "waiting")));
    row("changes lost", count(number(answer, "lost")));
    row("written", bytes(number(answer, "bytes")));
    row("syncs", count(number(answer, "syncs")));
    row("snapshots", count(number(answer, "snapshots")));
    row("failures", count(number(answer, "failures")));
    row("longest call", format!("{:.3} ms", number(answer, "longest_us") as f64 / 1e3));
    row("bindings taken up again", count(number(answer, "kept")));
    row("bindings ended at the start", count(number(answer, "ended")));
    row("sessions of before", text(answer, "past"));
    table.text()
}

/// One traced packet.
pub fn traced(item: &Value) -> String {
    let mut line =
        format!("{} in, {} bytes\n  {}\n", text(item, "port"), text(item, "length"), text(item, "before"));
    if let Some(after) = item["after"].as_str() {
        let _ = writeln!(line, "  → {after}");
    }
    if !item["binding"].is_null() {
        let binding = &item["binding"];
        let _ = writeln!(
            line,
            "  binding {:08x}: {} – {}",
            number(binding, "tag"),
            text(binding, "local"),
            text(binding, "remote")
        );
    }
    let _ = write!(line, "  {}", text(item, "decision"));
    if let Some(reason) = item["reason"].as_str() {
        let _ = write!(line, " {reason}");
    }
    if let Some(why) = item["why"].as_str() {
        let _ = write!(line, " ({})", why.trim().trim_end_matches('.'));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_topic_can_be_shown_when_there_is_nothing() {
        for topic in <Topic as clap::ValueEnum>::value_variants() {
            for empty in [json!([]), json!({}), json!(null)] {
                assert!(!show(*topic, &empty).trim().is_empty(), "{topic:?} {empty}");
            }
        }
    }

    #[test]
    fn drops_leave_out_what_did_not_happen() {
        let answer = json!([
            { "reason": "no_binding", "packets": 1234, "text": " No binding." },
            { "reason": "truncated", "packets": 0, "text": " Cut." },
        ]);
        let shown = show(Topic::Drops, &answer);
        assert!(shown.contains("1234  No binding.") && !shown.contains("truncated"), "{shown}");
    }

    #[test]
    fn a_traced_packet_shows_before_after_and_why() {
        let shown = traced(&json!({
            "port": "inside", "length": 98, "before": "IPv4 a > b", "after": null,
            "decision": "drop", "reason": "no_binding", "why": " No binding for this host.",
            "binding": null,
        }));
        assert_eq!(
            shown,
            "inside in, 98 bytes\n  IPv4 a > b\n  drop no_binding (No binding for this host)\n"
        );
    }
}
