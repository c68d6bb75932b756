//! What the fuzz targets do with their bytes. Also run over the seeds by an ordinary test, tests/seeds.rs.

#![forbid(unsafe_code)]

pub mod cetp;
pub mod dhcp;
pub mod dns;
pub mod ftp;
pub mod packet;
mod receiver;
pub mod sip;
pub mod talk;
