#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("configuration"), |data: &[u8]| idp::fuzzing::run("configuration", data));
