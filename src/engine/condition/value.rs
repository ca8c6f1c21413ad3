//! What a condition computes with: types, values, and what two values have to do with each other. Knows nothing of
//! expressions.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A text that a condition reads or makes is at most so many bytes long.
pub const TEXT_VALUE_MAX: usize = 64 * 1024;
/// A list that a condition reads or makes has at most so many elements, those of its inner lists counted.
pub const LIST_MAX: usize = 1_000;
/// Lists read from outside are nested at most so deep.
pub const LIST_DEPTH_MAX: usize = 8;
/// A text is shown up to so many characters.
const SHOWN_CHARS: usize = 60;
/// A list is shown up to so many elements.
const SHOWN_ELEMENTS: usize = 8;

/// The type of an expression or a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Type {
    /// `true`, `false`
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A number of 64 bits with a fraction.
    Float,
    /// Text.
    Text,
    /// A length of time.
    Duration,
    /// An instant.
    Timestamp,
    /// A list of values of one type.
    List(Box<Type>),
    /// Known only when it is evaluated.
    Any,
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "Bool",
            Self::Int => "Int",
            Self::Float => "Float",
            Self::Text => "Text",
            Self::Duration => "Duration",
            Self::Timestamp => "Timestamp",
            Self::Any => "any value",
            Self::List(of) => return write!(f, "List of {of}"),
        })
    }
}

impl Type {
    /// A list of `of`.
    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// Int or Float.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    /// Whether `==` between the two can make sense.
    pub fn is_comparable(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(left), Self::List(right)) => left.is_comparable(right),
            _ => self == other || self.is_number() && other.is_number(),
        }
    }

    /// Whether `<` is defined within it.
    pub fn is_ordered(&self) -> bool {
        !matches!(self, Self::List(_))
    }

    /// The one type that holds both, if there is one. Int and Float have none: CEL does not mix them.
    pub fn with(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => Some(Self::Any),
            (Self::List(left), Self::List(right)) => left.with(right).map(Self::list),
            _ => (self == other).then(|| self.clone()),
        }
    }

    /// The value of this type that `text` (a published line, a parameter) spells. `None` if it spells none, and for types
    /// that are never published.
    pub fn read(&self, text: &str) -> Option<Value> {
        let trimmed = text.trim();
        match self {
            Self::Bool => trimmed.parse().ok().map(Value::Bool),
            Self::Int => trimmed.parse().ok().map(Value::Int),
            Self::Float => trimmed.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Float),
            Self::Text => (text.len() <= TEXT_VALUE_MAX).then(|| Value::from(text)),
            Self::Duration | Self::Timestamp | Self::List(_) | Self::Any => None,
        }
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// `true`
    Bool(bool),
    /// `80`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `"staging"`
    Text(Arc<str>),
    /// Milliseconds, perhaps negative.
    Duration(i64),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// In order.
    List(Arc<[Value]>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl Value {
    /// A length of `milliseconds`, at most what fits.
    pub fn span(milliseconds: u64) -> Self {
        Self::Duration(i64::try_from(milliseconds).unwrap_or(i64::MAX))
    }

    /// An instant, `milliseconds` after the Unix epoch, at most what fits.
    pub fn time(milliseconds: u64) -> Self {
        Self::Timestamp(i64::try_from(milliseconds).unwrap_or(i64::MAX))
    }

    /// Its type; that of a list is the type of its elements as far as they agree.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Float(_) => Type::Float,
            Self::Text(_) => Type::Text,
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::List(elements) => {
                let mut types = elements.iter().map(Self::type_of);
                let first = types.next().unwrap_or(Type::Any);
                Type::list(types.fold(first, |all, one| all.with(&one).unwrap_or(Type::Any)))
            }
        }
    }

    /// Whether it is small enough to compute with.
    pub fn is_bounded(&self) -> bool {
        self.size(LIST_DEPTH_MAX).is_some_and(|size| size <= LIST_MAX)
    }

    /// How many elements it has, inner ones counted. `None`: too many, too long, or nested deeper than `depth`.
    fn size(&self, depth: usize) -> Option<usize> {
        match self {
            Self::Text(text) => (text.len() <= TEXT_VALUE_MAX).then_some(0),
            Self::List(elements) if depth > 0 && elements.len() <= LIST_MAX => {
                elements.iter().try_fold(elements.len(), |sum, one| {
                    let sum = sum + one.size(depth - 1)?;
                    (sum <= LIST_MAX).then_some(sum)
                })
            }
            Self::List(_) => None,
            _ => Some(0),
        }
    }

    /// Which of the two is greater. `None`: they have no order (unlike types, lists, not a number).
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(right)),
            (Self::Int(left), Self::Int(right))
            | (Self::Duration(left), Self::Duration(right))
            | (Self::Timestamp(left), Self::Timestamp(right)) => Some(left.cmp(right)),
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(right),
            (Self::Int(left), Self::Float(right)) => int_to_float(*left, *right),
            (Self::Float(left), Self::Int(right)) => int_to_float(*right, *left).map(Ordering::reverse),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }

    /// Whether `<` between values of these types is defined (not a number has an answer too: false).
    pub fn has_order_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(_) | Self::Float(_), Self::Int(_) | Self::Float(_)) => true,
            (Self::List(_), _) | (_, Self::List(_)) => false,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Whether the two are equal, as CEL sees it: numbers by their value, unlike types never. Both must be bounded.
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(left), Self::List(right)) => {
                left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| left.equals(right))
            }
            _ => self.compare(other).is_some_and(Ordering::is_eq),
        }
    }

    /// How many elements and further 64 bytes of text it has: what looking at all of it costs.
    pub(super) fn weight(&self) -> u32 {
        let weight = match self {
            Self::Text(text) => text.len() / 64,
            Self::List(elements) => return elements.iter().fold(1, |sum: u32, one| sum.saturating_add(one.weight())),
            _ => 0,
        };
        u32::try_from(weight + 1).unwrap_or(u32::MAX)
    }
}

/// Compares exactly, without rounding the whole number. `None` if `float` is not a number.
fn int_to_float(int: i64, float: f64) -> Option<Ordering> {
    /// 2⁶³: the least float above every `i64`.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= ABOVE {
        return Some(Ordering::Less);
    }
    if float < -ABOVE {
        return Some(Ordering::Greater);
    }
    // In range now, so the cut is exact.
    Some(int.cmp(&(float.trunc() as i64)).then(0.0f64.partial_cmp(&float.fract())?))
}

/// As CEL writes it, cut where it is long, harmless to a terminal.
impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => quoted(f, text),
            Self::Duration(milliseconds) => span(f, *milliseconds),
            Self::Timestamp(milliseconds) => f.write_str(&rfc3339(*milliseconds)),
            Self::List(elements) => {
                f.write_char('[')?;
                for (index, element) in elements.iter().take(SHOWN_ELEMENTS).enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{element}")?;
                }
                match elements.len().saturating_sub(SHOWN_ELEMENTS) {
                    0 => f.write_char(']'),
                    more => write!(f, ", … {more} more]"),
                }
            }
        }
    }
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    let mut chars = text.chars();
    for char in chars.by_ref().take(SHOWN_CHARS) {
        match char {
            '\'' => f.write_char(char)?,
            _ => write!(f, "{}", char.escape_debug())?,
        }
    }
    f.write_str(if chars.next().is_some() { "…\"" } else { "\"" })
}

/// `1h30m`, `250ms`, `-2d`.
fn span(f: &mut Formatter<'_>, milliseconds: i64) -> fmt::Result {
    if milliseconds == 0 {
        return f.write_str("0s");
    }
    if milliseconds < 0 {
        f.write_char('-')?;
    }
    let mut rest = milliseconds.unsigned_abs();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if rest >= length {
            write!(f, "{}{unit}", rest / length)?;
            rest %= length;
        }
    }
    Ok(())
}

/// `2026-01-02T03:04:05Z`; beyond the calendar, milliseconds.
pub(super) fn rfc3339(milliseconds: i64) -> String {
    match jiff::Timestamp::from_millisecond(milliseconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{milliseconds}ms"),
    }
}

/// What `duration('…')` says: `30m`, `1h30m`, `1.5h`, `-10s`, `250ms`, `2d`, in milliseconds. `None`: nothing, or finer than
/// a millisecond, or longer than fits.
pub(super) fn parse_span(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut sum: i128 = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let length: i128 = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        sum = sum.checked_add(scaled(number, length)?)?;
        rest = after;
        parts += 1;
    }
    (parts > 0).then_some(())?;
    i64::try_from(sum * sign).ok()
}

/// `1.25` × `length`, if that is whole.
fn scaled(number: &str, length: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let read = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = (read(whole)? * scale + read(fraction)?) * length;
    (parts % scale == 0).then_some(parts / scale)
}

/// What `timestamp('…')` says (RFC 3339), in milliseconds since the Unix epoch.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}
