//! Every kind of mistake in the configuration is named with its line and what was expected.

use ces_control::config::parse;

const EXAMPLE: &str = include_str!("../cesd.example.toml");

/// The example with everything that it has commented out.
fn defaults_spelled_out() -> String {
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        // Keys are commented out without a space; prose has one.
        let key = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        text.push_str(key.unwrap_or(line));
        text.push('\n');
    }
    text
}

#[test]
fn the_example_is_good() {
    parse("example", EXAMPLE).unwrap();
}

/// The configuration of docs/aalto.md, and the hosts in it.
#[test]
fn c12_the_example_beside_the_aalto_nodes_is_good() {
    const PAGE: &str = include_str!("../../docs/aalto.md");
    let blocks: Vec<&str> =
        PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [config, hosts] = blocks[..] else { panic!("two files: {}", blocks.len()) };
    let config = parse("cesd.toml", config).unwrap();
    assert!(!config.cetp.caces.is_empty() && !config.cetp.caep.is_empty());
    assert_eq!(config.cetp.locators[0].alias, "wan0");
    let files = [ces_gateway::SourceFile { path: "hosts.toml".into(), text: hosts.into() }];
    let (registry, policies) = ces_gateway::registry::load(&files, &config.settings()).unwrap();
    assert_eq!((registry.hosts().len(), policies.warnings().len()), (1, 0));
}

#[test]
fn the_example_shows_the_defaults() {
    // Not defaults but examples, since they have none: a VLAN, a bandwidth, a core, mail, a port inside, a directory in memory.
    let spelled = defaults_spelled_out()
        .replace("vlan = 100", "#")
        .replace("core = 0  ", "#")
        .replace("memory = \"/dev/shm\"", "#")
        .replace("mailbox = ", "#")
        .replace("inside_port = 443", "#")
        .replacen("networks = [\"192.168.10.0/24\"] # where", "# where", 1)
        .replace("tap = \"ces-inside\"", "#")
        .replace("bandwidth = \"100M\"", "#")
        .replace("urgent = \"25M\"", "#")
        .replace("mtu = 1400 ", "#")
        .replace("routers = [", "#")
        .replace("dns = [\"192.168.10.1\"]  ", "#")
        .replace("domain = \"a.demo\" ", "#")
        .replace("captive_portal = ", "#")
        .replace("boot_server = ", "#")
        .replace("boot_server_name = ", "#")
        .replace("boot_file = ", "#")
        .replace("alias = \"internet\"             # the network", "# the network");
    assert_eq!(parse("spelled out", &spelled).unwrap(), parse("example", EXAMPLE).unwrap());
}

/// What is replaced in the example by what, the text of the line complained about, and words of the complaint.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    // addresses for hosts
    ("100-192.168.10.199", "100-192.168.11.9", "pools = ", "is not within 192.168.10.0/24"),
    ("100-192.168.10.199", "100-192.168.10.255", "pools = ", "192.168.10.255 is no host's address"),
    (
        "192.168.10.100-192.168.10.199",
        "192.168.10.1-192.168.10.9",
        "pools = ",
        "192.168.10.1 is the gateway's own",
    ),
    (
        "192.168.10.100-192.168.10.199",
        "192.168.10.9-192.168.10.2",
        "pools = ",
        "the first address was expected before",
    ),
    ("192.168.10.100-192.168.10.199", "ten", "pools = ", "a range such as"),
    (
        "\"192.168.10.100-192.168.10.199\"",
        "\"192.168.10.100-192.168.10.199\", \"192.168.10.199\"",
        "pools = ",
        "overlaps pools[0]",
    ),
    ("[dhcp]\n", "[dhcp]\nprobe_ms = 9000\n", "probe_ms = 9000", "0 to 5000 was expected"),
    (
        "network = \"192.168.10.0/24\"     # that",
        "network = \"192.168.10.0/25\" # that",
        "# that",
        "the link of the port",
    ),
    (
        "network = \"192.168.10.0/24\"     # that",
        "network = \"10.9.9.0/24\" # that",
        "# that",
        "none of realm.networks",
    ),
    ("#lease_s = 43200", "lease_s = 5", "lease_s = 5", "60 to 31536000 was expected"),
    (
        "#routers = [\"192.168.10.1\"]",
        "routers = [\"192.168.9.1\"]",
        "routers = ",
        "is no host of 192.168.10.0/24",
    ),
    (
        "#routes = []",
        "routes = [{ to = \"10.0.0.1/8\", via = \"192.168.10.2\" }]",
        "routes = ",
        "host bits set",
    ),
    ("#captive_portal = \"https", "captive_portal = \"http", "captive_portal = ", "begins with \"https://\""),
    ("address = \"192.168.10.50\"", "address = \"192.168.99.50\"", "192.168.99.50", "lies in no subnet"),
    ("client_id = \"ff:00:00", "client_id = \"ff:0:00", "client_id", "octets such as"),
    ("client_id = \"ff:00:00:00:01:00:01:02\"", "", "[[dhcp.reservation]]", "either `mac` or `client_id`"),
    // blocks of ports
    ("#block_ports = 0", "block_ports = 100", "block_ports = 100", "a power of two from 16 to 8192"),
    ("#block_ports = 0", "block_ports = 8", "block_ports = 8", "a power of two from 16 to 8192"),
    (
        "#ports = [1024, 32767]",
        "ports = [1000, 1100]\nblock_ports = 128",
        "block_ports = 128",
        "no whole block",
    ),
    ("#host_blocks = 8", "host_blocks = 0", "host_blocks = 0", "1 to 4096 was expected"),
    ("#what = \"mappings\"", "what = \"blocks\"", "what = \"blocks\"", "nat.block_ports says how large"),
    // static mappings
    ("203.0.113.16/28", "203.0.113.16/29", "inside = \"192.168.10.32/28\"", "are not of one size"),
    ("203.0.113.16/28", "203.0.113.17/28", "203.0.113.17/28", "has host bits set; write 203.0.113.16/28"),
    ("203.0.113.16/28", "203.0.113", "external = \"203.0.113\"", "expected an address, or a network such as"),
    ("\"192.168.10.20\"", "\"192.168.99.20\"", "192.168.99.20", "lies in no network of the realm"),
    ("\"192.168.10.20\"", "\"192.168.10.1\"", "\"192.168.10.1\"", "192.168.10.1 is the gateway itself"),
    ("\"192.168.10.20\"", "\"192.168.10.16/28\"", "192.168.10.16/28", "ports are of one address"),
    ("port = 443 ", "port = 48001 ", "external = \"192.0.2.2\"", "where the gateway itself listens"),
    ("port = 443 ", "port = 33000 ", "external = \"192.0.2.2\"", "the kernel opens the gateway's own"),
    ("port = 443 ", "port = 0 ", "port = 0 ", "ports from 1 to 65535 were expected"),
    ("port = 443 ", "ports = [9, 8] ", "ports = [9, 8]", "the first not behind the last"),
    ("port = 443 ", "port = 443\nports = [8, 9] ", "ports = [8, 9]", "one of them was expected"),
    ("port = 443 ", "ports = [1, 9]\ninside_port = 65530 ", "inside_port = 65530", "so many ports"),
    (
        "\n[nat.timeouts]",
        "\n[[nat.static]]\nexternal = \"192.0.2.2\"\ninside = \"192.168.10.9\"\nport = 6081\n[nat.timeouts]",
        "external = \"192.0.2.2\"",
        "UDP port 6081 is a tunnel's",
    ),
    ("protocol = \"tcp\"", "protocol = \"esp\"", "protocol = \"esp\"", "expected `tcp` or `udp`"),
    ("\nport = 443 ", "\n", "[[nat.static]]", "a whole address has no ports of its own"),
    ("203.0.113.16/28", "192.168.10.0/28", "external = \"192.168.10.0/28\"", "is inside"),
    ("203.0.113.16/28", "192.0.2.0/28", "external = \"192.0.2.0/28\"", "192.0.2.2 is one of nat.addresses"),
    (
        "\n[nat.timeouts]",
        "\n[[nat.static]]\nexternal = \"203.0.113.20\"\ninside = \"192.168.10.9\"\nport = 80\n[nat.timeouts]",
        "external = \"203.0.113.20\"",
        "port 80 of 203.0.113.20 has it already: nat.static[1]",
    ),
    (
        "\n[nat.timeouts]",
        "\n[[nat.static]]\nexternal = \"192.0.2.2\"\ninside = \"192.168.10.9\"\nports = [400, 500]\n[nat.timeouts]",
        "external = \"192.0.2.2\"",
        "a port of 400 to 500 of 192.0.2.2 has it already: nat.static[0]",
    ),
    (
        "\n[nat.timeouts]",
        "\n[[nat.static]]\nexternal = \"203.0.113.99\"\ninside = \"192.168.10.40\"\n[nat.timeouts]",
        "inside = \"192.168.10.40\"",
        "is another address outside already: nat.static[1]",
    ),
    ("192.168.10.48/28", "192.168.9.0/24", "192.168.9.0/24", "lies in no network of the realm"),
    ("192.168.10.48/28", "192.168.10.49/28", "192.168.10.49/28", "has host bits set"),
    ("198.51.100.0/24", "192.168.10.0/25", "outside = \"192.168.10.0/25\"", "is inside: 192.168.10.0/24"),
    ("198.51.100.0/24", "everybody", "outside = \"everybody\"", "expected an address, or a network such as"),
    // the circular pool
    ("[\"192.0.2.16/29\"]", "[]", "addresses = []", "names no address"),
    ("[\"192.0.2.16/29\"]", "[\"192.0.2.17/29\"]", "192.0.2.17/29", "has host bits set; write 192.0.2.16/29"),
    ("[\"192.0.2.16/29\"]", "[\"somewhere\"]", "somewhere", "expected an address, or a network such as"),
    (
        "[\"192.0.2.16/29\"]",
        "[\"203.0.113.9\", \"192.168.10.8\"]",
        "addresses = [\"203.0.113.9\"",
        "which is inside",
    ),
    (
        "[\"192.0.2.16/29\"]",
        "[\"192.0.2.2\"]",
        "addresses = [\"192.0.2.2\"]",
        "192.0.2.2 is the gateway's own",
    ),
    ("[\"192.0.2.16/29\"]", "[\"203.0.113.20\"]", "[\"203.0.113.20\"]", "is that of a static mapping, too"),
    // the language
    ("cores = [1]", "cores = [1", "[control]", "expected `,`"),
    ("[worker]", "[worker", "[worker", "unclosed table"),
    ("cores = [1]", "cores = [1]\ncores = [2]", "cores = [2]", "duplicate key"),
    // keys and types
    ("cores = [1]", "cores = [1]\nspeed = 3", "speed = 3", "unknown field `speed`, expected one of `cores`"),
    ("[admin]", "[administration]", "[administration]", "unknown field `administration`"),
    ("[cetp.limits]", "[cetp.limits]\npeer = 3", "peer = 3", "unknown field `peer`"),
    ("cores = [1]", "cores = 1", "cores = 1", "invalid type: integer `1`, expected a list"),
    ("cores = [1]", "cores = [-1]", "cores = [-1]", "integer"),
    ("cores = [1]", "", "[worker]", "missing field `cores`"),
    ("side = \"outside\"", "side = \"up\"", "side = \"up\"", "expected one of `inside`, `outside`, `dmz`"),
    ("addresses = [\"192.0.2.2/30\"]", "addresses = [\"192.0.2.300/30\"]", "192.0.2.300", "invalid"),
    ("ces_id = \"gwa.demo.\"", "ces_id = \"gw a\"", "ces_id = \"gw a\"", "name"),
    ("listen = \"127.0.0.1:9180\"", "listen = \"9180\"", "listen", "socket address"),
    // ports
    (
        "\n[worker]",
        "\n[[port]]\nname = \"dmz\"\ndevice = \"net_tap7\"\nside = \"dmz\"\naddresses = [\"172.16.5.1/24\"]\n\
         networks = [\"192.168.10.0/25\"]\n[worker]",
        "networks = [\"192.168.10.0/25\"]",
        "overlaps 192.168.10.0/24, which is inside",
    ),
    ("side = \"outside\"", "side = \"inside\"", "[[port]]", "no port has side = \"outside\""),
    ("name = \"outside\"", "name = \"inside\"", "name = \"inside\"", "is taken by port[0].name already"),
    ("name = \"outside\"", "name = \"out side\"", "name = \"out side\"", "letters, digits"),
    ("name = \"outside\"", "name = \"outsideoutside\"", "[[port]]", "no name of an interface"),
    ("net_af_packet1,", "net_af_packet0,", "net_af_packet0,iface=veth-out", "is taken by port[0].device"),
    ("net_af_packet1,iface=veth-out", "eth0", "device = \"eth0\"", "a PCI address"),
    ("net_af_packet1,iface=veth-out", "net_af_packet1, iface=veth-out", "iface=veth-out", "contains a space"),
    ("addresses = [\"192.0.2.2/30\"]", "addresses = []", "addresses = []", "names no address"),
    ("addresses = [\"192.0.2.2/30\"]", "addresses = [\"192.0.2.3/30\"]", "192.0.2.3/30", "no host's address"),
    (
        "addresses = [\"192.0.2.2/30\"]",
        "addresses = [\"192.168.0.1/16\"]",
        "192.168.0.1/16",
        "overlaps 192.168.10.1/24",
    ),
    ("side = \"outside\"", "side = \"outside\"\nmtu = 100", "mtu = 100", "576 to 2022 was expected"),
    (
        "side = \"outside\"",
        "side = \"outside\"\nbandwidth = \"0\"",
        "bandwidth",
        "from 100k to 400G was expected",
    ),
    (
        "side = \"outside\"",
        "side = \"outside\"\nbandwidth = \"401G\"",
        "bandwidth",
        "from 100k to 400G was expected",
    ),
    ("side = \"outside\"", "side = \"outside\"\nbandwidth = \"5MB\"", "bandwidth", "such as \"1.5M\""),
    ("side = \"outside\"", "side = \"outside\"\nurgent = \"1M\"", "urgent", "and there is none"),
    (
        "side = \"outside\"",
        "side = \"outside\"\nbandwidth = \"1M\"\nurgent = \"2M\"",
        "urgent",
        "no more than the bandwidth",
    ),
    (
        "[memory]",
        "[memory]\nmib = 32\n[[port]]\nname = \"dmz\"\ndevice = \"net_null9\"\nside = \"outside\"\n\
         addresses = [\"198.18.0.1/30\"]\nbandwidth = \"1G\"\n[[port]]\nname = \"more\"\ndevice = \"net_null8\"\n\
         side = \"outside\"\naddresses = [\"198.18.1.1/30\"]\nbandwidth = \"400G\"",
        "mib = 32",
        "40 MiB are needed",
    ),
    ("side = \"outside\"", "side = \"outside\"\nvlan = 4095", "vlan = 4095", "1 to 4094 was expected"),
    ("side = \"outside\"", "side = \"outside\"\nrx_descriptors = 1000", "rx_descriptors", "a power of two"),
    (
        "side = \"outside\"",
        "side = \"outside\"\nnetworks = [\"10.0.0.0/8\"]",
        "networks = [\"10",
        "leave it out",
    ),
    ("side = \"outside\"", "side = \"outside\"\ntcp = [0]", "tcp = [0]", "no TCP port"),
    // workers and memory
    ("cores = [1]", "cores = []", "cores = []", "1 to 64 was expected"),
    ("cores = [1]", "cores = [1, 1]", "cores = [1, 1]", "core 1 is taken"),
    ("[control]", "[control]\ncore = 1", "core = 1", "core 1 is a worker's"),
    ("[memory]", "[memory]\nmib = 1", "mib = 1", "32 to"),
    ("[capacity]", "[capacity]\nbindings = 0", "bindings = 0", "1 to"),
    ("[punt]", "[punt]\ndns = 0", "dns = 0", "1 to"),
    // routes
    ("via = \"192.0.2.1\"", "via = \"10.9.9.9\"", "via = \"10.9.9.9\"", "not on the link of any port"),
    ("via = \"192.0.2.1\"", "via = \"192.0.2.2\"", "via = \"192.0.2.2\"", "the gateway itself"),
    ("to = \"0.0.0.0/0\"", "to = \"10.0.0.1/8\"", "to = \"10.0.0.1/8\"", "write 10.0.0.0/8"),
    // CETP and TLS
    ("port = 48001", "port = 53", "port = 53", "53 is the name service's"),
    ("port = 48001", "port = 0", "port = 0", "1 to 65535"),
    // between sections
    ("zones = [\"a.demo.\"]", "zones = []", "zones = []", "names no zone"),
    ("files = [\"hosts.toml\"]", "files = []", "files = []", "names no file"),
];

#[test]
fn each_mistake_is_named_with_its_line() {
    wrong_ones(MISTAKES);
}

fn wrong_ones(mistakes: &[(&str, &str, &str, &str)]) {
    let mut wrong = Vec::new();
    for &(from, to, line, words) in mistakes {
        assert!(EXAMPLE.contains(from), "{from:?} is not in the example");
        let text = EXAMPLE.replacen(from, to, 1);
        let Err(errors) = parse("cesd.toml", &text) else {
            wrong.push(format!("{to:?} was taken"));
            continue;
        };
        let said = errors.iter().any(|error| {
            let at = error.line.and_then(|at| text.lines().nth(at - 1)).unwrap_or_default();
            at.contains(line) && error.message.contains(words)
        });
        let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
        if !said {
            wrong.push(format!("{to:?} should say {words:?} at {line:?}, says\n{}", all.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const NAT: &str =
    "[nat]                           # a host that no file names gets ordinary names, and goes out, too
addresses = [\"192.0.2.2\"]";

const POOL: &str = "addresses = [\"192.0.2.16/29\"]";
const WHOLE: &str = "external = \"203.0.113.16/28\"";
const ONE: &str = "external = \"192.0.2.2\"";

/// As [`MISTAKES`]: values that are well formed, and cannot work.
const R4: &[(&str, &str, &str, &str)] = &[
    (
        "zones = [\"a.demo.\"",
        "zones = [\"a.demo.\", \"Lab.localhost\"",
        "zones",
        "means something else to everybody",
    ),
    (
        "zones = [\"a.demo.\"",
        "zones = [\"a.demo.\", \"10.in-addr.arpa\"",
        "zones",
        "means something else to everybody",
    ),
    ("203.0.113.53\"", "resolver\"", "upstreams", "expected an address such as \"203.0.113.53\""),
    ("upstreams = [\"203.0.113.53\"", "upstreams = [53", "upstreams", "expected an address such as"),
    ("203.0.113.53\"", "192.168.10.1\"", "upstreams", "192.168.10.1 is the gateway itself"),
    ("203.0.113.53\"", "192.0.2.2:5353\"", "upstreams", "192.0.2.2 is the gateway itself"),
    ("203.0.113.53\"", "10.64.3.4\"", "upstreams", "lies in the proxy pool"),
    ("203.0.113.53\"", "240.0.0.1\"", "upstreams", "cannot be asked"),
    ("203.0.113.53\"", "255.255.255.255\"", "upstreams", "cannot be asked"),
    ("203.0.113.53\"", "192.0.2.3\"", "upstreams", "no host's address in 192.0.2.0/30"),
    ("203.0.113.53\"", "::ffff:192.0.2.2\"", "upstreams", "the gateway itself"),
    ("203.0.113.53\"", "::ffff:10.64.3.4\"", "upstreams", "lies in the proxy pool"),
    (NAT, "[nat]\naddresses = [\"192.0.2.1\"]", "addresses", "the next hop of route[0]"),
    (NAT, "[nat]\naddresses = [\"192.0.2.3\"]", "addresses", "no host's address"),
    (NAT, "[nat]\naddresses = [\"203.0.113.53\"]", "addresses", "dns.upstreams[0]"),
    (POOL, "addresses = [\"203.0.113.52/30\"]", "addresses", "203.0.113.53 is the resolver dns.upstreams[0]"),
    (POOL, "addresses = [\"192.0.2.1\"]", "addresses", "192.0.2.1 is the next hop of route[0]"),
    (WHOLE, "external = \"203.0.113.48/28\"", "external", "203.0.113.53 is the resolver dns.upstreams[0]"),
    (ONE, "external = \"192.0.2.1\"", "external", "192.0.2.1 is the next hop of route[0]"),
    ("\"192.168.10.20\"", "\"192.168.10.255\"", "inside", "no host's address in 192.168.10.0/24"),
    ("iface=veth-out", "iface=veth-in", "device", "the interface \"veth-in\" is taken by"),
    (
        "side = \"outside\"",
        "side = \"outside\"\nmtu = 70000",
        "mtu = 70000",
        "expected a number from 0 to 65535",
    ),
    ("\nname = \"a\"", "\nproxy_pool = \"224.0.0.0/8\"\nname = \"a\"", "proxy_pool", "multicast"),
    ("\nname = \"a\"", "\nproxy_pool = \"127.0.0.0/8\"\nname = \"a\"", "proxy_pool", "loopback"),
    ("\nname = \"a\"", "\nproxy_pool = \"240.0.0.0/8\"\nname = \"a\"", "proxy_pool", "reserved"),
    ("\nname = \"a\"", "\nproxy_pool = \"169.254.0.0/16\"\nname = \"a\"", "proxy_pool", "link-local"),
    (
        "\nname = \"a\"",
        "\nproxy_pool = \"203.0.113.0/24\"\nname = \"a\"",
        "upstreams",
        "lies in the proxy pool 203.0.113.0/24",
    ),
    ("\nnetworks = [", "\nnetworks = [\"192.0.2.0/29\", ", "networks", "the outside port"),
    ("\nnetworks = [", "\nnetworks = [\"127.0.0.0/8\", ", "networks", "loopback"),
    ("via = \"192.0.2.1\"", "via = \"192.0.2.3\"", "via", "no host's address in 192.0.2.0/30"),
    ("to = \"0.0.0.0/0\"", "to = \"224.0.0.0/8\"", "to = ", "nothing is sent there"),
    ("to = \"0.0.0.0/0\"", "to = \"10.64.7.0/24\"", "to = ", "lies in the proxy pool"),
    ("to = \"0.0.0.0/0\"", "to = \"192.168.10.128/25\"", "via = ", "lies in the realm's network"),
    ("127.0.0.1:9180", "192.0.2.2:48001", "port = 48001", "the metrics page's"),
    ("127.0.0.1:9180", "192.168.10.1:53", "listen", "53 is the name service's"),
    ("127.0.0.1:9180", "0.0.0.0:53", "listen", "53 is the name service's"),
    ("127.0.0.1:9180", "[::]:53", "listen", "53 is the name service's"),
    ("files = [\"hosts.toml\"]", "files = [\"hosts.toml\", \"hosts.toml\"]", "files", "is taken by"),
];

const DMZ: &str = "[[port]]\nname = \"dmz\"\ndevice = \"net_af_packet2,iface=veth-dmz\"\nside = \"dmz\"\n\
                   addresses = [\"172.16.5.1/24\"]\n[worker]";

/// What stands for something, by whom it is given away: each pair of them that cannot be. Where an address of a row stands in a
/// column, it is refused with the words there, but for `-`, which may be.
#[test]
fn r4_no_address_stands_for_two_things() {
    let with_dmz = EXAMPLE.replacen("[worker]", DMZ, 1);
    let with_more = with_dmz.replacen(
        "\n[nat.timeouts]",
        "\n[[nat.static]]\nexternal = \"203.0.113.99\"\ninside = \"192.168.10.9\"\nport = 80\n[nat.timeouts]",
        1,
    );
    let with_more = with_more.replacen(NAT, &NAT.replace("\"]", "\", \"203.0.113.98\"]"), 1);
    let places: [(&str, &str); 6] = [
        ("name server", "addresses = [\"192.0.2.2\"]       # our public"),
        ("resolver", "upstreams = [\"203.0.113.53\"]"),
        ("NAT44", ", \"203.0.113.98\"]"),
        ("circular pool", "addresses = [\"192.0.2.16/29\"]"),
        ("mapping", "external = \"203.0.113.16/28\""),
        ("port of a mapping", "external = \"203.0.113.99\""),
    ];
    #[rustfmt::skip]
    let table: [(&str, [&str; 6]); 14] = [
        // name server, resolver, NAT44, circular pool, mapping, port of a mapping
        ("192.168.10.1", ["an inside port", "gateway itself", "is inside", "is inside", "is inside", "is inside"]),
        ("192.168.10.77", ["is inside", "-", "is inside", "is inside", "is inside", "is inside"]),
        ("10.64.3.4", ["proxy pool", "proxy pool", "is inside", "is inside", "is inside", "is inside"]),
        ("172.16.5.1", ["a DMZ port", "gateway itself", "the DMZ's", "gateway's own", "the DMZ's", "the DMZ's"]),
        ("172.16.5.9", ["the DMZ's", "-", "the DMZ's", "the DMZ's", "the DMZ's", "the DMZ's"]),
        ("192.0.2.2", ["-", "gateway itself", "named twice", "gateway's own", "nat.addresses", "-"]),
        ("192.0.2.1", ["next hop", "-", "next hop", "next hop", "next hop", "next hop"]),
        ("192.0.2.3", ["no host's", "no host's", "no host's", "no host's", "no host's", "no host's"]),
        ("203.0.113.53", ["the resolver", "-", "the resolver", "the resolver", "the resolver", "the resolver"]),
        ("203.0.113.98", ["nat.addresses", "cannot be ours", "-", "nat.addresses", "nat.addresses", "-"]),
        ("192.0.2.17", ["realm_gateway", "cannot be ours", "pool has", "-", "pool has", "pool has"]),
        ("203.0.113.20", ["static mapping", "cannot be ours", "share it", "static mapping", "-", "has it already"]),
        ("203.0.113.99", ["static mapping", "cannot be ours", "-", "static mapping", "has it already", "-"]),
        ("198.18.5.7", ["-", "-", "-", "-", "-", "-"]),
    ];
    let mut wrong = Vec::new();
    for (address, words) in table {
        for ((place, from), words) in places.into_iter().zip(words) {
            assert_eq!(with_more.matches(from).count(), 1, "{place}");
            let own = from.split('"').nth(1).unwrap();
            let what = if place == "mapping" && words != "-" {
                format!("{address}/32")
            } else if place == "mapping" {
                let net = format!("{address}/28").parse::<ipnet::Ipv4Net>().unwrap().trunc();
                net.to_string()
            } else {
                address.to_owned()
            };
            let text = with_more.replacen(from, &from.replacen(own, &what, 1), 1);
            let problems: Vec<String> = match parse("cesd.toml", &text) {
                Ok(_) => Vec::new(),
                Err(errors) => errors.iter().map(|error| error.message.clone()).collect(),
            };
            let said = problems.iter().any(|problem| problem.contains(words));
            let fits = if words == "-" { problems.is_empty() } else { said };
            if !fits {
                wrong.push(format!("{address} as {place}: {words:?} was expected, not {problems:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the endpoint and the locator stand, each with its own complaint.
#[test]
fn r4_an_inside_address_is_no_endpoint_and_no_locator() {
    for (section, words) in
        [("[[cetp.endpoints]]", "no peer reaches it"), ("[[cetp.locators]]", "tunnels end outside")]
    {
        let at = EXAMPLE.find(section).unwrap();
        let text =
            format!("{}{}", &EXAMPLE[..at], EXAMPLE[at..].replacen("\"192.0.2.2\"", "\"192.168.10.1\"", 1));
        let errors = parse("cesd.toml", &text).unwrap_err();
        assert!(
            errors.iter().any(|error| error.line.is_some() && error.message.contains(words)),
            "{errors:?}"
        );
    }
}

#[test]
fn r4_an_address_in_the_dmz_is_no_endpoint_and_no_locator() {
    let with_dmz = EXAMPLE.replacen("[worker]", DMZ, 1);
    parse("cesd.toml", &with_dmz).unwrap();
    for (section, words) in
        [("[[cetp.endpoints]]", "no peer reaches it"), ("[[cetp.locators]]", "tunnels end outside")]
    {
        let (before, after) = with_dmz.split_at(with_dmz.find(section).unwrap());
        let text = format!("{before}{}", after.replacen("\"192.0.2.2\"", "\"172.16.5.1\"", 1));
        let errors = parse("cesd.toml", &text).unwrap_err();
        assert!(
            errors.iter().any(|error| error.line.is_some() && error.message.contains(words)),
            "{errors:?}"
        );
    }
}

/// Somebody else, on whichever side, or a program beside the gateway.
#[test]
fn r4_nobody_collects_where_our_hosts_or_far_ones_are_seen() {
    let from = "address = \"198.51.100.9:4739\"";
    assert_eq!(EXAMPLE.matches(from).count(), 1);
    for (address, words) in [
        ("10.64.3.4", "nobody collects"),
        ("192.0.2.17", "nobody collects"),
        ("203.0.113.20", "nobody collects"),
        ("255.255.255.255", "nobody collects"),
        ("0.0.0.0", "an address with a port"),
        ("192.0.2.2", ""),
        ("127.0.0.1", ""),
        ("192.168.10.77", ""),
    ] {
        let text = EXAMPLE.replacen(from, &format!("address = \"{address}:4739\""), 1);
        let errors = parse("cesd.toml", &text).err().unwrap_or_default();
        assert_eq!(errors.is_empty(), words.is_empty(), "{address}: {errors:?}");
        assert!(
            errors.iter().all(|error| error.line.is_some() && error.message.contains(words)),
            "{errors:?}"
        );
    }
}

#[test]
fn r4_what_cannot_work_is_refused() {
    wrong_ones(R4);
}

#[test]
fn r4_halves_of_the_internet_are_routes() {
    for half in ["0.0.0.0/1", "128.0.0.0/1"] {
        parse("cesd.toml", &EXAMPLE.replacen("to = \"0.0.0.0/0\"", &format!("to = \"{half}\""), 1)).unwrap();
    }
}

/// Devices, cores and memory stay until a restart; everything else changes with a reload.
#[test]
fn only_devices_cores_and_memory_wait_for_a_restart() {
    let running = parse("cesd.toml", EXAMPLE).unwrap();
    for (from, to, waits) in [
        ("side = \"outside\"", "side = \"outside\"\nmtu = 1400", "[[port]]"),
        ("side = \"outside\"", "side = \"outside\"\nvlan = 9", "[[port]]"),
        ("net_af_packet1,", "net_af_packet2,", "[[port]]"),
        ("side = \"outside\"", "side = \"outside\"\nbandwidth = \"9M\"", "[[port]]"),
        ("cores = [1]", "cores = [2]", "[worker]"),
        ("[control]", "[control]\ncore = 0", "[control]"),
        ("[memory]", "[memory]\nmib = 512", "[memory]"),
        ("[capacity]", "[capacity]\nbindings = 4096", "[capacity]"),
        ("#filtering = \"address-and-port", "filtering = \"address", "nat.filtering"),
        ("#block_ports = 0", "block_ports = 64", "nat.block_ports"),
        ("#host_blocks = 8", "host_blocks = 9", ""),
        ("#filtering = \"address-and-port-dependent", "filtering = \"endpoint-independent", ""),
        ("addresses = [\"192.0.2.2/30\"]", "addresses = [\"192.0.2.2/30\", \"192.0.2.9/29\"]", ""),
        ("side = \"outside\"", "side = \"outside\"\ntcp = [179]", ""),
        ("to = \"0.0.0.0/0\"", "to = \"198.51.100.0/24\"", ""),
        ("203.0.113.53\"", "203.0.113.54\"", ""),
        ("port = 48001", "port = 48002", ""),
        ("[punt]", "[punt]\ndns = 7", ""),
        ("[admin]", "[admin]\nconnections = 7", ""),
        ("127.0.0.1:9180", "127.0.0.1:9181", ""),
        ("[log]", "[log]\nlevel = \"debug\"", ""),
        ("[dns_tcp]", "[dns_tcp]\nidle_s = 7", ""),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let mut new = parse("cesd.toml", &EXAMPLE.replacen(from, to, 1)).unwrap();
        let (read, kept) = (new.clone(), new.keep_fixed(&running));
        assert_eq!(kept.join(", "), waits, "{to}");
        // What waits is as it was, what does not is as it was read.
        assert_eq!(new, if waits.is_empty() { read } else { running.clone() }, "{to}");
    }
}

#[test]
fn another_bandwidth_is_a_reload() {
    let with = |bandwidth: &str| {
        let port = format!("side = \"outside\"\nbandwidth = \"{bandwidth}\"");
        parse("cesd.toml", &EXAMPLE.replacen("side = \"outside\"", &port, 1)).unwrap()
    };
    let (running, mut new) = (with("9M"), with("10M"));
    assert!(new.keep_fixed(&running).is_empty());
    assert_eq!(
        new.port[1].shape().map(|shape| (shape.bandwidth, shape.urgent)),
        Some((10_000_000, 2_500_000))
    );
}

#[test]
fn endpoints_over_tls_need_certificates() {
    let start = EXAMPLE.find("\n[tls]").unwrap();
    let end = EXAMPLE.find("\n[registry]").unwrap();
    let text = format!("{}{}", &EXAMPLE[..start], &EXAMPLE[end..]);
    let errors = parse("cesd.toml", &text).unwrap_err();
    assert!(errors.iter().any(|error| error.message.contains("needs the section [tls]")), "{errors:?}");
}

#[test]
fn several_mistakes_are_named_together_in_the_order_of_the_file() {
    let text = EXAMPLE.replace("cores = [1]", "cores = []").replace("port = 48001", "port = 53");
    let errors = parse("cesd.toml", &text).unwrap_err();
    assert_eq!(errors.len(), 2);
    assert!(errors[0].line < errors[1].line && errors[0].message.starts_with("worker.cores"));
}
