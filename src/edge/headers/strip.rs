//! The headers that no client may send, and those that only trusted proxies may send, in every spelling that a backend
//! reads as such.

/// The headers by which a backend lets its proxy choose the path, or how much of the path belongs to the app. IIS, old PHP
/// frameworks, gunicorn (by default), Daphne, mod_wsgi and common WSGI snippets read them. Such an app would see the
/// webhook's path where the guard saw `/x/webhooks/stripe`.
const PATH_HEADERS: [&[u8]; 7] = [
    b"x-original-url",
    b"x-rewrite-url",
    b"script-name",
    b"path-info",
    b"daphne-root-path",
    b"x-script-name",
    b"x-forwarded-script-name",
];

/// The headers that tell who the client is, besides `Forwarded`.
const FORWARDING_HEADERS: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"];

/// Returns true if the header is removed from every request: it could choose another path, or it is one of Countersign's
/// own, which a backend believes.
pub(super) fn is_stripped(name: &[u8]) -> bool {
    match name.first() {
        Some(b'c' | b'C') => name.get(..12).is_some_and(|start| same_header_name(start, b"countersign-")),
        Some(b'x' | b'X' | b's' | b'S' | b'p' | b'P' | b'd' | b'D') => {
            PATH_HEADERS.iter().any(|known| same_header_name(name, known))
        }
        _ => false,
    }
}

/// Returns true if the header tells who the client is. It is accepted from trusted peers only.
pub(super) fn is_forwarding_header(name: &[u8]) -> bool {
    match name.first() {
        Some(b'x' | b'X') => FORWARDING_HEADERS.iter().any(|known| same_header_name(name, known)),
        Some(b'f' | b'F') => same_header_name(name, b"forwarded"),
        _ => false,
    }
}

/// Returns true if no proxy spells a header's name like this. CGI and WSGI would read it as the proxy's own header.
pub(super) fn is_nonstandard_name(name: &[u8]) -> bool {
    name.iter().any(|&byte| byte != b'-' && !byte.is_ascii_alphanumeric())
}

/// Returns true if some backend reads `name` as `known`, which is in lower case. CGI and WSGI read `_` as `-`, PHP's own
/// server reads `.` so, and lighttpd's CGI any byte that is not a letter or digit.
pub(super) fn same_header_name(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name.iter().zip(known).all(|(&byte, &known)| match known {
            b'-' => !byte.is_ascii_alphanumeric(),
            _ => byte.to_ascii_lowercase() == known,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_no_client_may_send_are_known_in_any_spelling() {
        let cases = [
            ("X-Original-URL", true),
            ("x_original_url", true),
            ("X-Rewrite-Url", true),
            ("X-Rewrite_URL", true),
            ("SCRIPT_NAME", true),
            ("Script-Name", true),
            ("PATH_INFO", true),
            ("path-info", true),
            ("Daphne-Root-Path", true),
            ("X-Script-Name", true),
            ("X_Forwarded_Script_Name", true),
            ("Script-Names", false),
            ("Path", false),
            ("Date", false),
            ("Countersign-Event", true),
            ("countersign_verdict", true),
            ("Countersign.Event", true),
            ("Countersign!Verdict", true),
            ("X.Original.URL", true),
            ("COUNTERSIGN-", true),
            ("Countersign_-x", true),
            ("Countersign", false),
            ("Countersigned-By", false),
            ("X-Countersign-Event", false),
            ("X-Original-URLs", false),
            ("X-Original", false),
            ("X-Request-Id", false),
            ("Cookie", false),
            ("", false),
        ];
        for (name, is) in cases {
            assert_eq!(is_stripped(name.as_bytes()), is, "{name}");
        }
    }

    #[test]
    fn only_headers_about_the_client_are_forwarding_headers() {
        let cases = [
            ("X-Forwarded-For", true),
            ("x_forwarded_for", true),
            ("X.Forwarded.For", true),
            ("X!Forwarded-Host", true),
            ("X-FORWARDED-PROTO", true),
            ("X-Forwarded_Host", true),
            ("Forwarded", true),
            ("X-Forwarded-Port", false),
            ("X-Forwarded-Fork", false),
            ("X-Real-IP", false),
            ("From", false),
        ];
        for (name, is) in cases {
            assert_eq!(is_forwarding_header(name.as_bytes()), is, "{name}");
        }
    }
}
