//! The value of a condition. Total: every input ends, within [`STEPS_MAX`] steps, in a value, a missing name or a fault.
//! Pure: what it knows comes from `Values`, asked for one name at a time.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;

use super::names::{Name, Values};
use super::node::{Arithmetic, At, Comparison, Computed, Function, Kind, Macro, MacroParts, Node};
use super::value::{LIST_MAX, TEXT_VALUE_MAX, Value, parse_span, parse_time, rfc3339};
use super::{EXPLAINED_MAX, STEPS_MAX};

/// A value in an explanation has at most so many characters.
const EXPLAINED_CHARS: usize = 200;

/// Why there is no value.
#[derive(Debug, Clone, PartialEq)]
pub enum EvalError {
    /// A value that decides is not there yet: a metric not published, a task that has not run.
    Missing(Name),
    /// It cannot be computed.
    Fault {
        /// What happened.
        fault: Fault,
        /// Where, in bytes of the condition's text.
        range: Range<usize>,
    },
}

/// Why it cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A value has a type for which this is not defined (of a value whose type was not known before).
    Type,
    /// A whole number, a length of time or an instant does not fit.
    Overflow,
    /// A division by zero.
    DivisionByZero,
    /// An index beyond its list.
    Index,
    /// A text that does not spell what it should.
    Conversion,
    /// A text or list is too large.
    TooLarge,
    /// It took too many steps.
    TooManySteps,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Type => "a value has the wrong type",
            Self::Overflow => "a number does not fit",
            Self::DivisionByZero => "division by zero",
            Self::Index => "an index is beyond its list",
            Self::Conversion => "a text does not spell such a value",
            Self::TooLarge => "a text or list is too large",
            Self::TooManySteps => return write!(f, "more than {STEPS_MAX} steps"),
        })
    }
}

impl Display for EvalError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "{name} is not known yet"),
            Self::Fault { fault, range } => write!(f, "{fault}, at byte {}", range.start),
        }
    }
}

impl std::error::Error for EvalError {}

/// A condition with its values: `params.target != 'none' (params.target = "none")`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The condition's text.
    pub expression: String,
    /// Names as they can be written, and their values as text (`not known yet` if there is none), in the order of the text.
    pub values: Vec<(String, String)>,
    /// How many more there were.
    pub more: usize,
}

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression)?;
        for (index, (name, value)) in self.values.iter().enumerate() {
            write!(f, "{}{name} = {value}", if index == 0 { " (" } else { ", " })?;
        }
        match (self.values.is_empty(), self.more) {
            (true, _) => Ok(()),
            (false, 0) => f.write_str(")"),
            (false, more) => write!(f, ", … {more} more)"),
        }
    }
}

type Outcome = Result<Value, EvalError>;

pub(super) fn evaluate(root: &Node, values: &dyn Values) -> Outcome {
    Machine { values, steps: 0, variables: Vec::new(), asked: None }.evaluate(root)
}

pub(super) fn not_a_bool(at: At) -> EvalError {
    fault(at, Fault::Type)
}

pub(super) fn explain(text: &str, root: &Node, values: &dyn Values) -> Explanation {
    // Names with a computed key are those that an evaluation asks for.
    let mut machine = Machine { values, steps: 0, variables: Vec::new(), asked: Some(Vec::new()) };
    let _ = machine.evaluate(root);
    let asked = machine.asked.unwrap_or_default();
    let mut names: Vec<Name> = Vec::new();
    root.walk(&mut |node| match &node.kind {
        Kind::Read(name) => names.push(name.clone()),
        Kind::Computed(_) => names.extend(asked.iter().filter(|(at, _)| *at == node.at).map(|(_, name)| name.clone())),
        _ => {}
    });
    let mut once = std::collections::BTreeSet::new();
    names.retain(|name| once.insert(name.clone()));
    let more = names.len().saturating_sub(EXPLAINED_MAX);
    let value = |name: &Name| match values.value(name) {
        Some(value) if value.is_bounded() => value.to_string().chars().take(EXPLAINED_CHARS).collect(),
        Some(_) => Fault::TooLarge.to_string(),
        None => "not known yet".to_owned(),
    };
    let values = names.iter().take(EXPLAINED_MAX).map(|name| (name.to_string(), value(name))).collect();
    Explanation { expression: text.to_owned(), values, more }
}

fn fault(at: At, fault: Fault) -> EvalError {
    EvalError::Fault { fault, range: at.range() }
}

struct Machine<'a> {
    values: &'a dyn Values,
    steps: u32,
    variables: Vec<Value>,
    /// For an explanation: names made by computed keys, and where.
    asked: Option<Vec<(At, Name)>>,
}

impl Machine<'_> {
    fn step(&mut self, at: At, steps: u32) -> Result<(), EvalError> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS_MAX { Err(fault(at, Fault::TooManySteps)) } else { Ok(()) }
    }

    fn evaluate(&mut self, node: &Node) -> Outcome {
        let at = node.at;
        self.step(at, 1)?;
        match &node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::List(nodes) => {
                let elements = nodes.iter().map(|node| self.evaluate(node)).collect::<Result<Vec<_>, _>>()?;
                self.list(at, elements)
            }
            Kind::Read(name) => self.read(at, name),
            Kind::Computed(computed) => {
                let name = self.name(at, computed)?;
                self.read(at, &name)
            }
            Kind::Has(name) => match self.evaluate(name) {
                Ok(_) => Ok(Value::Bool(true)),
                Err(EvalError::Missing(_)) => Ok(Value::Bool(false)),
                Err(fault) => Err(fault),
            },
            Kind::Variable(level) => self.variables.get(*level).cloned().ok_or_else(|| fault(at, Fault::Type)),
            Kind::Not(operand) => Ok(Value::Bool(!self.bool(operand)?)),
            Kind::Negate(operand) => negate(self.evaluate(operand)?, at),
            Kind::And(pair) => self.both(&pair.0, &pair.1, false),
            Kind::Or(pair) => self.both(&pair.0, &pair.1, true),
            Kind::Conditional(parts) => {
                let test = self.bool(&parts.0)?;
                self.evaluate(if test { &parts.1 } else { &parts.2 })
            }
            Kind::Compare(comparison, pair) => self.compare(*comparison, &pair.0, &pair.1, at),
            Kind::Arithmetic(operator, pair) => {
                let (left, right) = (self.evaluate(&pair.0)?, self.evaluate(&pair.1)?);
                self.arithmetic(*operator, &left, &right, at)
            }
            Kind::In(pair) => {
                let (element, list) = (self.evaluate(&pair.0)?, self.evaluate(&pair.1)?);
                let Value::List(elements) = &list else { return Err(fault(at, Fault::Type)) };
                self.step(at, list.weight())?;
                Ok(Value::Bool(elements.iter().any(|one| one.equals(&element))))
            }
            Kind::Index(pair) => {
                let (list, index) = (self.evaluate(&pair.0)?, self.evaluate(&pair.1)?);
                let (Value::List(elements), Value::Int(index)) = (list, index) else {
                    return Err(fault(at, Fault::Type));
                };
                let found = usize::try_from(index).ok().and_then(|index| elements.get(index).cloned());
                found.ok_or_else(|| fault(at, Fault::Index))
            }
            Kind::Call(function, arguments) => {
                let arguments = arguments.iter().map(|one| self.evaluate(one)).collect::<Result<Vec<_>, _>>()?;
                self.step(at, arguments.iter().fold(0, |sum: u32, one| sum.saturating_add(one.weight())))?;
                call(*function, &arguments).map_err(|kind| fault(at, kind))
            }
            Kind::Macro(which, parts) => self.expand(*which, parts, at),
        }
    }

    fn bool(&mut self, node: &Node) -> Result<bool, EvalError> {
        match self.evaluate(node)? {
            Value::Bool(value) => Ok(value),
            _ => Err(fault(node.at, Fault::Type)),
        }
    }

    fn read(&mut self, at: At, name: &Name) -> Outcome {
        let value = self.values.value(name).ok_or_else(|| EvalError::Missing(name.clone()))?;
        if value.is_bounded() { Ok(value) } else { Err(fault(at, Fault::TooLarge)) }
    }

    fn name(&mut self, at: At, computed: &Computed) -> Result<Name, EvalError> {
        let mut keys = Vec::with_capacity(computed.keys.len());
        for key in &computed.keys {
            match self.evaluate(key)? {
                Value::Text(text) => keys.push(text),
                _ => return Err(fault(key.at, Fault::Type)),
            }
        }
        let name = computed.below.name(keys.into_iter()).ok_or_else(|| fault(at, Fault::Type))?;
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.len() < LIST_MAX) {
            asked.push((at, name.clone()));
        }
        Ok(name)
    }

    /// Every list made here is bounded as those from outside are, so looking at one never takes long.
    fn list(&mut self, at: At, elements: Vec<Value>) -> Outcome {
        let list = Value::List(elements.into());
        if !list.is_bounded() {
            return Err(fault(at, Fault::TooLarge));
        }
        self.step(at, list.weight())?;
        Ok(list)
    }

    /// `&&` and `||`: the side that decides (`decides`: false, true) decides, whatever the other is.
    fn both(&mut self, left: &Node, right: &Node, decides: bool) -> Outcome {
        let left = self.bool(left);
        if left == Ok(decides) {
            return Ok(Value::Bool(decides));
        }
        let right = self.bool(right);
        either(left, right, decides).map(Value::Bool)
    }

    fn compare(&mut self, comparison: Comparison, left: &Node, right: &Node, at: At) -> Outcome {
        let (left, right) = (self.evaluate(left)?, self.evaluate(right)?);
        self.step(at, left.weight().min(right.weight()))?;
        let holds = match comparison {
            Comparison::Equal => left.equals(&right),
            Comparison::Unequal => !left.equals(&right),
            _ if !left.has_order_with(&right) => return Err(fault(at, Fault::Type)),
            Comparison::Less => left.compare(&right).is_some_and(Ordering::is_lt),
            Comparison::LessOrEqual => left.compare(&right).is_some_and(Ordering::is_le),
            Comparison::Greater => left.compare(&right).is_some_and(Ordering::is_gt),
            Comparison::GreaterOrEqual => left.compare(&right).is_some_and(Ordering::is_ge),
        };
        Ok(Value::Bool(holds))
    }

    fn arithmetic(&mut self, operator: Arithmetic, left: &Value, right: &Value, at: At) -> Outcome {
        match (operator, left, right) {
            (Arithmetic::Add, Value::Text(left), Value::Text(right)) => {
                if left.len() + right.len() > TEXT_VALUE_MAX {
                    return Err(fault(at, Fault::TooLarge));
                }
                let sum = Value::Text([left.as_ref(), right.as_ref()].concat().into());
                self.step(at, sum.weight())?;
                Ok(sum)
            }
            (Arithmetic::Add, Value::List(left), Value::List(right)) => {
                let sum = left.iter().chain(right.iter()).cloned().collect();
                self.list(at, sum)
            }
            _ => arithmetic(operator, left, right).map_err(|kind| fault(at, kind)),
        }
    }

    fn expand(&mut self, which: Macro, parts: &MacroParts, at: At) -> Outcome {
        let Value::List(elements) = self.evaluate(&parts.list)? else { return Err(fault(parts.list.at, Fault::Type)) };
        let mut fold = Fold { all: Ok(which == Macro::All), found: 0, made: Vec::new() };
        for element in elements.iter() {
            self.variables.push(element.clone());
            let goes_on = self.fold(which, parts, element, &mut fold);
            self.variables.pop();
            if !goes_on? {
                break;
            }
        }
        match which {
            Macro::All | Macro::Exists => fold.all.map(Value::Bool),
            Macro::ExistsOne => Ok(Value::Bool(fold.found == 1)),
            Macro::Map | Macro::Filter => self.list(at, fold.made),
        }
    }

    /// One element. `Ok(false)`: the rest does not matter.
    fn fold(&mut self, which: Macro, parts: &MacroParts, element: &Value, fold: &mut Fold) -> Result<bool, EvalError> {
        match which {
            Macro::All | Macro::Exists => {
                let decides = which == Macro::Exists;
                let one = self.bool(&parts.body);
                self.step(parts.body.at, 1)?;
                let before = std::mem::replace(&mut fold.all, Ok(decides));
                fold.all = either(before, one, decides);
                return Ok(fold.all != Ok(decides));
            }
            Macro::ExistsOne => fold.found += u32::from(self.bool(&parts.body)?),
            Macro::Filter => {
                if self.bool(&parts.body)? {
                    fold.made.push(element.clone());
                }
            }
            Macro::Map => {
                let taken = match &parts.only {
                    Some(only) => self.bool(only)?,
                    None => true,
                };
                if taken {
                    fold.made.push(self.evaluate(&parts.body)?);
                }
            }
        }
        Ok(true)
    }
}

/// What a macro has gathered.
struct Fold {
    /// Of `all` and `exists`.
    all: Result<bool, EvalError>,
    /// Of `exists_one`.
    found: u32,
    /// Of `map` and `filter`.
    made: Vec<Value>,
}

/// `&&` or `||` of two outcomes: `decides` wins over an error, a missing value over a fault (it may decide once it is
/// there), the left error over the right.
fn either(left: Result<bool, EvalError>, right: Result<bool, EvalError>, decides: bool) -> Result<bool, EvalError> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok(if left == decides { decides } else { right }),
        (Ok(one), Err(error)) | (Err(error), Ok(one)) => {
            if one == decides {
                Ok(decides)
            } else {
                Err(error)
            }
        }
        // Out of steps is out of steps.
        (Err(spent @ EvalError::Fault { fault: Fault::TooManySteps, .. }), Err(_))
        | (Err(_), Err(spent @ EvalError::Fault { fault: Fault::TooManySteps, .. })) => Err(spent),
        (Err(EvalError::Fault { .. }), Err(missing @ EvalError::Missing(_))) => Err(missing),
        (Err(left), Err(_)) => Err(left),
    }
}

fn negate(value: Value, at: At) -> Outcome {
    let checked = |value: i64| value.checked_neg().ok_or_else(|| fault(at, Fault::Overflow));
    match value {
        Value::Int(value) => checked(value).map(Value::Int),
        Value::Duration(value) => checked(value).map(Value::Duration),
        Value::Float(value) => Ok(Value::Float(-value)),
        _ => Err(fault(at, Fault::Type)),
    }
}

fn arithmetic(operator: Arithmetic, left: &Value, right: &Value) -> Result<Value, Fault> {
    use Arithmetic::{Add, Divide, Multiply, Remainder, Subtract};
    use Value::{Duration, Float, Int, Timestamp};
    let int = |sum: Option<i64>| sum.ok_or(Fault::Overflow);
    match (operator, left, right) {
        (Divide | Remainder, Int(_), Int(0)) => Err(Fault::DivisionByZero),
        (Add, Int(left), Int(right)) => int(left.checked_add(*right)).map(Int),
        (Subtract, Int(left), Int(right)) => int(left.checked_sub(*right)).map(Int),
        (Multiply, Int(left), Int(right)) => int(left.checked_mul(*right)).map(Int),
        (Divide, Int(left), Int(right)) => int(left.checked_div(*right)).map(Int),
        (Remainder, Int(left), Int(right)) => int(left.checked_rem(*right)).map(Int),
        (Add, Float(left), Float(right)) => Ok(Float(left + right)),
        (Subtract, Float(left), Float(right)) => Ok(Float(left - right)),
        (Multiply, Float(left), Float(right)) => Ok(Float(left * right)),
        (Divide, Float(left), Float(right)) => Ok(Float(left / right)),
        (Add, Duration(left), Duration(right)) => int(left.checked_add(*right)).map(Duration),
        (Subtract, Duration(left), Duration(right)) | (Subtract, Timestamp(left), Timestamp(right)) => {
            int(left.checked_sub(*right)).map(Duration)
        }
        (Add, Timestamp(left), Duration(right)) | (Add, Duration(left), Timestamp(right)) => {
            int(left.checked_add(*right)).map(Timestamp)
        }
        (Subtract, Timestamp(left), Duration(right)) => int(left.checked_sub(*right)).map(Timestamp),
        _ => Err(Fault::Type),
    }
}

fn call(function: Function, arguments: &[Value]) -> Result<Value, Fault> {
    let read = |parsed: Option<Value>| parsed.ok_or(Fault::Conversion);
    match (function, arguments) {
        (Function::Size, [Value::Text(text)]) => Ok(Value::Int(text.chars().count() as i64)),
        (Function::Size, [Value::List(elements)]) => Ok(Value::Int(elements.len() as i64)),
        (Function::Contains, [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.contains(&**part))),
        (Function::StartsWith, [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.starts_with(&**part))),
        (Function::EndsWith, [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.ends_with(&**part))),
        (Function::Int, [Value::Int(_)])
        | (Function::Double, [Value::Float(_)])
        | (Function::String, [Value::Text(_)])
        | (Function::Bool, [Value::Bool(_)])
        | (Function::Duration, [Value::Duration(_)])
        | (Function::Timestamp, [Value::Timestamp(_)]) => arguments.first().cloned().ok_or(Fault::Type),
        (Function::Int, [Value::Float(float)]) => whole(*float).map(Value::Int).ok_or(Fault::Overflow),
        (Function::Int, [Value::Text(from)]) => read(from.parse().ok().map(Value::Int)),
        (Function::Double, [Value::Int(int)]) => Ok(Value::Float(*int as f64)),
        (Function::Double, [Value::Text(from)]) => read(from.parse().ok().map(Value::Float)),
        (Function::Bool, [Value::Text(from)]) => read(from.parse().ok().map(Value::Bool)),
        (Function::Duration, [Value::Text(from)]) => read(parse_span(from).map(Value::Duration)),
        (Function::Timestamp, [Value::Text(from)]) => read(parse_time(from).map(Value::Timestamp)),
        (Function::String, [value]) => string(value),
        (Function::GetHours, [Value::Duration(length)]) => Ok(Value::Int(length / 3_600_000)),
        (Function::GetMinutes, [Value::Duration(length)]) => Ok(Value::Int(length / 60_000)),
        (Function::GetSeconds, [Value::Duration(length)]) => Ok(Value::Int(length / 1000)),
        _ => Err(Fault::Type),
    }
}

fn string(value: &Value) -> Result<Value, Fault> {
    let text = match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Duration(length) => {
            let (sign, length) = (if *length < 0 { "-" } else { "" }, length.unsigned_abs());
            match (length / 1000, length % 1000) {
                (seconds, 0) => format!("{sign}{seconds}s"),
                (seconds, rest) => format!("{sign}{seconds}.{}s", format!("{rest:03}").trim_end_matches('0')),
            }
        }
        Value::Timestamp(time) => rfc3339(*time),
        Value::Text(_) | Value::List(_) => return Err(Fault::Type),
    };
    Ok(Value::Text(text.into()))
}

/// Without its fraction, if that fits.
fn whole(float: f64) -> Option<i64> {
    // −2⁶³ ≤ float < 2⁶³: then the cut is exact.
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float).then_some(float.trunc() as i64)
}
