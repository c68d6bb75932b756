//! What each address and port is, and whose.

use crate::frame::ends::Ends;
use crate::session::plan::{Destination, Plan, Share, Transport};

/// Sessions of 4 × 8 clients with 3 requests; timeouts of a millisecond, 2 retries.
pub(super) fn plan(transport: Transport) -> Plan {
    Plan {
        name: "web".to_owned(),
        transport,
        client: 0x0a00_0001,
        clients: 4,
        client_port: 40_000,
        client_ports: 8,
        target: Destination::Addresses { first: 0xc633_6401, count: 2 },
        server_port: 80,
        requests: 3,
        request_bytes: 100,
        response_bytes: 300,
        think_ns: 0,
        timeout_ns: 1_000_000,
        retries: 2,
        outstanding: u32::MAX,
    }
}

#[test]
fn each_slot_has_its_own_client() {
    let plan = plan(Transport::Udp);
    let mut seen = std::collections::HashSet::new();
    for slot in 0..plan.capacity() {
        let (destination, destination_port) = plan.client_of(slot);
        let ends = Ends { source: 0, source_port: 0, destination, destination_port };
        assert_eq!(plan.slot_of(ends), Some(slot));
        assert!(seen.insert((destination, destination_port)));
        for beside in [
            Ends { destination: 0x0a00_0005, ..ends },
            Ends { destination: 0x0a00_0000, ..ends },
            Ends { destination_port: 39_999, ..ends },
            Ends { destination_port: 40_008, ..ends },
        ] {
            assert_eq!(plan.slot_of(beside), None);
        }
    }
    assert_eq!(seen.len(), 32);
}

#[test]
fn each_slot_is_in_one_share() {
    for (clients, client_ports, threads) in
        [(4, 8, 1), (4, 8, 3), (4, 8, 8), (100, 1, 7), (1, 64_512, 5), (1, 1, 3)]
    {
        let plan = Plan { clients, client_ports, ..plan(Transport::Udp) };
        let shares: Vec<_> = (0..threads).map(|thread| Share::new(&plan, thread, threads)).collect();
        assert_eq!(shares.iter().map(Share::count).sum::<u32>(), plan.capacity());
        for slot in 0..plan.capacity() {
            let owner = shares[0].owner_of(slot);
            for (thread, share) in shares.iter().enumerate() {
                let place = (thread == owner).then(|| slot - share.first());
                assert_eq!(share.place_of(slot), place, "slot {slot} of {threads} threads");
            }
        }
    }
}

#[test]
fn parts_add_up_and_fit() {
    for (clients, client_ports, threads) in [(4, 8, 3), (100, 1, 7), (1, 64_512, 5), (1, 1, 3)] {
        let plan = Plan { clients, client_ports, ..plan(Transport::Udp) };
        let shares: Vec<_> = (0..threads).map(|thread| Share::new(&plan, thread, threads)).collect();
        for number in [0, 1, 2, 31, u64::from(plan.capacity())] {
            let number = number.min(plan.capacity().into());
            assert!(shares.iter().all(|share| share.of(number) <= share.count().into()));
            assert_eq!(shares.iter().map(|share| share.of(number)).sum::<u64>(), number);
        }
        let rates: f64 = shares.iter().filter_map(|share| share.rate(Some(1.0))).sum();
        assert!((rates - 1.0).abs() < 1e-9);
    }
}

#[test]
fn threads_share_ports_and_have_all_addresses() {
    let plan = plan(Transport::Udp);
    let second = Share::new(&plan, 1, 3);
    assert_eq!((second.first(), second.count()), (2 * 4, 3 * 4));
    assert_eq!((second.thread(), second.threads()), (1, 3));
    assert_eq!(plan.client_of(second.first()), (plan.client, plan.client_port + 2));
}
