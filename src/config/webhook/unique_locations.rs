//! The locations that were read so far: one path belongs to one endpoint.

use crate::config::reader::Section;
use crate::guard::{Location, is_variable_value, variable_name};

/// A location that was read before.
struct KnownLocation {
    location: Location,
    /// The name of its endpoint.
    endpoint: String,
    line: Option<usize>,
}

/// The locations of the endpoints read so far.
#[derive(Default)]
pub(crate) struct UniqueLocations(Vec<KnownLocation>);

impl UniqueLocations {
    /// Adds the locations of a section, and reports one that shares a path with an earlier section.
    pub(super) fn insert(&mut self, section: &Section, locations: &[Location], name: &str) {
        for location in locations {
            let written = location.as_written();
            // Spellings of one path may belong to one endpoint, and only to one.
            let taken = self.0.iter().find_map(|known| {
                let is_repeated = known.location.as_written() == written;
                let shared = shared_path(&known.location, location);
                let shared = shared.filter(|_| is_repeated || known.endpoint != name)?;
                Some((known, shared))
            });
            let Some((first, shared)) = taken else {
                let (location, endpoint, line) = (location.clone(), name.to_owned(), section.line());
                self.0.push(KnownLocation { location, endpoint, line });
                continue;
            };
            let on_line = first.line.map(|line| format!(" on line {line}")).unwrap_or_default();
            let (found, help) = if is_one_form(&first.location, location) {
                (
                    format!("the path \"{written}\" a second time"),
                    format!("add this endpoint's secrets to the endpoint{on_line}"),
                )
            } else {
                (
                    format!(
                        "the path \"{written}\", which shares \"{shared}\" with \"{}\"",
                        first.location.as_written()
                    ),
                    format!(
                        "make one of the paths longer, or give this endpoint the name of the endpoint{on_line}"
                    ),
                )
            };
            section.report("path", found, "one endpoint per path", help);
        }
    }
}

/// Returns a path that requests to both locations may have, as many backends compare paths: without case and slashes at
/// the end. Returns `None` if there is none, or if their queries differ.
fn shared_path(one: &Location, other: &Location) -> Option<String> {
    if !one.query_text().eq_ignore_ascii_case(&other.query_text()) {
        return None;
    }
    let (mut one, mut other) = (segments(&one.path), segments(&other.path));
    let mut shared = Vec::new();
    loop {
        let segment = match (one.next(), other.next()) {
            (None, None) => return Some(shared.join("/")),
            (Some(_), None) | (None, Some(_)) => return None,
            (Some(one), Some(other)) => match (variable_name(one), variable_name(other)) {
                (Some(_), Some(_)) => "x",
                (Some(_), None) if is_variable_value(other.as_bytes()) => other,
                (None, Some(_)) if is_variable_value(one.as_bytes()) => one,
                (None, None) if one.eq_ignore_ascii_case(other) => other,
                (Some(_) | None, Some(_) | None) => return None,
            },
        };
        shared.push(segment);
    }
}

/// Returns whether two locations that share a path are variable in the same segments.
fn is_one_form(one: &Location, other: &Location) -> bool {
    let is_variable = |segment| variable_name(segment).is_some();
    segments(&one.path).map(is_variable).eq(segments(&other.path).map(is_variable))
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.trim_end_matches('/').split('/')
}
