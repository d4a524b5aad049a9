//! One reading of one file: its text, its environment, and the errors found so far. Every section of the file shares it.
//! It decides nothing about a value.

use super::diagnostics::Diagnostic;
use super::placeholder::Environment;
use super::unknown_keys::UnknownKey;
use std::cell::RefCell;

/// The state that every section of a file shares while the file is read.
pub(crate) struct Reading<'a> {
    text: &'a str,
    environment: &'a Environment,
    diagnostics: RefCell<Vec<Diagnostic>>,
    unknown_keys: RefCell<Vec<UnknownKey>>,
    /// The keys of each section that was read, in the order in which the sections ended.
    known_keys: RefCell<Vec<(&'static str, Vec<&'static str>)>>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(text: &'a str, environment: &'a Environment) -> Self {
        Reading {
            text,
            environment,
            diagnostics: RefCell::default(),
            unknown_keys: RefCell::default(),
            known_keys: RefCell::default(),
        }
    }

    /// Returns the line, counted from 1, of a byte offset in the file.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Returns the variables that placeholders refer to.
    pub(crate) fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// Records an error. Reading goes on, so that one reading finds them all.
    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// Records a key that no section asked for.
    pub(crate) fn report_unknown(&self, key: UnknownKey) {
        self.unknown_keys.borrow_mut().push(key);
    }

    /// Records the keys of a section that was read. A section that occurs several times counts once.
    pub(crate) fn add_known_keys(&self, section: &'static str, keys: Vec<&'static str>) {
        let mut known = self.known_keys.borrow_mut();
        if known.iter().all(|(name, _)| *name != section) {
            known.push((section, keys));
        }
    }

    /// Returns every error, unknown keys included.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let known = self.known_keys.into_inner();
        let mut diagnostics = self.diagnostics.into_inner();
        diagnostics.extend(self.unknown_keys.into_inner().into_iter().map(|key| key.diagnose(&known)));
        diagnostics
    }
}
