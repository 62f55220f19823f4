#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("tag-range"), |data: &[u8]| idp::fuzzing::run("tag-range", data));
