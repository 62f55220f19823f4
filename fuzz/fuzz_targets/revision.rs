#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("revision"), |data: &[u8]| idp::fuzzing::run("revision", data));
