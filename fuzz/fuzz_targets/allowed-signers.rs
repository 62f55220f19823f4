#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("allowed-signers"), |data: &[u8]| idp::fuzzing::run("allowed-signers", data));
