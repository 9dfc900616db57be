#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    downlinkd::fuzz::topic(data);
});
