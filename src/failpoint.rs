//! Points at which a test makes the program die, one at each transition of the delivery protocol. They exist only with the
//! feature `failpoints`; without it a point is an empty function. It decides nothing: which point kills, `FAILPOINTS` says
//! (`claim_after=1*return`), and what has to hold after that is told by `tests/promise`.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!(
    "the feature failpoints lets the environment kill the program: it is for tests, never for a release build"
);

/// Dies here, as by `kill -9`, if `FAILPOINTS` gives this point the action `return`.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    fail::fail_point!(name, |_| std::process::abort());
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_: &str) {}

/// Reads `FAILPOINTS`. The points are disarmed when what it returns is dropped.
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
