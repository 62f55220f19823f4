#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("exposition"), |data: &[u8]| idp::fuzzing::run("exposition", data));
