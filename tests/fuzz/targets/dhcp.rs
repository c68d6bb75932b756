#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ces_fuzz::dhcp::run(data));
