#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("record-inventory"), |data: &[u8]| idp::fuzzing::run("record-inventory", data));
