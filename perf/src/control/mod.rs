//! Two gateways that negotiate: what `negotiate` is made of.
//!
//! Each gateway is the whole of `ces-gateway` with a worker's tables behind it. Between them lie either function calls
//! ([`pair`]: what the engines cost by themselves) or the transport of `cesd` over the loopback interface ([`driver`]).

pub mod certificates;
pub mod cpu;
pub mod driver;
pub mod load;
pub mod node;
pub mod pair;
pub mod realms;
