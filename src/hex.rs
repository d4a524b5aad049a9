//! Lower-case hexadecimal text, the form of signatures, tokens and keys. Pure.

/// The digits by value.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The value of each byte as a lower-case digit; 255 for every other byte.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Writes two lower-case digits for each byte.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push(&mut text, bytes);
    text
}

/// Appends two lower-case digits for each byte to `text`.
pub fn push(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Parses exactly `2 * N` lower-case digits. Upper case is refused, so that a value has one spelling only.
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let (mut bytes, mut seen) = ([0; N], 0);
    for (byte, [high, low]) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        // Checked once after the loop: a branch for each digit would cost more than the digits.
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_lower_case_digits_and_back() {
        let all: [u8; 256] = std::array::from_fn(|n| n as u8);
        let text = encode(&all);
        assert!(text.starts_with("000102") && text.ends_with("fdfeff"), "{text}");
        assert_eq!(decode(text.as_bytes()), Some(all));
    }

    #[test]
    fn only_the_exact_number_of_lower_case_digits_is_decoded() {
        assert_eq!(decode(b"0aff"), Some([0x0a, 0xff]));
        for text in ["", "0af", "0aff00", "0AFF", "0afg", "0af ", "0x0a"] {
            assert_eq!(decode::<2>(text.as_bytes()), None, "{text}");
        }
    }
}
