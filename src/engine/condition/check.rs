//! The type of a condition by a schema, or what is wrong with it. Agrees with the evaluator: what passes here without a
//! value of type Any never meets a value of a wrong type there.

use super::hint::{dashed, did_you_mean, nearest};
use super::names::{Name, Names, Schema};
use super::node::{Arithmetic, At, Below, Comparison, Computed, Function, Kind, Macro, MacroParts, Node};
use super::value::Type;
use super::{PROBLEMS_MAX, Problem};

pub(super) fn check(text: &str, root: &Node, schema: &dyn Schema) -> Result<Type, Vec<Problem>> {
    let mut checker = Checker { text, schema, problems: Vec::new(), variables: Vec::new() };
    let found = checker.check(root);
    if checker.problems.is_empty() {
        return Ok(found);
    }
    checker.problems.truncate(PROBLEMS_MAX);
    Err(checker.problems)
}

pub(super) fn not_a_condition(at: At, found: &Type) -> Problem {
    let problem = Problem::new(at, format!("this is {}, not true or false", a(found)));
    match found {
        Type::Int | Type::Float => problem.hint("compare it: `> 0`"),
        Type::Text => problem.hint("compare it: `== 'text'`"),
        _ => problem,
    }
}

/// The type with its article.
fn a(found: &Type) -> String {
    match found {
        Type::Int => "an Int".to_owned(),
        Type::Any => "any value".to_owned(),
        other => format!("a {other}"),
    }
}

struct Checker<'a> {
    text: &'a str,
    schema: &'a dyn Schema,
    problems: Vec<Problem>,
    variables: Vec<Type>,
}

impl Checker<'_> {
    /// Any, so that one mistake is told once.
    fn problem(&mut self, problem: Problem) -> Type {
        self.problems.push(problem);
        Type::Any
    }

    fn expect(&mut self, node: &Node, wanted: &Type, what: &str) {
        let found = self.check(node);
        if found != Type::Any && found != *wanted {
            self.problem(Problem::new(node.at, format!("{what} wants {}, this is {}", a(wanted), a(&found))));
        }
    }

    fn check(&mut self, node: &Node) -> Type {
        match &node.kind {
            Kind::Literal(value) => value.type_of(),
            Kind::List(elements) => self.list(elements),
            Kind::Read(name) => self.read(node.at, name),
            Kind::Computed(computed) => self.computed(computed),
            Kind::Has(name) => {
                self.check(name);
                Type::Bool
            }
            Kind::Variable(level) => self.variables.get(*level).cloned().unwrap_or(Type::Any),
            Kind::Not(operand) => {
                self.expect(operand, &Type::Bool, "`!`");
                Type::Bool
            }
            Kind::Negate(operand) => self.negate(operand),
            Kind::And(pair) => self.both(&pair.0, &pair.1, "`&&`"),
            Kind::Or(pair) => self.both(&pair.0, &pair.1, "`||`"),
            Kind::Conditional(parts) => {
                self.expect(&parts.0, &Type::Bool, "`?`");
                let (yes, no) = (self.check(&parts.1), self.check(&parts.2));
                yes.with(&no).unwrap_or_else(|| self.unlike(parts.2.at, "both sides of `:` have one type", &yes, &no))
            }
            Kind::Compare(comparison, pair) => self.compare(*comparison, &pair.0, &pair.1, node.at),
            Kind::Arithmetic(operator, pair) => self.arithmetic(*operator, &pair.0, &pair.1, node.at),
            Kind::In(pair) => self.member(&pair.0, &pair.1, node.at),
            Kind::Index(pair) => self.index(&pair.0, &pair.1),
            Kind::Call(function, arguments) => self.call(*function, arguments),
            Kind::Macro(which, parts) => self.expand(*which, parts),
        }
    }

    fn both(&mut self, left: &Node, right: &Node, what: &str) -> Type {
        self.expect(left, &Type::Bool, what);
        self.expect(right, &Type::Bool, what);
        Type::Bool
    }

    fn list(&mut self, elements: &[Node]) -> Type {
        let mut of = None;
        for element in elements {
            let found = self.check(element);
            of = Some(match of {
                None => found,
                Some(of) => match found.with(&of) {
                    Some(both) => both,
                    None => self.unlike(element.at, "the elements of a list have one type", &of, &found),
                },
            });
        }
        Type::list(of.unwrap_or(Type::Any))
    }

    /// `right`, at `at`, does not go with `left`.
    fn unlike(&mut self, at: At, message: &str, left: &Type, right: &Type) -> Type {
        let problem = Problem::new(at, format!("{message}: {left} and {right}"));
        self.problem(if left.is_number() && right.is_number() {
            problem.hint("a whole number becomes a Float by double(…), or written 80.0")
        } else {
            problem
        })
    }

    fn negate(&mut self, operand: &Node) -> Type {
        match self.check(operand) {
            number @ (Type::Int | Type::Float | Type::Duration | Type::Any) => number,
            other => self.problem(Problem::new(operand.at, format!("`-` wants a number, this is {}", a(&other)))),
        }
    }

    fn compare(&mut self, comparison: Comparison, left: &Node, right: &Node, at: At) -> Type {
        let (left_type, right_type) = (self.check(left), self.check(right));
        if !left_type.is_comparable(&right_type) {
            let message = format!("{} is compared with {}", a(&left_type), a(&right_type));
            let hint = comparison_hint(&left_type, &right_type);
            self.problem(Problem::new(at, message).hint_if(hint));
        } else if !matches!(comparison, Comparison::Equal | Comparison::Unequal) {
            let unordered = [(left, left_type), (right, right_type)].into_iter().find(|(_, found)| !found.is_ordered());
            if let Some((node, found)) = unordered {
                self.problem(Problem::new(node.at, format!("{} has no order", a(&found))));
            }
        }
        Type::Bool
    }

    fn arithmetic(&mut self, operator: Arithmetic, left: &Node, right: &Node, at: At) -> Type {
        let (left, right) = (self.check(left), self.check(right));
        arithmetic(operator, &left, &right).unwrap_or_else(|| {
            if left.is_number() && right.is_number() {
                return self.unlike(at, &format!("`{}` wants numbers of one type", operator.word()), &left, &right);
            }
            self.problem(Problem::new(at, format!("`{}` of {} and {}", operator.word(), a(&left), a(&right))))
        })
    }

    fn member(&mut self, element: &Node, list: &Node, at: At) -> Type {
        let (element_type, list_type) = (self.check(element), self.check(list));
        match list_type {
            Type::Any => {}
            Type::List(of) if of.is_comparable(&element_type) => {}
            Type::List(of) => {
                self.problem(Problem::new(at, format!("{} is looked for in a List of {of}", a(&element_type))));
            }
            Type::Text => {
                let problem = Problem::new(list.at, "`in` wants a list, this is a Text");
                self.problem(problem.hint("text.contains('part')"));
            }
            other => {
                self.problem(Problem::new(list.at, format!("`in` wants a list, this is {}", a(&other))));
            }
        }
        Type::Bool
    }

    fn index(&mut self, list: &Node, index: &Node) -> Type {
        let of = match self.check(list) {
            Type::List(of) => *of,
            Type::Any => Type::Any,
            other => self.problem(Problem::new(list.at, format!("`[…]` wants a list, this is {}", a(&other)))),
        };
        self.expect(index, &Type::Int, "an index");
        of
    }

    fn call(&mut self, function: Function, arguments: &[Node]) -> Type {
        let what = format!("{}()", function.word());
        match function {
            Function::Contains | Function::StartsWith | Function::EndsWith => {
                arguments.iter().for_each(|argument| self.expect(argument, &Type::Text, &what));
            }
            Function::GetHours | Function::GetMinutes | Function::GetSeconds => {
                arguments.iter().for_each(|argument| self.expect(argument, &Type::Duration, &what));
            }
            _ => {
                for argument in arguments {
                    let found = self.check(argument);
                    if !takes(function, &found) {
                        let message = format!("{what} takes {}, this is {}", function.form().2, a(&found));
                        self.problem(Problem::new(argument.at, message));
                    }
                }
            }
        }
        result(function)
    }

    fn expand(&mut self, which: Macro, parts: &MacroParts) -> Type {
        let list = self.check(&parts.list);
        let of = match &list {
            Type::List(of) => (**of).clone(),
            Type::Any => Type::Any,
            other => {
                let message = format!("this macro wants a list, this is {}", a(other));
                self.problem(Problem::new(parts.list.at, message))
            }
        };
        self.variables.push(of.clone());
        if let Some(only) = &parts.only {
            self.expect(only, &Type::Bool, "a filter");
        }
        let found = match which {
            Macro::Map => Type::list(self.check(&parts.body)),
            Macro::Filter => {
                self.expect(&parts.body, &Type::Bool, "a filter");
                Type::list(of)
            }
            Macro::All | Macro::Exists | Macro::ExistsOne => {
                self.expect(&parts.body, &Type::Bool, "this macro");
                Type::Bool
            }
        };
        self.variables.pop();
        found
    }

    fn computed(&mut self, computed: &Computed) -> Type {
        for key in &computed.keys {
            self.expect(key, &Type::Text, "a name");
        }
        match computed.below {
            Below::Task(field) => field.type_of(),
            Below::Stage(field) => field.type_of(),
            Below::Param | Below::Metric | Below::State | Below::Out => Type::Any,
        }
    }

    fn read(&mut self, at: At, name: &Name) -> Type {
        match name {
            Name::Param(param) => match self.schema.param(param) {
                Some(found) => found,
                None => self.unknown(at, "no parameter", param, Names::Params),
            },
            Name::Metric(metric) => match self.schema.metric(metric) {
                Some(found) => found,
                None => self.unknown(at, "no task publishes", metric, Names::Metrics),
            },
            Name::State(key) => match self.schema.state(key) {
                Some(found) => found,
                None => self.unknown(at, "`state` declares no", key, Names::States),
            },
            Name::Task(id, field) if self.schema.task(id) => field.type_of(),
            Name::Task(id, _) => self.unknown(at, "no task", id, Names::Tasks),
            Name::Out(id, _) if !self.schema.task(id) => self.unknown(at, "no task", id, Names::Tasks),
            Name::Out(id, output) => match self.schema.output(id, output) {
                Some(found) => found,
                None => self.unknown(
                    at,
                    &format!("task `{}` does not publish", id.escape_debug()),
                    output,
                    Names::Outputs(id),
                ),
            },
            Name::Stage(id, field) if self.schema.stage(id) => field.type_of(),
            Name::Stage(id, _) => self.unknown(at, "no stage", id, Names::Stages),
            Name::Run(field) => field.type_of(),
            Name::System(field) => field.type_of(),
        }
    }

    fn unknown(&mut self, at: At, what: &str, word: &str, of: Names<'_>) -> Type {
        let problem = Problem::new(at, format!("{what} `{}`", word.escape_debug()));
        let hint = dashed(self.text, at).map(|(_, hint)| hint).or_else(|| self.elsewhere(word, of));
        self.problem(problem.hint_if(hint))
    }

    /// The nearest name of the same kind, or the same word under another root.
    fn elsewhere(&self, word: &str, of: Names<'_>) -> Option<String> {
        if let Some(hint) = did_you_mean(word, self.schema.names(of)) {
            return Some(hint);
        }
        let other = match of {
            Names::Tasks => Names::Stages,
            Names::Stages => Names::Tasks,
            Names::Params => Names::Metrics,
            Names::Metrics => Names::Params,
            Names::States => Names::Metrics,
            Names::Outputs(_) => return None,
        };
        let root = match other {
            Names::Tasks => "task",
            Names::Stages => "stage",
            Names::Params => "params",
            _ => "metrics",
        };
        let there = nearest(word, self.schema.names(other)).filter(|near| *near == word)?;
        let mut whole = String::new();
        let _ = std::fmt::Write::write_fmt(&mut whole, format_args!("{}", Keyed(root, there)));
        Some(format!("did you mean `{whole}`?"))
    }
}

struct Keyed<'a>(&'a str, &'a str);

impl std::fmt::Display for Keyed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)?;
        super::names::key(f, self.1)
    }
}

fn comparison_hint(left: &Type, right: &Type) -> Option<String> {
    let hint = match (left, right) {
        (Type::Text, number) | (number, Type::Text) if number.is_number() => {
            "a text becomes a number by int(…) or double(…)"
        }
        (Type::Text, Type::Bool) | (Type::Bool, Type::Text) => "write true or false without quotes",
        (Type::Text, Type::Duration) | (Type::Duration, Type::Text) => "a length of time is written duration('30m')",
        (Type::Duration, number) | (number, Type::Duration) if number.is_number() => {
            "a length of time is written duration('30s'); its seconds are elapsed.getSeconds()"
        }
        (Type::Text, Type::Timestamp) | (Type::Timestamp, Type::Text) => {
            "an instant is written timestamp('2026-01-31T08:00:00Z')"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The type of `left operator right`, if there is one.
fn arithmetic(operator: Arithmetic, left: &Type, right: &Type) -> Option<Type> {
    use Arithmetic::{Add, Divide, Multiply, Remainder, Subtract};
    use Type::{Any, Duration, Float, Int, Text, Timestamp};
    Some(match (operator, left, right) {
        (_, Any, _) | (_, _, Any) => Any,
        (_, Int, Int) => Int,
        (Add | Subtract | Multiply | Divide, Float, Float) => Float,
        (Add, Text, Text) => Text,
        (Add, Type::List(left), Type::List(right)) => Type::list(left.with(right)?),
        (Add | Subtract, Duration, Duration) | (Subtract, Timestamp, Timestamp) => Duration,
        (Add | Subtract, Timestamp, Duration) | (Add, Duration, Timestamp) => Timestamp,
        (Remainder, ..) | (Add, ..) | (Subtract, ..) | (Multiply, ..) | (Divide, ..) => return None,
    })
}

/// Whether a function of one value takes one of this type.
fn takes(function: Function, found: &Type) -> bool {
    match (function, found) {
        (_, Type::Any) | (Function::Size, Type::Text | Type::List(_)) => true,
        (Function::Int | Function::Double, Type::Int | Type::Float | Type::Text) => true,
        (Function::String, found) => !matches!(found, Type::List(_)),
        (Function::Bool, Type::Bool | Type::Text) => true,
        (Function::Duration, Type::Duration | Type::Text) => true,
        (Function::Timestamp, Type::Timestamp | Type::Text) => true,
        _ => false,
    }
}

fn result(function: Function) -> Type {
    match function {
        Function::Size | Function::Int | Function::GetHours | Function::GetMinutes | Function::GetSeconds => Type::Int,
        Function::Contains | Function::StartsWith | Function::EndsWith | Function::Bool => Type::Bool,
        Function::Duration => Type::Duration,
        Function::Timestamp => Type::Timestamp,
        Function::Double => Type::Float,
        Function::String => Type::Text,
    }
}
