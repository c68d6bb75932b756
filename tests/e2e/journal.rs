//! What the journal of sessions says to the next process, or does not: whatever happened to it, no name leads to another host.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Realm, eventually};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub(crate) const CASES: &[Case] = &[
    (
        "r1_a_journal_that_is_cut_off_is_what_was_whole_of_it",
        r1_a_journal_that_is_cut_off_is_what_was_whole_of_it,
    ),
    ("r1_a_damaged_journal_is_told_and_not_used", r1_a_damaged_journal_is_told_and_not_used),
    (
        "r1_a_journal_of_another_version_is_told_and_not_used",
        r1_a_journal_of_another_version_is_told_and_not_used,
    ),
    ("r1_a_full_disk_is_told_and_survived", r1_a_full_disk_is_told_and_survived),
];

/// Has gateway A keep its state.
const KEEPS_STATE: &[Edit] = &[(Realm::A, "[registry]", "[state]\ndirectory = \"state\"\n\n[registry]")];
/// What gateway A's hosts ask for.
const NAMES: [(&str, &str); 3] = [("a1", "www.b.demo"), ("a2", "b2.b.demo"), ("a2", "www.b.demo")];

fn state(lab: &Lab, file: &str) -> PathBuf {
    lab.directory().join("a/state").join(file)
}

fn journal(lab: &Lab) -> Vec<u8> {
    fs::read(state(lab, "journal")).unwrap_or_default()
}

/// What each session of gateway A is: its tags and tunnel, by host and proxy address.
fn sessions(lab: &Lab) -> BTreeMap<(String, String), String> {
    let rows = lab.json(Realm::A, "show bindings");
    let rows = rows.as_array().expect("a list").clone();
    rows.into_iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let tunnel = &row["tunnel"];
            let what = format!("{} {} {} {}", row["remote"], row["tag"], row["remote_tag"], tunnel["id_in"]);
            ((text("host"), text("proxy")), what)
        })
        .collect()
}

/// Gateway A with a session for each of the names, and then without it.
fn killed_with_sessions(lab: &Lab) -> BTreeMap<(String, String), String> {
    lab.gateways(KEEPS_STATE);
    for (host, name) in NAMES {
        lab.reach(host, name);
    }
    let before = sessions(lab);
    lab.kill(Realm::A);
    before
}

/// All names lead where they led: to the same session, or, where there is none any more, to an address that led nowhere before.
#[track_caller]
fn none_leads_elsewhere(lab: &Lab, before: &BTreeMap<(String, String), String>, kept: bool) {
    for (host, name) in NAMES {
        assert!(eventually(|| lab.run(host, &format!("ping -n -c 1 -W 2 {name}")).ok()), "{name}");
    }
    for (place, what) in sessions(lab) {
        match before.get(&place) {
            Some(session) => assert!(kept && *session == what, "{place:?}: {session} became {what}"),
            None => assert!(!kept, "{place:?}: {what} is new"),
        }
    }
}

/// Starts gateway A, which says this of its journal.
#[track_caller]
fn starts_and_says(lab: &Lab, words: &str) {
    let before = lab.log(Realm::A).len();
    lab.start(Realm::A);
    let log = lab.log(Realm::A);
    assert!(log[before..].contains(words), "{words}: {}", &log[before..]);
}

fn r1_a_journal_that_is_cut_off_is_what_was_whole_of_it(lab: &Lab) {
    let before = killed_with_sessions(lab);
    let mut bytes = journal(lab);
    bytes.extend_from_slice(b"0123abcd 17");
    fs::write(state(lab, "journal"), &bytes).expect("the state directory is ours");
    starts_and_says(lab, "its last 11 octets are not whole: left out");
    assert_eq!(sessions(lab), before);
    none_leads_elsewhere(lab, &before, true);
    lab.ctl(Realm::A, "show journal").says("whole");
}

/// Starts gateway A on a journal that cannot be used.
fn starts_on(lab: &Lab, before: &BTreeMap<(String, String), String>, bytes: &[u8], told: &str) {
    let restarts = lab.log(Realm::B).matches("the peer restarted").count();
    fs::write(state(lab, "journal"), bytes).expect("the state directory is ours");
    starts_and_says(lab, told);
    assert_eq!(fs::read(state(lab, "journal.unusable")).expect("it is set aside"), bytes);
    let shown = lab.json(Realm::A, "show journal");
    assert!(shown["past"].as_str().is_some_and(|past| told.contains(past)), "{shown}");
    assert!(sessions(lab).is_empty(), "nothing is taken up again");
    none_leads_elsewhere(lab, before, false);
    assert!(
        eventually(|| lab.log(Realm::B).matches("the peer restarted").count() > restarts),
        "the peer sees it"
    );
}

fn r1_a_damaged_journal_is_told_and_not_used(lab: &Lab) {
    let before = killed_with_sessions(lab);
    let mut bytes = journal(lab);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let line = bytes[..middle].split(|byte| *byte == b'\n').count();
    starts_on(lab, &before, &bytes, &format!("line {line} is damaged"));
}

fn r1_a_journal_of_another_version_is_told_and_not_used(lab: &Lab) {
    let before = killed_with_sessions(lab);
    let text = String::from_utf8(journal(lab)).expect("a journal is text");
    let header = text.lines().next().and_then(|line| line.split_once(" 1 ")).expect("its version is 1").1;
    let line = format!("0 {header}");
    let bytes = format!("{:08x} {line}\n", crc32(line.as_bytes()));
    starts_on(lab, &before, bytes.as_bytes(), "it is of version 0, and version 1 was expected");
}

/// The usual one (IEEE 802.3).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// A disk of 128 KiB where gateway A has its state, as long as this value lives.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(lab: &Lab) -> Self {
        let path = lab.directory().join("a/disk");
        fs::create_dir_all(&path).expect("the state directory is ours");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=128k,mode=700", "ces"])
            .arg(&path)
            .status();
        assert!(mounted.is_ok_and(|status| status.success()));
        Self(path)
    }

    pub(crate) fn fill(&self) {
        fs::write(self.0.join("filler"), vec![0; 1 << 20]).expect_err("it is smaller");
    }

    pub(crate) fn clear(&self) {
        fs::remove_file(self.0.join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn r1_a_full_disk_is_told_and_survived(lab: &Lab) {
    lab.stop(Realm::A);
    let disk = SmallDisk::mount(lab);
    lab.gateways(&[(Realm::A, "[registry]", "[state]\ndirectory = \"disk\"\n\n[registry]")]);
    let whole = || lab.metrics(Realm::A).sum("ces_journal_whole", &[]) > 0.0;
    for (host, name) in NAMES {
        lab.reach(host, name);
    }
    assert!(whole());
    disk.fill();
    // Until the last page of the file is full, too.
    assert!(eventually(|| {
        lab.ctl(Realm::A, "block address 203.0.113.99 --seconds 9").expect();
        lab.ctl(Realm::A, "unblock address 203.0.113.99").expect();
        !whole()
    }));
    // What the file took is free now.
    disk.fill();
    assert!(lab.log(Realm::A).contains("No space left on device"), "{}", lab.log(Realm::A));
    lab.ctl(Realm::A, "show journal").says("failing");
    assert!(!disk.0.join("journal").exists(), "what lacks something is not there to be read");
    let before = sessions(lab);
    none_leads_elsewhere(lab, &before, true);

    // It starts as well, and what was is lost, not wrong.
    lab.kill(Realm::A);
    starts_and_says(lab, "No space left on device");
    assert!(sessions(lab).is_empty() && !whole());
    none_leads_elsewhere(lab, &before, false);

    disk.clear();
    assert!(eventually(whole), "it is written again once there is room\n{}", lab.log(Realm::A));
    let before = sessions(lab);
    lab.kill(Realm::A);
    lab.start(Realm::A);
    assert_eq!(sessions(lab), before);
    none_leads_elsewhere(lab, &before, true);
    lab.stop(Realm::A);
}
