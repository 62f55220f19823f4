#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("globs"), |data: &[u8]| idp::fuzzing::run("globs", data));
