#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("webhook-gitlab"), |data: &[u8]| idp::fuzzing::run("webhook-gitlab", data));
