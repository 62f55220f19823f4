#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("commit-signature"), |data: &[u8]| idp::fuzzing::run("commit-signature", data));
