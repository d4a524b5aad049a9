//! The forms of a request target, and where its path begins (RFC 9112, section 3.2). Nothing is decoded here, and no
//! guarded path is known.

use memchr::memchr;

/// What the form of a target says about its path, before the path is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TargetForm {
    /// The path begins where every reader expects it.
    Regular,
    /// The path begins with two slashes, so a reader may take its first segment for a host.
    MaybeHost,
    /// Neither origin form nor absolute form: readers disagree on where the path begins.
    Irregular,
}

/// Returns the path in a request target, and what the target's form says about it.
pub(super) fn path_of(target: &[u8]) -> (&[u8], TargetForm) {
    // The first `?` ends the path for every reader.
    let path = memchr(b'?', target).map_or(target, |query| &target[..query]);
    match path {
        [b'/' | b'\\', b'/' | b'\\', ..] => return (path, TargetForm::MaybeHost),
        [b'/', ..] => return (path, TargetForm::Regular),
        _ => {}
    }
    let scheme = path.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
    let Some(b':') = path.get(scheme) else { return (path, TargetForm::Irregular) };
    let rest = &path[scheme + 1..];
    let Some(address) = rest.strip_prefix(b"//") else { return (rest, TargetForm::Irregular) };
    let host =
        address.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(byte)).count();
    match &address[host..] {
        [] => (&[], TargetForm::Regular),
        [b'/', b'/' | b'\\', ..] => (&address[host..], TargetForm::MaybeHost),
        [b'/', ..] if host > 0 => (&address[host..], TargetForm::Regular),
        // User information or an escape in the host: URL parsers end such a host at different places.
        _ => (address, TargetForm::Irregular),
    }
}

/// Returns whether a target says where its path begins: origin form, absolute form, or the `*` of OPTIONS.
///
/// A router may read any other form as it likes. Some read `*webhooks/stripe` as `/webhooks/stripe`.
pub fn is_target(method: &[u8], target: &[u8]) -> bool {
    if target == b"*" {
        return method == b"OPTIONS";
    }
    let regular =
        target.first() == Some(&b'/') || !target.is_empty() && path_of(target).1 != TargetForm::Irregular;
    // Clients never send a fragment. Some readers cut off one that is sent, and others read it as part of the path.
    regular && !target.contains(&b'#')
}

/// Returns `/host/path` of an absolute form `scheme://host/path`, and `None` for any other form.
pub(super) fn with_host(target: &[u8]) -> Option<&[u8]> {
    let path = memchr(b'?', target).map_or(target, |query| &target[..query]);
    let scheme = memchr(b':', path).filter(|_| path.first() != Some(&b'/'))?;
    path[scheme + 1..].strip_prefix(b"/").filter(|rest| rest.starts_with(b"/"))
}

/// Returns the paths of `//host/path` for readers that end the host at a slash, and for those that end it at a backslash,
/// too.
pub(super) fn behind_host(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let host = path.iter().position(|byte| !matches!(byte, b'/' | b'\\')).unwrap_or(path.len());
    let address = &path[host..];
    let by_slash = memchr(b'/', address);
    let by_backslash = memchr(b'\\', &address[..by_slash.unwrap_or(address.len())]);
    by_slash.into_iter().chain(by_backslash).map(move |end| &address[end..])
}

#[cfg(test)]
mod tests {
    use super::is_target;

    #[test]
    fn only_a_target_that_says_where_its_path_begins_is_accepted() {
        for target in ["/", "/a?b", "//a/b", "http://a", "http://a/b", "HTTPS://a:1?b", "http://[::1]/b"] {
            assert!(is_target(b"POST", target.as_bytes()), "{target}");
        }
        let others = [
            "",
            "*webhooks/stripe",
            "*",
            "a",
            "a:80",
            "webhooks/stripe",
            "http:/a",
            "http:///a",
            "/a#b",
            "/#",
            "/a#b",
            "/#",
            "\\a",
            "?a",
            "http://a@b/",
        ];
        for target in others {
            assert!(!is_target(b"POST", target.as_bytes()), "{target}");
        }
        assert!(is_target(b"OPTIONS", b"*"));
    }
}
