//! Kubernetes' quantities: `250m` of a core, `1.5Gi` of memory (Kubernetes API reference, `Quantity`).

/// A quantity in thousandths of its unit. None = it is none, or is too large to count.
pub fn thousandths(text: &str) -> Option<i128> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && part.is_empty() || whole.len() > 20 || part.len() > 9 {
        return None;
    }
    // In billionths, so that `n` is a whole number.
    let padded = format!("{}{part:0<9}", if whole.is_empty() { "0" } else { whole });
    let billionths: i128 = padded.parse().ok()?;
    let binary = |power: u32| 1024_i128.checked_pow(power).map(|factor| (factor, 1));
    let decimal = |power: u32| 1000_i128.checked_pow(power).map(|factor| (factor, 1));
    let (times, over) = match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => decimal(1)?,
        "M" => decimal(2)?,
        "G" => decimal(3)?,
        "T" => decimal(4)?,
        "P" => decimal(5)?,
        "E" => decimal(6)?,
        "Ki" => binary(1)?,
        "Mi" => binary(2)?,
        "Gi" => binary(3)?,
        "Ti" => binary(4)?,
        "Pi" => binary(5)?,
        "Ei" => binary(6)?,
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs())?;
            if power >= 0 { (factor, 1) } else { (1, factor) }
        }
    };
    Some(sign * billionths.checked_mul(times)? / over / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("1", 1_000),
            ("250m", 250),
            ("1.5", 1_500),
            ("0.5Gi", 536_870_912_000),
            ("64Mi", 67_108_864_000),
            ("1e3", 1_000_000),
            ("12E2", 1_200_000),
            ("2E", 2_000_000_000_000_000_000_000),
            ("100n", 0),
            ("1500u", 1),
            ("-1", -1_000),
            (".5", 500),
        ] {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        for bad in ["", "x", "1x", "1.2.3", "1Zi", "99999999999999999999999", "1e99"] {
            assert_eq!(thousandths(bad), None, "{bad}");
        }
    }
}
