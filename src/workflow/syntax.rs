//! RON text as a tree whose every value knows its bytes: names, fields and entries in their order, doubled ones too. Stops
//! at the first place that is not RON. Knows the notation (the grammar of the `ron` crate, which still reads each number
//! and escaped text), nothing of workflows.
//!
//! Why a tree of our own: `ron` gives values no place and stops at the first wrong field; held as raw slices, as deep as a
//! workflow is nested, each byte is scanned five times. A test holds this reader to what `ron` itself accepts.

use std::borrow::Cow;

use super::diagnostic::{Extent, Finding, shown};

/// Nothing a workflow says is nested deeper than a few levels.
const MAX_DEPTH: usize = 64;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub at: Extent,
    pub kind: Kind<'a>,
}

/// What a value is, by its notation alone.
#[derive(Debug)]
pub(super) enum Kind<'a> {
    /// `"…"`, `r#"…"#`
    Text(Cow<'a, str>),
    /// As written: `-1`, `0.5`, `0x10`
    Number(&'a str),
    /// `true`, `Lock`, `inf`
    Word(&'a str),
    /// A character or bytes: no field of ours is one.
    Other,
    /// `[…]`
    List(Vec<Node<'a>>),
    /// `{…}`, in order, doubles kept.
    Map(Vec<(Node<'a>, Node<'a>)>),
    /// `Name(a: …)` or `(a: …)`, in order, doubles kept.
    Struct(Option<Box<Name<'a>>>, Vec<(Name<'a>, Node<'a>)>),
    /// `Name(…)` or `(…)`
    Tuple(Option<Box<Name<'a>>>, Vec<Node<'a>>),
}

/// A name and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub at: Extent,
    pub text: &'a str,
}

/// Reads the one value that `text` is.
///
/// # Errors
/// The first place that is not RON.
pub(super) fn parse(text: &str) -> Result<Node<'_>, Box<Finding>> {
    if u32::try_from(text.len()).is_err() {
        return Err(Box::new(Finding::whole("the text is longer than 4 GiB")));
    }
    let mut parser = Parser { text, pos: 0, depth: 0, long_text: None };
    parser.attributes()?;
    parser.space()?;
    if parser.pos == text.len() {
        return Err(Finding::whole("there is no workflow in this file").help(super::SMALLEST).into());
    }
    let node = parser.value()?;
    parser.space()?;
    if parser.pos < text.len() {
        return Err(match node.kind {
            Kind::Struct(..) | Kind::Tuple(..) => {
                parser.error_here("there is more after the end of the workflow", "not expected here")
            }
            _ => Finding::new(node.at, "this is not a workflow")
                .label("expected Workflow(…)")
                .help(super::SMALLEST)
                .into(),
        });
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    pos: usize,
    depth: usize,
    /// The last text that ran over several lines: perhaps its end is missing.
    long_text: Option<Extent>,
}

type Parsed<T> = Result<T, Box<Finding>>;

/// What closes a bracket.
fn closer_of(open: u8) -> u8 {
    match open {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }
    fn since(&self, start: usize) -> Extent {
        Extent::new(start, self.pos)
    }

    // ── space, comments, attributes ─────────────────────────────────────────────────────────────────────────────────

    fn space(&mut self) -> Parsed<()> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) => self.pos += 1,
                Some(b'/') => self.comment()?,
                Some(0x80..) => match self.rest().chars().next() {
                    Some(c @ ('\u{85}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')) => {
                        self.pos += c.len_utf8()
                    }
                    _ => return Ok(()),
                },
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Parsed<()> {
        let rest = self.rest();
        if rest.starts_with("//") {
            self.pos += rest.find('\n').unwrap_or(rest.len());
            return Ok(());
        }
        if !rest.starts_with("/*") {
            return Err(self.error_here("a single `/` is not RON", "a comment begins with `//` or `/*`"));
        }
        let (start, bytes) = (self.pos, self.text.as_bytes());
        let mut open = 0usize;
        loop {
            match (bytes.get(self.pos), bytes.get(self.pos + 1)) {
                (Some(b'/'), Some(b'*')) => {
                    open += 1;
                    self.pos += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    open -= 1;
                    self.pos += 2;
                    if open == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.pos += 1,
                (None, _) => {
                    return Err(Finding::new(Extent::new(start, start + 2), "a comment does not end")
                        .label("it begins here")
                        .help("comments can be nested: each `/*` needs its own `*/`")
                        .into());
                }
            }
        }
    }

    /// `#![enable(…)]` lines. None of them changes how we read: what they allow is always allowed.
    fn attributes(&mut self) -> Parsed<()> {
        loop {
            self.space()?;
            let start = self.pos;
            if self.peek() != Some(b'#') {
                return Ok(());
            }
            if !self.rest()[1..].trim_start().starts_with('!') || self.rest().starts_with("#!/") {
                return Err(Finding::new(Extent::new(start, start + 1), "a `#` begins no workflow")
                    .label("not expected here")
                    .help("comments begin with `//`, a workflow with Workflow(…)")
                    .into());
            }
            let end = self.rest().find(']').map(|length| start + length + 1);
            let written = &self.text[start..end.unwrap_or(start)];
            let compact: String = written.chars().filter(|c| !c.is_whitespace()).collect();
            let inner = compact.strip_prefix("#![enable(").and_then(|inner| inner.strip_suffix(")]"));
            let known = |word: &str| {
                matches!(
                    word,
                    "implicit_some" | "unwrap_newtypes" | "unwrap_variant_newtypes" | "explicit_struct_names" | ""
                )
            };
            if !inner.is_some_and(|inner| inner.split(',').all(known)) {
                return Err(Finding::new(Extent::new(start, end.unwrap_or(start + 1)), "this attribute is not known")
                    .help("a workflow may begin with `#![enable(implicit_some)]`, or with none")
                    .into());
            }
            self.pos = end.unwrap_or(start);
        }
    }

    // ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────

    fn value(&mut self) -> Parsed<Node<'a>> {
        let start = self.pos;
        let Some(byte) = self.peek() else {
            return Err(self.error_here("the file ends where a value should stand", "a value is missing here"));
        };
        let kind = match byte {
            b'"' => self.text()?,
            b'[' => Kind::List(self.bracket(b'[', Self::value)?),
            b'{' => Kind::Map(self.bracket(b'{', Self::entry)?),
            b'(' => self.group(None)?,
            b'0'..=b'9' | b'+' | b'-' | b'.' => self.number()?,
            b'\'' => self.character()?,
            b'r' if self.at_raw_text(1) => self.raw_text(1)?,
            b'b' if self.rest().starts_with("br") && self.at_raw_text(2) => {
                self.raw_text(2)?;
                Kind::Other
            }
            b'b' if self.rest().starts_with("b\"") => {
                self.pos += 1;
                self.skip_quoted()?;
                Kind::Other
            }
            b'b' if self.rest().starts_with("b'") => {
                self.pos += 1;
                self.character()?
            }
            _ => self.word_or_group()?,
        };
        Ok(Node { at: self.since(start), kind })
    }

    fn word_or_group(&mut self) -> Parsed<Kind<'a>> {
        let Some(name) = self.name() else {
            return Err(self.stray());
        };
        let after = self.pos;
        self.space()?;
        if self.peek() == Some(b'(') {
            return self.group(Some(name));
        }
        self.pos = after;
        Ok(Kind::Word(name.text))
    }

    /// A character that begins nothing.
    fn stray(&self) -> Box<Finding> {
        let c = self.rest().chars().next().unwrap_or(' ');
        let finding = Finding::new(Extent::new(self.pos, self.pos + c.len_utf8()), "a value should stand here");
        match c {
            ',' => {
                finding.label("not a value").help("a value is missing before this `,`, or there is one `,` too many")
            }
            ')' | ']' | '}' => finding.label("not a value").help(format!("a value is missing before this `{c}`")),
            '“' | '”' | '„' | '‘' | '’' | '«' | '»' => {
                finding.label("a typographic quote").help("text stands in plain double quotes: \"…\"")
            }
            '`' => finding.label("a backquote").help("text stands in double quotes: \"…\""),
            _ => finding.label(format!("`{}` begins no value", shown(&c.to_string()))),
        }
        .into()
    }

    fn name(&mut self) -> Option<Name<'a>> {
        let start = self.pos;
        let rest = self.rest();
        let raw = rest.strip_prefix("r#").filter(|after| after.starts_with(starts_name));
        let text = raw.unwrap_or(rest);
        if !text.starts_with(starts_name) {
            return None;
        }
        let goes_on = |c: char| continues_name(c) || (raw.is_some() && matches!(c, '.' | '+' | '-'));
        let length = text.find(|c| !goes_on(c)).unwrap_or(text.len());
        self.pos += rest.len() - text.len() + length;
        Some(Name { at: self.since(start), text: &text[..length] })
    }

    /// `(…)`: fields if it begins with `name:`, else values.
    fn group(&mut self, name: Option<Name<'a>>) -> Parsed<Kind<'a>> {
        let open = self.pos;
        self.pos += 1;
        self.space()?;
        let has_fields = self.name().is_some() && {
            self.space()?;
            matches!(self.peek(), Some(b':' | b'='))
        };
        self.pos = open;
        let name = name.map(Box::new);
        Ok(if has_fields {
            Kind::Struct(name, self.bracket(b'(', Self::field)?)
        } else {
            Kind::Tuple(name, self.bracket(b'(', Self::value)?)
        })
    }

    fn field(&mut self) -> Parsed<(Name<'a>, Node<'a>)> {
        let Some(name) = self.name() else {
            let error = if self.peek() == Some(b'"') {
                self.error_here("a field's name should stand here", "names of fields stand without quotes")
            } else {
                self.error_here("a field's name should stand here", "expected `name: value`")
            };
            return Err(error);
        };
        self.colon(name.text)?;
        Ok((name, self.value()?))
    }

    fn entry(&mut self) -> Parsed<(Node<'a>, Node<'a>)> {
        let key = self.value()?;
        self.colon(&self.text[key.at.start as usize..key.at.end as usize])?;
        Ok((key, self.value()?))
    }

    fn colon(&mut self, name: &str) -> Parsed<()> {
        self.space()?;
        match self.peek() {
            Some(b':') => self.pos += 1,
            Some(b'=') => {
                let error = Finding::new(Extent::new(self.pos, self.pos + 1), "`=` where `:` should stand");
                return Err(error.label("write `:`").into());
            }
            _ => {
                let message = format!("a `:` is missing after `{}`", shown(name));
                return Err(self.error_here(&message, "expected `:`"));
            }
        }
        self.space()
    }

    /// What stands between a bracket and its end, separated by `,`.
    fn bracket<T>(&mut self, open: u8, item: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let opened = Extent::new(self.pos, self.pos + 1);
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Finding::new(opened, format!("nested deeper than {MAX_DEPTH} levels"))
                .label("one level too many")
                .help("a workflow is nested a few levels deep only")
                .into());
        }
        self.pos += 1;
        self.space()?;
        let mut items = Vec::new();
        while self.peek() != Some(closer_of(open)) {
            if self.peek().is_none() {
                return Err(self.unclosed(open, opened));
            }
            if matches!(self.peek(), Some(b')' | b']' | b'}')) {
                return Err(self.wrong_closer(open, opened));
            }
            items.push(item(self)?);
            self.space()?;
            match self.peek() {
                Some(b',') => self.pos += 1,
                Some(byte) if byte == closer_of(open) => break,
                None => return Err(self.unclosed(open, opened)),
                Some(b')' | b']' | b'}') => return Err(self.wrong_closer(open, opened)),
                Some(_) => return Err(self.no_comma(open)),
            }
            self.space()?;
        }
        self.pos += 1;
        self.depth -= 1;
        // a large file is many small lists: memory is what its reading costs most
        items.shrink_to_fit();
        Ok(items)
    }

    fn unclosed(&self, open: u8, opened: Extent) -> Box<Finding> {
        let closer = char::from(closer_of(open));
        let finding = Finding::new(opened, format!("this `{}` is never closed", char::from(open)))
            .label(format!("its `{closer}` is missing"));
        self.perhaps_long_text(finding)
    }

    fn wrong_closer(&self, open: u8, opened: Extent) -> Box<Finding> {
        let found = self.peek().map_or(' ', char::from);
        let finding = Finding::new(
            Extent::new(self.pos, self.pos + 1),
            format!("`{found}` where `{}` should stand", char::from(closer_of(open))),
        )
        .label("closes the wrong bracket")
        .also(opened, "this one is still open");
        self.perhaps_long_text(finding)
    }

    fn no_comma(&self, open: u8) -> Box<Finding> {
        let length = self.rest().chars().take_while(|c| continues_name(*c)).map(char::len_utf8).sum::<usize>().max(1);
        let end = self.text.ceil_char_boundary(self.pos + length);
        let finding =
            Finding::new(Extent::new(self.pos, end), format!("expected `,` or `{}`", char::from(closer_of(open))))
                .label("not expected here")
                .help(match self.peek() {
                    Some(b':') => "names of fields stand without quotes; a map stands in {…}",
                    _ => "is a `,` missing before it? Text stands in double quotes: \"…\"",
                });
        self.perhaps_long_text(finding)
    }

    fn perhaps_long_text(&self, finding: Finding) -> Box<Finding> {
        Box::new(match self.long_text {
            Some(at) => finding.also(at, "this text runs over several lines: is a `\"` missing?"),
            None => finding,
        })
    }

    fn error_here(&self, message: &str, label: &str) -> Box<Finding> {
        let end = self.rest().chars().next().map_or(self.pos, |c| self.pos + c.len_utf8());
        self.perhaps_long_text(Finding::new(Extent::new(self.pos, end), message).label(label))
    }

    // ── numbers, texts ──────────────────────────────────────────────────────────────────────────────────────────────

    fn number(&mut self) -> Parsed<Kind<'a>> {
        let start = self.pos;
        let bytes = self.text.as_bytes();
        self.pos += 1;
        while let Some(byte) = self.peek() {
            let exponent = matches!(bytes[self.pos - 1], b'e' | b'E') && matches!(byte, b'+' | b'-');
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || exponent) {
                break;
            }
            self.pos += 1;
        }
        let written = &self.text[start..self.pos];
        let simple = written.len() <= 18 && written.bytes().all(|byte| byte.is_ascii_digit());
        if !simple && !matches!(ron::from_str::<ron::Value>(written), Ok(ron::Value::Number(_))) {
            return Err(Finding::new(self.since(start), format!("`{}` is not a number", shown(written)))
                .help("text stands in double quotes, lengths of time and sizes too: \"10m\", \"2GiB\"")
                .into());
        }
        Ok(Kind::Number(written))
    }

    fn character(&mut self) -> Parsed<Kind<'a>> {
        let start = self.pos;
        let mut chars = self.rest().char_indices().skip(1);
        let escaped = matches!(chars.next(), Some((_, '\\')));
        if escaped {
            chars.next();
        }
        let end = chars.find(|(index, c)| *c == '\'' || *index > 12).filter(|(_, c)| *c == '\'');
        let length = end.map_or(1, |(index, _)| index + 1);
        if ron::from_str::<char>(&self.rest()[..length]).is_ok() {
            self.pos += length;
            return Ok(Kind::Other);
        }
        Err(Finding::new(Extent::new(start, start + 1), "text stands in double quotes")
            .label("a single quote")
            .help("write \"…\"; single quotes within it are fine")
            .into())
    }

    /// Passes over `"…"`; true if it holds a backslash.
    fn skip_quoted(&mut self) -> Parsed<bool> {
        let start = self.pos;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        let mut pos = start + 1;
        loop {
            match bytes.get(pos) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    pos += 2;
                }
                Some(_) => pos += 1,
                None => {
                    return Err(self.perhaps_long_text(
                        Finding::new(Extent::new(start, start + 1), "a text does not end").label("it begins here"),
                    ));
                }
            }
        }
        self.pos = pos + 1;
        if bytes[start..pos].contains(&b'\n') {
            self.long_text = Some(Extent::new(start, start + 1));
        }
        Ok(escaped)
    }

    fn text(&mut self) -> Parsed<Kind<'a>> {
        let start = self.pos;
        let escaped = self.skip_quoted()?;
        let written = &self.text[start..self.pos];
        if !escaped {
            return Ok(Kind::Text(Cow::Borrowed(&written[1..written.len() - 1])));
        }
        match ron::from_str::<String>(written) {
            Ok(text) => Ok(Kind::Text(Cow::Owned(text))),
            Err(_) => Err(bad_escape(start, written)),
        }
    }

    fn at_raw_text(&self, prefix: usize) -> bool {
        self.rest()[prefix..].trim_start_matches('#').starts_with('"')
    }

    fn raw_text(&mut self, prefix: usize) -> Parsed<Kind<'a>> {
        let start = self.pos;
        let after = &self.rest()[prefix..];
        let hashes = after.len() - after.trim_start_matches('#').len();
        let body = start + prefix + hashes + 1;
        let end = format!("\"{}", "#".repeat(hashes));
        let Some(length) = self.text[body..].find(&end) else {
            return Err(Finding::new(Extent::new(start, body), "a raw text does not end")
                .label(format!("its `{}` is missing", shown(&end)))
                .into());
        };
        self.pos = body + length + end.len();
        Ok(Kind::Text(Cow::Borrowed(&self.text[body..body + length])))
    }
}

/// The first escape of a text that `ron` refuses.
fn bad_escape(start: usize, written: &str) -> Box<Finding> {
    let mut chars = written.char_indices();
    while let Some((index, c)) = chars.next() {
        let Some((_, next)) = (if c == '\\' { chars.next() } else { None }) else { continue };
        let end = match next {
            'x' => index + 4,
            'u' => written[index..].find('}').map_or(index + 2, |length| index + length + 1),
            _ => index + 1 + next.len_utf8(),
        };
        let end = written.floor_char_boundary(end.min(written.len() - 1));
        if ron::from_str::<String>(&format!("\"{}\"", &written[index..end])).is_err() {
            return Finding::new(Extent::new(start + index, start + end), "this escape is not known")
                .label("a `\\` begins an escape")
                .help("for a backslash write `\\\\`, or use a raw text, where nothing is escaped: r\"…\"")
                .into();
        }
    }
    Finding::new(Extent::new(start, start + written.len()), "this text cannot be read").into()
}

fn starts_name(c: char) -> bool {
    c == '_' || unicode_ident::is_xid_start(c)
}

fn continues_name(c: char) -> bool {
    unicode_ident::is_xid_continue(c)
}
