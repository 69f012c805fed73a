//! Quantities: exact decimal numbers with suffixes, as `100m`, `1.5Gi`, `2e3`. Grammar and canonical form are apimachinery's `resource.Quantity`;
//! nothing is ever rounded through floating point. The unit inside is one billionth, upstream's finest.

use std::{cmp::Ordering, fmt};

/// An amount, in billionths of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Which suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Format {
    /// `Ki`, `Mi`, ...
    Binary,
    /// `m`, `k`, `M`, ...
    Decimal,
    /// `e3`
    Exponent,
}

/// The text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct ParseQuantityError;

const NANO: i128 = 1_000_000_000;
/// Larger amounts are cut to this: upstream's limit, 2^63 - 1 whole units.
const LIMIT: i128 = (i64::MAX as i128) * NANO;

const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self {
        nanos: 0,
        format: Format::Decimal,
    };

    /// So many thousandths (millicores).
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self {
            nanos: i128::from(millis) * (NANO / 1000),
            format: Format::Decimal,
        }
    }

    /// So many whole units (bytes), written with binary suffixes.
    #[must_use]
    pub fn from_bytes(bytes: i64) -> Self {
        Self {
            nanos: i128::from(bytes) * NANO,
            format: Format::Binary,
        }
    }

    /// Reads a quantity.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn parse(text: &str) -> Result<Self, ParseQuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(ParseQuantityError);
        }
        let (format, scale) = scale(suffix)?;
        let nanos = scaled(whole, fraction, scale);
        Ok(Self {
            nanos: if negative { -nanos } else { nanos },
            format,
        })
    }

    /// Whole units, rounded up, as upstream's `Value()`.
    #[must_use]
    pub fn value(&self) -> i64 {
        round_up(self.nanos, NANO)
    }

    /// Thousandths, rounded up, as upstream's `MilliValue()`.
    #[must_use]
    pub fn millis(&self) -> i64 {
        round_up(self.nanos, NANO / 1000)
    }

    /// Whether it is more than nothing.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.nanos > 0
    }

    /// Whether it is less than nothing.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether it has no fraction.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    /// The sum, in this quantity's form.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            nanos: (self.nanos + other.nanos).clamp(-LIMIT, LIMIT),
            format: self.format,
        }
    }

    /// The difference, in this quantity's form.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self {
            nanos: -other.nanos,
            format: other.format,
        })
    }
}

/// What a suffix multiplies by.
enum Scale {
    /// Two to this power.
    Two(u32),
    /// Ten to this power.
    Ten(i32),
}

fn scale(suffix: &str) -> Result<(Format, Scale), ParseQuantityError> {
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Binary, Scale::Two(*power)));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Decimal, Scale::Ten(*power)));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseQuantityError)?;
    // More digits than any amount has; also keeps the arithmetic below small.
    let power: i32 = exponent.parse().map_err(|_| ParseQuantityError)?;
    Ok((Format::Exponent, Scale::Ten(power.clamp(-100, 100))))
}

/// The number times its scale in billionths: exact, or rounded up to a billionth, or cut to the limit.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let mut digits: i128 = 0;
    for digit in whole
        .chars()
        .chain(fraction.chars())
        .filter_map(|c| c.to_digit(10))
    {
        digits = digits.saturating_mul(10).saturating_add(i128::from(digit));
    }
    let fraction_digits = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let (mut amount, mut power) = match scale {
        Scale::Two(power) => (digits.saturating_mul(1 << power), 9 - fraction_digits),
        Scale::Ten(power) => (digits, power + 9 - fraction_digits),
    };
    while power > 0 && amount <= LIMIT {
        amount = amount.saturating_mul(10);
        power -= 1;
    }
    let mut inexact = false;
    while power < 0 && amount != 0 {
        inexact |= amount % 10 != 0;
        amount /= 10;
        power += 1;
    }
    if inexact {
        amount += 1;
    }
    amount.min(LIMIT)
}

fn round_up(nanos: i128, unit: i128) -> i64 {
    let quotient = nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0);
    i64::try_from(quotient).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    /// By amount; the form only breaks ties.
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos
            .cmp(&other.nanos)
            .then((self.format as u8).cmp(&(other.format as u8)))
    }
}

impl fmt::Display for Quantity {
    /// Canonical form: no fraction, the largest suffix that allows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos / NANO;
        if self.format == Format::Binary && self.nanos % NANO == 0 && whole.abs() >= 1024 {
            let fitting = BINARY
                .iter()
                .rev()
                .find(|(_, power)| whole % (1 << power) == 0);
            return match fitting {
                Some((suffix, power)) => write!(f, "{}{suffix}", whole >> power),
                None => write!(f, "{whole}"),
            };
        }
        if self.format == Format::Binary && self.nanos % NANO == 0 {
            return write!(f, "{whole}");
        }
        let mut amount = self.nanos;
        let mut power = -9;
        while amount % 1000 == 0 && power < 18 {
            amount /= 1000;
            power += 3;
        }
        match self.format {
            Format::Exponent if power != 0 => write!(f, "{amount}e{power}"),
            _ => {
                let suffix = DECIMAL
                    .iter()
                    .find(|(_, of)| *of == power)
                    .map_or("", |(suffix, _)| suffix);
                write!(f, "{amount}{suffix}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_forms_are_upstreams() {
        for (given, shown) in [
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1500Ki", "1500Ki"),
            ("100", "100"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("0", "0"),
            ("-5m", "-5m"),
            ("1000Mi", "1000Mi"),
            ("0.1n", "1n"),
            (".5", "500m"),
            ("5.", "5"),
            ("512", "512"),
            ("1.5Ki", "1536"),
            ("12e6", "12e6"),
        ] {
            assert_eq!(
                Quantity::parse(given).unwrap().to_string(),
                shown,
                "{given}"
            );
        }
        for bad in [
            "", "m", "1x", "1.2.3", "--1", "1 Gi", "1ki", "e3", "1e", ".",
        ] {
            assert!(Quantity::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_round_up() {
        assert_eq!(Quantity::parse("1m").unwrap().value(), 1);
        assert_eq!(Quantity::parse("250m").unwrap().millis(), 250);
        assert_eq!(Quantity::parse("1.5Gi").unwrap().value(), 1_610_612_736);
        assert_eq!(Quantity::parse("99999E").unwrap().value(), i64::MAX);
    }

    proptest! {
        #[test]
        fn the_canonical_form_reads_back_as_the_same_amount(number in 0_i64..1_000_000_000, decimals in 0_u32..4, suffix in prop::sample::select(vec!["", "m", "k", "Mi", "Gi", "u", "n", "G", "e2"])) {
            let text = if decimals == 0 { format!("{number}{suffix}") } else { format!("{}.{:0width$}{suffix}", number / 10, number % 10_i64.pow(decimals), width = decimals as usize) };
            let quantity = Quantity::parse(&text).unwrap();
            let shown = quantity.to_string();
            let again = Quantity::parse(&shown).unwrap();
            prop_assert_eq!(quantity.nanos, again.nanos, "{} -> {}", text, shown);
            prop_assert_eq!(again.to_string(), shown);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
            let _ = Quantity::parse(&text);
        }
    }
}
