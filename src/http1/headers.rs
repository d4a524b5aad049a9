//! The syntax of header lines: which bytes a name and a value may hold, and how a list value is split (RFC 9110,
//! section 5). The request head and the rewriting of headers share it.

/// The characters of a token, by byte (RFC 9110, section 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut rest = b"!#$%&'*+-.^_`|~".as_slice();
    while let [first, tail @ ..] = rest {
        table[*first as usize] = true;
        rest = tail;
    }
    table
};

/// Returns true if `text` is a token: the syntax of a method and of a header name.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| TOKEN[byte as usize])
}

/// Returns true if a header value may hold every byte of `text`: no control character but the tab (RFC 9110, section 5.5).
pub fn is_header_value(text: &[u8]) -> bool {
    // A fold without an early exit: the compiler turns it into vector instructions.
    !text.iter().fold(false, |invalid, &byte| invalid | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f))
}

/// Splits a list value at its commas and trims each item (RFC 9110, section 5.6.1).
pub fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Appends one header line, `name: value` and CRLF.
pub fn write_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_no_separator_and_is_not_empty() {
        for (text, expected) in [
            ("GET", true),
            ("X-A_b.1!~", true),
            ("", false),
            ("a b", false),
            ("a:", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(is_token(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_header_value_has_no_control_character_but_the_tab() {
        for (text, expected) in
            [(&b"a\tb \xff"[..], true), (b"", true), (b"a\rb", false), (b"a\x7fb", false), (b"\x00", false)]
        {
            assert_eq!(is_header_value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_items_of_a_list_are_trimmed() {
        assert_eq!(list_items(b" a ,b,, c").collect::<Vec<_>>(), [&b"a"[..], b"b", b"", b"c"]);
    }
}
