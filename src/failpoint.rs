//! Failpoints: named places where a test kills the program, at least one for each step of a delivery. They exist
//! only with the feature `failpoints`; without it a failpoint is an empty function. The environment variable
//! `FAILPOINTS` selects the point that kills (`claim_after=1*return`). `tests/promise` checks the guarantees afterwards.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!(
    "the feature failpoints lets an environment variable kill the program; build it with debug assertions, for tests only"
);

/// Kills the process like `kill -9`, if `FAILPOINTS` gives this failpoint the action `return`.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    fail::fail_point!(name, |_| std::process::abort());
}

/// Does nothing: the program is built without failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_: &str) {}

/// Arms the failpoints that `FAILPOINTS` names. Dropping the returned guard disarms them.
#[cfg(feature = "failpoints")]
pub fn arm() -> impl Drop {
    struct Armed(Option<fail::FailScenario<'static>>);
    impl Drop for Armed {
        fn drop(&mut self) {
            drop(self.0.take());
        }
    }
    Armed(Some(fail::FailScenario::setup()))
}
