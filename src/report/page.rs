//! A page of headings, words and tables, before it is Markdown or HTML: both are written from the same page, so that they
//! say the same. Text in it is as it came; whoever writes it out makes it safe.

/// A part of a page.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A heading of this depth, from 1.
    Heading(u8, String),
    /// Some sentences.
    Words(String),
    /// Heads of columns, and rows; `true`: numbers, to the right.
    Table(Vec<(String, bool)>, Vec<Vec<String>>),
    /// Lines as they were written by a program.
    Quote(Vec<String>),
    /// Where the picture goes, for those that can show one.
    Picture,
}

/// A page.
#[derive(Debug, Default)]
pub struct Page {
    /// In order.
    pub parts: Vec<Part>,
}

impl Page {
    pub fn heading(&mut self, depth: u8, text: impl Into<String>) {
        self.parts.push(Part::Heading(depth, text.into()));
    }
    pub fn words(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Words(text.into()));
    }
    /// A table; a head that begins with `>` is over numbers. Without rows nothing is added.
    pub fn table(&mut self, heads: &[&str], rows: Vec<Vec<String>>) {
        if !rows.is_empty() {
            let head = |head: &&str| (head.trim_start_matches('>').to_owned(), head.starts_with('>'));
            self.parts.push(Part::Table(heads.iter().map(head).collect(), rows));
        }
    }
}

/// Names, at most so many, and how many more there are.
pub fn names(names: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let count = names.len();
    let mut text = names.take(most).collect::<Vec<_>>().join(", ");
    if count > most {
        text.push_str(&format!(" and {} more", count - most));
    }
    text
}
