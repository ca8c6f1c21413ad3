//! `foreach`: the keys and values that make many tasks out of one written one, and the row of values that each of them
//! has. A row is worked out from its number, so a matrix is as large as it is written. Knows no tasks and no shell.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::command::MAX_COMMAND_BYTES;
use super::diagnostic::{Extent, Finding, shown};
use super::schema::{FirstPlaces, Reader, Word, describe, head, within};
use super::suggest::did_you_mean;
use super::syntax::{Kind, Node};

/// A `foreach` has no more keys than this.
pub const MAX_KEYS: usize = 16;

const EXAMPLE: &str =
    "for example: foreach: { \"n\": [1, 2, 3] }, { \"n\": Range(1, 10) }, or { \"f\": \"${task.list.out.files}\" }";

/// The keys of one `foreach` with their values.
pub(super) struct Matrix<'n> {
    keys: Vec<Key<'n>>,
}

struct Key<'n> {
    name: &'n str,
    /// The environment variable that carries the value where a shell reads.
    variable: String,
    values: Values<'n>,
}

enum Values<'n> {
    List(Vec<Value<'n>>),
    Range {
        first: i64,
        step: i64,
        count: u64,
    },
    /// What a task publishes, as written: known only during the run.
    Later,
}

struct Value<'n> {
    kind: &'static str,
    text: Cow<'n, str>,
}

impl Values<'_> {
    fn count(&self) -> u64 {
        match self {
            Self::List(list) => list.len() as u64,
            Self::Range { count, .. } => *count,
            // One task stands for all of them.
            Self::Later => 1,
        }
    }
}

/// The keys of a `foreach`, if it has any: to judge an `id` although a value is wrong.
pub(super) fn key_names<'n>(node: &'n Node<'_>) -> Option<Vec<&'n str>> {
    let Kind::Map(entries) = &node.kind else { return None };
    let text = |key: &'n Node<'_>| if let Kind::Text(text) = &key.kind { Some(text.as_ref()) } else { None };
    Some(entries.iter().filter_map(|(key, _)| text(key)).collect())
}

impl<'n> Matrix<'n> {
    /// Reads the value of a `foreach`; what is wrong with it is reported.
    pub fn read(reader: &mut Reader, node: &'n Node<'_>) -> Option<Self> {
        let before = reader.findings.count();
        let entries = reader.map(node, "foreach");
        if entries.is_empty() && reader.findings.count() == before {
            let finding = Finding::new(head(node), "`foreach` has no keys");
            reader.report(finding.label("a key and its values should stand here").help(EXAMPLE));
        }
        if entries.len() > MAX_KEYS {
            let finding = Finding::new(entries[MAX_KEYS].0.at, format!("more than {MAX_KEYS} keys in one `foreach`"));
            reader.report(finding.label("one too many"));
            return None;
        }
        let mut keys: Vec<Key<'n>> = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            if !is_key(name.text) {
                let finding = Finding::new(name.at, format!("`{}` cannot be a key of `foreach`", shown(name.text)));
                reader.report(finding.label("letters, digits and `_`, no digit first"));
                continue;
            }
            let variable = format!("QD_EACH_{}", name.text.to_ascii_uppercase());
            if let Some(other) = keys.iter().find(|key| key.variable == variable) {
                let message = format!("`{}` and `{}` differ only in case", name.text, other.name);
                let help = format!("commands would see both as {variable}");
                reader.report(Finding::new(name.at, message).label("choose another name").help(help));
            }
            if let Some(values) = read_values(reader, value, name.text) {
                keys.push(Key { name: name.text, variable, values });
            }
        }
        let all = Self { keys };
        if let Some(later) = all.later().filter(|_| all.keys.len() > 1) {
            let message = format!("`{later}` is a list that a task makes, and there are other keys beside it");
            let help = "let the task that publishes the list make all combinations of it";
            reader.report(Finding::new(head(node), message).label("one key only").help(help));
        }
        (reader.findings.count() == before).then_some(all)
    }

    /// How many tasks it makes; `u128::MAX` stands for more than can be counted.
    pub fn count(&self) -> u128 {
        self.keys.iter().fold(1u128, |all, key| all.saturating_mul(u128::from(key.values.count())))
    }

    /// The count as it comes about: `1000 x 1000 = 10^6`.
    pub fn product(&self) -> String {
        let factors: Vec<String> = self.keys.iter().map(|key| key.values.count().to_string()).collect();
        if factors.len() == 1 { factors.concat() } else { format!("{} = {}", factors.join(" x "), short(self.count())) }
    }

    /// The key whose values are a list that a task publishes.
    pub fn later(&self) -> Option<&'n str> {
        self.keys.iter().find(|key| matches!(key.values, Values::Later)).map(|key| key.name)
    }

    /// Keys with several values that `id` does not name: its tasks would be called the same.
    pub fn missing_in<'m>(&'m self, id: &'m str) -> impl Iterator<Item = &'n str> + 'm {
        let is_one = |key: &&Key<'n>| key.values.count() > 1 || matches!(key.values, Values::Later);
        let several = self.keys.iter().filter(is_one).map(|key| key.name);
        several.filter(move |name| !id.contains(&format!("{{{name}}}")))
    }

    /// The values of task `index` of [`Self::count`]: in the order of the file, the last key fastest.
    pub fn row(&self, index: u64) -> Row<'_> {
        let mut cells: Vec<Cell<'_>> = Vec::with_capacity(self.keys.len());
        let mut rest = index;
        for key in self.keys.iter().rev() {
            let count = key.values.count();
            let at = rest % count;
            rest /= count;
            let (kind, text) = match &key.values {
                Values::List(list) => {
                    let value = &list[usize::try_from(at).expect("an index of a list")];
                    (value.kind, Cow::Borrowed(value.text.as_ref()))
                }
                Values::Range { first, step, .. } => {
                    let value = i128::from(*first) + i128::from(*step) * i128::from(at);
                    let value = i64::try_from(value).expect("between the first and the last");
                    (WHOLE, Cow::Owned(value.to_string()))
                }
                Values::Later => (TEXT, Cow::Borrowed("")),
            };
            let later = matches!(key.values, Values::Later);
            cells.push(Cell { name: key.name, variable: &key.variable, kind, text, later });
        }
        cells.reverse();
        Row { cells }
    }

    /// Whether `text` holds a `{key}` of it.
    pub fn is_in(&self, text: &str) -> bool {
        self.places(text).next().is_some()
    }

    /// Where `text` holds a `{key}`, in bytes.
    fn places<'t>(&'t self, text: &'t str) -> impl Iterator<Item = (usize, usize)> + 't {
        braces(text).filter(|(start, end)| self.keys.iter().any(|key| key.name == &text[start + 1..end - 1]))
    }

    /// Whether any text below `node` holds a `{key}` of it.
    pub fn is_within(&self, node: &Node<'_>) -> bool {
        let mut found = false;
        each_text(node, &mut |_, text| found |= self.is_in(text));
        found
    }

    /// Where its keys stand below `node`, in the file.
    pub fn extents(&self, node: &Node<'_>) -> Vec<Extent> {
        let mut found = Vec::new();
        each_text(node, &mut |node, text| found.extend(self.places(text).map(|(start, end)| within(node, start, end))));
        found
    }
}

/// The `{…}` of `text` that hold a name and follow no `$`, in bytes with their braces.
fn braces(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    text.match_indices('{').filter_map(|(start, _)| {
        let length = key_length(&text[start + 1..])?;
        (!text[..start].ends_with('$')).then_some((start, start + length + 2))
    })
}

/// The length of the name with which `text` begins, if a `}` follows it.
fn key_length(text: &str) -> Option<usize> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    (text.as_bytes().get(length) == Some(&b'}') && is_key(&text[..length])).then_some(length)
}

fn each_text(node: &Node<'_>, visit: &mut impl FnMut(&Node<'_>, &str)) {
    match &node.kind {
        Kind::Text(text) => visit(node, text),
        Kind::List(items) | Kind::Tuple(_, items) => items.iter().for_each(|item| each_text(item, visit)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                each_text(key, visit);
                each_text(value, visit);
            }
        }
        Kind::Struct(_, fields) => fields.iter().for_each(|(_, value)| each_text(value, visit)),
        Kind::Number(_) | Kind::Word(_) | Kind::Other => {}
    }
}

/// The value of one key for one task.
pub(super) struct Cell<'m> {
    pub name: &'m str,
    pub variable: &'m str,
    kind: &'static str,
    pub text: Cow<'m, str>,
    /// The value is known only during the run.
    pub later: bool,
}

impl Cell<'_> {
    /// Whether a shell reads the value as one word that means itself, wherever it stands.
    pub fn is_plain(&self) -> bool {
        const RESERVED: [&str; 17] = [
            "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in",
            "function", "select", "time", "coproc",
        ];
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:/@%+".contains(&byte);
        !self.text.is_empty() && self.text.bytes().all(plain) && !RESERVED.contains(&self.text.as_ref())
    }
}

/// The values of one task.
pub(super) struct Row<'m> {
    cells: Vec<Cell<'m>>,
}

impl<'m> Row<'m> {
    /// The value of the `{key}` with which `text` begins, and how long that is.
    pub fn at(&self, text: &str) -> Option<(&Cell<'m>, usize)> {
        let length = key_length(text.strip_prefix('{')?)?;
        let cell = self.cells.iter().find(|cell| cell.name == &text[1..=length])?;
        Some((cell, length + 2))
    }

    /// `text` with the values in place of its keys; as it is and reported if that were too long for anything.
    pub fn fill<'t>(&self, reader: &mut Reader, word: &Word<'t>) -> Cow<'t, str> {
        let text = word.text;
        let mut out = String::new();
        let mut done = 0;
        for (start, end) in braces(text) {
            let Some((cell, _)) = self.at(&text[start..end]) else { continue };
            if cell.later {
                let message = format!("`{}` cannot stand here: its values are known only during the run", cell.name);
                let help = "it can stand in id, run, exec, env, cwd and compensate";
                reader.report(Finding::new(word.at, message).label("needed before the run").help(help));
                return Cow::Borrowed(text);
            }
            if done == 0 {
                out.reserve(text.len() + cell.text.len());
            }
            out += &text[done..start];
            out += &cell.text;
            done = end;
            if out.len() > MAX_COMMAND_BYTES {
                let message = format!("longer than {MAX_COMMAND_BYTES} bytes with its values");
                reader.report(Finding::new(word.at, message).label("too long"));
                return Cow::Borrowed(text);
            }
        }
        if done == 0 { Cow::Borrowed(text) } else { Cow::Owned(out + &text[done..]) }
    }
}

impl std::fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, cell) in self.cells.iter().enumerate() {
            let (comma, quote) = (if index == 0 { "" } else { ", " }, if cell.kind == TEXT { "\"" } else { "" });
            write!(f, "{comma}{} = {quote}{}{quote}", cell.name, shown(&cell.text))?;
        }
        Ok(())
    }
}

// ── what is written in an `id` ──────────────────────────────────────────────────────────────────────────────────────

/// Reports every `{…}` of an `id` that is none of `keys`.
pub(super) fn check_id(reader: &mut Reader, node: &Node<'_>, id: &str, keys: &[&str]) {
    let mut from = 0;
    while let Some(start) = id[from..].find('{').map(|start| from + start) {
        let Some(end) = id[start..].find('}').map(|length| start + length + 1) else { return };
        from = end;
        let name = &id[start + 1..end - 1];
        if id[..start].ends_with('$') || keys.contains(&name) {
            continue;
        }
        let finding = Finding::new(within(node, start, end), format!("`foreach` has no key `{}`", shown(name)));
        let help = did_you_mean(name, keys.iter().copied()).unwrap_or_else(|| match keys {
            [] => EXAMPLE.to_owned(),
            _ => {
                format!("its keys: {}", keys.iter().take(MAX_KEYS).map(|key| shown(key)).collect::<Vec<_>>().join(", "))
            }
        });
        reader.report(finding.label("no such key").help(help));
    }
}

/// A glob for all names that an `id` becomes.
pub(super) fn glob_of(id: &str) -> String {
    let mut glob = String::new();
    let mut rest = id;
    while let Some((before, after)) = rest.split_once('{') {
        glob += before;
        glob.push('*');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    glob + rest
}

// ── reading values ──────────────────────────────────────────────────────────────────────────────────────────────────

const WHOLE: &str = "a whole number";
const POINT: &str = "a number with a point";
const TRUTH: &str = "true or false";
const TEXT: &str = "a text";

fn is_key(name: &str) -> bool {
    name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn read_values<'n>(reader: &mut Reader, node: &'n Node<'_>, key: &str) -> Option<Values<'n>> {
    match &node.kind {
        Kind::List(items) => read_list(reader, node, items, key),
        Kind::Tuple(Some(name), items) if name.text == "Range" => read_range(reader, node, items),
        Kind::Struct(Some(name), _) if name.text == "Range" => read_range(reader, node, &[]),
        Kind::Text(text) if text.starts_with("${") && text.ends_with('}') => Some(Values::Later),
        Kind::Text(_) => {
            let finding = Finding::new(node.at, format!("a text cannot be the values of `{key}`"));
            let finding = finding.label("expected a list of values, Range(first, last), or \"${task.ID.out.NAME}\"");
            reader.report(finding.help(EXAMPLE));
            None
        }
        _ => {
            reader.wrong(node, key, "a list of values, or Range(first, last)", EXAMPLE);
            None
        }
    }
}

fn read_list<'n>(reader: &mut Reader, node: &Node<'_>, items: &'n [Node<'_>], key: &str) -> Option<Values<'n>> {
    if items.is_empty() {
        let finding = Finding::new(head(node), format!("`{key}` has no values: there would be no task"));
        reader.report(finding.label("an empty list").help(EXAMPLE));
        return None;
    }
    let before = reader.findings.count();
    let values: Vec<Value<'n>> = items.iter().filter_map(|item| read_value(reader, item, key)).collect();
    if reader.findings.count() > before {
        return None;
    }
    for (value, item) in values.iter().zip(items) {
        if value.kind != values[0].kind {
            let message = format!("the values of `{key}` are not of one type");
            let finding = Finding::new(item.at, message).label(value.kind).also(items[0].at, values[0].kind);
            reader.report(if values.iter().all(|value| matches!(value.kind, WHOLE | POINT)) {
                finding.help("write whole numbers with a point too, as 1.0")
            } else {
                finding.help("write all of them as texts, in double quotes")
            });
            return None;
        }
    }
    tell_doubles(reader, &values, items, key);
    (reader.findings.count() == before).then_some(Values::List(values))
}

fn tell_doubles(reader: &mut Reader, values: &[Value<'_>], items: &[Node<'_>], key: &str) {
    let mut first = FirstPlaces::of(items.len());
    for (value, item) in values.iter().zip(items) {
        if let Some(earlier) = first.place(&value.text, item.at) {
            let twice = Finding::new(item.at, format!("`{}` stands twice in `{key}`", shown(&value.text)));
            reader.report(twice.label("a second time").also(earlier, "the first time"));
        }
    }
}

fn read_value<'n>(reader: &mut Reader, node: &'n Node<'_>, key: &str) -> Option<Value<'n>> {
    let value = |kind, text| Some(Value { kind, text });
    match &node.kind {
        Kind::Number(written) => {
            if let Some((kind, text)) = number(written) {
                return value(kind, text);
            }
        }
        Kind::Word(word @ ("true" | "false")) => return value(TRUTH, Cow::Borrowed(*word)),
        Kind::Text(text) => {
            for (start, _) in text.match_indices("${") {
                if ["params.", "task.", "stage.", "metrics."].iter().any(|word| text[start + 2..].starts_with(word)) {
                    reader.not_yet(&shown(&text[start..]), node.at);
                    return None;
                }
            }
            if !text.contains('\0') && text.len() <= MAX_COMMAND_BYTES {
                return value(TEXT, Cow::Borrowed(text.as_ref()));
            }
        }
        _ => {}
    }
    let message = format!("a value of `{}` cannot be {}", shown(key), describe(node));
    let label = "expected a number of 64 bits, a short text without NUL, true or false";
    reader.report(Finding::new(head(node), message).label(label));
    None
}

/// A whole number in plain digits; one with a point as it is written, since `3.10` means more than its value.
fn number(written: &str) -> Option<(&'static str, Cow<'_, str>)> {
    if let Ok(whole) = ron::from_str::<i64>(written) {
        return Some((WHOLE, Cow::Owned(whole.to_string())));
    }
    let is_whole = !written.contains(['.', 'e', 'E']) || written.contains(['x', 'X']);
    let number = ron::from_str::<f64>(written).ok().filter(|number| !is_whole && number.is_finite())?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain =
        written.strip_prefix('-').unwrap_or(written).split_once('.').is_some_and(|(a, b)| digits(a) && digits(b));
    Some((POINT, if plain { Cow::Owned(written.to_owned()) } else { Cow::Owned(number.to_string()) }))
}

/// `Range(first, last)` or `Range(first, last, step)`, the last one included.
fn read_range<'n>(reader: &mut Reader, node: &Node<'_>, items: &[Node<'_>]) -> Option<Values<'n>> {
    if !(2..=3).contains(&items.len()) {
        let finding = Finding::new(head(node), "`Range` has a first and a last number, and perhaps a step");
        reader.report(finding.label("expected Range(first, last) or Range(first, last, step)"));
        return None;
    }
    let mut numbers: SmallVec<[i64; 3]> = SmallVec::new();
    for item in items {
        numbers.push(reader.integer(item, "Range", i64::MIN, i64::MAX)?);
    }
    let (first, last, step) = (numbers[0], numbers[1], numbers.get(2).copied().unwrap_or(1));
    if step == 0 {
        reader.report(Finding::new(items[2].at, "a step of 0 never ends").label("no step"));
        return None;
    }
    let way = i128::from(last) - i128::from(first);
    if way != 0 && (way > 0) != (step > 0) {
        let finding = Finding::new(node.at, "this `Range` has no values: there would be no task");
        reader.report(finding.label("goes the other way").help(format!("did you mean Range({last}, {first})?")));
        return None;
    }
    let count = u64::try_from(way / i128::from(step)).unwrap_or(u64::MAX).saturating_add(1);
    Some(Values::Range { first, step, count })
}

/// A large number that can be read: `10^9`, `1200000`, `about 10^20`.
fn short(number: u128) -> String {
    let digits = number.to_string();
    let power = digits.len() - 1;
    if number == u128::MAX {
        "more than 10^38".to_owned()
    } else if power > 3 && digits.bytes().skip(1).all(|digit| digit == b'0') && digits.starts_with('1') {
        format!("10^{power}")
    } else if power < 15 {
        digits
    } else {
        format!("about {}.{} x 10^{power}", &digits[..1], &digits[1..2])
    }
}

/// What a task's texts become.
#[derive(Clone, Copy)]
pub(super) enum Each<'r> {
    /// It has no `foreach`.
    No,
    /// Its `foreach` cannot be read: what holds a key means nothing.
    Unknown,
    /// These values.
    Row(&'r Row<'r>),
}

impl<'r> Each<'r> {
    pub fn row(self) -> Option<&'r Row<'r>> {
        if let Self::Row(row) = self { Some(row) } else { None }
    }

    /// The words with their values in place; those that mean nothing are left out.
    pub fn fill<'t>(self, reader: &mut Reader, words: &[Word<'t>]) -> SmallVec<[(Cow<'t, str>, Extent); 4]> {
        let known = words.iter().filter(|word| !matches!(self, Self::Unknown) || !word.text.contains('{'));
        let filled = known.map(|word| match self {
            Self::Row(row) => (row.fill(reader, word), word.at),
            Self::No | Self::Unknown => (Cow::Borrowed(word.text), word.at),
        });
        filled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix<'n>(node: &'n Node<'n>) -> Matrix<'n> {
        let mut reader = Reader::default();
        let matrix = Matrix::read(&mut reader, node);
        assert_eq!(reader.findings.count(), 0);
        matrix.expect("a good matrix")
    }

    #[test]
    fn the_last_key_is_the_fastest() {
        let node = super::super::syntax::parse(r#"X({"a": ["x", "y"], "b": Range(10, 4, -3), "c": [true]})"#);
        let node = node.expect("good text");
        let Kind::Tuple(_, items) = &node.kind else { panic!("a tuple") };
        let matrix = matrix(&items[0]);
        assert_eq!((matrix.count(), matrix.product().as_str()), (6, "2 x 3 x 1 = 6"));
        let rows: Vec<String> = (0..6).map(|index| matrix.row(index).to_string()).collect();
        assert_eq!(rows[0], "a = \"x\", b = 10, c = true");
        assert_eq!(rows[1], "a = \"x\", b = 7, c = true");
        assert_eq!(rows[2], "a = \"x\", b = 4, c = true");
        assert_eq!(rows[5], "a = \"y\", b = 4, c = true");
    }

    #[test]
    fn numbers_are_whole_or_as_written() {
        for (written, is) in [
            ("12", Some((WHOLE, "12"))),
            ("-0", Some((WHOLE, "0"))),
            ("0x10", Some((WHOLE, "16"))),
            ("1_000", Some((WHOLE, "1000"))),
            ("3.10", Some((POINT, "3.10"))),
            ("-0.5", Some((POINT, "-0.5"))),
            ("1e3", Some((POINT, "1000"))),
            (".5", Some((POINT, "0.5"))),
            ("99999999999999999999", None),
            ("1e999", None),
        ] {
            let found = number(written);
            assert_eq!(found.as_ref().map(|(kind, text)| (*kind, text.as_ref())), is, "{written}");
        }
    }

    #[test]
    fn ranges_count_without_being_written_out() {
        for (range, count) in [
            ("1, 10", 10),
            ("5, 5", 1),
            ("5, 5, -1", 1),
            ("0, 100, 33", 4),
            ("3, -3, -2", 4),
            ("-9223372036854775808, 9223372036854775807", u64::MAX),
            ("-9223372036854775808, 9223372036854775806", u64::MAX),
        ] {
            let text = format!("Range({range})");
            let node = super::super::syntax::parse(&text).expect("good text");
            let values = read_values(&mut Reader::default(), &node, "n").expect("a good range");
            assert_eq!(values.count(), count, "{range}");
        }
    }

    #[test]
    fn only_braces_around_a_name_without_a_dollar_are_places() {
        for (text, found) in [
            ("{n}", vec!["{n}"]),
            ("${n} {n}", vec!["{n}"]),
            ("{{n}}", vec!["{n}"]),
            ("{ n }{print $1}{}{1}{a-b}", vec![]),
            ("{\"n\": {n}}", vec!["{n}"]),
            ("{n", vec![]),
            ("é{n}é{m}", vec!["{n}", "{m}"]),
        ] {
            let places: Vec<&str> = braces(text).map(|(start, end)| &text[start..end]).collect();
            assert_eq!(places, found, "{text}");
        }
    }

    #[test]
    fn large_counts_are_short() {
        for (number, text) in [
            (24, "24"),
            (1000, "1000"),
            (1_000_000_000, "10^9"),
            (1_200_000, "1200000"),
            (12_345_678_901_234_567_890, "about 1.2 x 10^19"),
            (u128::MAX, "more than 10^38"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
