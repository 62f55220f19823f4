#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("webhook-bitbucket-cloud"), |data: &[u8]| idp::fuzzing::run("webhook-bitbucket-cloud", data));
