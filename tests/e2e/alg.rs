//! Protocols that name addresses in what they say cross NAT44: real clients inside and servers in the world, and the other way
//! round.

use crate::{Case, inbound};
use ces_tests::lab::{Background, Edit, Lab, Outcome, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("ftp_clients_fetch_actively_and_passively", ftp_clients_fetch_actively_and_passively),
    ("ftp_transfers_go_on_side_by_side", ftp_transfers_go_on_side_by_side),
    ("ftp_lets_nobody_else_in", ftp_lets_nobody_else_in),
    ("ftp_that_is_encrypted_passes_and_is_told", ftp_that_is_encrypted_passes_and_is_told),
    ("ftp_is_let_in_where_rules_forbid_the_world", ftp_is_let_in_where_rules_forbid_the_world),
    ("ftp_goes_on_after_the_gateway_was_killed", ftp_goes_on_after_the_gateway_was_killed),
    ("an_alg_is_off_for_a_host_or_only_shows", an_alg_is_off_for_a_host_or_only_shows),
    ("ftp_of_a_server_behind_a_static_mapping", ftp_of_a_server_behind_a_static_mapping),
    ("ftp_of_a_server_that_says_it_is_elsewhere", ftp_of_a_server_that_says_it_is_elsewhere),
    ("ftp_of_a_server_reached_by_its_name", ftp_of_a_server_reached_by_its_name),
    ("ftp_between_realms", ftp_between_realms),
    ("ftp_between_two_hosts_of_a_realm", ftp_between_two_hosts_of_a_realm),
    ("ftp_through_a_restricted_binding", ftp_through_a_restricted_binding),
];

const NAT: &[Edit] = &[(Realm::A, "[tls]\n", "[nat]\naddresses = [\"192.0.2.2\"]\n\n[tls]\n")];

const FILTERED: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\nfiltering = \"endpoint-independent\"\n\n\
     [filter]\nfiles = [\"rules\"]\n\n[tls]\n",
)];

/// A client in the world.
const CLIENT: &str = "203.0.113.21";

/// Where the server in the world is.
const SERVER: &str = "203.0.113.80";

/// vsftpd in the world, with the lab's files, and this in its configuration.
fn vsftpd(lab: &Lab, more: &str) -> Background {
    vsftpd_on(lab, "net", SERVER, more)
}

fn vsftpd_on(lab: &Lab, node: &str, address: &str, more: &str) -> Background {
    let at = lab.directory();
    let config = format!(
        "listen=YES\nlisten_address={address}\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
         no_anon_password=YES\nanon_root={}\nwrite_enable=NO\nconnect_from_port_20=YES\nseccomp_sandbox=NO\n\
         xferlog_enable=NO\n{more}",
        at.join("www").display()
    );
    let file = at.join("vsftpd.conf");
    std::fs::write(&file, config).expect("the state directory is ours");
    lab.serve(node, &format!("{address}:21"), &format!("vsftpd {}", file.display()))
}

fn events(lab: &Lab, event: &str) -> f64 {
    events_of(lab, Realm::A, event)
}

/// The file that is fetched, as it should be.
fn sum(lab: &Lab) -> String {
    let file = lab.directory().join("www/20MB.bin");
    lab.run("net", &format!("sha256sum <{}", file.display())).expect().to_owned()
}

fn ftplib(what: &str) -> String {
    ftplib_of(SERVER, what)
}

fn ftplib_of(server: &str, what: &str) -> String {
    format!(
        "python3 -c \"import ftplib,hashlib
ftp=ftplib.FTP('{server}',timeout=20,source_address=('{CLIENT}',0) if '{server}'!='{SERVER}' else None)
ftp.login(); {what}
ftp.quit()\""
    )
}

fn ftp_clients_fetch_actively_and_passively(lab: &Lab) {
    lab.gateways(NAT);
    let (server, sum) = (vsftpd(lab, ""), sum(lab));
    let file = format!("ftp://{SERVER}/20MB.bin");
    let (announced, came) = (events(lab, "announced"), events(lab, "came"));
    for line in [
        format!("curl -sS -m 60 -P - {file}"),
        format!("curl -sS -m 60 -P - --disable-eprt {file}"),
        format!("curl -sS -m 60 {file}"),
        format!("curl -sS -m 60 --disable-epsv {file}"),
        format!("lftp -c 'set net:timeout 20; set ftp:passive-mode off; cat {file}'"),
        format!("lftp -c 'set net:timeout 20; cat {file}'"),
        format!("ftp -A -o - {file}"),
    ] {
        let fetched = lab.run("a1", &format!("{line} | sha256sum"));
        assert_eq!(fetched.expect(), sum, "{line}: {fetched}");
    }
    let read = "d=hashlib.sha256(); ftp.set_pasv(False); ftp.dir(print); ftp.retrbinary('RETR 20MB.bin',d.update); \
                print(d.hexdigest())";
    let fetched = lab.run("a2", &ftplib(read));
    fetched.says("20MB.bin");
    fetched.says(sum.split_whitespace().next().expect("a sum"));
    // Three by curl, lftp and ftp, and a listing with a transfer.
    assert!(events(lab, "announced") >= announced + 6.0, "{}", lab.ctl(Realm::A, "show alg"));
    assert!(events(lab, "came") >= came + 6.0, "{}", lab.ctl(Realm::A, "show alg"));
    lab.ctl(Realm::A, "show alg").says("FTP on TCP ports 21");
    for reason in ["alg_checksum", "alg_room", "alg_fragment"] {
        assert_eq!(lab.drops(Realm::A, reason), 0, "{reason}");
    }
    server.end();
}

fn ftp_transfers_go_on_side_by_side(lab: &Lab) {
    lab.gateways(NAT);
    let (server, sum) = (vsftpd(lab, ""), sum(lab));
    let fetch = |host: &str| {
        let line = format!("curl -sS -m 100 -P - ftp://{SERVER}/20MB.bin | sha256sum");
        lab.background(host, &format!("sh -c '{line}'"))
    };
    let all: Vec<Background> = ["a1", "a2", "a1", "a2", "a1", "a2"].map(fetch).into();
    let fetched: Vec<Outcome> = all.into_iter().map(Background::wait).collect();
    assert!(fetched.iter().all(|one| one.expect() == sum), "{fetched:?}");
    // One connection, many transfers, and one that is broken off in the middle.
    let often = "ftp.set_pasv(False); [ftp.nlst() for i in range(20)]
s=ftp.transfercmd('RETR 20MB.bin'); s.recv(100); ftp.abort(); s.close()
try: ftp.voidresp()
except ftplib.Error: pass
print(len(ftp.nlst()))";
    lab.run("a1", &ftplib(often)).says("2");
    server.end();
}

/// RFC 2577 §3: a host announces no other one, and nobody but the server comes to what it announced.
fn ftp_lets_nobody_else_in(lab: &Lab) {
    lab.gateways(NAT);
    let server = vsftpd(lab, "");
    let refused = events(lab, "refused");
    let other = "
for place in ('192,168,10,12,200,21','192,168,10,11,0,22'):
    try: print(ftp.sendcmd('PORT '+place))
    except ftplib.Error as error: print(error)";
    lab.run("a1", &ftplib(other)).says("500 Illegal PORT command");
    assert!(events(lab, "refused") >= refused + 2.0, "{}", lab.ctl(Realm::A, "show alg"));
    let stranger = "
import socket,subprocess
s=socket.socket(); s.bind(('0.0.0.0',5021)); s.listen(); print(ftp.sendcmd('PORT 192,168,10,11,19,157'))
print('announced',flush=True); import time; time.sleep(600)";
    let mut waits = lab.background("a1", &ftplib(stranger));
    assert!(waits.line().starts_with("200"));
    assert_eq!(waits.line(), "announced");
    assert!(lab.metrics(Realm::A).sum("ces_alg_awaited", &[]) >= 1.0);
    let knock = |from: &str| {
        let line = format!(
            "python3 -c \"import socket
s=socket.socket(); s.settimeout(2); s.bind(('{from}',0)); s.connect(('192.0.2.2',5021)); print('in')\""
        );
        lab.run("net", &line)
    };
    assert!(!knock("203.0.113.81").ok(), "nobody but the server");
    knock(SERVER).says("in");
    assert!(!knock(SERVER).ok(), "and that once");
    waits.end();
    server.end();
}

fn ftp_that_is_encrypted_passes_and_is_told(lab: &Lab) {
    lab.gateways(NAT);
    let (at, sum) = (lab.directory().display(), sum(lab));
    let make = format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ftp -days 2 -keyout {at}/ftp.key -out {at}/ftp.crt"
    );
    lab.run("net", &make).expect();
    let keys = format!(
        "ssl_enable=YES\nallow_anon_ssl=YES\nrequire_ssl_reuse=NO\nssl_ciphers=HIGH\n\
         rsa_cert_file={at}/ftp.crt\nrsa_private_key_file={at}/ftp.key\n"
    );
    let server = vsftpd(lab, &keys);
    let before = events(lab, "encrypted");
    let line = format!("curl -sS -m 60 -k --ssl-reqd ftp://{SERVER}/20MB.bin | sha256sum");
    assert_eq!(lab.run("a1", &line).expect(), sum);
    assert!(events(lab, "encrypted") > before);
    assert!(eventually(|| lab
        .log(Realm::A)
        .contains("192.168.10.11 speaks FTP with 203.0.113.80 encrypted")));
    // The same server without.
    let line = format!("curl -sS -m 60 -P - ftp://{SERVER}/20MB.bin | sha256sum");
    assert_eq!(lab.run("a1", &line).expect(), sum);
    server.end();
}

fn ftp_is_let_in_where_rules_forbid_the_world(lab: &Lab) {
    let rules = lab.directory().join("a/rules");
    std::fs::write(&rules, "allow tcp from inside to outside port 21\ndeny\n")
        .expect("the state directory is ours");
    lab.gateways(FILTERED);
    lab.ctl(Realm::A, "reload").expect();
    let (server, sum) = (vsftpd(lab, ""), sum(lab));
    let line = format!("curl -sS -m 60 -P - ftp://{SERVER}/20MB.bin | sha256sum");
    assert_eq!(lab.run("a1", &line).expect(), sum);
    let passive = lab.run("a1", &format!("curl -sS -m 10 --connect-timeout 5 ftp://{SERVER}/20MB.bin"));
    assert!(!passive.ok(), "what a host opens itself is the rules' matter: {passive}");
    server.end();
}

fn ftp_goes_on_after_the_gateway_was_killed(lab: &Lab) {
    lab.gateways(&[
        NAT[0],
        (Realm::A, "[registry]", "[state]\ndirectory = \"alg-state\"\nmemory = \"../memory\"\n\n[registry]"),
    ]);
    let server = vsftpd(lab, "");
    let flag = lab.directory().join("restarted");
    let what = format!(
        "print(len(ftp.nlst()),flush=True)
import os,time
while not os.path.exists('{}'): time.sleep(0.1)
print(len(ftp.nlst()),flush=True)
ftp.set_pasv(False); print(len(ftp.nlst()),flush=True)",
        flag.display()
    );
    let mut client = lab.background("a1", &ftplib(&what));
    assert_eq!(client.line(), "2");
    lab.kill(Realm::A);
    lab.start(Realm::A);
    std::fs::write(&flag, "").expect("the state directory is ours");
    assert_eq!((client.line(), client.line()), ("2".to_owned(), "2".to_owned()));
    client.wait().expect();
    assert!(lab.metrics(Realm::A).sum("ces_nat_sessions_kept", &[("fate", "adopted")]) >= 1.0);
    assert!(events(lab, "came") >= 1.0, "{}", lab.ctl(Realm::A, "show alg"));
    server.end();
}

/// What is on for one host is only shown for the other one, on another port as well; a reload turns it on.
fn an_alg_is_off_for_a_host_or_only_shows(lab: &Lab) {
    const DRY: &[Edit] = &[(
        Realm::A,
        "[tls]\n",
        "[nat]\naddresses = [\"192.0.2.2\"]\n\n[alg.ftp]\nhosts = [\n\
         { networks = [\"192.168.10.12\"], mode = \"dry-run\", ports = [21, 2121] },\n]\n\n[tls]\n",
    )];
    lab.gateways(DRY);
    let (server, sum) = (vsftpd(lab, ""), sum(lab));
    let active = format!("curl -sS -m 60 -P - --connect-timeout 5 ftp://{SERVER}/20MB.bin | sha256sum");
    assert_eq!(lab.run("a1", &active).expect(), sum);
    let counts = || ["rewritten", "would_rewrite"].map(|event| events(lab, event) as u64);
    let [rewritten, would] = counts();
    let asks = "
try: ftp.sendcmd('PORT 192,168,10,12,200,21')
except ftplib.Error as error: print(error)";
    lab.run("a2", &ftplib(asks)).says("500 Illegal PORT command");
    assert_eq!(counts(), [rewritten, would + 1]);
    let last = || lab.json(Realm::A, "show alg --last");
    let has = |host: &str, from: &str, is_dry: bool| {
        let row = |row: &serde_json::Value| {
            row["host"] == host
                && row["from"].as_str().is_some_and(|at| at.starts_with(from))
                && row["is_dry"] == is_dry
        };
        last().as_array().expect("rows").iter().any(row)
    };
    assert!(eventually(|| has("192.168.10.12", "192.168.10.12:51221", true)), "{}", last());
    assert!(has("192.168.10.11", "192.168.10.11:", false), "{}", last());
    lab.ctl(Realm::A, "show alg --last").says("only shown");
    lab.ctl(Realm::A, "show alg").says("FTP on TCP ports 21, otherwise for 1 networks");
    let config = std::fs::read_to_string(lab.directory().join("a/cesd.toml")).expect("it is there");
    lab.write_config(Realm::A, &config.replace("mode = \"dry-run\"", "mode = \"on\""));
    lab.ctl(Realm::A, "reload").expect();
    assert_eq!(lab.run("a2", &active).expect(), sum);
    lab.write_config(Realm::A, &config);
    lab.ctl(Realm::A, "reload").expect();
    server.end();
}

/// A host's port 21, and no other; the world may come to no other either.
const SERVED: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\n\n\
     [[nat.static]]\nexternal = \"192.0.2.2\"\ninside = \"192.168.10.11\"\nprotocol = \"tcp\"\nport = 21\n\n\
     [[nat.static]]\nexternal = \"192.0.2.20\"\ninside = \"192.168.10.11\"\nprotocol = \"tcp\"\nport = 21\n\n\
     [[nat.static]]\nexternal = \"192.0.2.21\"\ninside = \"192.168.10.12\"\n\n\
     [filter]\nfiles = [\"rules\"]\n\n[tls]\n",
)];

fn serve_ftp(lab: &Lab) {
    let rules = lab.directory().join("a/rules");
    std::fs::write(&rules, "allow from inside to outside\nallow tcp from outside to inside port 21\ndeny\n")
        .expect("the state directory is ours");
    lab.run("net", "ip route replace 192.0.2.16/28 via 192.0.2.2").expect();
    lab.gateways(SERVED);
    lab.ctl(Realm::A, "reload").expect();
}

/// Every way in which a client in the world fetches a file from there.
fn fetched_from(lab: &Lab, server: &str) {
    let (file, sum) = (format!("ftp://{server}/20MB.bin"), sum(lab));
    for line in [
        format!("curl -sS -m 60 --interface {CLIENT} {file}"),
        format!("curl -sS -m 60 --interface {CLIENT} --disable-epsv {file}"),
        format!("curl -sS -m 60 --interface {CLIENT} --disable-epsv --no-ftp-skip-pasv-ip {file}"),
        format!("curl -sS -m 60 --interface {CLIENT} -P {CLIENT} {file}"),
        format!("curl -sS -m 60 --interface {CLIENT} -P {CLIENT} --disable-eprt {file}"),
        format!("lftp -c 'set net:timeout 20; set net:socket-bind-ipv4 {CLIENT}; cat {file}'"),
        format!(
            "lftp -c 'set net:timeout 20; set net:socket-bind-ipv4 {CLIENT}; set ftp:passive-mode off; \
             set ftp:verify-address on; set ftp:verify-port off; cat {file}'"
        ),
        format!("ftp -s {CLIENT} -o - {file}"),
    ] {
        let fetched = lab.run("net", &format!("{line} | sha256sum"));
        assert_eq!(fetched.expect(), sum, "{line}: {fetched}");
    }
    let read = "d=hashlib.sha256(); ftp.dir(print); ftp.retrbinary('RETR 20MB.bin',d.update); \
                ftp.set_pasv(False); print(ftp.nlst()); print(d.hexdigest())";
    let fetched = lab.run("net", &ftplib_of(server, read));
    fetched.says("['20MB.bin', 'index.html']");
    fetched.says(sum.split_whitespace().next().expect("a sum"));
}

/// By a port of the gateway's own address, of another one, and at an address of its own: data comes from and to where the client
/// came to, and nobody else comes in.
fn ftp_of_a_server_behind_a_static_mapping(lab: &Lab) {
    serve_ftp(lab);
    for (host, address, external) in [
        ("a1", "192.168.10.11", "192.0.2.2"),
        ("a1", "192.168.10.11", "192.0.2.20"),
        ("a2", "192.168.10.12", "192.0.2.21"),
    ] {
        let server = vsftpd_on(lab, host, address, "");
        let came = events(lab, "came");
        fetched_from(lab, external);
        // All that was fetched passively.
        assert!(events(lab, "came") >= came + 7.0, "{}", lab.ctl(Realm::A, "show alg"));
        let stranger = "
import socket
from ftplib import parse227
at=parse227(ftp.sendcmd('PASV'))
def knock(who):
    s=socket.socket(); s.settimeout(2); s.bind((who,0))
    try: s.connect(at); return 'in'
    except OSError: return 'out'
print('stranger',knock('203.0.113.99'),'client',knock('203.0.113.21'))";
        lab.run("net", &ftplib_of(external, stranger)).says("stranger out client in");
        server.end();
    }
}

/// One that knows its address outside says that itself; one that names a neighbour is not believed, and what needs no address
/// works all the same.
fn ftp_of_a_server_that_says_it_is_elsewhere(lab: &Lab) {
    serve_ftp(lab);
    let server = vsftpd_on(lab, "a1", "192.168.10.11", "pasv_address=192.0.2.2\n");
    fetched_from(lab, "192.0.2.2");
    server.end();
    let server = vsftpd_on(lab, "a1", "192.168.10.11", "pasv_address=192.168.10.12\n");
    let (refused, sum) = (events(lab, "refused"), sum(lab));
    let says = lab.run("net", &ftplib_of("192.0.2.2", "print(ftp.sendcmd('PASV'))"));
    says.says("192,168,10,12");
    assert!(events(lab, "refused") > refused);
    let line = format!("curl -sS -m 60 --interface {CLIENT} ftp://192.0.2.2/20MB.bin | sha256sum");
    assert_eq!(lab.run("net", &line).expect(), sum, "by EPSV");
    server.end();
}

/// RFC 959 through the circular pool: who has asked for the name comes to an address that is the server's for him alone.
fn ftp_of_a_server_reached_by_its_name(lab: &Lab) {
    inbound::serve_by_name(lab, "ftp.b.demo", 21);
    let server = vsftpd_on(lab, "b1", "192.168.10.11", "");
    let came = || lab.metrics(Realm::B).sum("ces_alg_events_total", &[("event", "came")]);
    let before = came();
    fetched_from(lab, "ftp.b.demo");
    assert!(came() >= before + 7.0, "{}", lab.ctl(Realm::B, "show alg"));
    server.end();
}

/// Every way in which a host fetches a file from another one by its name, both behind gateways.
fn fetched_by_name(lab: &Lab, client: &str, server: &str) {
    let (file, sum) = (format!("ftp://{server}/20MB.bin"), sum(lab));
    for line in [
        format!("curl -sS -m 60 -P - {file}"),
        format!("curl -sS -m 60 -P - --disable-eprt {file}"),
        format!("curl -sS -m 60 {file}"),
        format!("curl -sS -m 60 --disable-epsv --no-ftp-skip-pasv-ip {file}"),
        format!("lftp -c 'set net:timeout 20; set ftp:passive-mode off; cat {file}'"),
        format!(
            "lftp -c 'set net:timeout 20; set ftp:prefer-epsv off; set ftp:fix-pasv-address off; cat {file}'"
        ),
        format!("ftp -A -o - {file}"),
    ] {
        let fetched = lab.run(client, &format!("{line} | sha256sum"));
        assert_eq!(fetched.expect(), sum, "{line}: {fetched}");
    }
    let read = format!(
        "python3 -c \"import ftplib,hashlib
ftp=ftplib.FTP('{server}',timeout=20); ftp.trust_server_pasv_ipv4_address=True
ftp.login(); d=hashlib.sha256(); ftp.set_pasv(False); ftp.dir(print); ftp.retrbinary('RETR 20MB.bin',d.update)
ftp.set_pasv(True); ftp.af=0; print(ftp.nlst()); print(d.hexdigest()); ftp.quit()\""
    );
    let fetched = lab.run(client, &read);
    fetched.says("['20MB.bin', 'index.html']");
    fetched.says(sum.split_whitespace().next().expect("a sum"));
}

fn events_of(lab: &Lab, realm: Realm, event: &str) -> f64 {
    lab.metrics(realm).sum("ces_alg_events_total", &[("event", event)])
}

/// Through two gateways, which both write anew what each of the two says: either host reads the other one's proxy address.
fn ftp_between_realms(lab: &Lab) {
    lab.gateways(&[]);
    let wrong = |realm| events_of(lab, realm, "refused") + events_of(lab, realm, "garbled");
    let before = Realm::BOTH.map(|realm| (events_of(lab, realm, "rewritten"), wrong(realm)));
    let server = vsftpd_on(lab, "b1", "192.168.10.11", "");
    fetched_by_name(lab, "a1", "www.b.demo");
    server.end();
    let server = vsftpd_on(lab, "a1", "192.168.10.11", "");
    fetched_by_name(lab, "b1", "a1.a.demo");
    server.end();
    for (realm, (rewritten, wrongs)) in Realm::BOTH.into_iter().zip(before) {
        assert!(events_of(lab, realm, "rewritten") >= rewritten + 8.0, "{}", lab.ctl(realm, "show alg"));
        assert!(wrong(realm) < wrongs + 1.0, "{}", lab.ctl(realm, "show alg"));
        for reason in ["alg_checksum", "alg_room", "alg_fragment"] {
            assert_eq!(lab.drops(realm, reason), 0, "{reason}");
        }
        lab.ctl(realm, "show alg --last").says("ftp");
    }
    assert!(
        lab.metrics(Realm::A).sum("ces_alg_channels", &[]) >= 1.0,
        "what has ended just now is known still"
    );
}

/// Through one gateway, with a binding for each of the two.
fn ftp_between_two_hosts_of_a_realm(lab: &Lab) {
    lab.gateways(&[]);
    let before = events_of(lab, Realm::A, "rewritten");
    let server = vsftpd_on(lab, "a1", "192.168.10.11", "");
    fetched_by_name(lab, "a2", "a1.a.demo");
    server.end();
    assert!(events_of(lab, Realm::A, "rewritten") >= before + 4.0, "{}", lab.ctl(Realm::A, "show alg"));
}

/// Where the pair may use the control channel's port alone, what is announced there comes in as well, and nothing else.
fn ftp_through_a_restricted_binding(lab: &Lab) {
    lab.gateways(&[]);
    let server = vsftpd_on(lab, "b1", "192.168.10.11", "");
    let sum = sum(lab);
    let came = events_of(lab, Realm::B, "came");
    for how in ["", "--disable-epsv", "-P -", "-P - --disable-eprt"] {
        let line = format!("curl -sS -m 60 {how} ftp://files.b.demo/20MB.bin | sha256sum");
        let fetched = lab.run("a1", &line);
        assert_eq!(fetched.expect(), sum, "{line}: {fetched}");
    }
    assert!(events_of(lab, Realm::B, "came") >= came + 4.0, "{}", lab.ctl(Realm::B, "show alg"));
    let often = "python3 -c \"import ftplib,socket
from ftplib import parse229
ftp=ftplib.FTP('files.b.demo',timeout=20); ftp.login()
def knock(port):
    s=socket.socket(); s.settimeout(2)
    try: s.connect((ftp.host,port)); return 'in'
    except OSError: return 'out'
at=parse229(ftp.sendcmd('EPSV'),ftp.sock.getpeername())[1]
print('announced',knock(at),'again',knock(at),'another',knock(80))\"";
    lab.run("a1", often).says("announced in again out another out");
    server.end();
}
