#![no_main]
libfuzzer_sys::fuzz_target!(init: idp_fuzz::sow("webhook-bitbucket-data-center"), |data: &[u8]| idp::fuzzing::run("webhook-bitbucket-data-center", data));
