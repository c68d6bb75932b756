//! The rules of the stateful filter as a person writes them, one a line, and what the workers are to ask.
//!
//! ```text
//! set lab = 10.0.0.0/16, 192.0.2.7
//! set blocked file "blocked.txt"
//!
//! deny       from outside @blocked
//! reject tcp from inside to outside port smtp            name no-mail
//! allow tcp  from inside group staff to outside port 80, 443, 8000-8999
//! allow icmp from outside @lab to inside host www.a.demo type ping
//! deny       tcp from outside on dsl flags !syn log
//! allow udp  to outside port dns rate 1000, 20 per source
//! deny       to inside
//! ```
//!
//! The first rule that fits decides. All errors of all files are found before any is reported, each with its line. No I/O, no
//! clock: whoever calls reads the files.
//!
//! Read `line.rs` for one line, `words.rs` and `members.rs` for what stands in it, `book.rs` for all of them together.

#![forbid(unsafe_code)]

mod book;
mod line;
mod members;
mod words;

pub use book::{Book, Line, Sources, Surroundings, load};
pub use words::{dscp, flags, protocol_name, protocol_number};
