#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("image-reference"), |data: &[u8]| idp::fuzzing::run("image-reference", data));
