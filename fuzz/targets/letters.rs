#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use protocol::sim::fuzz::{self, Stage};

thread_local! {
    static STAGE: LazyCell<Stage> = LazyCell::new(Stage::default);
}

fuzz_target!(|bytes: &[u8]| STAGE.with(|stage| fuzz::letters(stage, bytes)));
