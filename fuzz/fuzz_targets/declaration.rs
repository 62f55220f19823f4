#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("declaration"), |data: &[u8]| idp::fuzzing::run("declaration", data));
