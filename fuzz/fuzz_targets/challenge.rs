#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("challenge"), |data: &[u8]| idp::fuzzing::run("challenge", data));
