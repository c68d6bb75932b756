//! Whatever happens in whatever order: every query is answered or dropped once and counted once, and when all is quiet
//! nothing is left over in any pool.

mod lab;

use ces_dataplane::msg::{EndReason, InsertError};
use ces_dns::message::Transport;
use ces_dns::outcome::QuerySide;
use ces_gateway::QueryToken;
use hickory_proto::rr::RecordType;
use lab::{H1, H2, H3, Lab, MS, S, Upstream, hosts, realm};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Happening {
    Query { node: usize, host: u8, name: u8, aaaa: bool, tcp: bool },
    Gone { which: prop::sample::Index },
    Time { ms: u16 },
    End { node: usize, which: prop::sample::Index, hard: bool },
    Terminate { node: usize, which: prop::sample::Index },
    Block { node: usize, host: u8 },
    Upstream { mode: u8 },
    Mute { on: bool },
    Unreachable { on: bool },
    Delay { ms: u8 },
    Restart { node: usize },
    Insert { node: usize, fails: bool },
    Reload { node: usize, without: bool },
    Peer { node: usize },
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::{
        Block, Delay, End, Gone, Insert, Mute, Peer, Query, Reload, Restart, Terminate, Time, Unreachable,
    };
    let node = 0..2usize;
    let index = any::<prop::sample::Index>;
    prop_oneof![
        20 => (node.clone(), 0..3u8, 0..9u8, any::<bool>(), any::<bool>())
            .prop_map(|(node, host, name, aaaa, tcp)| Query { node, host, name, aaaa, tcp }),
        2 => index().prop_map(|which| Gone { which }),
        8 => (0..900u16).prop_map(|ms| Time { ms }),
        4 => (node.clone(), index(), any::<bool>()).prop_map(|(node, which, hard)| End { node, which, hard }),
        2 => (node.clone(), index()).prop_map(|(node, which)| Terminate { node, which }),
        1 => (node.clone(), 0..3u8).prop_map(|(node, host)| Block { node, host }),
        1 => (0..3u8).prop_map(|mode| Happening::Upstream { mode }),
        1 => any::<bool>().prop_map(|on| Mute { on }),
        1 => any::<bool>().prop_map(|on| Unreachable { on }),
        1 => (0..30u8).prop_map(|ms| Delay { ms }),
        1 => node.clone().prop_map(|node| Restart { node }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, fails)| Insert { node, fails }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, without)| Reload { node, without }),
        1 => node.prop_map(|node| Peer { node }),
    ]
}

const ZONES: [&str; 2] = ["a.demo", "b.demo"];
const NAMES: [&str; 9] = [
    "h1.a.demo",
    "h2.a.demo",
    "www.h1.a.demo",
    "h1.b.demo",
    "h2.b.demo",
    "www.h1.b.demo",
    "h3.b.demo",
    "legacy.example",
    "nothing.example",
];

struct Run {
    lab: Lab,
    /// Queries of each gateway since its last start: what it must have counted.
    asked: [u64; 2],
    /// Queries whose answer is awaited: gateway, its life, token.
    open: Vec<(usize, u32, u64)>,
    lives: [u32; 2],
}

impl Run {
    fn step(&mut self, happening: Happening) {
        let lab = &mut self.lab;
        let now = lab.now;
        match happening {
            Happening::Query { node, host, name, aaaa, tcp } => {
                let host = [H1, H2, H3][usize::from(host)];
                let qtype = if aaaa { RecordType::AAAA } else { RecordType::A };
                let transport = if tcp { Transport::Tcp } else { Transport::Udp };
                let name = NAMES[usize::from(name)];
                let token = lab.query_as(node, QuerySide::Inside, transport, host, name, qtype);
                self.asked[node] += 1;
                self.open.push((node, self.lives[node], token));
            }
            Happening::Gone { which } => {
                let waiting: Vec<usize> = (0..self.open.len())
                    .filter(|i| !lab.nodes[self.open[*i].0].answers.contains_key(&self.open[*i].2))
                    .collect();
                if !waiting.is_empty() {
                    let (node, life, token) = self.open[waiting[which.index(waiting.len())]];
                    if life == self.lives[node] {
                        let before = lab.nodes[node].gateway.pools().waiting;
                        lab.nodes[node].gateway.handle_dns_gone(QueryToken(token));
                        // Over UDP nobody goes away.
                        if lab.nodes[node].gateway.pools().waiting < before {
                            self.open.retain(|open| open.2 != token);
                        }
                    }
                }
            }
            Happening::Time { ms } => lab.advance(u64::from(ms) * MS),
            Happening::End { node, which, hard } => {
                let handles: Vec<_> = lab.nodes[node].bindings.keys().copied().collect();
                if !handles.is_empty() {
                    let reason = if hard { EndReason::Hard } else { EndReason::Idle };
                    lab.end(node, handles[which.index(handles.len())], reason);
                }
            }
            Happening::Terminate { node, which } => {
                let bindings = lab.nodes[node].gateway.bindings(now);
                if !bindings.is_empty() {
                    let tag = bindings[which.index(bindings.len())].tag;
                    lab.nodes[node].gateway.terminate_session(tag, now);
                }
            }
            Happening::Block { node, host } => {
                let name = format!("h{}.{}", host + 1, ZONES[node]);
                assert!(lab.nodes[node].gateway.block_host(&name, 1, now));
            }
            Happening::Upstream { mode } => {
                lab.upstream = [Upstream::Answers, Upstream::Silent, Upstream::Refuses][usize::from(mode)];
            }
            Happening::Mute { on } => lab.mute = on,
            Happening::Unreachable { on } => lab.unreachable = on,
            Happening::Delay { ms } => lab.delay = u64::from(ms) * MS,
            Happening::Restart { node } => {
                lab.kill(node);
                lab.restart(node, &realm(ZONES[node]));
                self.asked[node] = 0;
                self.lives[node] += 1;
                self.open.retain(|open| open.0 != node);
            }
            Happening::Insert { node, fails } => {
                lab.nodes[node].insert_error = fails.then_some(InsertError::IndexFull);
            }
            Happening::Reload { node, without } => {
                let mut text = realm(ZONES[node]);
                if without {
                    text = text.replace("policy = [\"office\"]", "");
                }
                let settings = lab.nodes[node].settings.clone();
                let (registry, policies) = ces_gateway::registry::load(&hosts(&text), &settings).unwrap();
                lab.nodes[node].gateway.reload(settings, registry, policies, now).unwrap();
            }
            Happening::Peer { node } => {
                let peer = format!("ces{}.", ZONES[1 - node]);
                lab.nodes[node].gateway.terminate_peer(&peer, now);
            }
        }
        lab.settle();
        for node in &lab.nodes {
            // What the worker has is what the gateway thinks it has.
            let known = node.gateway.bindings(lab.now).len();
            assert_eq!(known, node.bindings.len());
        }
    }

    fn finish(mut self) {
        let lab = &mut self.lab;
        lab.mute = false;
        lab.unreachable = false;
        lab.upstream = Upstream::Answers;
        for node in &mut lab.nodes {
            node.insert_error = None;
        }
        lab.advance(20 * S);
        for (node, _, token) in &self.open {
            assert!(lab.nodes[*node].answers.contains_key(token), "a query was met with silence");
        }
        for (i, node) in lab.nodes.iter().enumerate() {
            let gateway = &node.gateway;
            assert_eq!(gateway.counters().dns.total(QuerySide::Inside), self.asked[i]);
            let pools = gateway.pools();
            assert_eq!(pools.waiting, 0);
            assert_eq!(pools.slots_used, [node.bindings.len() as u32]);
        }
        for i in 0..2 {
            while let Some(handle) = lab.nodes[i].bindings.keys().next().copied() {
                lab.end(i, handle, EndReason::Hard);
            }
        }
        lab.advance(200 * S);
        for node in &lab.nodes {
            let pools = node.gateway.pools();
            assert_eq!((pools.slots_used, pools.tunnels_used), (vec![0], 0));
            assert!(node.gateway.hosts(lab.now).iter().all(|host| host.bindings == 0));
        }
        // And it still works.
        assert!(lab.address(0, H2, "h2.b.demo").is_some());
        assert!(lab.address(1, H2, "h2.a.demo").is_some());
    }
}

/// Runs of up to 80 happenings each: 400 take about a second, 10,000 about 40 (and hold as well).
const CASES: u32 = 400;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_whatever_happens(happenings in prop::collection::vec(happening(), 1..80)) {
        let mut run = Run { lab: Lab::new(), asked: [0; 2], open: Vec::new(), lives: [0; 2] };
        for happening in happenings {
            run.step(happening);
        }
        run.finish();
    }
}
