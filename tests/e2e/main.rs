//! Two realms in network namespaces, talking through two gateways with real clients and servers.

fn main() {}
