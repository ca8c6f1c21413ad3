//! What is wrong with a workflow, placed: message, file, line, column, the line itself, a hint. Collected while a file is
//! read, located in one pass at the end, drawn like rustc's. Knows nothing of RON or of workflows.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::Source;

/// So many diagnostics are kept; the rest are only counted.
pub const MAX_DIAGNOSTICS: usize = 40;

/// A longer line, in bytes, is cut around what is wrong.
const MAX_LINE: usize = 2000;

/// So many bytes of a cut line are kept before and after what is wrong.
const BEFORE: usize = 120;
const AFTER: usize = 200;

/// So many characters of a foreign name are shown.
const MAX_SHOWN: usize = 80;

/// Bytes `start..end` of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Extent {
    pub start: u32,
    pub end: u32,
}

impl Extent {
    /// From offsets of a file, which is at most 64 MiB long.
    pub fn new(start: usize, end: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In the file as a whole.
    Whole,
    /// In words of the command line: the text as it was given, and the bytes of it.
    Argument(String, Extent),
    /// In the file.
    File(Extent),
}

/// A diagnostic that is not located yet.
#[derive(Debug)]
pub(super) struct Finding {
    place: Place,
    message: String,
    label: String,
    also: Option<(Extent, String)>,
    help: Vec<String>,
}

impl Finding {
    pub fn new(at: Extent, message: impl Into<String>) -> Self {
        Self::placed(Place::File(at), message.into())
    }
    pub fn whole(message: impl Into<String>) -> Self {
        Self::placed(Place::Whole, message.into())
    }
    /// About bytes `at` of words of the command line.
    pub fn argument(text: String, at: Extent, message: impl Into<String>) -> Self {
        Self::placed(Place::Argument(text, at), message.into())
    }
    fn placed(place: Place, message: String) -> Self {
        Self { place, message, label: String::new(), also: None, help: Vec::new() }
    }
    /// What stands at the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
    /// Another place that matters.
    pub fn also(mut self, at: Extent, label: impl Into<String>) -> Self {
        self.also = Some((at, label.into()));
        self
    }
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
    pub fn maybe_help(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }
}

/// Everything found wrong so far, bounded by [`MAX_DIAGNOSTICS`].
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    more: usize,
}

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.list.push(finding);
        }
    }
    /// Further findings are only counted: spend no effort on their hints.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX_DIAGNOSTICS
    }
    pub fn count(&self) -> usize {
        self.list.len() + self.more
    }
    /// Adds `note` to the message of each finding since `count` was `from` whose place in the file is `wanted`.
    pub fn note(&mut self, from: usize, note: &str, wanted: impl Fn(Extent) -> bool) {
        for finding in self.list.iter_mut().skip(from) {
            if matches!(finding.place, Place::File(at) if wanted(at)) {
                finding.message += note;
            }
        }
    }
    /// Locates all findings, in the order of the file.
    pub fn locate(mut self, source: &Source<'_>) -> Diagnostics {
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
        let offsets = self.list.iter().flat_map(|finding| {
            let primary = if let Place::File(at) = finding.place { Some(at.start) } else { None };
            primary.into_iter().chain(finding.also.as_ref().map(|(at, _)| at.start))
        });
        let lines = LineNumbers::of(source.text, offsets.collect());
        let list = self.list.into_iter().map(|finding| locate(finding, source, &lines)).collect();
        Diagnostics { list, more: self.more }
    }
}

fn locate(finding: Finding, source: &Source<'_>, lines: &LineNumbers) -> Diagnostic {
    let Finding { place, message, label, also, help } = finding;
    let file = shown(source.name);
    let (source_name, excerpt) = match place {
        Place::Whole => (file, None),
        Place::Argument(text, at) if text.starts_with("--") => {
            ("command line".to_owned(), Some(Excerpt::cut(&text, 1, at, label)))
        }
        Place::Argument(text, at) => (format!("params for {file}"), Some(Excerpt::cut(&text, 1, at, label))),
        Place::File(at) => (file, Some(Excerpt::cut(source.text, lines.line(at.start), at, label))),
    };
    let also = also.map(|(at, label)| Excerpt::cut(source.text, lines.line(at.start), at, label));
    Diagnostic { message, source: source_name, excerpt, also, help }
}

/// The line numbers of a few offsets, found in one pass over the text.
struct LineNumbers(Vec<(u32, usize)>);

impl LineNumbers {
    fn of(text: &str, mut offsets: Vec<u32>) -> Self {
        offsets.sort_unstable();
        offsets.dedup();
        let (mut line, mut seen) = (1, 0);
        let numbered = offsets.into_iter().map(|offset| {
            let end = (offset as usize).min(text.len());
            line += text.as_bytes()[seen..end].iter().filter(|byte| **byte == b'\n').count();
            seen = end;
            (offset, line)
        });
        Self(numbered.collect())
    }
    fn line(&self, offset: u32) -> usize {
        self.0.binary_search_by_key(&offset, |(at, _)| *at).map_or(1, |index| self.0[index].1)
    }
}

/// What is wrong, where, and what to do about it.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    message: String,
    source: String,
    excerpt: Option<Excerpt>,
    also: Option<Excerpt>,
    help: Vec<String>,
}

impl Diagnostic {
    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// The file's name, or `command line`.
    pub fn source(&self) -> &str {
        &self.source
    }
    /// Line and column, both from 1, the column in characters; absent where the whole file is meant.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.excerpt.as_ref().map(|excerpt| (excerpt.line, excerpt.column))
    }
    /// Hints, each in one line or a few.
    pub fn help(&self) -> &[String] {
        &self.help
    }

    fn report(&self) -> Vec<Group<'_>> {
        let mut group = Group::with_title(Level::ERROR.primary_title(&self.message));
        let Some(excerpt) = &self.excerpt else {
            return vec![self.with_help(group.element(Origin::path(&self.source)))];
        };
        let mut snippet = excerpt.snippet(AnnotationKind::Primary);
        if excerpt.is_cut {
            // the drawing crate would count columns from the cut
            group = group.element(Origin::path(&self.source).line(excerpt.line).char_column(excerpt.column));
        } else {
            snippet = snippet.path(&self.source);
        }
        group = match &self.also {
            None => group.element(snippet),
            Some(also) if also.line == excerpt.line && !excerpt.is_cut => {
                group.element(snippet.annotation(also.annotation(AnnotationKind::Context)))
            }
            Some(also) => group.element(snippet).element(also.snippet(AnnotationKind::Context)),
        };
        vec![self.with_help(group)]
    }

    fn with_help<'a>(&'a self, group: Group<'a>) -> Group<'a> {
        group.elements(self.help.iter().map(|help| Level::HELP.message(help.as_str())))
    }
}

/// One line of a source with bytes `mark` of it marked; a long line is cut around the mark.
#[derive(Debug, Clone)]
struct Excerpt {
    line: usize,
    column: usize,
    /// Only a part of a long line.
    is_cut: bool,
    text: String,
    mark: std::ops::Range<usize>,
    label: String,
}

impl Excerpt {
    fn cut(source: &str, line: usize, at: Extent, label: String) -> Self {
        let start = floor_boundary(source, at.start as usize);
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |newline| start + newline);
        let line_end = line_start.max(line_end - usize::from(source[line_start..line_end].ends_with('\r')));
        let start = start.min(line_end);
        let end = floor_boundary(source, at.end as usize).clamp(start, line_end);
        let is_cut = line_end - line_start > MAX_LINE;
        let (mut from, mut to) = (line_start, line_end);
        if is_cut {
            from = floor_boundary(source, start.saturating_sub(BEFORE)).max(line_start);
            to = floor_boundary(source, end.min(start + AFTER) + AFTER).clamp(start, line_end);
        }
        let (dots, tail) = (if from > line_start { "..." } else { "" }, if to < line_end { "..." } else { "" });
        let text = format!("{dots}{}{tail}", source[from..to].chars().map(same_length).collect::<String>());
        let shift = |offset: usize| offset.min(to) - from + dots.len();
        let column = source[line_start..start].chars().count() + 1;
        Self { line, column, is_cut, mark: shift(start)..shift(end), text, label }
    }

    fn snippet(&self, kind: AnnotationKind) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        Snippet::source(self.text.as_str()).line_start(self.line).annotation(self.annotation(kind))
    }

    fn annotation(&self, kind: AnnotationKind) -> annotate_snippets::Annotation<'_> {
        let label = (!self.label.is_empty()).then_some(self.label.as_str());
        kind.span(self.mark.clone()).label(label)
    }
}

/// The last place at or before `offset` where a character begins.
fn floor_boundary(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset)
}

/// Harmless and as many bytes long, for what the drawing crate would let through: C1 controls, marks of direction.
fn same_length(c: char) -> char {
    match c {
        '\u{80}'..='\u{9f}' | '\u{ad}' => '·',
        '\u{61c}' => '·',
        c if is_treacherous(c) && c.len_utf8() == 3 => '\u{fffd}',
        c => c,
    }
}

/// Invisible, or turns the direction of what stands around it.
pub(super) fn is_treacherous(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Foreign text made fit for a message: one line, no control characters (shown as marks), cut when long.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MAX_SHOWN {
            out.push('…');
            break;
        }
        out.push(match c {
            '\n' => '⏎',
            '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).expect("control pictures follow the control codes"),
            '\x7f' => '␡',
            c if c.is_control() || is_treacherous(c) => '\u{fffd}',
            c => c,
        });
    }
    out
}

/// All that is wrong with a workflow, in the order of the file. Never empty.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    more: usize,
}

impl Diagnostics {
    /// One that is about `name` as a whole.
    pub(super) fn about(name: &str, message: String, help: Option<String>) -> Self {
        let mut findings = Findings::default();
        findings.push(Finding::whole(message).maybe_help(help));
        findings.locate(&Source { name, text: "" })
    }

    /// Adds those of another file.
    pub(super) fn append(&mut self, other: Self) {
        let room = MAX_DIAGNOSTICS.saturating_sub(self.list.len());
        self.more += other.more + other.list.len().saturating_sub(room);
        self.list.extend(other.list.into_iter().take(room));
    }

    /// How many there are, those that are only counted included.
    pub fn len(&self) -> usize {
        self.list.len() + self.more
    }

    /// Never: a list of nothing wrong is not made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first [`MAX_DIAGNOSTICS`] of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// All of them as text of several lines, with a count at the end. Nothing of the file can control a terminal.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in &self.list {
            out += &renderer.render(&diagnostic.report());
            out += "\n\n";
        }
        out += &match (self.len(), self.more) {
            (1, _) => "1 error\n".to_owned(),
            (all, 0) => format!("{all} errors\n"),
            (all, more) => format!("{all} errors: the first {} are shown, and {more} more\n", self.list.len()),
        };
        out
    }
}
