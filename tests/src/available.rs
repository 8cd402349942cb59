//! What a test needs of its machine, and what becomes of it where that is not there.

use std::env;

/// What is there; else says that the test is skipped, and why. With `WATTLE_REQUIRE_ALL=1` that fails.
pub fn available<T>(found: Result<T, String>) -> Option<T> {
    let required = env::var_os("WATTLE_REQUIRE_ALL").is_some_and(|it| it == "1");
    match found {
        Ok(found) => Some(found),
        Err(why) if required => panic!("{why}"),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}
