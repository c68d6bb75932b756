//! What comes at run time: names by UPDATE, which the gateway's core decides about, and hosts by `cesctl host`, which come into
//! force as a reload does. Both are written down before anybody hears of it (RFC 2136 §3.5).

use crate::admin::protocol::{NewHost, Request, Response};
use crate::slots::Key;
use crate::state::{Added, AddedFile, LineFileView};
use ces_gateway::names::Name;
use ces_gateway::{AddedRecord, Gateway, SourceFile};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use toml::{Table, Value};

/// Hosts that operators may add.
const HOSTS_MAX: usize = 4096;

/// Who waits for something to be written down.
enum Waits {
    /// Whom the gateway's core answers: updates up to this number.
    Core(u64),
    /// Who added or removed a host.
    Client(Key, Response),
}

/// A host that somebody adds, or takes away (`None`).
#[derive(Clone)]
pub(super) struct HostChange {
    /// The host's name, in lower case with its final dot.
    pub(super) name: Arc<str>,
    /// Its section `[[host]]`.
    pub(super) text: Option<String>,
}

/// All of it, with its file.
pub(super) struct AddedHosts {
    hosts: BTreeMap<Arc<str>, String>,
    file: Option<AddedFile>,
    number: u64,
    waiting: VecDeque<(u64, Waits)>,
}

/// What a request changes of the hosts, or why it cannot; `None` if it is none of those.
pub(super) fn change(request: &Request) -> Option<Result<HostChange, String>> {
    let named = |name: &str| {
        Name::parse(name).map(|name| name.shared()).map_err(|wrong| format!("{name:?}: {wrong}"))
    };
    match request {
        Request::AddHost(host) => {
            Some(named(&host.name).and_then(|name| Ok(HostChange { name, text: Some(section(host)?) })))
        }
        Request::RemoveHost { name } => Some(named(name).map(|name| HostChange { name, text: None })),
        _ => None,
    }
}

/// A host as a file of the registry would say it.
fn section(host: &NewHost) -> Result<String, String> {
    let mut table = Table::new();
    let mut set = |key: &str, value: Value| _ = table.insert(key.to_owned(), value);
    set("name", host.name.as_str().into());
    set("address", host.address.to_string().into());
    if let Some(mac) = &host.mac {
        set("mac", mac.as_str().into());
    }
    for (key, list) in [("groups", &host.groups), ("services", &host.services), ("policy", &host.policies)] {
        if !list.is_empty() {
            set(key, list.iter().map(String::as_str).collect::<Vec<_>>().into());
        }
    }
    let inbound = host.inbound.iter().map(|text| inbound(text)).collect::<Result<Vec<_>, _>>()?;
    if !inbound.is_empty() {
        set("inbound", inbound.into());
    }
    let hosts = Table::from_iter([("host".to_owned(), Value::from(vec![table]))]);
    toml::to_string(&hosts).map_err(|error| error.to_string())
}

/// What is reached: `all`, `tcp/80`, `icmp`, `www.b.demo=tcp/80`.
fn inbound(text: &str) -> Result<Table, String> {
    let (name, what) = match text.split_once('=') {
        Some((name, what)) => (Some(name), what),
        None => (None, text),
    };
    let mut table = Table::new();
    table.extend(name.map(|name| ("name".to_owned(), name.into())));
    if what != "all" {
        let (protocol, port) = what.split_once('/').map_or((what, None), |(what, port)| (what, Some(port)));
        let number = protocol.parse::<u8>().map(|number| Value::from(i64::from(number)));
        table.insert("protocol".to_owned(), number.unwrap_or_else(|_| protocol.into()));
        if let Some(port) = port {
            let port: u16 = port.parse().map_err(|_| format!("{text:?}: {port:?} is no port"))?;
            table.insert("port".to_owned(), Value::from(i64::from(port)));
        }
    }
    Ok(table)
}

/// Hosts as files of the registry, each by itself.
pub(super) fn files<'a>(hosts: impl Iterator<Item = (&'a Arc<str>, &'a String)>) -> Vec<SourceFile> {
    let file = |(name, text): (&Arc<str>, &String)| SourceFile {
        path: format!("{}{name}", crate::config::ADDED_HOST),
        text: text.clone(),
    };
    hosts.map(file).collect()
}

impl AddedHosts {
    /// What the last process left; names come back.
    pub(super) fn new(file: Option<(AddedFile, Vec<Added>)>) -> (Self, Vec<AddedRecord>) {
        let (mut hosts, mut names) = (BTreeMap::new(), Vec::new());
        let file = file.map(|(file, records)| {
            for record in records {
                match record {
                    Added::Name(record) => names.push(record),
                    Added::Host(name, Some(text)) => _ = hosts.insert(name, text),
                    Added::Host(name, None) => _ = hosts.remove(&name),
                }
            }
            file
        });
        (Self { hosts, file, number: 0, waiting: VecDeque::new() }, names)
    }

    /// The hosts as files, as they are, or with a change.
    pub(super) fn files(&self, change: Option<&HostChange>) -> Result<Vec<SourceFile>, String> {
        let mut hosts = self.hosts.clone();
        match change {
            Some(HostChange { name, text: Some(text) }) => {
                if hosts.len() >= HOSTS_MAX && !hosts.contains_key(name) {
                    return Err(format!(
                        "{HOSTS_MAX} hosts can be added at run time; write others into a file"
                    ));
                }
                hosts.insert(Arc::clone(name), text.clone());
            }
            Some(HostChange { name, text: None }) if hosts.remove(name).is_none() => {
                return Err(format!("{name} was not added at run time"));
            }
            _ => {}
        }
        Ok(files(hosts.iter()))
    }

    /// A change of the hosts is in force: it is written down, and then the client is told.
    pub(super) fn keep(&mut self, client: Key, change: HostChange, response: Response) {
        match &change.text {
            Some(text) => _ = self.hosts.insert(Arc::clone(&change.name), text.clone()),
            None => _ = self.hosts.remove(&change.name),
        }
        self.write(vec![Added::Host(change.name, change.text)], Waits::Client(client, response));
    }

    /// So are names.
    pub(super) fn keep_names(&mut self, number: u64, records: Vec<AddedRecord>) {
        self.write(records.into_iter().map(Added::Name).collect(), Waits::Core(number));
    }

    fn write(&mut self, records: Vec<Added>, waits: Waits) {
        self.number += 1;
        if let Some(file) = &mut self.file {
            file.write(self.number, records);
        }
        self.waiting.push_back((self.number, waits));
    }

    /// Tells those for whom everything has been written. Without a file nothing is waited for. True if anything was.
    pub(super) fn take_written(
        &mut self,
        gateway: &mut Gateway,
        mut tell: impl FnMut(Key, &Response),
    ) -> bool {
        let mut any = false;
        while let Some((number, is_written)) = match &mut self.file {
            Some(file) => file.take_written(),
            None => (!self.waiting.is_empty()).then_some((self.number, true)),
        } {
            any = true;
            while let Some((_, waits)) = self.waiting.pop_front_if(|(waits, _)| *waits <= number) {
                match waits {
                    Waits::Core(number) => gateway.handle_added_written(number, is_written),
                    Waits::Client(client, response) if is_written => tell(client, &response),
                    Waits::Client(client, _) => {
                        let text =
                            "it is in force, but cannot be written down: the next start will not know it";
                        tell(client, &Response::Error(text.to_owned()));
                    }
                }
            }
        }
        any
    }

    /// The file, as an operator sees it.
    pub(super) fn view(&self) -> Option<LineFileView> {
        self.file.as_ref().map(AddedFile::view)
    }

    /// How many hosts there are.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }
}
