#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("refs"), |data: &[u8]| idp::fuzzing::run("refs", data));
