//! Protocols that name addresses in what they say cross NAT44: real clients inside, real servers in the world.

use crate::Case;
use ces_tests::lab::{Background, Edit, Lab, Outcome, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("ftp_clients_fetch_actively_and_passively", ftp_clients_fetch_actively_and_passively),
    ("ftp_transfers_go_on_side_by_side", ftp_transfers_go_on_side_by_side),
    ("ftp_lets_nobody_else_in", ftp_lets_nobody_else_in),
    ("ftp_that_is_encrypted_passes_and_is_told", ftp_that_is_encrypted_passes_and_is_told),
    ("ftp_is_let_in_where_rules_forbid_the_world", ftp_is_let_in_where_rules_forbid_the_world),
    ("ftp_goes_on_after_the_gateway_was_killed", ftp_goes_on_after_the_gateway_was_killed),
];

const NAT: &[Edit] = &[(Realm::A, "[tls]\n", "[nat]\naddresses = [\"192.0.2.2\"]\n\n[tls]\n")];

const FILTERED: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\nfiltering = \"endpoint-independent\"\n\n\
     [filter]\nfiles = [\"rules\"]\n\n[tls]\n",
)];

/// Where the server in the world is.
const SERVER: &str = "203.0.113.80";

/// vsftpd in the world, with the lab's files, and this in its configuration.
fn vsftpd(lab: &Lab, more: &str) -> Background {
    let at = lab.directory();
    let config = format!(
        "listen=YES\nlisten_address={SERVER}\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
         no_anon_password=YES\nanon_root={}\nwrite_enable=NO\nconnect_from_port_20=YES\nseccomp_sandbox=NO\n\
         xferlog_enable=NO\n{more}",
        at.join("www").display()
    );
    let file = at.join("vsftpd.conf");
    std::fs::write(&file, config).expect("the state directory is ours");
    let server = lab.background("net", &format!("vsftpd {}", file.display()));
    let up = || lab.run("net", "ss -Hlnt").expect().contains(&format!("{SERVER}:21 "));
    assert!(eventually(up), "nothing listens: {}", server.end());
    server
}

fn events(lab: &Lab, event: &str) -> f64 {
    lab.metrics(Realm::A).sum("ces_alg_events_total", &[("event", event)])
}

/// The file that is fetched, as it should be.
fn sum(lab: &Lab) -> String {
    let file = lab.directory().join("www/20MB.bin");
    lab.run("net", &format!("sha256sum <{}", file.display())).expect().to_owned()
}

fn ftplib(what: &str) -> String {
    format!(
        "python3 -c \"import ftplib,hashlib
ftp=ftplib.FTP('{SERVER}',timeout=20); ftp.login(); {what}
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
