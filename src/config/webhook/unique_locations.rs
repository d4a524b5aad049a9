//! The locations that were read so far: one path belongs to one endpoint.

use crate::config::reader::Section;
use crate::guard::{Location, variable_name};

/// A location that was read before.
struct KnownLocation {
    /// The path and the query, as they are written.
    written: String,
    /// The path without case, slashes at the end and the names of variable segments, and the query without case.
    canonical: String,
    /// The name of its endpoint.
    endpoint: String,
    line: Option<usize>,
}

/// The locations of the endpoints read so far.
#[derive(Default)]
pub(crate) struct UniqueLocations(Vec<KnownLocation>);

impl UniqueLocations {
    /// Adds the locations of a section, and reports one that an earlier section has.
    pub(super) fn insert(&mut self, section: &Section, locations: &[Location], name: &str) {
        for location in locations {
            let (written, canonical) = (location.as_written(), canonical(location));
            // Spellings of one path may belong to one endpoint, and only to one.
            let taken = |known: &&KnownLocation| {
                known.written == written || (known.canonical == canonical && known.endpoint != name)
            };
            if let Some(first) = self.0.iter().find(taken) {
                section.report(
                    "path",
                    format!("the path \"{written}\" a second time"),
                    "one endpoint per path",
                    format!("add this endpoint's secrets to the endpoint{}", on_line(first.line)),
                );
                continue;
            }
            let (endpoint, line) = (name.to_owned(), section.line());
            self.0.push(KnownLocation { written, canonical, endpoint, line });
        }
    }
}

/// Returns the form in which many backends compare paths.
fn canonical(location: &Location) -> String {
    let names = |segment| if variable_name(segment).is_some() { "{}" } else { segment };
    let path: Vec<&str> = location.path.trim_end_matches('/').split('/').map(names).collect();
    format!("{}?{}", path.join("/"), location.query_text()).to_ascii_lowercase()
}

fn on_line(line: Option<usize>) -> String {
    line.map(|line| format!(" on line {line}")).unwrap_or_default()
}
