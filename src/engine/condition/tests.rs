//! Conditions by tables and by chance: what they mean, where they are wrong, and that nothing they say takes them down. The
//! evaluator is compared with the interpreter of the crate `cel` where both have an answer.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::node::Kind;
use super::*;

fn scope() -> Scope {
    let types = |list: &[(&str, Type)]| list.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect();
    Scope {
        params: types(&[
            ("target", Type::Text),
            ("min", Type::Int),
            ("ratio", Type::Float),
            ("fast", Type::Bool),
            ("min-coverage", Type::Int),
        ]),
        state: BTreeMap::new(),
        metrics: types(&[
            ("coverage", Type::Float),
            ("count", Type::Int),
            ("digest", Type::Text),
            ("line-rate", Type::Float),
        ]),
        tasks: [
            ("build".to_owned(), types(&[("size", Type::Int), ("line-count", Type::Int)])),
            ("roll-eu".to_owned(), BTreeMap::new()),
            ("shard-{n}".to_owned(), BTreeMap::new()),
        ]
        .into(),
        stages: ["test".to_owned(), "deploy".to_owned()].into(),
    }
}

fn param(name: &str) -> Name {
    Name::Param(name.into())
}

fn metric(name: &str) -> Name {
    Name::Metric(name.into())
}

fn values() -> BTreeMap<Name, Value> {
    let list = |elements: &[i64]| Value::List(elements.iter().map(|value| Value::Int(*value)).collect());
    [
        (param("target"), Value::from("staging")),
        (param("min"), Value::Int(80)),
        (param("ratio"), Value::Float(0.5)),
        (param("fast"), Value::Bool(true)),
        (param("min-coverage"), Value::Int(70)),
        (metric("coverage"), Value::Float(80.5)),
        (Name::Task("roll-eu".into(), TaskField::Ok), Value::Bool(true)),
        (Name::Task("build".into(), TaskField::Failed), Value::Bool(false)),
        (Name::Out("build".into(), "size".into()), Value::Int(1024)),
        (Name::Stage("test".into(), StageField::Ok), Value::Bool(true)),
        (Name::Stage("test".into(), StageField::Failures), Value::Int(2)),
        (Name::Run(RunField::Elapsed), Value::Duration(600_000)),
        (Name::Run(RunField::Started), Value::Timestamp(1_767_225_600_000)),
        (Name::System(SystemField::Load1), Value::Float(3.5)),
        (Name::State("list".into()), list(&[3, 1, 2])),
        (Name::State("word".into()), Value::from("x")),
    ]
    .into()
}

fn parsed(text: &str) -> Condition {
    Condition::parse(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

/// All problems, of parsing or of the check.
fn problems(text: &str) -> Vec<Problem> {
    match Condition::parse(text) {
        Err(problems) => problems,
        Ok(condition) => condition.check_bool(&scope()).err().unwrap_or_default(),
    }
}

#[test]
fn what_is_right_has_its_type() {
    for (text, of) in [
        ("stage.test.ok && params.target != 'none'", Type::Bool),
        ("metrics.coverage >= params.min", Type::Bool),
        ("metrics.coverage >= 80", Type::Bool),
        ("run.elapsed < duration('30m')", Type::Bool),
        ("system.load1 > 16", Type::Bool),
        ("task[\"roll-eu\"].ok", Type::Bool),
        ("task['shard-{n}'].ok || task.build.failed", Type::Bool),
        ("task.build.out.size", Type::Int),
        ("task.build.out['line-count'] + 1", Type::Int),
        ("task.`roll-eu`.code", Type::Int),
        ("has(metrics.`line-rate`) && metrics['line-rate'] > 0.5", Type::Bool),
        ("params['min-coverage']", Type::Int),
        ("state.anything", Type::Any),
        ("state.anything > 3", Type::Bool),
        ("params.target in ['staging', 'prod']", Type::Bool),
        ("metrics.coverage in [80, 90]", Type::Bool),
        ("['eu', 'us'].all(r, task['roll-' + r].ok)", Type::Bool),
        ("[1, 2].map(x, x > 1)", Type::list(Type::Bool)),
        ("[1, 2].map(x, x > 1, string(x))", Type::list(Type::Text)),
        ("[1, 2].filter(x, x > 1)", Type::list(Type::Int)),
        ("[1, 2].exists_one(x, x > 1)", Type::Bool),
        ("[[1], [2]].all(x, x.exists(y, y > 1))", Type::Bool),
        ("params.fast ? 1 : 2", Type::Int),
        ("run.started + duration('1h') > timestamp('2026-01-01T00:00:00Z')", Type::Bool),
        ("run.elapsed.getSeconds() * 2", Type::Int),
        ("size(params.target) + params.target.size()", Type::Int),
        ("params.target.contains('prod') || params.target.startsWith('x')", Type::Bool),
        ("double(params.min) / 2.0", Type::Float),
        ("-params.min", Type::Int),
        ("!params.fast // why", Type::Bool),
    ] {
        assert_eq!(parsed(text).check(&scope()), Ok(of), "{text}");
    }
}

/// Each text with the part of it that is marked, and words of the message and the hint.
#[test]
fn what_is_wrong_is_marked_where_it_is_wrong_with_a_hint() {
    for (text, marked, says) in [
        // names
        ("params.targte == 'x'", "params.targte", "no parameter `targte` (did you mean `target`?)"),
        ("parms.target == 'x'", "parms", "unknown name `parms` (did you mean `params`?)"),
        ("foo", "foo", "unknown name `foo` (names begin with one of params, metrics,"),
        ("stage.tset.ok", "stage.tset.ok", "no stage `tset` (did you mean `test`?)"),
        ("stage.build.ok", "stage.build.ok", "no stage `build` (did you mean `task.build`?)"),
        ("task.build.okk", ".okk", "a task has no field `okk` (did you mean `ok`?)"),
        ("run.elapse > duration('1s')", ".elapse", "run has no field `elapse` (did you mean `elapsed`?)"),
        (
            "task.build.out.sise > 1",
            "task.build.out.sise",
            "task `build` does not publish `sise` (did you mean `size`?)",
        ),
        ("task.build", "task.build", "a task is no value by itself (one of ok, failed,"),
        ("task.build.out", "task.build.out", "what of the values it publishes?"),
        ("params", "params", "a name is missing here"),
        ("params.target.size > 1", ".size", "this value has no fields"),
        ("run[params.target] == 1", "[params.target]", "a field of run cannot be computed"),
        ("task[params.min].ok", "params.min", "a name wants a Text, this is an Int"),
        // ids with a dash
        ("task.roll-eu.ok", "task.roll-eu", "`-` is a subtraction here (an id with `-` is written task[\"roll-eu\"])"),
        ("true && task.roll-eu-2.ok", "task.roll-eu-2", "written task[\"roll-eu-2\"]"),
        ("params.min-coverage > 3", "params.min-coverage", "written params[\"min-coverage\"]"),
        ("metrics.line-99 > 3", "metrics.line", "written metrics[\"line-99\"]"),
        ("task.build.out.line-count > 3", "task.build.out.line-count", "written task.build.out[\"line-count\"]"),
        ("task.shard-{n}.ok", "{", "written in quotes: task[\"shard-{n}\"]"),
        // types
        ("params.target > 3", "params.target > 3", "a Text is compared with an Int (a text becomes a number"),
        ("(params.target) == (3)", "(params.target) == (3)", "a Text is compared with an Int"),
        ("params.fast == 'true'", "params.fast == 'true'", "write true or false without quotes"),
        ("run.elapsed > '30m'", "run.elapsed > '30m'", "written duration('30m')"),
        ("run.elapsed > 30", "run.elapsed > 30", "duration('30s')"),
        ("params.min", "params.min", "this is an Int, not true or false"),
        ("!params.min", "params.min", "`!` wants a Bool, this is an Int"),
        ("params.fast && params.min", "params.min", "`&&` wants a Bool, this is an Int"),
        (
            "params.min + params.ratio > 1.0",
            "params.min + params.ratio",
            "numbers of one type: Int and Float (a whole number",
        ),
        ("'a' - 'b' == 'c'", "'a' - 'b'", "`-` of a Text and a Text"),
        ("5.0 % 2.0 == 1.0", "5.0 % 2.0", "`%` wants numbers of one type"),
        ("params.target in 'staging'", "'staging'", "`in` wants a list, this is a Text (text.contains"),
        ("3 in ['a']", "3 in ['a']", "an Int is looked for in a List of Text"),
        ("[1, 'a'] == [1]", "'a'", "the elements of a list have one type: Int and Text"),
        ("[1] < [2]", "[1]", "a List of Int has no order"),
        ("(true ? 1 : 2.0) > 1.0", "2.0", "both sides of `:` have one type: Int and Float"),
        ("[1].all(x, x)", "x", "this macro wants a Bool, this is an Int"),
        ("params.min.all(x, true)", "params.min", "this macro wants a list, this is an Int"),
        ("params.target[0] == 'x'", "params.target", "`[…]` wants a list, this is a Text"),
        // functions
        ("params.target.matches('a+')", "matches", "unknown function `matches` (there are no patterns here"),
        ("params.target.contain('a')", "contain", "unknown function `contain` (did you mean `contains`?)"),
        ("contains(params.target, 'a')", "contains", "`contains` is not called so (text.contains(text))"),
        ("size(1, 2) == 3", "size", "`size` is not called so"),
        ("size(1) == 3", "1", "size() takes size(text) or size(list), this is an Int"),
        ("params.target.contains(1)", "1", "contains() wants a Text, this is an Int"),
        ("run.elapsed > duration('soon')", "'soon'", "\"soon\" cannot be read as a duration (as in 30m"),
        ("run.started > timestamp('noon')", "'noon'", "\"noon\" cannot be read as a timestamp"),
        (
            "has(metrics['line-rate'])",
            "[",
            "invalid argument to has() macro (has(metrics.coverage), has(metrics.`line-coverage`))",
        ),
        ("[1].all(task, true)", "[1].all(task, true)", "`task` cannot be a variable"),
        // syntax
        ("", "", "this condition is empty"),
        ("params.fast =", "=", "`=` is no operator (write `==`)"),
        ("params.fast and true", "and", "`and` is no operator (write `&&`)"),
        ("params.fast & true", "&", "unexpected single '&', expected '&&'"),
        ("(params.fast", "", "expected ')'"),
        ("params.fast)", ")", "mismatched input ')' expecting the end"),
        ("1 +", "", "expecting expression"),
        ("params.target == 'x", "'x", "unterminated string literal"),
        ("params.min == 5u", "5u", "unsigned numbers are not used here (write 5)"),
        ("state.x == null", "null", "no value is ever null"),
        ("params.min > 99999999999999999999", "99999999999999999999", "invalid int literal"),
        ("1e999 > 1.0", "1e999", "invalid double literal"),
        ("params.fast é", "é", "unexpected character"),
        ("'é' == params.targte", "params.targte", "no parameter `targte`"),
        ("true\n&& params.targte == 'x'", "params.targte", "no parameter"),
        ("true\n&& )", ")", "unexpected token"),
        ("'a\u{1b}[2J' == 'b'", "\u{1b}", "a control character (\\u{1b}) in a condition"),
    ] {
        let found = problems(text);
        let first = found.first().unwrap_or_else(|| panic!("nothing is wrong with {text}"));
        assert!(first.to_string().contains(says), "{text}: {first}");
        assert_eq!(&text[first.range.clone()], marked, "{text}: {first}");
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
}

#[test]
fn the_conditions_of_the_page_are_conditions_and_its_numbers_are_ours() {
    let page = include_str!("../../../docs/conditions.md");
    let scope = Scope {
        params: [("target".to_owned(), Type::Text), ("min_coverage".to_owned(), Type::Int)].into(),
        state: BTreeMap::new(),
        metrics: [("coverage".to_owned(), Type::Float)].into(),
        tasks: [
            ("build".to_owned(), [("size".to_owned(), Type::Int)].into()),
            ("roll-eu".to_owned(), BTreeMap::new()),
            ("roll-us".to_owned(), BTreeMap::new()),
        ]
        .into(),
        stages: ["test".to_owned()].into(),
    };
    let examples: Vec<&str> =
        page.lines().skip_while(|line| *line != "```cel").skip(1).take_while(|line| *line != "```").collect();
    assert_eq!(examples.len(), 10);
    for text in examples {
        assert_eq!(parsed(text).check_bool(&scope), Ok(()), "{text}");
    }
    for function in super::node::Function::ALL {
        assert!(page.contains(&format!("{}(", function.word())), "{function:?}");
    }
    let fields = |root: &str, word: &str| assert!(page.contains(&format!(".{word}`")), "{root}.{word}");
    TaskField::ALL.iter().for_each(|field| fields("task", field.word()));
    StageField::ALL.iter().for_each(|field| fields("stage", field.word()));
    RunField::ALL.iter().for_each(|field| fields("run", field.word()));
    SystemField::ALL.iter().for_each(|field| fields("system", field.word()));
    let limits = page.split("## Limits").nth(1).expect("the page tells the limits").replace(',', "");
    for limit in [
        TEXT_MAX,
        TOKENS_MAX,
        NESTING_MAX,
        DEPTH_MAX,
        MACRO_DEPTH_MAX,
        TEXT_VALUE_MAX / 1024,
        LIST_MAX,
        STEPS_MAX as usize,
    ] {
        assert!(limits.contains(&limit.to_string()), "{limit}");
    }
}

#[test]
fn a_subtraction_of_two_names_is_not_taken_for_an_id() {
    let found = problems("metrics.a-metrics.count > 3");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].range.clone(), &found[0].hint), (0..9, &None), "{found:?}");
}

#[test]
fn every_mistake_is_told_at_once() {
    let found = problems("params.a == 1 && metrics.b == 2 || stage.c.ok");
    assert_eq!(found.len(), 3, "{found:?}");
    let found = problems(&vec!["params.a == 1"; 30].join(" && "));
    assert_eq!(found.len(), PROBLEMS_MAX);
}

fn missing(name: Name) -> Result<Value, EvalError> {
    Err(EvalError::Missing(name))
}

#[test]
fn conditions_have_the_values_that_they_say() {
    for (text, value) in [
        ("stage.test.ok && params.target != 'none'", Value::Bool(true)),
        ("metrics.coverage >= params.min", Value::Bool(true)),
        ("metrics.coverage >= 80", Value::Bool(true)),
        ("metrics.coverage > 81", Value::Bool(false)),
        ("params.min == 80.0", Value::Bool(true)),
        ("9007199254740993 == 9007199254740992.0", Value::Bool(false)),
        ("9007199254740993 > 9007199254740992.0", Value::Bool(true)),
        ("task['roll-' + 'eu'].ok", Value::Bool(true)),
        ("task.build.out.size / 1000", Value::Int(1)),
        ("run.elapsed == duration('10m')", Value::Bool(true)),
        ("run.elapsed - duration('11m')", Value::Duration(-60_000)),
        ("run.started == timestamp('2026-01-01T00:00:00Z')", Value::Bool(true)),
        ("run.elapsed.getMinutes()", Value::Int(10)),
        ("string(duration('1.5s')) + string(true) + string(1) + string(0.5)", Value::from("1.5strue10.5")),
        ("duration(state.word + '') == duration('1s') || true", Value::Bool(true)),
        ("state.list.filter(x, x > 1).map(x, x * 2)", Value::List([Value::Int(6), Value::Int(4)].into())),
        ("state.list.exists_one(x, x == 3)", Value::Bool(true)),
        ("state.list[1] == 1 && size(state.list) == 3", Value::Bool(true)),
        ("state.word == 3", Value::Bool(false)),
        ("size('é')", Value::Int(1)),
        ("int('12') + int(3.9) + int(-3.9)", Value::Int(12)),
        ("7 % 3 - 7 / 2", Value::Int(-2)),
        ("has(metrics.coverage) && !has(metrics.count) && !has(task.build.ok)", Value::Bool(true)),
        // What decides, decides, whatever else is missing or wrong.
        ("metrics.count > 3 || true", Value::Bool(true)),
        ("metrics.count > 3 && false", Value::Bool(false)),
        ("1 / 0 > 3 && false", Value::Bool(false)),
        ("[0, 1].exists(x, 1 / x > 0)", Value::Bool(true)),
        ("[0, 1].all(x, 1 / x > 3)", Value::Bool(false)),
        ("true ? 1 : 1 / 0", Value::Int(1)),
        ("!!params.fast", Value::Bool(true)),
    ] {
        assert_eq!(parsed(text).evaluate(&values()), Ok(value), "{text}");
    }
}

#[test]
fn what_is_not_there_yet_is_told_from_what_is_wrong() {
    for (text, found) in [
        ("metrics.count > 3", missing(metric("count"))),
        ("metrics.count > 3 && true", missing(metric("count"))),
        ("1 / 0 > 1 && metrics.count > 3", missing(metric("count"))),
        ("task.build.code == 0", missing(Name::Task("build".into(), TaskField::Code))),
        ("task['x' + 'y'].ok", missing(Name::Task("xy".into(), TaskField::Ok))),
        ("state['none'] == 1", missing(Name::State("none".into()))),
    ] {
        assert_eq!(parsed(text).evaluate(&values()), found, "{text}");
    }
    for (text, kind, marked) in [
        ("true && 1 / 0 > 1", Fault::DivisionByZero, "1 / 0"),
        ("5 % 0 == 1", Fault::DivisionByZero, "5 % 0"),
        ("9223372036854775807 + 1 > 0", Fault::Overflow, "9223372036854775807 + 1"),
        ("-(-9223372036854775807 - 1) > 0", Fault::Overflow, "-(-9223372036854775807 - 1)"),
        ("(-9223372036854775807 - 1) / -1 > 0", Fault::Overflow, "(-9223372036854775807 - 1) / -1"),
        ("int(1e300) > 0", Fault::Overflow, "int(1e300)"),
        ("int('x') > 0", Fault::Conversion, "int('x')"),
        ("state.list[3] > 0", Fault::Index, "state.list[3]"),
        ("state.list[-1] > 0", Fault::Index, "state.list[-1]"),
        ("state.word > 3", Fault::Type, "state.word > 3"),
        ("state.word && true", Fault::Type, "state.word"),
    ] {
        let Err(EvalError::Fault { fault, range }) = parsed(text).evaluate(&values()) else { panic!("{text}") };
        assert_eq!((fault, &text[range]), (kind, marked), "{text}");
    }
    assert!(matches!(parsed("state.word").holds(&values()), Err(EvalError::Fault { fault: Fault::Type, .. })));
    assert_eq!(parsed("params.fast").holds(&values()), Ok(true));
}

/// Knows a million tasks and counts what it is asked.
#[derive(Default)]
struct Counting(RefCell<Vec<Name>>);

impl Values for Counting {
    fn value(&self, name: &Name) -> Option<Value> {
        self.0.borrow_mut().push(name.clone());
        match name {
            Name::Task(id, TaskField::Ok) => id.parse::<u32>().ok().map(|id| Value::Bool(id < 1_000_000)),
            _ => None,
        }
    }
}

#[test]
fn an_evaluation_asks_for_nothing_but_what_it_reaches() {
    let values = Counting::default();
    assert_eq!(parsed("task['7'].ok && task['8'].ok").holds(&values), Ok(true));
    assert_eq!(values.0.take().len(), 2);
    assert_eq!(parsed("task['7'].ok || task['8'].ok").holds(&values), Ok(true));
    assert_eq!(values.0.take().len(), 1);
}

#[test]
fn a_condition_says_what_it_depends_on() {
    let condition = parsed("task.a.ok && task.b.code == 0 && task[params.x].ok && task.a.ok && has(metrics.m)");
    let name = |name: Name| Read::One(name);
    assert_eq!(
        condition.reads(),
        [
            name(param("x")),
            name(metric("m")),
            name(Name::Task("a".into(), TaskField::Ok)),
            name(Name::Task("b".into(), TaskField::Code)),
            Read::Any(Root::Task),
        ]
    );
}

#[test]
fn an_explanation_shows_the_condition_with_its_values() {
    let shown = |text: &str| parsed(text).explain(&values()).to_string();
    assert_eq!(shown("params.target != 'none'"), "params.target != 'none' (params.target = \"staging\")");
    assert_eq!(
        shown("metrics.count > 3 && ['eu'].all(r, task['roll-' + r].ok) && metrics.count < run.elapsed"),
        "metrics.count > 3 && ['eu'].all(r, task['roll-' + r].ok) && metrics.count < run.elapsed \
         (metrics.count = not known yet, task[\"roll-eu\"].ok = true, run.elapsed = 10m)"
    );
    assert_eq!(
        shown("task['x' + 'y'].ok || !params.fast || task['roll-' + 'eu'].ok"),
        "task['x' + 'y'].ok || !params.fast || task['roll-' + 'eu'].ok \
         (task.xy.ok = not known yet, params.fast = true, task[\"roll-eu\"].ok = true)"
    );
    assert_eq!(shown("1 > 2"), "1 > 2");
    let many: Vec<String> = (0..20).map(|index| format!("state.k{index} == 1")).collect();
    let explanation = parsed(&many.join(" || ")).explain(&values());
    assert_eq!((explanation.values.len(), explanation.more), (EXPLAINED_MAX, 4));
    assert_eq!(explanation.values[2].0, "state.k2");
    let mut values = values();
    let inner = Value::List(vec![Value::from("x".repeat(100).as_str()); 8].into());
    values.insert(Name::State("list".into()), Value::List(vec![inner; 8].into()));
    let deep = (0..10_000).fold(Value::Int(1), |inner, _| Value::List([inner].into()));
    values.insert(Name::State("deep".into()), deep);
    let explanation = parsed("state.list == state.deep").explain(&values);
    assert_eq!(explanation.values[0].1.chars().count(), 200);
    assert_eq!(explanation.values[1].1, "a text or list is too large");
}

#[test]
fn a_shown_value_is_short_and_cannot_control_a_terminal() {
    let hostile = Value::from(format!("\u{1b}[2J\u{202e}\r{}", "x".repeat(1000)).as_str());
    let shown = hostile.to_string();
    assert!(shown.chars().count() < 120 && shown.ends_with("…\""), "{shown}");
    assert!(shown.chars().all(|char| !char.is_control() && char != '\u{202e}'), "{shown}");
    let list = Value::List((0..100).map(Value::Int).collect());
    assert_eq!(list.to_string(), "[0, 1, 2, 3, 4, 5, 6, 7, … 92 more]");
}

#[test]
fn a_condition_is_stored_as_its_text() {
    let condition = parsed("params.target != 'none'");
    let stored = serde_json::to_string(&condition).expect("a text can be stored");
    assert_eq!(stored, "\"params.target != 'none'\"");
    assert_eq!(serde_json::from_str::<Condition>(&stored).expect("it was stored"), condition);
    let error = serde_json::from_str::<Condition>("\"1 +\"").expect_err("not a condition");
    assert!(error.to_string().contains("condition \"1 +\""), "{error}");
}

#[test]
fn lengths_of_time_are_read_and_shown() {
    for (text, length) in [
        ("30m", Some(1_800_000)),
        ("1h30m", Some(5_400_000)),
        ("1.5h", Some(5_400_000)),
        ("2d", Some(172_800_000)),
        ("250ms", Some(250)),
        ("-10s", Some(-10_000)),
        ("0.001s", Some(1)),
        ("0", Some(0)),
        ("0.0001s", None),
        ("", None),
        ("-", None),
        (".s", None),
        ("5", None),
        ("5 m", None),
        ("5w", None),
        ("1.2.3s", None),
        ("99999999999999999999d", None),
        ("999999999999999999d", None),
    ] {
        assert_eq!(super::value::parse_span(text), length, "{text}");
    }
    for (length, text) in [(0, "0s"), (5_400_000, "1h30m"), (-1, "-1ms"), (i64::MIN, "-106751991167d7h12m55s808ms")] {
        assert_eq!(Value::Duration(length).to_string(), text);
    }
}

#[test]
fn published_texts_are_read_by_their_declared_type() {
    assert_eq!(Type::Int.read(" 80\n"), Some(Value::Int(80)));
    assert_eq!(Type::Int.read("80.5"), None);
    assert_eq!(Type::Float.read("80"), Some(Value::Float(80.0)));
    assert_eq!(Type::Float.read("nan"), None);
    assert_eq!(Type::Bool.read("true"), Some(Value::Bool(true)));
    assert_eq!(Type::Text.read("a b"), Some(Value::from("a b")));
    assert_eq!(Type::Text.read(&"x".repeat(TEXT_VALUE_MAX + 1)), None);
}

#[test]
fn hostile_texts_are_refused_or_bounded() {
    let nest = |open: &str, inner: &str, close: &str, count: usize| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    for text in [
        "(".repeat(4000),
        ")".repeat(4000),
        "!".repeat(100_000),
        format!("{}a", "a.".repeat(2000)),
        format!("{}true", "true?true:".repeat(NESTING_MAX + 1)),
        format!("{}a", "!-".repeat(2000)),
        format!("{}a", "!-".repeat(400)),
        format!("{}true", "true?true:".repeat(400)),
        format!("{}true", "true?true:".repeat(32)) + &"?true:true".repeat(40),
        nest("(", "true", ")", 40),
        nest("[", "1", "]", 33),
        nest("{", "1", "}", 20),
        nest("f(", "1", ")", 33),
        nest("has(", "a.b", ")", 20),
        nest("[1].all(x, ", "true", ")", 3),
        format!("1{} > 0", "+1".repeat(400)),
        format!("state.x{}", "[0]".repeat(300)),
        format!("state.x{}", ".f()".repeat(200)),
        format!("params{}{{", ".a".repeat(400)),
        "'".to_owned(),
        "\\".to_owned(),
        "'\\u{d800}' == '\\ud800'".to_owned(),
        "\"\"\"".to_owned(),
        "`".to_owned(),
        "params.`".to_owned(),
        "-0x8000000000000000 > 0".to_owned(),
        "[].all(@, true)".to_owned(),
        "\u{0}".to_owned(),
        "é".repeat(1000),
    ] {
        let head: String = text.chars().take(40).collect();
        let found = Condition::parse(&text).expect_err(&head);
        assert!(!found.is_empty() && found.len() <= PROBLEMS_MAX, "{head}");
        for problem in found {
            assert!(text.get(problem.range.clone()).is_some(), "{head}: {problem:?}");
            assert!(problem.to_string().len() < 600, "{head}: {problem}");
        }
    }
}

#[test]
fn what_is_large_but_within_the_limits_is_no_problem() {
    for text in [
        vec!["state.x"; 200].join(" && "),
        format!("{}true{}", "(".repeat(NESTING_MAX), ")".repeat(NESTING_MAX)),
        format!("1{} > 0", "+1".repeat(50)),
        format!("true{}", " ? true : true".repeat(NESTING_MAX)),
        format!("state.x in [{}]", vec!["1"; 400].join(", ")),
        format!("'{}' == 'x'", "é".repeat(2000)),
    ] {
        assert!(parsed(&text).check_bool(&scope()).is_ok(), "{text}");
    }
}

#[test]
fn an_evaluation_ends_however_much_it_is_asked() {
    let mut values = values();
    values.insert(Name::State("long".into()), Value::List((0..LIST_MAX as i64).map(Value::Int).collect()));
    values.insert(Name::State("huge".into()), Value::List((0..LIST_MAX as i64 + 1).map(Value::Int).collect()));
    values.insert(Name::State("text".into()), Value::from("x".repeat(TEXT_VALUE_MAX).as_str()));
    let deep = (0..20).fold(Value::Int(1), |inner, _| Value::List([inner].into()));
    values.insert(Name::State("deep".into()), deep);
    let doubled = format!("[state.text]{}[0] == ''", ".map(x, x + x)".repeat(20));
    let twice = format!("[1]{} == []", ".map(x, [x, x])".repeat(20));
    for (text, kind) in [
        ("state.long.all(x, state.long.all(y, x + y >= 0))", Fault::TooManySteps),
        ("state.long.all(x, state.long.all(y, x + y >= 0)) || has(state.word)", Fault::TooManySteps),
        ("state.long.map(x, state.long) == []", Fault::TooLarge),
        ("state.long + [1] == []", Fault::TooLarge),
        ("state.huge == []", Fault::TooLarge),
        ("state.deep == []", Fault::TooLarge),
        ("state.text + 'x' == ''", Fault::TooLarge),
        (doubled.as_str(), Fault::TooLarge),
        (twice.as_str(), Fault::TooLarge),
        ("state.long.all(x, state.text.contains('xy') == false)", Fault::TooManySteps),
    ] {
        let found = parsed(text).evaluate(&values);
        assert!(matches!(found, Err(EvalError::Fault { fault, .. }) if fault == kind), "{text}: {found:?}");
    }
    assert_eq!(parsed("state.long.all(x, x >= 0)").holds(&values), Ok(true));
}

// ── by chance ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// An expression that passes the check, of the given type, without a value of type Any.
fn typed(of: Type, depth: u32) -> BoxedStrategy<String> {
    let leaf = leaf(of.clone());
    if depth == 0 {
        return leaf;
    }
    let any = move |of: Type| typed(of, depth - 1);
    let binary = |left: BoxedStrategy<String>, signs: &'static [&'static str], right: BoxedStrategy<String>| {
        (left, proptest::sample::select(signs), right)
            .prop_map(|(left, sign, right)| format!("({left} {sign} {right})"))
            .boxed()
    };
    let choose = (any(Type::Bool), any(of.clone()), any(of.clone())).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})"));
    let more = match of {
        Type::Bool => {
            let orders: &[&str] = &["==", "!=", "<", "<=", ">", ">="];
            let list = || (any(Type::Int), any(Type::Int)).prop_map(|(a, b)| format!("[{a}, {b}]")).boxed();
            prop_oneof![
                binary(any(Type::Bool), &["&&", "||", "==", "!="], any(Type::Bool)),
                any(Type::Bool).prop_map(|a| format!("!{a}")),
                binary(any(Type::Int), orders, any(Type::Float)),
                binary(any(Type::Float), orders, any(Type::Int)),
                binary(any(Type::Int), orders, any(Type::Int)),
                binary(any(Type::Float), orders, any(Type::Float)),
                binary(any(Type::Text), orders, any(Type::Text)),
                binary(any(Type::Duration), orders, any(Type::Duration)),
                binary(any(Type::Float), &["in"], list()),
                (
                    list(),
                    proptest::sample::select(&["all", "exists", "exists_one"][..]),
                    proptest::sample::select(orders),
                    any(Type::Int)
                )
                    .prop_map(|(list, name, sign, a)| format!("{list}.{name}(v, v {sign} {a})")),
                (list(), any(Type::Int)).prop_map(|(list, a)| format!("(size({list}.filter(v, v < {a})) == 1)")),
                (list(), list(), any(Type::Int))
                    .prop_map(|(a, b, c)| format!("({a}.map(v, v % 2 == 0, v + {c}) == {b})")),
                (
                    any(Type::Text),
                    proptest::sample::select(&["contains", "startsWith", "endsWith"][..]),
                    any(Type::Text)
                )
                    .prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
                Just("has(metrics.m)".to_owned()),
            ]
            .boxed()
        }
        Type::Int => prop_oneof![
            binary(any(Type::Int), &["+", "-", "*", "/", "%"], any(Type::Int)),
            any(Type::Text).prop_map(|a| format!("size({a})")),
            any(Type::Float).prop_map(|a| format!("int({a})")),
            any(Type::Duration).prop_map(|a| format!("{a}.getSeconds()")),
            (any(Type::Int), any(Type::Int)).prop_map(|(a, b)| format!("[{a}, {b}][1]")),
        ]
        .boxed(),
        Type::Float => prop_oneof![
            binary(any(Type::Float), &["+", "-", "*", "/"], any(Type::Float)),
            any(Type::Int).prop_map(|a| format!("double({a})")),
        ]
        .boxed(),
        Type::Text => prop_oneof![
            binary(any(Type::Text), &["+"], any(Type::Text)),
            any(Type::Int).prop_map(|a| format!("string({a})")),
        ]
        .boxed(),
        _ => binary(any(Type::Duration), &["+", "-"], any(Type::Duration)),
    };
    prop_oneof![1 => leaf, 4 => more, 1 => choose].boxed()
}

fn leaf(of: Type) -> BoxedStrategy<String> {
    let select = |words: &'static [&'static str]| proptest::sample::select(words).prop_map(str::to_owned).boxed();
    match of {
        Type::Bool => select(&["true", "false", "params.b", "metrics.flag", "task[\"a-b\"].ok"]),
        Type::Int => {
            select(&["0", "1", "-2", "9223372036854775807", "9007199254740993", "params.i", "metrics.m", "task.a.code"])
        }
        Type::Float => select(&["0.0", "-1.5", "9007199254740992.0", "1e308", "params.f", "metrics.r"]),
        Type::Text => select(&["''", "'é'", "\"a'b\"", "params.t", "task.a.state"]),
        _ => select(&["duration('1h')", "duration('-5s')", "run.elapsed"]),
    }
}

fn chance_scope() -> Scope {
    let types = |list: &[(&str, Type)]| list.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect();
    Scope {
        params: types(&[("b", Type::Bool), ("i", Type::Int), ("f", Type::Float), ("t", Type::Text)]),
        state: BTreeMap::new(),
        metrics: types(&[("flag", Type::Bool), ("m", Type::Int), ("r", Type::Float)]),
        tasks: [("a".to_owned(), BTreeMap::new()), ("a-b".to_owned(), BTreeMap::new())].into(),
        stages: Default::default(),
    }
}

prop_compose! {
    /// Values of the types of `chance_scope`, some of them missing.
    fn chance_values()(
        b in any::<bool>(), i in any::<i64>(), f in any::<f64>(), t in "[a-zé]{0,3}", elapsed in any::<i64>(),
        flag in any::<Option<bool>>(), m in any::<Option<i64>>(), r in any::<Option<f64>>(), ok in any::<Option<bool>>(),
        code in any::<Option<i64>>(), state in any::<Option<bool>>(),
    ) -> BTreeMap<Name, Value> {
        let task = |id: &str, field| Name::Task(id.into(), field);
        [
            (param("b"), Some(Value::Bool(b))),
            (param("i"), Some(Value::Int(i))),
            (param("f"), Some(Value::Float(f))),
            (param("t"), Some(Value::from(t.as_str()))),
            (metric("flag"), flag.map(Value::Bool)),
            (metric("m"), m.map(Value::Int)),
            (metric("r"), r.map(Value::Float)),
            (task("a-b", TaskField::Ok), ok.map(Value::Bool)),
            (task("a", TaskField::Code), code.map(Value::Int)),
            (task("a", TaskField::State), state.map(|_| Value::from("done"))),
            (Name::Run(RunField::Elapsed), Some(Value::Duration(elapsed))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Without macros in macros too deep or a text too long, which chance may make.
fn accepted(text: &str) -> Option<Condition> {
    match Condition::parse(text) {
        Ok(condition) => Some(condition),
        Err(found) => {
            let limit = |problem: &Problem| {
                ["nested deeper", "bytes long", "words and signs"].iter().any(|limit| problem.message.contains(limit))
            };
            assert!(found.iter().any(limit), "{text}: {found:?}");
            None
        }
    }
}

/// The same condition by the interpreter of the crate `cel`. `None`: it has no answer.
fn by_the_crate(text: &str, values: &BTreeMap<Name, Value>) -> Option<cel::Value> {
    use cel::objects::{Key, Map};
    let tree = cel::parser::PrattParser::new().parse(text).ok()?;
    let convert = |value: &Value| match value {
        Value::Bool(value) => Some(cel::Value::Bool(*value)),
        Value::Int(value) => Some(cel::Value::Int(*value)),
        Value::Float(value) => Some(cel::Value::Float(*value)),
        Value::Text(value) => Some(cel::Value::String(value.to_string().into())),
        _ => None,
    };
    let mut roots: BTreeMap<&str, std::collections::BTreeMap<String, cel::Value>> =
        [("params", BTreeMap::new()), ("metrics", BTreeMap::new())].into();
    let mut tasks: BTreeMap<String, BTreeMap<String, cel::Value>> =
        [("a".to_owned(), BTreeMap::new()), ("a-b".to_owned(), BTreeMap::new())].into();
    for (name, value) in values {
        let Some(value) = convert(value) else { continue };
        match name {
            Name::Param(key) => drop(roots.get_mut("params")?.insert(key.to_string(), value)),
            Name::Metric(key) => drop(roots.get_mut("metrics")?.insert(key.to_string(), value)),
            Name::Task(id, field) => drop(tasks.get_mut(&**id)?.insert(field.word().to_owned(), value)),
            _ => {}
        }
    }
    let map = |entries: BTreeMap<String, cel::Value>| {
        let entries = entries.into_iter().map(|(key, value)| (Key::from(key), value)).collect();
        cel::Value::Map(Map { map: std::sync::Arc::new(entries) })
    };
    let mut context = cel::Context::default();
    for (root, entries) in roots {
        context.add_variable_from_value(root, map(entries));
    }
    context.add_variable_from_value("task", map(tasks.into_iter().map(|(id, fields)| (id, map(fields))).collect()));
    context.resolve(&tree).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_checked_as_bool_gives_a_bool_or_is_missing_and_never_meets_a_wrong_type(
        text in typed(Type::Bool, 3), values in chance_values(),
    ) {
        let Some(condition) = accepted(&text) else { return Ok(()) };
        prop_assert_eq!(condition.check(&chance_scope()), Ok(Type::Bool), "{}", text);
        let found = condition.evaluate(&values);
        prop_assert_eq!(&found, &condition.evaluate(&values));
        match found {
            Ok(Value::Bool(_)) => {}
            Err(EvalError::Missing(name)) => {
                prop_assert!(!values.contains_key(&name));
                prop_assert!(condition.reads().contains(&Read::One(name)));
            }
            Err(EvalError::Fault { fault: Fault::Overflow | Fault::DivisionByZero, .. }) => {}
            other => prop_assert!(false, "{}: {:?}", text, other),
        }
    }

    #[test]
    fn every_name_and_constant_is_placed_at_its_words(text in typed(Type::Bool, 3)) {
        let Some(condition) = accepted(&text) else { return Ok(()) };
        condition.0.root.walk(&mut |node| {
            let part = text.get(node.at.range()).expect("places are on character boundaries");
            match &node.kind {
                Kind::Read(name) => assert_eq!(part, name.to_string(), "{text}"),
                Kind::Literal(Value::Int(int)) => assert_eq!(part, int.to_string(), "{text}"),
                Kind::Literal(Value::Text(_)) => assert!(part.len() >= 2 && (part.ends_with('\'') || part.ends_with('"')), "{text}: {part}"),
                Kind::Literal(Value::Duration(_)) => assert!(part.starts_with("duration(") && part.ends_with(')'), "{text}: {part}"),
                // Whatever it is, it can be read by itself (but for the variables of macros).
                _ => assert!(part.contains('v') || Condition::parse(part).is_ok(), "{text}: {part}"),
            }
        });
    }

    #[test]
    fn a_value_is_that_of_the_interpreter_of_the_crate(text in typed(Type::Bool, 3), mut values in chance_values()) {
        // The crate knows no lengths of time without its clock feature, rounds where it compares a large Int and a Float, and
        // has no answer for an order of what is not a number (in CEL it is false).
        let unlike = ["duration", "elapsed", "9223", "9007", "1e308", " / "];
        prop_assume!(unlike.iter().all(|word| !text.contains(word)));
        for value in values.values_mut() {
            match value {
                Value::Int(int) => *int %= 50,
                Value::Float(float) => *float = (*float % 50.0).trunc(),
                _ => {}
            }
        }
        let Some(condition) = accepted(&text) else { return Ok(()) };
        let (ours, theirs) = (condition.evaluate(&values), by_the_crate(&text, &values));
        match (ours, theirs) {
            (Ok(Value::Bool(ours)), Some(cel::Value::Bool(theirs))) => prop_assert_eq!(ours, theirs, "{}", text),
            (Err(_), None) => {}
            (ours, theirs) => prop_assert!(false, "{}: {:?} and {:?}", text, ours, theirs),
        }
    }

    #[test]
    fn no_text_takes_it_down(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40), glue in any::<bool>()) {
        let text = words.join(if glue { "" } else { " " });
        match Condition::parse(&text) {
            Ok(condition) => {
                let _ = condition.check(&scope());
                let _ = condition.evaluate(&values());
                let _ = condition.explain(&values()).to_string();
            }
            Err(found) => {
                prop_assert!(!found.is_empty());
                for problem in found {
                    prop_assert!(text.get(problem.range.clone()).is_some(), "{}: {:?}", text, problem);
                }
            }
        }
    }

    #[test]
    fn no_damaged_condition_takes_it_down(
        text in typed(Type::Bool, 3), at in any::<proptest::sample::Index>(), cut in 0..6_usize,
        word in proptest::sample::select(WORDS), values in chance_values(),
    ) {
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let rest = &chars[(at + cut).min(chars.len())..];
        let text: String = chars[..at].iter().copied().chain(word.chars()).chain(rest.iter().copied()).collect();
        match Condition::parse(&text) {
            Ok(condition) => {
                let _ = condition.check(&chance_scope());
                let _ = condition.evaluate(&values);
            }
            Err(found) => {
                prop_assert!(!found.is_empty());
                for problem in found {
                    prop_assert!(text.get(problem.range.clone()).is_some(), "{}: {:?}", text, problem);
                }
            }
        }
    }

    #[test]
    fn no_characters_take_it_down(text in "\\PC{0,60}") {
        let _ = Condition::parse(&text);
    }

    #[test]
    fn numbers_are_compared_exactly(int in any::<i64>(), float in any::<f64>(), small in -9..9_i64, halves in -19..19_i64) {
        let half = Value::Float(halves as f64 / 2.0);
        prop_assert_eq!(Value::Int(small).compare(&half), Some((2 * small).cmp(&halves)));
        let found = Value::Int(int).compare(&Value::Float(float));
        let back = Value::Float(float).compare(&Value::Int(int));
        prop_assert_eq!(found, back.map(std::cmp::Ordering::reverse));
        // 128 bits hold both exactly while the float is whole.
        if float.fract() == 0.0 && float.abs() < 1e30 {
            prop_assert_eq!(found, Some(i128::from(int).cmp(&(float as i128))));
        }
        let near = int as f64;
        prop_assert_eq!(Value::Int(int).compare(&Value::Float(near)), Some(i128::from(int).cmp(&(near as i128))));
    }
}

const WORDS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    "?",
    ":",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "&&",
    "||",
    "==",
    "!=",
    "<",
    ">=",
    "in",
    "has",
    "all",
    "map",
    "exists_one",
    "filter",
    "params",
    "task",
    "state",
    "list",
    "x",
    "ok",
    "out",
    "size",
    "duration",
    "'30m'",
    "\"a\"",
    "'é'",
    "`a-b`",
    "`",
    "'",
    "1",
    "-1",
    "0x7f",
    "1.5",
    "1e",
    "5u",
    "true",
    "null",
    "if",
    "é",
    "// c",
    "\n",
    "\\",
    "r'\\'",
    "b'x'",
    "'''",
    "@result",
    "0",
    "..",
    "_",
    "&",
    "=",
];
