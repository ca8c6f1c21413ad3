//! From text to tree. The only file that names the crate `cel`: its lexer and Pratt parser read the text, this turns their
//! tree into ours. What could make the parser slow, recurse deeply or answer with a shape we do not know is refused before
//! it is asked. Knows no schema.

use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use cel::parser::PrattParser;
use cel::parser::pratt_parser::{Lexer, TokenKind};

use super::hint::{at_u32, dashed, did_you_mean};
use super::names::{Name, Root, RunField, StageField, SystemField, TaskField, is_word};
use super::node::{Arithmetic, At, Below, Comparison, Computed, Form, Function, Kind, Macro, MacroParts, Node};
use super::value::{Value, parse_span, parse_time};
use super::{DEPTH_MAX, MACRO_DEPTH_MAX, NESTING_MAX, PROBLEMS_MAX, Problem, TEXT_MAX, TOKENS_MAX};

/// A message of the parser is shown up to so many characters.
const MESSAGE_CHARS: usize = 120;

/// Parses `text`; `Err` is never empty.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let tokens = screen(text).map_err(|problem| vec![problem])?;
    let tree = PrattParser::new()
        .enable_ident_escape_syntax(true)
        .parse(text)
        .map_err(|errors| syntax(text, &tokens, errors.errors.iter().map(|error| (error.pos, error.msg.as_str()))))?;
    let mut lowering = Lowering {
        text,
        pairs: pairs(&tokens),
        tokens,
        places: places(text),
        problems: Vec::new(),
        variables: Vec::new(),
        macros: 0,
        depth: 0,
    };
    let root = lowering.lower(&tree);
    let mut problems = lowering.problems;
    problems.truncate(PROBLEMS_MAX);
    match root {
        Some(root) if problems.is_empty() => Ok(root),
        _ if problems.is_empty() => Err(vec![Problem::new(whole(text), "this cannot be understood")]),
        _ => Err(problems),
    }
}

fn whole(text: &str) -> At {
    At { start: 0, end: at_u32(text.len()) }
}

/// A word or sign and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token {
    kind: TokenKind,
    at: At,
}

/// Cuts `text` into tokens and refuses what must not reach the parser.
fn screen(text: &str) -> Result<Vec<Token>, Problem> {
    if text.len() > TEXT_MAX {
        let message = format!("this condition is {} bytes long, the most is {TEXT_MAX}", text.len());
        return Err(Problem::new(whole(text), message));
    }
    if let Some((start, char)) = text.char_indices().find(|(_, char)| char.is_control() && !"\n\r\t".contains(*char)) {
        let at = At { start: at_u32(start), end: at_u32(start + char.len_utf8()) };
        return Err(Problem::new(at, format!("a control character ({}) in a condition", char.escape_debug())));
    }
    let mut lexer = Lexer::new(text);
    let mut tokens = Vec::new();
    let (mut nesting, mut questions) = (0_usize, 0_usize);
    loop {
        let raw = lexer.lex();
        let mut token = Token { kind: raw.kind, at: At { start: at_u32(raw.start), end: at_u32(raw.end) } };
        match raw.kind {
            TokenKind::TokEnd => break,
            TokenKind::TokWhitespace | TokenKind::TokComment => continue,
            TokenKind::TokError => {
                token.at = on_chars(text, token.at);
                let message = lexer.get_error().map_or("this cannot be read", |error| error.message.as_str());
                return Err(Problem::new(token.at, neutral(message)));
            }
            TokenKind::TokLeftBracket | TokenKind::TokLeftParen => nesting += 1,
            TokenKind::TokRightBracket | TokenKind::TokRightParen => nesting = nesting.saturating_sub(1),
            TokenKind::TokQuestion => questions += 1,
            _ => {}
        }
        let dotted = tokens.last().is_some_and(|last: &Token| last.kind == TokenKind::TokDot);
        refuse(text, token, dotted)?;
        if nesting > NESTING_MAX || questions > NESTING_MAX {
            return Err(Problem::new(token.at, format!("nested deeper than {NESTING_MAX}")));
        }
        if tokens.len() == TOKENS_MAX {
            return Err(Problem::new(token.at, format!("more than {TOKENS_MAX} words and signs")));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(Problem::new(whole(text), "this condition is empty"));
    }
    Ok(tokens)
}

/// What CEL has and conditions have not, and what is often written for what CEL has.
fn refuse(text: &str, token: Token, dotted: bool) -> Result<(), Problem> {
    let word = text.get(token.at.range()).unwrap_or_default();
    let (message, hint) = match token.kind {
        TokenKind::TokLeftBrace | TokenKind::TokRightBrace => (
            "braces have no meaning in a condition".to_owned(),
            "an id with a brace is written in quotes: task[\"shard-{n}\"]".to_owned(),
        ),
        TokenKind::TokUint => {
            ("unsigned numbers are not used here".to_owned(), format!("write {}", word.trim_end_matches(['u', 'U'])))
        }
        TokenKind::TokBytes => ("bytes are not used here".to_owned(), "a text is written 'text'".to_owned()),
        TokenKind::TokNull => ("no value is ever null".to_owned(), "whether there is a value says has(…)".to_owned()),
        TokenKind::TokEqual => ("`=` is no operator".to_owned(), "write `==`".to_owned()),
        TokenKind::TokIdent if !dotted => {
            let meant = match word {
                "and" | "AND" => "&&",
                "or" | "OR" => "||",
                "not" | "NOT" => "!",
                _ => return Ok(()),
            };
            (format!("`{word}` is no operator"), format!("write `{meant}`"))
        }
        _ => return Ok(()),
    };
    Err(Problem::new(token.at, message).hint(hint))
}

/// Widens a place to character boundaries (the lexer goes by bytes).
fn on_chars(text: &str, at: At) -> At {
    let (mut start, mut end) = (at.start as usize, (at.end as usize).min(text.len()));
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    At { start: at_u32(start), end: at_u32(end) }
}

/// A message of the parser, cut, harmless to a terminal.
fn neutral(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message).replace("<EOF>", "the end");
    message
        .chars()
        .take(MESSAGE_CHARS)
        .flat_map(|char| {
            let plain = matches!(char, '\'' | '"' | '`');
            let escaped = (!plain).then(|| char.escape_debug());
            plain.then_some(char).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// The parser's errors as problems: they come with line and column (in bytes, from 1).
fn syntax<'a>(text: &str, tokens: &[Token], errors: impl Iterator<Item = ((isize, isize), &'a str)>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for ((line, column), message) in errors {
        let before = |line: isize| usize::try_from(line - 1).unwrap_or(0);
        let start: usize = text.split_inclusive('\n').take(before(line)).map(str::len).sum::<usize>() + before(column);
        let start = start.min(text.len());
        let token = tokens.iter().find(|token| token.at.range().contains(&start));
        let end = At { start: at_u32(start), end: at_u32(start) };
        let at = on_chars(text, token.map_or(end, |token| token.at));
        // The parser goes on after an error; what it finds at the same place is a consequence.
        if problems.len() < PROBLEMS_MAX && problems.iter().all(|known| known.range != at.range()) {
            let quoted =
                message.contains("has() macro").then(|| "has(metrics.coverage), has(metrics.`line-coverage`)".into());
            problems.push(Problem::new(at, neutral(message)).hint_if(quoted));
        }
    }
    if problems.is_empty() {
        problems.push(Problem::new(whole(text), "this cannot be parsed"));
    }
    problems
}

/// For each opening bracket its closing one, by index of the token. The text has been parsed: they match.
fn pairs(tokens: &[Token]) -> Vec<usize> {
    let mut pairs: Vec<usize> = (0..tokens.len()).collect();
    let mut open = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::TokLeftParen | TokenKind::TokLeftBracket => open.push(index),
            TokenKind::TokRightParen | TokenKind::TokRightBracket => {
                if let Some(start) = open.pop() {
                    pairs[start] = index;
                }
            }
            _ => {}
        }
    }
    pairs
}

/// Where each node of the tree of `text` begins. The Pratt parser hands its table out only with an error, so it is asked
/// again with a bracket too many at the end: it numbers nodes as it meets them, so the numbers are the same.
fn places(text: &str) -> Option<Arc<SourceInfo>> {
    let spoilt = format!("{text}\n)");
    let errors = PrattParser::new().enable_ident_escape_syntax(true).parse(&spoilt).err()?;
    errors.errors.into_iter().find_map(|error| error.source_info)
}

/// One part of a name: `.word` or `[key]`.
struct Step<'a> {
    key: Key<'a>,
    /// Its end.
    at: At,
}

enum Key<'a> {
    /// `.word`
    Word(&'a str),
    /// `["text"]`
    Text(&'a str),
    /// `[expression]`
    Computed(&'a IdedExpr),
}

impl<'a> Key<'a> {
    fn fixed(&self) -> Option<&'a str> {
        match self {
            Self::Word(word) | Self::Text(word) => Some(word),
            Self::Computed(_) => None,
        }
    }
}

struct Lowering<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    pairs: Vec<usize>,
    places: Option<Arc<SourceInfo>>,
    problems: Vec<Problem>,
    /// Names of the macros' variables, outermost first.
    variables: Vec<String>,
    macros: usize,
    depth: usize,
}

type Lowered = Option<Node>;
/// Makes an operation of its two sides.
type Make = dyn Fn(Box<(Node, Node)>) -> Kind;

impl Lowering<'_> {
    fn problem(&mut self, problem: Problem) -> Lowered {
        let known = self.problems.iter().any(|known| known.range == problem.range && known.message == problem.message);
        if !known {
            self.problems.push(problem);
        }
        None
    }

    /// The token at which the parser placed a node.
    fn token(&self, id: u64) -> Option<usize> {
        let (start, _) = self.places.as_ref()?.offset_for(id)?;
        self.tokens.binary_search_by_key(&start, |token| token.at.start).ok()
    }

    fn own(&self, id: u64) -> At {
        self.token(id).map_or_else(|| whole(self.text), |index| self.tokens[index].at)
    }

    /// From the node's token to the bracket that closes it, or the one that opens just after it.
    fn to_close(&self, id: u64) -> At {
        let Some(index) = self.token(id) else { return whole(self.text) };
        let open = |index: usize| {
            self.tokens
                .get(index)
                .is_some_and(|t| matches!(t.kind, TokenKind::TokLeftParen | TokenKind::TokLeftBracket))
        };
        let close = if open(index) || !open(index + 1) { self.pairs[index] } else { self.pairs[index + 1] };
        self.tokens[index].at.to(self.tokens[close].at)
    }

    /// The node's token and the next: `-5`, `.name`.
    fn with_next(&self, id: u64) -> At {
        let Some(index) = self.token(id) else { return whole(self.text) };
        self.tokens[index].at.to(self.tokens.get(index + 1).unwrap_or(&self.tokens[index]).at)
    }

    /// `at` with the brackets that it cuts through: `a) && (b` becomes `(a) && (b)`.
    fn balanced(&self, at: At) -> At {
        let first = self.tokens.partition_point(|token| token.at.start < at.start);
        let last = self.tokens.partition_point(|token| token.at.end <= at.end);
        let (mut unopened, mut unclosed) = (0_usize, 0_usize);
        for token in self.tokens.get(first..last).unwrap_or_default() {
            match token.kind {
                TokenKind::TokLeftParen | TokenKind::TokLeftBracket => unclosed += 1,
                TokenKind::TokRightParen | TokenKind::TokRightBracket if unclosed == 0 => unopened += 1,
                TokenKind::TokRightParen | TokenKind::TokRightBracket => unclosed -= 1,
                _ => {}
            }
        }
        let start = self.tokens.get(first.saturating_sub(unopened)).map_or(at, |token| token.at);
        let end = self.tokens.get((last + unclosed).saturating_sub(1)).map_or(at, |token| token.at);
        at.to(start).to(end)
    }

    fn lower(&mut self, expr: &IdedExpr) -> Lowered {
        if self.depth == DEPTH_MAX {
            let at = self.own(expr.id);
            return self.problem(Problem::new(at, format!("deeper than {DEPTH_MAX} operations in one another")));
        }
        self.depth += 1;
        let node = self.lower_here(expr);
        self.depth -= 1;
        node
    }

    fn lower_here(&mut self, expr: &IdedExpr) -> Lowered {
        match &expr.expr {
            Expr::Literal(literal) => self.literal(expr.id, literal),
            Expr::List(list) => {
                let elements: Vec<Lowered> = list.elements.iter().map(|element| self.lower(element)).collect();
                let elements = elements.into_iter().collect::<Option<_>>()?;
                Some(Node { at: self.to_close(expr.id), kind: Kind::List(elements) })
            }
            Expr::Ident(_) => self.name(expr),
            Expr::Select(select) if select.test => self.has(expr, select),
            Expr::Select(_) => self.name(expr),
            Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => self.name(expr),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::Comprehension(parts) => self.comprehension(expr.id, parts),
            Expr::Unspecified | Expr::Map(_) | Expr::Struct(_) => {
                let at = self.own(expr.id);
                self.problem(Problem::new(at, "this has no meaning in a condition"))
            }
        }
    }

    fn literal(&mut self, id: u64, literal: &LiteralValue) -> Lowered {
        let own = self.own(id);
        let negative = self.token(id).is_some_and(|index| self.tokens[index].kind == TokenKind::TokMinus);
        let at = if negative { self.with_next(id) } else { own };
        let value = match literal {
            LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
            LiteralValue::Int(value) => Value::Int(*value.inner()),
            LiteralValue::Double(value) if value.inner().is_finite() => Value::Float(*value.inner()),
            LiteralValue::Double(_) => return self.problem(Problem::new(at, "this number is too large")),
            LiteralValue::String(value) => Value::from(value.inner()),
            LiteralValue::Bytes(_) | LiteralValue::Null | LiteralValue::UInt(_) => {
                return self.problem(Problem::new(at, "values of this kind are not used in a condition"));
            }
        };
        Some(Node { at, kind: Kind::Literal(value) })
    }

    /// `a`, `a.b`, `a["b"]`, `a[i]`: a variable, a name below a root, or an index into a list.
    fn name(&mut self, expr: &IdedExpr) -> Lowered {
        let (root, steps) = match self.chain(expr) {
            Ok(chain) => chain,
            Err(problem) => return self.problem(problem),
        };
        match &root.expr {
            Expr::Ident(word) if !self.variables.contains(word) => match Root::named(word) {
                Some(root_word) => self.below(root_word, self.own(root.id), &steps),
                None => self.unknown(root.id, word),
            },
            Expr::Ident(word) => {
                let level = self.variables.iter().rposition(|variable| variable == word).unwrap_or_default();
                let variable = Node { at: self.own(root.id), kind: Kind::Variable(level) };
                self.index(variable, &steps)
            }
            _ => {
                let list = self.lower(root)?;
                self.index(list, &steps)
            }
        }
    }

    /// The expression at the bottom of `.x` and `[y]`, and those, in order.
    fn chain<'a>(&self, expr: &'a IdedExpr) -> Result<(&'a IdedExpr, Vec<Step<'a>>), Problem> {
        let mut steps = Vec::new();
        let mut below = expr;
        loop {
            let key = match &below.expr {
                Expr::Select(select) if !select.test => Key::Word(select.field.as_str()),
                Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => {
                    match &call.args[1].expr {
                        Expr::Literal(LiteralValue::String(text)) => Key::Text(text.inner()),
                        _ => Key::Computed(&call.args[1]),
                    }
                }
                _ => break,
            };
            let at = if matches!(key, Key::Word(_)) { self.with_next(below.id) } else { self.to_close(below.id) };
            if steps.len() == DEPTH_MAX {
                return Err(Problem::new(at, format!("a name of more than {DEPTH_MAX} parts")));
            }
            steps.push(Step { key, at });
            below = match &below.expr {
                Expr::Select(select) => &select.operand,
                Expr::Call(call) => &call.args[0],
                _ => break,
            };
        }
        steps.reverse();
        Ok((below, steps))
    }

    fn unknown(&mut self, id: u64, word: &str) -> Lowered {
        let at = self.own(id);
        if let Some((at, hint)) = dashed(self.text, at) {
            // One mistake, one problem: the left half of the id was found incomplete before.
            self.problems.retain(|known| !(at.range().start <= known.range.start && known.range.end <= at.range().end));
            return self.problem(Problem::new(at, "`-` is a subtraction here").hint(hint));
        }
        let words = Root::ALL.map(Root::word);
        let known = words.iter().copied().chain(self.variables.iter().map(String::as_str));
        let all = || format!("names begin with one of {}", words.join(", "));
        let hint = did_you_mean(word, known.collect::<Vec<&str>>()).unwrap_or_else(all);
        self.problem(Problem::new(at, format!("unknown name `{}`", shown(word))).hint(hint))
    }

    /// A name below a root.
    fn below(&mut self, root: Root, at: At, steps: &[Step<'_>]) -> Lowered {
        let taken = match root {
            Root::Params | Root::Metrics | Root::State | Root::Run | Root::System => 1,
            Root::Stage => 2,
            Root::Task => 2 + usize::from(steps.get(1).is_some_and(|step| step.key.fixed() == Some("out"))),
        };
        let Some((path, rest)) = steps.split_at_checked(taken) else { return self.incomplete(root, at, steps) };
        let end = path.last().map_or(at, |step| step.at);
        let kind = match root {
            Root::Params => self.keyed(Below::Param, &[&path[0]])?,
            Root::Metrics => self.keyed(Below::Metric, &[&path[0]])?,
            Root::State => self.keyed(Below::State, &[&path[0]])?,
            Root::Task if taken == 3 => self.keyed(Below::Out, &[&path[0], &path[2]])?,
            Root::Task => {
                let words = TaskField::ALL.iter().map(|field| field.word()).chain(["out"]);
                let field = self.field(root, &path[1], TaskField::named, words)?;
                self.keyed(Below::Task(field), &[&path[0]])?
            }
            Root::Stage => {
                let words = StageField::ALL.iter().map(|field| field.word());
                let field = self.field(root, &path[1], StageField::named, words)?;
                self.keyed(Below::Stage(field), &[&path[0]])?
            }
            Root::Run => {
                let words = RunField::ALL.iter().map(|field| field.word());
                Kind::Read(Name::Run(self.field(root, &path[0], RunField::named, words)?))
            }
            Root::System => {
                let words = SystemField::ALL.iter().map(|field| field.word());
                Kind::Read(Name::System(self.field(root, &path[0], SystemField::named, words)?))
            }
        };
        self.index(Node { at: at.to(end), kind }, rest)
    }

    /// A name that stops too early.
    fn incomplete(&mut self, root: Root, at: At, steps: &[Step<'_>]) -> Lowered {
        let last = steps.last().map_or(at, |step| step.at);
        let at = at.to(last);
        if let Some((at, hint)) = dashed(self.text, last) {
            return self.problem(Problem::new(at, "`-` is a subtraction here").hint(hint));
        }
        let words = |words: Vec<&str>| format!("one of {}", words.join(", "));
        let (what, hint) = match (root, steps.len()) {
            (Root::Task, 1) => (
                "a task is no value by itself",
                words(TaskField::ALL.iter().map(|f| f.word()).chain(["out"]).collect()),
            ),
            (Root::Stage, 1) => {
                ("a stage is no value by itself", words(StageField::ALL.iter().map(|f| f.word()).collect()))
            }
            (Root::Task, 2) => ("what of the values it publishes?", "task.build.out.size".to_owned()),
            (Root::Run, _) => ("a field is missing here", words(RunField::ALL.iter().map(|f| f.word()).collect())),
            (Root::System, _) => {
                ("a field is missing here", words(SystemField::ALL.iter().map(|f| f.word()).collect()))
            }
            (Root::Task | Root::Stage, _) => ("an id is missing here", format!("{}.id.ok", root.word())),
            _ => ("a name is missing here", format!("{}.name", root.word())),
        };
        self.problem(Problem::new(at, what).hint(hint))
    }

    fn field<'w, F>(
        &mut self,
        root: Root,
        step: &Step<'_>,
        named: impl Fn(&str) -> Option<F>,
        words: impl Iterator<Item = &'w str> + Clone,
    ) -> Option<F> {
        let of = match root {
            Root::Task => "a task",
            Root::Stage => "a stage",
            _ => root.word(),
        };
        let Some(word) = step.key.fixed() else {
            self.problem(Problem::new(step.at, format!("a field of {of} cannot be computed")));
            return None;
        };
        let found = named(word);
        if found.is_none() {
            let message = format!("{of} has no field `{}`", shown(word));
            let all = || format!("one of {}", words.clone().collect::<Vec<_>>().join(", "));
            let hint = did_you_mean(word, words.clone()).unwrap_or_else(all);
            self.problem(Problem::new(step.at, message).hint(hint));
        }
        found
    }

    fn keyed(&mut self, below: Below, steps: &[&Step<'_>]) -> Option<Kind> {
        let fixed: Option<Vec<&str>> = steps.iter().map(|step| step.key.fixed()).collect();
        if let Some(keys) = fixed {
            return below.name(keys.into_iter().map(Arc::from)).map(Kind::Read);
        }
        let mut keys = Vec::new();
        for step in steps {
            keys.push(match step.key {
                Key::Word(text) | Key::Text(text) => Some(Node { at: step.at, kind: Kind::Literal(Value::from(text)) }),
                Key::Computed(expr) => self.lower(expr),
            });
        }
        let keys = keys.into_iter().collect::<Option<_>>()?;
        Some(Kind::Computed(Box::new(Computed { below, keys })))
    }

    /// What is left after a value can only be indexes.
    fn index(&mut self, mut node: Node, steps: &[Step<'_>]) -> Lowered {
        for step in steps {
            let Key::Computed(expr) = step.key else {
                return match dashed(self.text, step.at) {
                    Some((at, hint)) => self.problem(Problem::new(at, "`-` is a subtraction here").hint(hint)),
                    None => self.problem(Problem::new(step.at, "this value has no fields")),
                };
            };
            let at = node.at.to(step.at);
            let index = self.lower(expr)?;
            node = Node { at, kind: Kind::Index(Box::new((node, index))) };
        }
        Some(node)
    }

    fn has(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Lowered {
        // The same name without the test.
        let plain = SelectExpr { operand: select.operand.clone(), field: select.field.clone(), test: false };
        let inner = IdedExpr { id: self.select_in(expr.id), expr: Expr::Select(plain) };
        let read = self.lower(&inner)?;
        let at = self.to_close(expr.id);
        if !matches!(read.kind, Kind::Read(_) | Kind::Computed(_)) {
            return self.problem(Problem::new(read.at, "has() takes a name").hint("has(metrics.coverage)"));
        }
        Some(Node { at, kind: Kind::Has(Box::new(read)) })
    }

    /// The last `.` in the brackets of `has(…)`: the macro forgot the number of the node it replaced. Numbers go by places.
    fn select_in(&self, has: u64) -> u64 {
        let Some(open) = self.token(has).map(|index| index + 1) else { return has };
        let Some(close) = self.pairs.get(open) else { return has };
        // The name ends at the closing bracket: its last part is one word after one dot.
        let dot = close.saturating_sub(2);
        let Some(places) = &self.places else { return has };
        let start = self.tokens.get(dot).map(|token| token.at.start);
        (1..=has).find(|id| places.offset_for(*id).map(|(start, _)| start) == start).unwrap_or(has)
    }

    fn pair(&mut self, args: &[IdedExpr]) -> Option<(At, Box<(Node, Node)>)> {
        let [left, right] = args else { return None };
        let (left, right) = (self.lower(left), self.lower(right));
        let (left, right) = (left?, right?);
        Some((self.balanced(left.at.to(right.at)), Box::new((left, right))))
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Lowered {
        if call.target.is_none()
            && let Some(kind) = self.operator(id, call)
        {
            return kind;
        }
        let target = call.target.as_deref();
        let word = shown(&call.func_name);
        // A member call is placed at its bracket, a global one at its name.
        let (at, name_at) = match (target, self.token(id)) {
            (Some(_), Some(index)) => (self.to_close(id), self.tokens[index.saturating_sub(1)].at),
            _ => (self.to_close(id), self.own(id)),
        };
        let Some(function) = self.function(call, name_at) else {
            // What its arguments say is worth saying too.
            target.into_iter().chain(&call.args).for_each(|argument| drop(self.lower(argument)));
            return None;
        };
        let arguments: Vec<Lowered> =
            target.into_iter().chain(&call.args).map(|argument| self.lower(argument)).collect();
        let arguments = arguments.into_iter().collect::<Option<Vec<Node>>>()?;
        let (form, count, usage) = function.form();
        let right_form = match form {
            Form::Global => target.is_none(),
            Form::Member => target.is_some(),
            Form::Either => true,
        };
        if !right_form || arguments.len() != count {
            return self.problem(Problem::new(name_at, format!("`{word}` is not called so")).hint(usage));
        }
        let at = arguments.first().filter(|_| target.is_some()).map_or(at, |first| self.balanced(first.at.to(at)));
        self.folded(function, arguments, at)
    }

    fn function(&mut self, call: &CallExpr, at: At) -> Option<Function> {
        let found = Function::ALL.into_iter().find(|function| function.word() == call.func_name);
        if found.is_none() {
            let word = shown(&call.func_name);
            let macros = ["has", "all", "exists", "exists_one", "map", "filter"];
            let hint = match call.func_name.as_str() {
                "matches" => Some("there are no patterns here: contains, startsWith, endsWith".to_owned()),
                "has" => Some("has(metrics.coverage)".to_owned()),
                word if macros.contains(&word) => Some(format!("list.{word}(x, …)")),
                word => {
                    let near = did_you_mean(word, Function::ALL.iter().map(|function| function.word()).chain(macros));
                    near.or_else(|| dashed(self.text, at).map(|(_, hint)| hint))
                }
            };
            self.problem(Problem::new(at, format!("unknown function `{word}`")).hint_if(hint));
        }
        found
    }

    /// `duration('30m')` and `timestamp('…')` are constants.
    fn folded(&mut self, function: Function, arguments: Vec<Node>, at: At) -> Lowered {
        if let (
            Function::Duration | Function::Timestamp,
            [Node { at: place, kind: Kind::Literal(Value::Text(text)) }],
        ) = (function, arguments.as_slice())
        {
            let (value, usage) = match function {
                Function::Duration => (parse_span(text).map(Value::Duration), "30m, 1h30m, 1.5h, 90s, 250ms, 2d"),
                _ => (parse_time(text).map(Value::Timestamp), "2026-01-31T08:00:00Z"),
            };
            return match value {
                Some(value) => Some(Node { at, kind: Kind::Literal(value) }),
                None => {
                    let message = format!("{} cannot be read as a {}", Value::Text(text.clone()), function.word());
                    self.problem(Problem::new(*place, message).hint(format!("as in {usage}")))
                }
            };
        }
        Some(Node { at, kind: Kind::Call(function, arguments) })
    }

    /// `None`: it is no operator.
    fn operator(&mut self, id: u64, call: &CallExpr) -> Option<Lowered> {
        let args = &call.args;
        let comparison = |comparison| move |pair| Kind::Compare(comparison, pair);
        let arithmetic = |arithmetic| move |pair| Kind::Arithmetic(arithmetic, pair);
        let make: Box<Make> = match call.func_name.as_str() {
            operators::LOGICAL_AND => Box::new(Kind::And),
            operators::LOGICAL_OR => Box::new(Kind::Or),
            operators::IN => Box::new(Kind::In),
            operators::EQUALS => Box::new(comparison(Comparison::Equal)),
            operators::NOT_EQUALS => Box::new(comparison(Comparison::Unequal)),
            operators::LESS => Box::new(comparison(Comparison::Less)),
            operators::LESS_EQUALS => Box::new(comparison(Comparison::LessOrEqual)),
            operators::GREATER => Box::new(comparison(Comparison::Greater)),
            operators::GREATER_EQUALS => Box::new(comparison(Comparison::GreaterOrEqual)),
            operators::ADD => Box::new(arithmetic(Arithmetic::Add)),
            operators::SUBSTRACT => Box::new(arithmetic(Arithmetic::Subtract)),
            operators::MULTIPLY => Box::new(arithmetic(Arithmetic::Multiply)),
            operators::DIVIDE => Box::new(arithmetic(Arithmetic::Divide)),
            operators::MODULO => Box::new(arithmetic(Arithmetic::Remainder)),
            operators::LOGICAL_NOT | operators::NEGATE => return Some(self.unary(id, call)),
            operators::CONDITIONAL => return Some(self.conditional(args)),
            _ => return None,
        };
        Some(self.pair(args).map(|(at, pair)| Node { at, kind: make(pair) }))
    }

    fn unary(&mut self, id: u64, call: &CallExpr) -> Lowered {
        let operand = Box::new(self.lower(call.args.first()?)?);
        let at = self.balanced(self.own(id).to(operand.at));
        let not = call.func_name == operators::LOGICAL_NOT;
        Some(Node { at, kind: if not { Kind::Not(operand) } else { Kind::Negate(operand) } })
    }

    fn conditional(&mut self, args: &[IdedExpr]) -> Lowered {
        let [test, yes, no] = args else { return None };
        let (test, yes, no) = (self.lower(test), self.lower(yes), self.lower(no));
        let (test, yes, no) = (test?, yes?, no?);
        let at = self.balanced(test.at.to(no.at));
        Some(Node { at, kind: Kind::Conditional(Box::new((test, yes, no))) })
    }

    /// The parser has expanded `all`, `map` and the like to loops; this finds out which it was.
    fn comprehension(&mut self, id: u64, parts: &ComprehensionExpr) -> Lowered {
        let at = self.to_close(id);
        let list = self.lower(&parts.iter_range);
        let at = list.as_ref().map_or(at, |list| self.balanced(list.at.to(at)));
        let variable = &parts.iter_var;
        if !is_word(variable) || Root::named(variable).is_some() {
            return self.problem(Problem::new(at, format!("`{}` cannot be a variable", shown(variable))));
        }
        if self.macros == MACRO_DEPTH_MAX {
            return self.problem(Problem::new(at, format!("macros nested deeper than {MACRO_DEPTH_MAX}")));
        }
        let Some((which, only, body)) = expanded(parts) else {
            return self.problem(Problem::new(at, "this macro is not known here"));
        };
        self.macros += 1;
        self.variables.push(variable.clone());
        let only = only.map(|only| self.lower(only));
        let body = self.lower(body);
        self.variables.pop();
        self.macros -= 1;
        let (list, body) = (list?, body?);
        let only = match only {
            Some(only) => Some(only?),
            None => None,
        };
        Some(Node { at, kind: Kind::Macro(which, Box::new(MacroParts { list, only, body })) })
    }
}

/// Which macro a loop was made from, which elements it takes, and its body.
fn expanded(parts: &ComprehensionExpr) -> Option<(Macro, Option<&IdedExpr>, &IdedExpr)> {
    let Expr::Call(step) = &parts.loop_step.expr else { return None };
    let args = step.args.as_slice();
    match (step.func_name.as_str(), args) {
        (operators::LOGICAL_AND, [_, body]) => Some((Macro::All, None, body)),
        (operators::LOGICAL_OR, [_, body]) => Some((Macro::Exists, None, body)),
        (operators::ADD, [_, added]) => Some((Macro::Map, None, only_element(added)?)),
        (operators::CONDITIONAL, [test, then, _]) => {
            let Expr::Call(then) = &then.expr else { return None };
            let added = then.args.get(1)?;
            match (&parts.accu_init.expr, only_element(added)) {
                (Expr::List(_), Some(body)) => match &body.expr {
                    Expr::Ident(word) if *word == parts.iter_var => Some((Macro::Filter, None, test)),
                    _ => Some((Macro::Map, Some(test), body)),
                },
                (Expr::Literal(_), None) => Some((Macro::ExistsOne, None, test)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn only_element(expr: &IdedExpr) -> Option<&IdedExpr> {
    match &expr.expr {
        Expr::List(list) => list.elements.first().filter(|_| list.elements.len() == 1),
        _ => None,
    }
}

/// A word of the text in a message.
fn shown(word: &str) -> String {
    word.chars().take(MESSAGE_CHARS).flat_map(char::escape_debug).collect()
}
