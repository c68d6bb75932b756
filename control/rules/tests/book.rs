//! Rules files as a person writes them, and which line then decides.
#![allow(missing_docs)]

use ces_filter::{Action, Asked, Ranges, Seen, Zone};
use ces_rules::{Book, Sources, Surroundings, load};
use ces_settings::{FileError, SourceFile};

struct Realm;

impl Surroundings for Realm {
    fn host(&self, name: &str) -> Option<u32> {
        (name == "www.a.demo").then_some(0x0a00_0050)
    }

    fn group(&self, name: &str) -> Option<Ranges> {
        (name == "staff").then(|| Ranges::new(vec![(0x0a00_000a, 0x0a00_0014), (0x0a00_0050, 0x0a00_0050)]))
    }

    fn port(&self, name: &str) -> Option<u8> {
        ["inside", "outside"].iter().position(|known| *known == name).map(|place| place as u8)
    }
}

fn read(by: &str, path: &str) -> Result<SourceFile, FileError> {
    let text = match path {
        "blocked.txt" => (0..5000u32)
            .map(|n| format!("198.51.{}.{}", n / 125, 2 * (n % 125)))
            .collect::<Vec<_>>()
            .join("\n"),
        "odd.txt" => "192.0.2.1\n192.0.2\n".to_owned(),
        _ => {
            return Err(FileError {
                path: format!("{by}>{path}"),
                line: None,
                message: "cannot be read".to_owned(),
            });
        }
    };
    Ok(SourceFile { path: path.to_owned(), text })
}

fn book(files: &[&str]) -> Result<Book, Vec<String>> {
    let file = |(number, text): (usize, &&str)| SourceFile {
        path: format!("{number}.rules"),
        text: (*text).to_owned(),
    };
    let files: Vec<_> = files.iter().enumerate().map(file).collect();
    load(&Sources { files: &files, read: &read }, &Realm)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn asked(from: Zone, protocol: u8, source: [u8; 4], destination: [u8; 4], port: u16) -> Asked {
    Asked {
        from,
        to: if from == Zone::Inside { Zone::Outside } else { Zone::Inside },
        protocol,
        source: u32::from_be_bytes(source),
        destination: u32::from_be_bytes(destination),
        source_port: 40_000,
        destination_port: port,
        comes_by: u8::from(from == Zone::Outside),
        goes_by: u8::from(from == Zone::Inside),
        seen: Seen { mark: 2, dscp: 0, is_fragment: false, length: 60 },
    }
}

#[test]
fn the_first_line_that_fits_decides() {
    let book = book(&[
        "# who is blocked\nset blocked file blocked.txt\nset lab = 10.0.0.0/28, @more\n",
        "set more = 10.0.1.1\n",
    ]);
    assert_eq!(book.unwrap_err(), ["0.rules:3: there is no set \"more\" above this line"]);
    let book = self::book(&[
        "set blocked file \"blocked.txt\"\nset lab = 10.0.0.0/28, 10.0.1.1\ndeny from any to outside @blocked name blocked\n",
        "allow tcp from inside group staff to any port http, 443\n\nreject tcp from inside to outside port 80 # who else\n\
         allow icmp from outside to inside host www.a.demo type ping\ndeny to inside\n",
    ])
    .unwrap();
    let of = |asked: &Asked| {
        let (rule, action) = book.rules.find(asked)?;
        Some((book.lines[rule].file, book.lines[rule].line, action))
    };
    let inside = |source, destination, port| of(&asked(Zone::Inside, 6, source, destination, port));
    assert_eq!(inside([10, 0, 0, 10], [198, 51, 3, 8], 80), Some((0, 3, Action::Deny)), "a large set");
    assert_eq!(inside([10, 0, 0, 10], [198, 51, 3, 9], 80), Some((1, 1, Action::Allow)));
    assert_eq!(inside([10, 0, 0, 9], [198, 51, 3, 9], 80), Some((1, 3, Action::Reject)));
    assert_eq!(inside([10, 0, 0, 9], [198, 51, 3, 9], 443), None);
    let outside = |protocol, port| of(&asked(Zone::Outside, protocol, [9, 9, 9, 9], [10, 0, 0, 0x50], port));
    assert_eq!(outside(1, 8), Some((1, 4, Action::Allow)));
    assert_eq!(outside(1, 13), Some((1, 5, Action::Deny)));
    assert_eq!(outside(6, 8), Some((1, 5, Action::Deny)));
    assert_eq!(
        (book.lines[0].name.as_deref(), book.lines[2].text.as_str()),
        (Some("blocked"), "reject tcp from inside to outside port 80")
    );
}

#[test]
fn all_errors_come_with_their_lines() {
    let wrong = "allow tcp from host nobody\nset a = 10.0.0.1\nset a = 10.0.0.2\nset b file odd.txt\nset c file none.txt\n\
                 deny from group none\nallow tcp port 80\n";
    assert_eq!(
        book(&[wrong]).unwrap_err(),
        [
            "0.rules:1: there is no host nobody",
            "0.rules:3: the set \"a\" is defined already",
            "odd.txt:2: \"192.0.2\": an address, a prefix such as 10.0.0.0/8 or a range such as 10.0.0.1-10.0.0.9 was expected",
            "0.rules>none.txt: cannot be read",
            "0.rules:6: no host is in a group \"none\"",
            "0.rules:7: \"port\": \"from\", \"to\", \"type\", \"flags\", \"dscp\", \"length\", \"fragmented\" or \"whole\", \
             \"log\", \"rate\", \"name\" or the end of the line, in this order, was expected",
        ]
    );
}

#[test]
fn what_is_too_much_is_refused() {
    let many: String = (0..100_001).map(|_| "deny\n").collect();
    assert_eq!(book(&[&many]).unwrap_err(), ["0.rules: 100001 rules; there may be 100000"]);
    let names = (0..1001).map(|n| format!("deny name n{n}")).collect::<Vec<_>>().join("\n");
    assert_eq!(book(&[&names]).unwrap_err(), ["0.rules: rules have 1001 names; there may be 1000"]);
}

#[test]
fn counts_go_with_the_text_of_a_rule() {
    let before = book(&["deny udp\nallow tcp # web\ndeny\ndeny\n"]).unwrap();
    let after = book(&["# other lines\nallow   tcp\nreject icmp\ndeny\n"]).unwrap();
    assert_eq!(after.carry(&before, &[1, 2, 3, 4]), [2, 0, 3]);
}

#[test]
fn a_rule_may_ask_for_what_the_packet_is_and_by_which_port_it_comes() {
    let book =
        book(&["deny tcp from on outside to inside flags !ece\nallow to inside length 0-60\n"]).unwrap_err();
    assert_eq!(book, ["0.rules:2: \"0-60\": bytes of the packet, such as 1-100, was expected"]);
    let text = "deny tcp from on outside flags !ece log\nallow to inside on outside\nallow dscp ef rate 5\n\
                reject length 61-100";
    let book = self::book(&[text]).unwrap();
    let from_outside = asked(Zone::Outside, 6, [9, 9, 9, 9], [10, 0, 0, 0x50], 80);
    let of = |seen: Seen| book.rules.find(&Asked { seen, ..from_outside }).map(|(rule, _)| rule);
    let seen = from_outside.seen;
    assert_eq!(of(seen), Some(0));
    assert_eq!(of(Seen { mark: 0x42, ..seen }), None);
    assert_eq!(of(Seen { mark: 0x42, dscp: 46, ..seen }), Some(2));
    assert_eq!(of(Seen { mark: 0x42, length: 100, ..seen }), Some(3));
    let unknown = self::book(&["deny from on guests"]).unwrap_err();
    assert_eq!(unknown, ["0.rules:1: the gateway has no port \"guests\""]);
}
